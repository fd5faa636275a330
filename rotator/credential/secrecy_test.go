package credential_test

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
)

const shown = "AAPT-very-secret"

// hidden has the secret where fmt may call no method: an unexported field.
type hidden struct {
	one   credential.Secret
	ptr   *credential.Secret
	list  []credential.Secret
	named map[string]credential.Secret
	key   credential.Key
	any   any
}

func TestASecretInAnUnexportedFieldShowsUnderNoVerb(t *testing.T) {
	secret := credential.NewSecret(shown)
	plain := struct{ s credential.Secret }{secret}
	deep := hidden{secret, &secret, []credential.Secret{secret}, map[string]credential.Secret{"k": secret}, credential.Key{Secret: secret}, secret}
	for _, holder := range []any{plain, &plain, deep.key, []any{plain}, map[string]any{"k": plain}, struct{ h hidden }{deep}, &struct{ h *hidden }{&deep}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%b", "%o", "%c", "%U", "%e", "%p", "%20v"} {
			if text := fmt.Sprintf(verb, holder); leaks(text, shown) || leaks(text, fmt.Sprint([]byte(shown))) { //nolint:staticcheck // QF1010: the bytes are what is scanned
				t.Errorf("%T under %s: %s", holder, verb, text)
			}
		}
	}
}

func TestEachEncoderRedacts(t *testing.T) {
	secret := credential.NewSecret(shown)
	for what, encode := range map[string]func() ([]byte, error){
		"json": func() ([]byte, error) { return json.Marshal(map[string]any{"s": secret, "p": &secret}) },
		"json, as a key of a map": func() ([]byte, error) {
			return json.Marshal(map[credential.Secret]int{secret: 1})
		},
		"text":   func() ([]byte, error) { return encoding.TextMarshaler(secret).MarshalText() },
		"binary": func() ([]byte, error) { return encoding.BinaryMarshaler(secret).MarshalBinary() },
		"gob": func() ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(struct{ S credential.Secret }{secret})
			return b.Bytes(), err
		},
		"string":   func() ([]byte, error) { return []byte(secret.String()), nil },
		"goString": func() ([]byte, error) { return []byte(secret.GoString()), nil },
		"an error": func() ([]byte, error) {
			fault := &credential.Fault{System: "vault", Op: "write", Err: fmt.Errorf("with %v: %w", secret, errors.New("x"))}
			return []byte(errors.Join(fault, errors.New("y")).Error()), nil
		},
	} {
		text, err := encode()
		if err != nil || leaks(string(text), shown) || !strings.Contains(string(text), "[redacted]") {
			t.Errorf("%s: %q, %v", what, text, err)
		}
	}
}

func TestSecretsAreEqualIfTheirValuesAre(t *testing.T) {
	one, same, another := credential.NewSecret(shown), credential.NewSecret(string([]byte(shown))), credential.NewSecret("x")
	if one != same || one == another || credential.NewSecret("") != (credential.Secret{}) {
		t.Error("== does not follow the values")
	}
	if (credential.Secret{}).Reveal() != "" || one.Reveal() != shown || one.Fingerprint() != same.Fingerprint() || one.Fingerprint() == another.Fingerprint() {
		t.Error("Reveal or Fingerprint")
	}
	if got := len(one.Fingerprint()); got != 16 {
		t.Errorf("a fingerprint of %d characters, want 16", got)
	}
}

func TestNamesHaveTwoParts(t *testing.T) {
	if n := credential.Name("maps/web"); n.Namespace() != "maps" || n.Base() != "web" {
		t.Errorf("%q and %q", n.Namespace(), n.Base())
	}
}

func TestAFaultKeepsItsCauseAndNamesItsClass(t *testing.T) {
	cause := errors.New("refused")
	fault := &credential.Fault{Class: credential.ClassRetryable, System: "portal", Op: "generate", Err: cause}
	if !errors.Is(fault, cause) || fault.Error() != "portal: generate: refused" {
		t.Errorf("%v", fault)
	}
	if bare := (&credential.Fault{Class: credential.ClassNotFound, System: "portal", Op: "describe"}).Error(); bare != "portal: describe: not-found" {
		t.Errorf("without a cause: %q", bare)
	}
	if credential.IsClass(cause, credential.ClassUnknown) || credential.ClassOf(fmt.Errorf("a: %w", fault)) != credential.ClassRetryable {
		t.Error("an unclassified error is no fault, and a wrapped one keeps its class")
	}
}
