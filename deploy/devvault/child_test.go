package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asServer in the environment makes the test binary behave as devvault.
const asServer = "DEVVAULT_TEST_AS_SERVER"

// These bound every wait of the tests. An end is bounded by what main promises.
const (
	patience = 60 * time.Second
	endBound = drainTime + sealTime + 2*time.Second
)

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// child is a devvault in a process of its own. It ends with the test, and its
// standard input closes when the test's process dies.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *text
	stdout *text

	first  chan struct{} // closed after the first line of stdout, or its end
	exited chan struct{} // closed when the process was waited for

	// line is what it said when it was ready.
	line ready
}

// launch starts a process, and does not wait for it to be ready.
func launch(t *testing.T, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{
		cmd: exec.Command(self, args...), stderr: new(text), stdout: new(text),
		first: make(chan struct{}), exited: make(chan struct{}),
	}
	c.cmd.Env = append(os.Environ(), asServer+"=1")
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to see what it leaves behind
	c.cmd.Stderr = c.stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.exited)
		r := bufio.NewReader(stdout)
		line, _ := r.ReadBytes('\n')
		_, _ = c.stdout.Write(line)
		close(c.first)
		_, _ = io.Copy(c.stdout, r)
		_ = c.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.exited
	})
	return c
}

// start starts a process and waits until it is ready.
func start(t *testing.T, args ...string) *child {
	t.Helper()
	c := launch(t, args...)
	c.awaitReady(t)
	return c
}

func (c *child) awaitReady(t *testing.T) {
	t.Helper()
	select {
	case <-c.first:
	case <-time.After(patience):
		t.Fatalf("not ready within %v\n%s", patience, c.stderr)
	}
	decoder := json.NewDecoder(strings.NewReader(c.stdout.String()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c.line); err != nil {
		t.Fatalf("said %q: %v\n%s", c.stdout, err, c.stderr)
	}
}

// wait waits for the end and returns the exit status, or -1 for a signal.
func (c *child) wait(t *testing.T, bound time.Duration) int {
	t.Helper()
	select {
	case <-c.exited:
		return c.cmd.ProcessState.ExitCode()
	case <-time.After(bound):
		t.Fatalf("still running after %v\n%s", bound, c.stderr)
		return 0
	}
}

// kill is kill -9.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.wait(t, endBound)
}

// signal sends a signal.
func (c *child) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// closeStdin closes the standard input of the process.
func (c *child) closeStdin(t *testing.T) {
	t.Helper()
	if err := c.stdin.Close(); err != nil {
		t.Fatal(err)
	}
}

// mustNotRemain fails when any process of the group is left.
func (c *child) mustNotRemain(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-c.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("a process is left: %v", err)
	}
}

// readKeysOf reads init.json in the way a user of the directory does.
func readKeysOf(t *testing.T, dir string) keys {
	t.Helper()
	stored, err := readKeys(filepath.Join(dir, initName))
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// text is a buffer that a process writes while a test reads.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *text) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *text) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
