package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain: this very test binary is chaos under its name.
func TestMain(m *testing.M) {
	if os.Args[0] == selfName {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// chaos is the command. It ends with this process, however that ends.
func chaos(t *testing.T, args ...string) (cmd *exec.Cmd, output *bytes.Buffer) {
	t.Helper()
	output = new(bytes.Buffer)
	cmd = &exec.Cmd{Path: self(), Args: append([]string{selfName, "-tied"}, args...), Stdout: output, Stderr: output}
	stdin, err := cmd.StdinPipe()
	must(t, err)
	t.Cleanup(func() { _ = stdin.Close() })
	return cmd, output
}

// programs is a directory with the dev Vault that make build has built, and a
// keyturn that is built now: the checks replay the record by the code of this
// test, and an older program would fold it in another way.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	vault, err := inRepo(filepath.Join("bin", "devvault"))
	if err != nil {
		t.Fatal("bin/devvault is missing: run make build")
	}
	must(t, os.Symlink(vault, filepath.Join(dir, "devvault")))
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "keyturn"), "../keyturn")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build keyturn: %v: %s", err, output)
	}
	return dir
}

// TestOnRealProcesses shares the built programs; one installation at a time.
func TestOnRealProcesses(t *testing.T) {
	bin := programs(t)
	t.Run("short form", func(t *testing.T) { testShortForm(t, bin) })
	t.Run("nothing stays behind", func(t *testing.T) { testNothingStaysBehind(t, bin) })
	t.Run("a killed key fails the run", func(t *testing.T) { testAKilledKeyFailsTheRun(t, bin) })
}

// testShortForm makes each kind of fault once.
func testShortForm(t *testing.T, bin string) {
	kinds := catalogue(runtime.GOOS == "linux")
	cmd, output := chaos(t, "-bin", bin, "-dir", t.TempDir(), "-credentials", "30", "-faults", fmt.Sprint(len(kinds)), "-lead", "32s", "-lifetime", "48s", "-hold", "1s", "-every", "250ms", "-duration", "3m")
	began := time.Now()
	err := cmd.Run()
	t.Logf("after %s:\n%s", time.Since(began).Round(time.Second), output)
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(` {2,}`).ReplaceAllString(output.String(), "\t")
	for _, f := range kinds {
		if !strings.Contains(table, "\n"+f.kind+"\t1\tyes") {
			t.Errorf("%s was not made once", f.kind)
		}
	}
}

// testNothingStaysBehind kills the run: all its processes end, also one that is
// stopped.
func testNothingStaysBehind(t *testing.T, bin string) {
	dir := t.TempDir()
	cmd, output := chaos(t, "-bin", bin, "-dir", dir, "-credentials", "1", "-lead", "20s")
	must(t, cmd.Start())
	eventually(t, "the run has begun", func() bool {
		_, err := os.Stat(filepath.Join(dir, "faults.log"))
		return err == nil
	})
	// the run, and a keeper and a server each; a fault may have taken one of them
	eventually(t, "every server runs", func() bool { return len(processesOf(t, dir)) >= 2+2*(daemons+nodes+2) })
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	eventually(t, "no process is left", func() bool { return len(processesOf(t, dir)) == 0 })
	if t.Failed() {
		t.Log(output)
	}
}

// testAKilledKeyFailsTheRun: somebody kills a key at the portal, which is outside
// of the assumptions, and an application meets it: the run has to say so.
func testAKilledKeyFailsTheRun(t *testing.T, bin string) {
	dir := t.TempDir()
	cmd, output := chaos(t, "-bin", bin, "-dir", dir, "-credentials", "2", "-faults", "0", "-lead", "20s", "-every", "50ms")
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	eventually(t, "the run has begun", func() bool {
		_, err := os.Stat(filepath.Join(dir, "faults.log"))
		return err == nil
	})
	config, err := os.ReadFile(filepath.Join(dir, "operator.yaml"))
	must(t, err)
	address := regexp.MustCompile(`url: "http://([^/]*)/sharing/rest"`).FindSubmatch(config)
	if address == nil {
		t.Fatalf("no portal in %s", config)
	}
	p := &portalServer{addr: string(address[1]), client: http.DefaultClient}
	state, err := p.state(t.Context())
	must(t, err)
	for _, slot := range []string{"1", "2"} { // the primary is one of them
		form := url.Values{"action": {"invalidate"}, "itemId": {state.Items[0].ID}, "apiToken": {slot}}
		answer, err := http.PostForm("http://"+p.addr+"/emulator/hand", form)
		must(t, err)
		must(t, answer.Body.Close())
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(output.String(), "\n"+string(badRefused)+": ") {
		t.Errorf("exit %d, want 1 and a refused key:\n%s", code, output)
	}
}

// processesOf are the processes whose command line names a directory.
func processesOf(t *testing.T, dir string) (found []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	var commands []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err == nil { // else it has just ended
			commands = append(commands, string(text))
		}
	}
	if len(paths) == 0 { // a system without /proc
		text, err := exec.Command("ps", "-axww", "-o", "command=").Output()
		must(t, err)
		commands = strings.Split(string(text), "\n")
	}
	for _, command := range commands {
		if strings.Contains(command, dir) {
			found = append(found, command)
		}
	}
	return found
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	must(t, until(t.Context(), time.Minute, what, func(context.Context) error {
		if !is() {
			return fmt.Errorf("not yet")
		}
		return nil
	}))
}

// TestTheSeedChoosesTheFaults: the same seed draws the same rounds, and each
// kind comes once before any comes twice.
func TestTheSeedChoosesTheFaults(t *testing.T) {
	draw := func(seed uint64) (kinds []string) {
		s := shape{wanted: 500}
		b := &breaker{world: &world{shape: s, disks: diskMount}, result: newResult(s, diskMount)}
		random := rand.New(rand.NewPCG(seed, 0))
		for b.result.faults < s.wanted {
			round := b.draw(random)
			lanes := map[string]bool{}
			for _, f := range round {
				kinds = append(kinds, f.kind)
				for _, lane := range f.lanes {
					if lanes[lane] {
						t.Fatalf("two faults on lane %s in a round", lane)
					}
					lanes[lane] = true
				}
			}
			b.result.faults += len(round)
		}
		return kinds
	}
	first, again, other := draw(1), draw(1), draw(2)
	if !reflect.DeepEqual(first, again) || reflect.DeepEqual(first, other) {
		t.Error("the seed does not choose the faults")
	}
	n := len(catalogue(true))
	seen := map[string]bool{}
	for _, kind := range first[:n] {
		seen[kind] = true
	}
	if len(seen) != n {
		t.Errorf("%d kinds among the first %d faults", len(seen), n)
	}
}

// TestWrongFlagsAreRefused before anything is started.
func TestWrongFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-credentials", "0"}, {"-lead", "1s"}, {"-lifetime", "61s"}, {"-disks", "ram"}, {"-nonsense"}, {"more"}} {
		cmd, output := chaos(t, args...)
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("%v: %v: %s", args, err, output)
		}
	}
}
