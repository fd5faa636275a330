package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/recovery"
)

// portalState is what the emulated portal holds, as text.
func portalState(t *testing.T, env []string) string {
	t.Helper()
	status, body := get(t, strings.TrimSuffix(value(env, "KEYTURN_PORTAL_URL"), "/sharing/rest")+"/emulator/state")
	var state struct {
		Items json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal([]byte(body), &state); err != nil || status != 200 || len(state.Items) == 0 {
		t.Fatalf("portal state: status %d: %v", status, err)
	}
	return string(state.Items)
}

// inVault asks Vault as an operator does.
func inVault(t *testing.T, env []string, method, path string) (status int, fields map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, value(env, "VAULT_ADDR")+"/v1/secret/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Vault-Token", value(env, "VAULT_TOKEN"))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var secret struct {
		Data struct {
			Data map[string]string `json:"data"`
		} `json:"data"`
	}
	_ = json.NewDecoder(answer.Body).Decode(&secret) // a deletion answers nothing
	return answer.StatusCode, secret.Data.Data
}

// keyWorks uses the key that Vault shows, as an application does.
func keyWorks(t *testing.T, env []string, name string) bool {
	t.Helper()
	_, fields := inVault(t, env, http.MethodGet, "data/keyturn/"+name)
	status, body := get(t, strings.TrimSuffix(value(env, "KEYTURN_PORTAL_URL"), "/sharing/rest")+"/emulator/resource?token="+fields["api_key"])
	return fields["api_key"] != "" && status == 200 && strings.Contains(body, "true")
}

// noKeys fails when an output holds a key or a password.
func noKeys(t *testing.T, env []string, output string) {
	t.Helper()
	for _, secret := range []string{"AAPT", value(env, "VAULT_TOKEN"), value(env, "KEYTURN_PORTAL_PASSWORD")} {
		if strings.Contains(output, secret) {
			t.Errorf("a secret stands in the output:\n%s", output)
		}
	}
}

// TestStreamLost: a new stream beside the old Vault; setup makes it, recover
// fills it while a daemon serves, and the next rotation works.
func TestStreamLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials.yaml")
	first, env := startDev(t, dir, "--key-lifetime", "10m", "--credentials", "2")
	eventually(t, "both have a key", func() bool {
		l := listing(t, env)
		return l["demo/web"].Generation == 1 && l["demo/mobile"].Generation == 1
	})
	signer, code := call(t, env, "setup")
	if code != 0 {
		t.Fatalf("setup: exit %d: %s", code, signer)
	}
	if output, code := call(t, env, "recover", "-f", file); code != 3 || !strings.Contains(output, "demo/web on-record") {
		t.Errorf("nothing is lost: exit %d: %s", code, output)
	}
	if output, code := call(t, env, "rotate", "demo/web", "--now"); code != 0 {
		t.Fatalf("rotate: exit %d: %s", code, output)
	}
	eventually(t, "it drains", func() bool { return listing(t, env)["demo/web"].State == "draining" })
	before := listing(t, env)
	first.signal(syscall.SIGTERM)
	if code := first.wait(t, 30*time.Second); code != 0 {
		t.Fatalf("dev: exit %d", code)
	}
	if err := os.RemoveAll(filepath.Join(dir, "nats")); err != nil {
		t.Fatal(err)
	}

	_, env = startDev(t, dir, "--credentials", "0") // it runs setup, and a daemon
	if l := listing(t, env); len(l) != 0 {
		t.Fatalf("the stream is not new: %v", l)
	}
	if again, _ := call(t, env, "setup"); again != signer {
		t.Errorf("the trust root has changed:\n%s%s", signer, again)
	}
	portal := portalState(t, env)
	output, code := call(t, env, "recover", "-f", file, "--dry-run")
	if code != 0 || strings.Count(output, "would be recovered") != 2 || !strings.Contains(output, "still works") || len(listing(t, env)) != 0 {
		t.Errorf("dry run: exit %d: %s", code, output)
	}
	noKeys(t, env, output)
	output, code = call(t, env, "recover", "-f", file, "-o", "json", "--reason", "a test took the disk")
	var lines []recovery.Line
	if err := json.Unmarshal([]byte(output), &lines); err != nil || code != 0 || len(lines) != 2 {
		t.Fatalf("recover: exit %d, %v: %s", code, err, output)
	}
	noKeys(t, env, output)
	for _, line := range lines {
		if line.Verdict != recovery.VerdictRecovered || line.Fact == nil || line.Fact.Gap.Reason != "a test took the disk" {
			t.Errorf("%+v", line)
		}
	}
	if now := portalState(t, env); now != portal {
		t.Errorf("the portal was changed:\n%s\n%s", portal, now)
	}
	after := listing(t, env)
	for name, was := range before {
		if is := after[name]; is.Fingerprint != was.Fingerprint || !is.Expires.Equal(was.Expires) || is.State != "ok" {
			t.Errorf("%s was %+v, is %+v", name, was, is)
		}
		if !keyWorks(t, env, name) {
			t.Errorf("%s: the key in Vault does not work", name)
		}
	}
	if output, code := call(t, env, "recover", "-f", file); code != 3 {
		t.Errorf("again: exit %d: %s", code, output)
	}
	// the daemon took it over, and rotates when asked
	if output, code := call(t, env, "rotate", "demo/web", "--now"); code != 0 {
		t.Fatalf("rotate: exit %d: %s", code, output)
	}
	eventually(t, "a new key is the primary", func() bool {
		l := listing(t, env)["demo/web"]
		return l.Generation > after["demo/web"].Generation && l.Fingerprint != after["demo/web"].Fingerprint
	})
	if !keyWorks(t, env, "demo/web") {
		t.Error("the new key in Vault does not work")
	}
}

// TestRecoverRefusesABadFile with usage, as apply does, and changes nothing.
func TestRecoverRefusesABadFile(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte("credentials:\n  - name: demo/one\n    issuer: porta\n    privileges: [premium:user:basemaps]\n    policy: {lifetime: 90d}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"recover"}, {"recover", "-f", file}, {"recover", "-f", filepath.Join(t.TempDir(), "none.yaml")}} {
		output, code := call(t, []string{"PORTAL_PASSWORD=x"}, append(args, "--config", p.config)...)
		if code != 2 {
			t.Errorf("%v: exit %d: %s", args, code, output)
		}
	}
	// without a stream it says what to do
	p.vault(t)
	p.nats(t)
	good := filepath.Join(t.TempDir(), "good.yaml")
	if err := os.WriteFile(good, []byte("credentials:\n  - name: demo/one\n    issuer: portal\n    privileges: [premium:user:basemaps]\n    policy: {lifetime: 90d}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it says that setup is missing", func() bool {
		output, code := call(t, []string{"PORTAL_PASSWORD=x"}, "recover", "-f", good, "--config", p.config)
		return code == 1 && strings.Contains(output, "keyturn setup")
	})
	p.setup(t)
	output, code := call(t, []string{"PORTAL_PASSWORD=x"}, "recover", "-f", good, "--config", p.config)
	if code != 3 || !strings.Contains(output, "demo/one no-key: no key in Vault: apply will issue a first key") {
		t.Errorf("nothing to recover: exit %d: %s", code, output)
	}
}
