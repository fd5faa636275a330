package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDataAndCASStateSurviveKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	first := start(t, "-dir", dir, "-token", "dev-root-token")
	if first.line.Token != "dev-root-token" || first.line.Sealed || first.line.PID != first.cmd.Process.Pid || first.line.Version != "1.14.1" {
		t.Errorf("said %+v", first.line)
	}
	root := first.root()
	root.must(t, http.MethodPost, "secret/config", object{"cas_required": true, "max_versions": 10})
	root.must(t, http.MethodPost, "secret/data/a", write("one", 0))
	root.must(t, http.MethodPost, "secret/data/a", write("two", 1))
	// What a start that was killed during its probe leaves behind.
	root.must(t, http.MethodPost, "secret/data/"+probeName, write("left", 0))
	first.kill(t)

	second := start(t, "-dir", dir, "-token", "dev-root-token")
	root = second.root()
	root.wantSecret(t, "a", "two", 2)
	const mismatch, required = "did not match the current version", "parameter required for this call"
	root.refused(t, http.MethodPost, "secret/data/a", write("stale", 1), http.StatusBadRequest, mismatch)
	root.refused(t, http.MethodPost, "secret/data/a", write("new", 0), http.StatusBadRequest, mismatch)
	root.refused(t, http.MethodPost, "secret/data/a", write("none", -1), http.StatusBadRequest, required)
	root.must(t, http.MethodPost, "secret/data/a", write("three", 2))
	root.wantSecret(t, "a", "three", 3)
	if status, _ := root.try(t, http.MethodGet, "secret/metadata/"+probeName, nil); status != http.StatusNotFound {
		t.Errorf("the probe is left behind: status %d", status)
	}
	// The initial token goes on too, and is what a start without -token says.
	second.kill(t)
	third := start(t, "-dir", dir)
	if third.line.Token != readKeysOf(t, dir).RootToken {
		t.Error("a start without -token did not say the initial root token")
	}
	third.as("dev-root-token").wantSecret(t, "a", "three", 3)

	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, dataName): 0o700, filepath.Join(dir, initName): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", path, got, want)
		}
	}
}

func TestEnds(t *testing.T) {
	ends := map[string]func(*testing.T, *child){
		"standard input closes": func(t *testing.T, c *child) { c.closeStdin(t) },
		"SIGTERM":               func(t *testing.T, c *child) { c.signal(t, syscall.SIGTERM) },
		"SIGINT":                func(t *testing.T, c *child) { c.signal(t, syscall.SIGINT) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := start(t, "-dir", dir, "-log-level", "info")
			// A client that keeps its connection open must not hold the end up.
			host := strings.TrimPrefix(c.line.Addr, "http://")
			idle, err := net.Dial("tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = idle.Close() }()
			c.root().must(t, http.MethodPost, "secret/data/a", write("kept", 0))

			end(t, c)
			if status := c.wait(t, endBound); status != 0 {
				t.Errorf("exit status %d\n%s", status, c.stderr)
			}
			c.mustNotRemain(t)
			if late, err := net.DialTimeout("tcp", host, time.Second); err == nil {
				_ = late.Close()
				t.Error("the port is still served")
			}
			if got := c.stdout.String(); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "}\n") {
				t.Errorf("standard output is not one line: %q", got)
			}
			if said := c.stderr.String(); !strings.Contains(said, banner) || !strings.Contains(said, "marked as sealed") {
				t.Errorf("no banner, or not sealed:\n%s", said)
			}
			if strings.Contains(c.stderr.String(), c.line.Token) {
				t.Error("the token is in the log")
			}
			again := start(t, "-dir", dir)
			again.root().wantSecret(t, "a", "kept", 1)
		})
	}
}

