package publisher

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Signer signs events with an Ed25519 nkey. It prints as its public key.
type Signer struct {
	public  string
	private ed25519.PrivateKey
}

// NewSigner reads the seed of an nkey ("SU…").
func NewSigner(seed credential.Secret) (*Signer, error) {
	// the errors of nkeys say nothing of the seed; they are replaced anyway
	pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
	if err != nil {
		return nil, errors.New("the signing seed is not the seed of an nkey")
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, errors.New("the signing seed is not the seed of an nkey")
	}
	_, raw, err := nkeys.DecodeSeed([]byte(seed.Reveal()))
	if err != nil {
		return nil, errors.New("the signing seed is not the seed of an nkey")
	}
	return &Signer{public: public, private: ed25519.NewKeyFromSeed(raw)}, nil
}

// GenerateSeed makes a new seed and returns it with its public key.
func GenerateSeed() (seed credential.Secret, public string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return credential.Secret{}, "", fmt.Errorf("generate a signing seed: %w", err)
	}
	text, err := pair.Seed()
	if err != nil {
		return credential.Secret{}, "", fmt.Errorf("generate a signing seed: %w", err)
	}
	public, err = pair.PublicKey()
	if err != nil {
		return credential.Secret{}, "", fmt.Errorf("generate a signing seed: %w", err)
	}
	return credential.NewSecret(string(text)), public, nil
}

// Public is the public nkey ("U…"), which auditors pin.
func (s *Signer) Public() string { return s.public }

// Format prints the public key under every fmt verb.
func (s *Signer) Format(f fmt.State, _ rune) {
	if s == nil {
		_, _ = io.WriteString(f, "no signer")
		return
	}
	_, _ = io.WriteString(f, s.public)
}

// sign signs a digest.
func (s *Signer) sign(digest []byte) []byte { return ed25519.Sign(s.private, digest) }

// verify reports whether public signed digest.
func verify(public string, digest, signature []byte) bool {
	pair, err := nkeys.FromPublicKey(public)
	return err == nil && pair.Verify(digest, signature) == nil
}
