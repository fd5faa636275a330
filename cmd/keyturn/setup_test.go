package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The signing key may be lost together with Vault. Setup does not put another
// one in its place by itself, and with --new-root says what to pin.
func TestALostSigningKeyIsReplacedOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.vault(t)
	p.nats(t)
	p.setup(t)
	before, _ := call(t, nil, "setup", "--config", p.config)

	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, fmt.Sprintf("http://127.0.0.1:%d/v1/secret/metadata/keyturn/_system/signing", p.vaultPort), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Vault-Token", rootToken)
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode != http.StatusNoContent {
		t.Fatalf("delete the key: %v, %v", answer, err)
	}
	_ = answer.Body.Close()
	for range 2 { // nothing is left behind by the first
		if output, code := call(t, nil, "setup", "--config", p.config); code != 1 || !strings.Contains(output, "--new-root") {
			t.Fatalf("exit %d: %s", code, output)
		}
	}
	output, code := call(t, nil, "setup", "--new-root", "--config", p.config)
	root := regexp.MustCompile(`U[A-Z0-9]{55}`).FindString(output)
	if code != 0 || root == "" || strings.Contains(before, root) {
		t.Fatalf("exit %d: %s, before: %s", code, output, before)
	}
	text, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	pinned := strings.Replace(string(text), "nats: {", "nats: {signer_root: "+root+", ", 1)
	if err := os.WriteFile(p.config, []byte(pinned), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, code := call(t, nil, "setup", "--config", p.config); code != 0 || !strings.Contains(output, root) {
		t.Errorf("again, with the new root pinned: exit %d: %s", code, output)
	}
}