// A request whose body never comes holds the end up for drainTime, not longer.
func TestEndsDespiteAStuckRequest(t *testing.T) {
	c := start(t)
	stuck, err := net.Dial("tcp", strings.TrimPrefix(c.line.Addr, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stuck.Close() }()
	// Expect: 100-continue makes the server say when it reads the body.
	if _, err := fmt.Fprintf(stuck, "POST /v1/secret/data/a HTTP/1.1\r\nHost: vault\r\nX-Vault-Token: %s\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n", c.line.Token); err != nil {
		t.Fatal(err)
	}
	if err := stuck.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(stuck).ReadString('\n'); err != nil || !strings.Contains(said, "100 Continue") {
		t.Fatalf("the server does not wait for the body: %q %v", said, err)
	}
	began := time.Now()
	c.closeStdin(t)
	if status := c.wait(t, endBound); status != 0 {
		t.Errorf("exit status %d\n%s", status, c.stderr)
	}
	if took := time.Since(began); took < drainTime {
		t.Errorf("ended after %v: the request was given less than %v", took, drainTime)
	}
	c.mustNotRemain(t)
}

func TestEndsWhileStarting(t *testing.T) {
	dir := t.TempDir()
	c := launch(t, "-dir", dir)
	c.closeStdin(t)
	if status := c.wait(t, patience); status != 0 {
		t.Errorf("exit status %d\n%s", status, c.stderr)
	}
	start(t, "-dir", dir).root().must(t, http.MethodPost, "secret/data/a", write("works", 0))
}

// A start is killed over and over, at a different point each time; whatever it
// leaves behind, the next one goes on from there.
func TestKillWhileStarting(t *testing.T) {
	dir := t.TempDir()
	marks := []string{lockName, stagingName, filepath.Join(stagingName, "core"), initName, dataName, filepath.Join(dataName, "sys")}
	for _, mark := range marks {
		c := launch(t, "-dir", dir)
		eventually(t, mark+" appears", func() bool {
			for _, later := range []string{mark, dataName} { // data is beyond staging
				if there, _ := exists(filepath.Join(dir, later)); there {
					return true
				}
			}
			return false
		})
		c.kill(t)
	}
	c := start(t, "-dir", dir)
	c.root().must(t, http.MethodPost, "secret/data/a", write("works", 0))
}

func TestForegroundIgnoresStdin(t *testing.T) {
	c := launch(t, "-foreground")
	c.closeStdin(t)
	c.awaitReady(t)
	c.root().must(t, http.MethodPost, "secret/data/a", write("in memory", 0))
	c.root().wantSecret(t, "a", "in memory", 1)
	c.signal(t, syscall.SIGTERM)
	if status := c.wait(t, endBound); status != 0 {
		t.Errorf("exit status %d\n%s", status, c.stderr)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := start(t, "-dir", dir)
	second := launch(t, "-dir", dir)
	second.wantRefused(t, 1, fmt.Sprintf("%s is in use by another devvault, process %d (try: ", dir, first.line.PID))
	first.root().must(t, http.MethodPost, "secret/data/a", write("undisturbed", 0))
	first.closeStdin(t)
	first.wait(t, endBound)
	start(t, "-dir", dir).root().wantSecret(t, "a", "undisturbed", 1)
}

// wantRefused waits for a process that does not start.
func (c *child) wantRefused(t *testing.T, wantStatus int, wantSaid string) {
	t.Helper()
	if status := c.wait(t, patience); status != wantStatus {
		t.Errorf("exit status %d, want %d", status, wantStatus)
	}
	if said := c.stderr.String(); !strings.Contains(said, wantSaid) || !strings.Contains(said, "(try: ") {
		t.Errorf("said\n%s\nwant %q and a hint", said, wantSaid)
	}
	if said := c.stdout.String(); said != "" {
		t.Errorf("said %q on standard output", said)
	}
	c.mustNotRemain(t)
}

func TestRefusals(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	flags := []struct {
		name   string
		args   []string
		status int
		said   string
	}{
		{"port in use", []string{"-listen", busy.Addr().String()}, 1, "the port is in use"},
		{"not loopback", []string{"-listen", "0.0.0.0:0"}, 2, "not a loopback address"},
		{"no port", []string{"-listen", "127.0.0.1"}, 2, "not a loopback address"},
		{"empty mount", []string{"-mount", "/"}, 2, "-mount is empty"},
		{"log level", []string{"-log-level", "loud"}, 2, "is not a level"},
		{"unknown flag", []string{"-nonsense"}, 2, "-nonsense"},
		{"argument", []string{"serve"}, 2, `unexpected argument "serve"`},
		{"token Vault will not have", []string{"-token", "s.x"}, 1, "cannot have the 's.' prefix"},
		{"audit file is a directory", []string{"-audit", t.TempDir()}, 1, "enable sys/audit/file"},
	}
	for _, test := range flags {
		t.Run(test.name, func(t *testing.T) {
			launch(t, test.args...).wantRefused(t, test.status, test.said)
		})
	}
}
