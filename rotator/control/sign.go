package control

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The headers of a signed request.
const (
	// HeaderOperator is the public key of who asks ("U…").
	HeaderOperator = "Keyturn-Operator"
	// HeaderSignature is in base64 with the URL alphabet and without padding.
	HeaderSignature = "Keyturn-Signature"
)

// signedVersion is the first line of what is signed: no signature made for
// something else counts here.
const signedVersion = "keyturn-control-1\n"

// signedBytes are what a signature covers: the subject too, so that a request
// cannot be sent to another endpoint.
func signedBytes(subject string, body []byte) []byte {
	text := make([]byte, 0, len(signedVersion)+len(subject)+1+len(body))
	text = append(append(text, signedVersion...), subject...)
	return append(append(text, '\n'), body...)
}

// verify reports whether the signature is that of a public key over a request.
func verify(public, subject string, body []byte, signature string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return false
	}
	pair, err := nkeys.FromPublicKey(public)
	return err == nil && pair.Verify(signedBytes(subject, body), raw) == nil
}

// Identity is who asks, and whom. It prints as its public key.
type Identity struct {
	// Installation is that of the daemons.
	Installation string

	public string
	pair   nkeys.KeyPair // nil = requests are not signed, and denied
}

// NewIdentity is that of an operator, by the seed of the nkey ("SU…").
func NewIdentity(installation string, seed credential.Secret) (Identity, error) {
	// the errors of nkeys say nothing of the seed; they are replaced anyway
	bad := errors.New("it is not the seed of a user's nkey, which begins with SU (try: keyturn operator new)")
	pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
	if err != nil {
		return Identity{}, bad
	}
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return Identity{}, bad
	}
	return Identity{Installation: installation, public: public, pair: pair}, nil
}

// Public is the public key; empty = none.
func (i Identity) Public() string { return i.public }

// Format prints the public key under every fmt verb.
func (i Identity) Format(f fmt.State, _ rune) {
	if i.public == "" {
		_, _ = io.WriteString(f, "nobody")
		return
	}
	_, _ = io.WriteString(f, i.public)
}

// sign signs a request.
func (i Identity) sign(subject string, body []byte) (string, error) {
	raw, err := i.pair.Sign(signedBytes(subject, body))
	if err != nil {
		return "", errors.New("the operator's key cannot sign")
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}
