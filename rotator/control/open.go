package control

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/keyturn/keyturn/rotator/credential"
)

// maxRequest bounds a request in bytes, before anything is read of it.
const maxRequest = 64 << 10

// requestID is the form of a request's id.
var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// caller is who sent a request, and which one it is.
type caller struct {
	operator        string
	request, digest string

	who  Operator
	note Denial // what would be kept if it were denied
}

// deny is the error of a request that its sender may not send.
func (c caller) deny(reason Reason, format string, args ...any) error {
	c.note.Reason = reason
	return &denied{Denial: c.note, text: fmt.Sprintf(format, args...)}
}

// open takes a request out of its envelope: its size, its form, whose key it
// names, the signature, the installation, and the time, in this order. The role
// is looked at when its arguments have been read.
func (s *Service) open(endpoint, subject string, header micro.Headers, data []byte) (caller, []byte, error) {
	if len(data) > maxRequest {
		return caller{}, nil, fmt.Errorf("%w: larger than %d KiB", errBad, maxRequest>>10)
	}
	var e envelope
	if err := strictly(data, &e); err != nil {
		return caller{}, nil, err
	}
	if e.Request == "" {
		return caller{}, nil, fmt.Errorf("%w: no request id", errBad)
	}
	if !requestID.MatchString(e.Request) {
		return caller{}, nil, fmt.Errorf("%w: not a request id: want letters, digits, '.', '_' and '-', 1 to 64", errBad)
	}
	now := s.config.Now()
	public, signature, one := signatureIn(header)
	if !one {
		return caller{}, nil, fmt.Errorf("%w: a header of the signature stands there twice", errBad)
	}
	operators := s.config.Operators()
	who, known := operators[public]
	by := caller{operator: who.Name, request: e.Request, digest: digestOf(subject, e.Arguments), who: who, note: Denial{
		At: now.UTC(), Endpoint: endpoint, Key: clean(public), Operator: who.Name,
		Credential: nameIn(e.Arguments), Request: e.Request, Daemon: s.config.Daemon,
	}}
	switch {
	case len(operators) == 0:
		return by, nil, by.deny(ReasonUnknown, "no operator is configured at the daemon, so nobody may ask (try: keyturn operator new NAME, and its lines in the daemons' configuration)")
	case public == "" || signature == "":
		return by, nil, by.deny(ReasonUnsigned, "the request is not signed (try: a newer keyturn, and keyturn operator new)")
	case !known:
		return by, nil, by.deny(ReasonUnknown, "the key %s is no operator's (try: keyturn operator new NAME, and its lines in the daemons' configuration)", clean(public))
	case !verify(public, subject, data, signature):
		return by, nil, by.deny(ReasonSignature, "the signature is not that of %s's key over this request", who.Name)
	case e.Installation != s.config.Installation:
		return by, nil, by.deny(ReasonInstallation, "the request is for installation %q, and this one is %q (try: the configuration of this one)", clean(e.Installation), s.config.Installation)
	case now.Sub(e.At).Abs() > credential.Freshness:
		return by, nil, by.deny(ReasonStale, "the request is of %s, and here it is %s: more than %s apart (try: set the clocks by NTP, and ask again)",
			e.At.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), credential.Short(credential.Freshness))
	}
	return by, e.Arguments, nil
}

// signatureIn reads the headers; one is false if any is there twice.
func signatureIn(header micro.Headers) (public, signature string, one bool) {
	one = len(header.Values(HeaderOperator)) <= 1 && len(header.Values(HeaderSignature)) <= 1
	return header.Get(HeaderOperator), header.Get(HeaderSignature), one
}

// digestOf tells requests apart that came under the same id.
func digestOf(subject string, arguments []byte) string {
	sum := sha256.Sum256(signedBytes(subject, arguments))
	return hex.EncodeToString(sum[:8])
}

// decodeRequest is strict: a field that this daemon does not know might be one
// that matters. A nil name is that of a request about no credential.
func decodeRequest(data []byte, into any, name *credential.Name) error {
	if err := strictly(data, into); err != nil {
		return err
	}
	if name == nil {
		return nil
	}
	if _, err := credential.ParseName(string(*name)); err != nil {
		return fmt.Errorf("%w: %v", errBad, err) //nolint:errorlint // only its words matter
	}
	return nil
}

func strictly(data []byte, into any) error {
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %v", errBad, err) //nolint:errorlint // only its words matter
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the request", errBad)
	}
	return nil
}
