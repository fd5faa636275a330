package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// made is a directory in which a devvault stored a secret and ended.
func made(t *testing.T, args ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	c := start(t, append([]string{"-dir", dir}, args...)...)
	c.root().must(t, http.MethodPost, "secret/data/a", write("kept", 0))
	c.closeStdin(t)
	if status := c.wait(t, endBound); status != 0 {
		t.Fatalf("exit status %d\n%s", status, c.stderr)
	}
	return dir
}

func TestDamagedDirectoryIsRefused(t *testing.T) {
	put := func(content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, initName), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]struct {
		damage func(*testing.T, string)
		said   string
	}{
		"keys are no JSON":       {put(`{"unseal_key": "do-not-repeat`), "init.json is damaged"},
		"keys lack the token":    {put(`{"unseal_key": "00"}`), "init.json is damaged"},
		"key is not hexadecimal": {put(`{"unseal_key": "do-not-repeat", "root_token": "x"}`), "init.json is damaged"},
		"key of another Vault":   {put(`{"unseal_key": "` + strings.Repeat("00", 32) + `", "root_token": "x"}`), "unseal with the key from"},
		"keys are gone":          {remove(initName), "its keys cannot be read"},
		"data is gone":           {remove(dataName), "is not (try: bring the data back"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := made(t)
			test.damage(t, dir)
			c := launch(t, "-dir", dir)
			c.wantRefused(t, 1, test.said)
			if strings.Contains(c.stderr.String(), "do-not-repeat") {
				t.Errorf("repeats what is in the file:\n%s", c.stderr)
			}
		})
	}
}

// A first start was cut short after it stored the keys.
func TestStagedDataIsUsed(t *testing.T) {
	dir := made(t)
	if err := os.Rename(filepath.Join(dir, dataName), filepath.Join(dir, stagingName)); err != nil {
		t.Fatal(err)
	}
	start(t, "-dir", dir).root().wantSecret(t, "a", "kept", 1)
}

// A first start was cut short before it stored the keys.
func TestStagedDataWithoutKeysIsReplaced(t *testing.T) {
	dir := made(t)
	if err := os.Rename(filepath.Join(dir, dataName), filepath.Join(dir, stagingName)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, initName)); err != nil {
		t.Fatal(err)
	}
	c := start(t, "-dir", dir)
	if status, _ := c.root().try(t, http.MethodGet, "secret/data/a", nil); status != http.StatusNotFound {
		t.Errorf("status %d, want a new, empty Vault", status)
	}
	if there, _ := exists(filepath.Join(dir, stagingName)); there {
		t.Error("the staged data is left behind")
	}
}

func TestForeignFilesKeepTheDirectoryMode(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, "-dir", dir)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o755 {
		t.Errorf("mode %o of a directory that others use too", got)
	}
}

func TestRevokedRootToken(t *testing.T) {
	dir := t.TempDir()
	c := start(t, "-dir", dir, "-token", "dev-root-token")
	c.as(readKeysOf(t, dir).RootToken).must(t, http.MethodPost, "auth/token/revoke-self", nil)
	c.kill(t)
	launch(t, "-dir", dir).wantRefused(t, 1, "was it revoked?")
	again := start(t, "-dir", dir, "-token", "dev-root-token")
	again.root().must(t, http.MethodPost, "secret/data/a", write("works", 0))
}

func TestMountFlag(t *testing.T) {
	dir := t.TempDir()
	c := start(t, "-dir", dir, "-mount", "team/kv")
	c.root().must(t, http.MethodPost, "team/kv/data/a", write("one", 0))
	c.root().must(t, http.MethodPost, "sys/mounts/old", object{"type": "kv", "options": object{"version": "1"}})
	c.closeStdin(t)
	c.wait(t, endBound)
	launch(t, "-dir", dir, "-mount", "old").wantRefused(t, 1, `sys/mounts/old is there with version="1"`)
	launch(t, "-dir", dir, "-mount", "cubbyhole").wantRefused(t, 1, `sys/mounts/cubbyhole is there with type "cubbyhole"`)
}

func TestAudit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	dir := made(t, "-audit", file)
	log := func() string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if text := log(); !strings.Contains(text, `"path":"secret/data/a"`) || strings.Contains(text, `"kept"`) {
		t.Errorf("want the request, without the secret, in the audit log:\n%s", text)
	}
	// It stays on without the flag, as Vault stores it.
	c := start(t, "-dir", dir)
	c.root().must(t, http.MethodPost, "secret/data/b", write("more", 0))
	if !strings.Contains(log(), `"path":"secret/data/b"`) {
		t.Error("the audit device is off in a start without -audit")
	}
	c.kill(t)
	launch(t, "-dir", dir, "-audit", file+".other").wantRefused(t, 1, "sys/audit/file is there with file_path=")
}
