package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDevEndsByItselfAndLeavesNoChild(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, nil, "dev", "--state-dir", dir, "--duration", "6s", "--credentials", "1")
	if code := p.wait(t, 40*time.Second); code != 0 {
		t.Errorf("exit %d, want 0", code)
	}
	if left := childrenIn(t, dir); len(left) != 0 {
		t.Errorf("children left behind: %v", left)
	}
	if !strings.Contains(p.output.String(), "NOT ArcGIS") {
		t.Error("it does not say that the portal is an emulation")
	}
}

// TestDevGoesOnAfterKill: killed at any point, a second start on the same
// directory finds everything as it was.
func TestDevGoesOnAfterKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flags := []string{"--key-lifetime", "1h", "--credentials", "2"}
	first, env := startDev(t, dir, flags...)
	eventually(t, "both have a key", func() bool {
		l := listing(t, env)
		return len(l) == 2 && l["demo/web"].Generation == 1 && l["demo/mobile"].Generation == 1
	})
	before := listing(t, env)

	first.signal(syscall.SIGKILL)
	<-first.exited
	eventually(t, "the dev Vault ends with its parent", func() bool { return len(childrenIn(t, dir)) == 0 })

	second, env := startDev(t, dir, flags...)
	after := listing(t, env)
	for name, was := range before {
		if is := after[name]; is.Fingerprint != was.Fingerprint || is.Generation != was.Generation {
			t.Errorf("%s was %s in generation %d, is %s in %d", name, was.Fingerprint, was.Generation, is.Fingerprint, is.Generation)
		}
	}
	items := portalItems(t, env)
	if items != 2 {
		t.Errorf("%d items at the portal, want 2", items)
	}

	// and when the Vault is killed under it, it says so, and can be started again
	for _, pid := range childrenIn(t, dir) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if code := second.wait(t, 30*time.Second); code != 1 {
		t.Errorf("exit %d after its Vault was killed, want 1", code)
	}
	if !strings.Contains(second.output.String(), "the dev Vault has ended") {
		t.Error("it does not say that the dev Vault has ended")
	}
	third, env := startDev(t, dir, flags...)
	output, code := call(t, env, "rotate", "demo/web", "--now")
	if code != 0 {
		t.Fatalf("rotate: exit %d: %s", code, output)
	}
	eventually(t, "the third life rotates", func() bool { return listing(t, env)["demo/web"].Generation == 2 })
	if items := portalItems(t, env); items != 2 {
		t.Errorf("%d items at the portal after three lives, want 2", items)
	}
	third.signal(syscall.SIGINT)
	if code := third.wait(t, 30*time.Second); code != 0 {
		t.Errorf("exit %d after an interrupt, want 0", code)
	}
	if _, err := os.Stat(filepath.Join(dir, "dev.env")); err == nil {
		t.Error("dev.env is there although nothing runs")
	}
}

func portalItems(t *testing.T, env []string) int {
	t.Helper()
	root := strings.TrimSuffix(value(env, "KEYTURN_PORTAL_URL"), "/sharing/rest")
	status, body := get(t, root+"/emulator/state")
	var state struct{ Items []json.RawMessage }
	if err := json.Unmarshal([]byte(body), &state); err != nil || status != 200 {
		t.Fatalf("portal state: status %d: %v", status, err)
	}
	return len(state.Items)
}

func TestDevRefusesADirectoryThatIsInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, env := startDev(t, dir, "--key-lifetime", "1h", "--credentials", "1")
	output, code := call(t, nil, "dev", "--state-dir", dir)
	if code != 1 || !strings.Contains(output, "in use") || !strings.Contains(output, "try:") {
		t.Errorf("exit %d: %s", code, output)
	}
	if _, code := call(t, env, "rotate", "demo/web", "--now"); code != 0 {
		t.Error("the first one was harmed")
	}
	if _, err := os.Stat(filepath.Join(dir, "dev.env")); err != nil {
		t.Errorf("the first one's dev.env: %v", err)
	}
}
