package publisher

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/rotator/credential"
)

// digestVersion is the first line of what is hashed.
const digestVersion = "keyturn-record-1\n"

// digest is the SHA-256 that is signed and that the next event carries; doc.go
// gives the bytes.
func digest(subject string, header nats.Header, data []byte) ([sha256.Size]byte, error) {
	names := make([]string, 0, 16)
	size := len(digestVersion) + len(subject) + len(data) + 2
	for name, values := range header {
		switch {
		case name == headerSignature:
			continue
		case strings.HasPrefix(name, attributePrefix):
		case strings.HasPrefix(strings.ToLower(name), attributePrefix):
			return [sha256.Size]byte{}, fmt.Errorf("header %s is not signed, and a reader that does not heed capitals takes it for an attribute", name)
		default:
			continue
		}
		if len(values) != 1 {
			return [sha256.Size]byte{}, fmt.Errorf("header %s stands there %d times", name, len(values))
		}
		names = append(names, name)
		size += len(name) + len(values[0]) + 2
	}
	slices.Sort(names)
	text := make([]byte, 0, size)
	text = append(text, digestVersion...)
	text = append(append(text, subject...), '\n')
	for _, name := range names {
		text = append(append(text, name...), ':')
		text = append(append(text, header[name][0]...), '\n')
	}
	text = append(append(text, '\n'), data...)
	return sha256.Sum256(text), nil
}

// seal signs a complete message and returns the head it will be, without its
// sequence.
func seal(msg *nats.Msg, signer *Signer) (credential.Head, error) {
	msg.Header[headerSigner] = []string{signer.public}
	for name, values := range msg.Header {
		if err := plain(values[0]); err != nil {
			return credential.Head{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	sum, err := digest(msg.Subject, msg.Header, msg.Data)
	if err != nil {
		return credential.Head{}, err
	}
	signature := base64.RawURLEncoding.EncodeToString(signer.sign(sum[:]))
	msg.Header[headerSignature] = []string{signature}
	if _, err := cloudEvent(msg); err != nil {
		return credential.Head{}, fmt.Errorf("not a CloudEvent: %w", err)
	}
	return credential.Head{Hash: hex.EncodeToString(sum[:]), Signature: signature, Signer: signer.public}, nil
}

// plain refuses what would not survive as a header, or would change what is
// hashed on its way.
func plain(value string) error {
	if value == "" {
		return errors.New("is empty")
	}
	for _, c := range []byte(value) {
		if c <= ' ' || c > '~' {
			return errors.New("holds a character other than printable ASCII without blanks")
		}
	}
	return nil
}

// headOf is the head that a stored message is.
func headOf(subject string, sequence uint64, header nats.Header, data []byte) (credential.Head, error) {
	sum, err := digest(subject, header, data)
	if err != nil {
		return credential.Head{}, err
	}
	return credential.Head{
		Sequence:  sequence,
		Hash:      hex.EncodeToString(sum[:]),
		Signature: attribute(header, headerSignature),
		Signer:    attribute(header, headerSigner),
	}, nil
}

// signed reports whether a head carries the signature of its signer over its
// hash. Whether that signer is known is another question.
func signed(head credential.Head) bool {
	sum, errSum := hex.DecodeString(head.Hash)
	signature, errSignature := base64.RawURLEncoding.DecodeString(head.Signature)
	return errSum == nil && errSignature == nil && len(sum) == sha256.Size && verify(head.Signer, sum, signature)
}
