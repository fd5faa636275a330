package credential

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"unique"
)

// redacted is all that any verb, encoder or error shows of a Secret.
const redacted = "[redacted]"

// Secret is a key, password or token. It prints, encodes and formats as
// "[redacted]"; only Reveal gives the value, so that a search for Reveal finds
// every place where a secret leaves the program.
type Secret struct {
	// A handle, not the text: fmt asks no method of a Secret in an unexported
	// field but prints what lies in it, which then is an address. Two Secrets
	// are == if their values are.
	value unique.Handle[string]
}

// NewSecret wraps a value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: unique.Make(value)}
}

// Reveal returns the value.
func (s Secret) Reveal() string {
	if s.Empty() {
		return ""
	}
	return s.value.Value()
}

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s == Secret{} }

// Fingerprint identifies the secret without giving it away.
func (s Secret) Fingerprint() Fingerprint {
	if s.Empty() {
		return ""
	}
	sum := sha256.Sum256([]byte(s.Reveal()))
	return Fingerprint(hex.EncodeToString(sum[:8]))
}

// Format redacts under every fmt verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String redacts.
func (s Secret) String() string { return redacted }

// GoString redacts.
func (s Secret) GoString() string { return redacted }

// MarshalText redacts for every text based encoder (JSON and YAML among them).
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalBinary redacts for gob and its like.
func (s Secret) MarshalBinary() ([]byte, error) { return []byte(redacted), nil }

// Fingerprint is the first 16 hexadecimal characters of the SHA-256 over a
// whole key.
type Fingerprint string
