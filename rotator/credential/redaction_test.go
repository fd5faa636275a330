package credential_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
)

func TestASecretShowsUnderNoVerbAndInNoEncoder(t *testing.T) {
	const value = "AAPT-very-secret"
	secret := credential.NewSecret(value)
	holders := []any{
		secret, &secret, []credential.Secret{secret}, map[string]credential.Secret{"k": secret},
		struct{ S credential.Secret }{secret}, struct{ S *credential.Secret }{&secret}, [1]credential.Secret{secret},
		credential.Key{Secret: secret}, credential.Stored{Document: credential.Document{Primary: credential.Key{Secret: secret}}},
		credential.Minted{Key: secret}, credential.ProbeRequest{Key: secret}, any(secret),
	}
	for _, holder := range holders {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%o", "%e", "%U", "%c", "%10s", "%-3v"} {
			if text := fmt.Sprintf(verb, holder); leaks(text, value) {
				t.Errorf("%T under %s: %s", holder, verb, text)
			}
		}
		if text, err := json.Marshal(holder); err == nil && leaks(string(text), value) {
			t.Errorf("%T as JSON: %s", holder, text)
		}
		var buffer bytes.Buffer
		if err := gob.NewEncoder(&buffer).Encode(holder); err == nil && leaks(buffer.String(), value) {
			t.Errorf("%T as gob", holder)
		}
		if text := fmt.Errorf("failed with %v: %w", holder, errors.New("x")).Error(); leaks(text, value) {
			t.Errorf("%T in an error: %s", holder, text)
		}
	}
	if secret.Reveal() != value || secret.Empty() || !(credential.Secret{}).Empty() {
		t.Error("Reveal or Empty")
	}
}

// leaks looks for the value as text and as hexadecimal digits.
func leaks(text, value string) bool {
	return strings.Contains(text, value) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", value))
}

func TestFingerprints(t *testing.T) {
	if got := credential.NewSecret("abc").Fingerprint(); got != "ba7816bf8f01cfea" { // of SHA-256("abc")
		t.Errorf("fingerprint %s", got)
	}
	if got := credential.NewSecret("").Fingerprint(); got != "" {
		t.Errorf("the fingerprint of nothing is %q", got)
	}
}

func TestNames(t *testing.T) {
	for text, good := range map[string]bool{
		"maps/web": true, "a/b": true, "a-1/b-2": true, strings.Repeat("a", 63) + "/b": true,
		"": false, "maps": false, "maps/": false, "/web": false, "maps/web/x": false, "Maps/web": false, "maps/w.b": false,
		"maps/*": false, "maps/>": false, "_system/x": false, "maps/we b": false, strings.Repeat("a", 64) + "/b": false, "maps/web\n": false,
	} {
		if n, err := credential.ParseName(text); (err == nil) != good || (good && string(n) != text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFaultsSayWhoWhatWhyAndWhatToTry(t *testing.T) {
	err := error(&credential.Fault{Class: credential.ClassDenied, System: "vault", Op: "write a/b", Err: errors.New("permission denied"), Hint: "give the policy update"})
	if got, want := err.Error(), "vault: write a/b: permission denied (try: give the policy update)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	wrapped := fmt.Errorf("outer: %w", err)
	if credential.ClassOf(wrapped) != credential.ClassDenied || !credential.IsClass(wrapped, credential.ClassDenied) {
		t.Error("the class is lost when wrapped")
	}
	if credential.ClassOf(errors.New("plain")) != credential.ClassUnknown {
		t.Error("an unclassified error must promise least")
	}
}
