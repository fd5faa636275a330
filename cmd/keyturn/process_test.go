package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a keyturn that runs as a process of its own.
type process struct {
	cmd    *exec.Cmd
	env    []string
	output *safeBuffer
	exited chan struct{}
}

// safeBuffer is a buffer that can be read while it is written.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs keyturn: this very test binary, which is keyturn under that name.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{output: &safeBuffer{}, exited: make(chan struct{})}
	p.env = append(append(os.Environ(), "KEYTURN_DEVVAULT="+devVault(t)), env...)
	p.cmd = &exec.Cmd{Path: self, Args: append([]string{"keyturn"}, args...), Env: p.env, Stdout: p.output, Stderr: p.output}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.exited
		if t.Failed() {
			t.Logf("keyturn %s said:\n%s", strings.Join(args, " "), p.output)
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// wait waits for the end and returns the exit code.
func (p *process) wait(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		t.Fatalf("keyturn did not end within %s", within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// call runs keyturn to its end.
func call(t *testing.T, env []string, args ...string) (output string, code int) {
	t.Helper()
	p := start(t, env, args...)
	code = p.wait(t, 60*time.Second)
	return p.output.String(), code
}

// eventually waits for a condition, and fails after a minute.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute it is not so that %s", what)
		}
	}
}

// startDev runs dev and returns the variables of dev.env.
func startDev(t *testing.T, dir string, args ...string) (*process, []string) {
	t.Helper()
	path := filepath.Join(dir, "dev.env")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) { // left by a life that was killed
		t.Fatal(err)
	}
	p := start(t, nil, append([]string{"dev", "--state-dir", dir}, args...)...)
	var env []string
	eventually(t, "dev is ready", func() bool {
		select {
		case <-p.exited:
			t.Fatal("dev has ended")
		default:
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(text)) {
			env = append(env, strings.TrimSpace(strings.TrimPrefix(line, "export ")))
		}
		return true
	})
	return p, env
}

func value(env []string, name string) string {
	for _, pair := range env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			return v
		}
	}
	return ""
}

// listing is `keyturn list`, by name.
func listing(t *testing.T, env []string) map[string]listed {
	t.Helper()
	output, code := call(t, env, "list", "-o", "json")
	var list []listed
	if err := json.Unmarshal([]byte(output), &list); code != 0 || err != nil {
		t.Fatalf("list: exit %d: %v: %s", code, err, output)
	}
	byName := map[string]listed{}
	for _, l := range list {
		byName[string(l.Name)] = l
	}
	return byName
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, ""
	}
	return answer.StatusCode, string(text)
}

var httpAddress = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// httpOf reads where a daemon serves /readyz from its log.
func (p *process) httpOf(t *testing.T) string {
	t.Helper()
	var address string
	eventually(t, "the daemon says where its health is", func() bool {
		for line := range strings.Lines(p.output.String()) {
			if strings.Contains(line, "metrics and health") {
				address = httpAddress.FindString(line)
			}
		}
		return address != ""
	})
	return address
}

// childrenIn returns the dev Vaults that were started on a state directory.
func childrenIn(t *testing.T, dir string) (pids []int) {
	t.Helper()
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		return childrenByPS(t, dir)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil || !isDevVault(string(text), dir) {
			continue // gone meanwhile, somebody else's, or a dead one that was not reaped
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func isDevVault(command, dir string) bool {
	return strings.Contains(command, "devvault") && strings.Contains(command, dir)
}

// childrenByPS is for systems without /proc.
func childrenByPS(t *testing.T, dir string) (pids []int) {
	t.Helper()
	out, err := exec.Command("ps", "-axww", "-o", "pid=,stat=,command=").Output()
	if err != nil {
		t.Fatalf("ps: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[1], "Z") || !isDevVault(line, dir) {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
