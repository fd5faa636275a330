package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The words of a real Vault are tested against one in store_test.go; here are
// the answers that a test cannot easily provoke.
func TestEveryFailureHasOneClass(t *testing.T) {
	read := call{what: "read x", method: http.MethodGet, path: "secret/data/x", need: `"read"`}
	write := call{what: "write x", method: http.MethodPut, path: "secret/data/x", need: `"update"`}
	again := call{what: "destroy x", method: http.MethodPut, path: "secret/destroy/x", need: `"update"`, repeatable: true}
	login := call{what: "log in", method: http.MethodPut, repeatable: true, login: true}
	refused := func(status int, texts ...string) error {
		return &api.ResponseError{StatusCode: status, Errors: texts}
	}
	raw := func(status int) error {
		return &api.ResponseError{StatusCode: status, RawError: true, Errors: []string{"<html>Vault is sealed</html>"}}
	}
	cut := &url.Error{Op: "Put", URL: "http://vault/v1/x", Err: errors.New("connection reset by peer")}

	const (
		conflict, denied, retryable = credential.ClassConflict, credential.ClassDenied, credential.ClassRetryable
		permanent, unknown          = credential.ClassPermanent, credential.ClassUnknown
	)
	tests := []struct {
		what      string
		call      call
		connected bool
		err       error
		class     credential.Class
		silent    bool
	}{
		{"a lost race", write, true, refused(400, "check-and-set parameter did not match the current version"), conflict, false},
		{"those words with another status", write, true, refused(403, "check-and-set parameter did not match"), denied, false},
		{"any other 400", write, true, refused(400, "failed to parse JSON input"), permanent, false},
		{"a denial", read, true, refused(403, "1 error occurred:\n\t* permission denied\n\n"), denied, false},
		{"a denied login", login, true, refused(400, "invalid role or secret ID"), denied, false},
		{"a mount that is not there", write, true, refused(404, "no handler for route"), permanent, false},
		{"a 404 of a proxy", read, true, raw(404), retryable, true},
		{"a mount of a moment ago", write, true, refused(400, "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly."), retryable, false},
		{"sealed, read", read, true, refused(503, "Vault is sealed"), retryable, true},
		{"sealed, write", write, true, refused(503, "Vault is sealed"), retryable, true},
		{"a proxy that says sealed, write", write, true, raw(503), unknown, true},
		{"no active node, write", write, true, refused(500, "local node not active but active cluster node not found"), retryable, true},
		{"500, read", read, true, refused(500, "internal error"), retryable, true},
		{"500, write", write, true, refused(500, "internal error"), unknown, true},
		{"502, write that may be repeated", again, true, raw(502), retryable, true},
		{"too many requests", write, true, refused(429, "request path \"x\": rate limit quota exceeded"), retryable, false},
		{"a replica that lags", read, true, refused(412, "required index state not present"), retryable, false},
		{"too large", write, true, refused(413, "http: request body too large"), permanent, false},
		{"never connected, read", read, false, cut, retryable, true},
		{"never connected, write", write, false, cut, retryable, true},
		{"cut, read", read, true, cut, retryable, true},
		{"cut, write", write, true, cut, unknown, true},
		{"cut, write that may be repeated", again, true, cut, retryable, true},
		{"an answer that is not Vault's, write", write, true, errUnreadable, unknown, true},
		{"an answer cut in the middle, write", write, true, io.ErrUnexpectedEOF, unknown, true},
		{"an answer cut in the middle, read", read, true, io.ErrUnexpectedEOF, retryable, true},
		{"out of time, write", write, true, context.DeadlineExceeded, unknown, true},
		{"a stranger's certificate", write, false, &url.Error{Op: "Put", Err: x509.HostnameError{Certificate: new(x509.Certificate), Host: "v"}}, retryable, true},
	}
	for _, test := range tests {
		f := classify(test.call, test.connected, test.err)
		if f.Class != test.class || f.Silent != test.silent {
			t.Errorf("%s: got %s, silent %v; want %s, %v", test.what, f.Class, f.Silent, test.class, test.silent)
		}
		if f.System != "vault" || f.Op != test.call.what || f.Err == nil || f.Hint == "" {
			t.Errorf("%s: the fault does not say all: %+v", test.what, *f)
		}
		if strings.Contains(f.Error(), "html") || strings.Contains(f.Error(), "http://vault") || strings.ContainsAny(f.Error(), "\n\t") {
			t.Errorf("%s: the text is not clean: %q", test.what, f.Error())
		}
	}
	if f := classify(write, true, refused(403, "permission denied")); !strings.Contains(f.Hint, `"update" on secret/data/x`) {
		t.Errorf("a denial names no capability: %s", f.Hint)
	}
	if f := classify(write, true, &url.Error{Op: "Put", Err: context.Canceled}); !errors.Is(f, context.Canceled) {
		t.Error("a cancelled context is not seen through the fault")
	}
}

func TestTextsAreShortAndHoldNothingThatWasSent(t *testing.T) {
	secret := credential.NewSecret(strings.Repeat("s3cret", 20))
	echo := strings.Repeat("x", maxText-10) + " " + secret.Reveal() // the cut goes through the secret
	for _, err := range []error{
		&api.ResponseError{StatusCode: 400, Errors: []string{echo}},
		&url.Error{Op: "Put", URL: "u", Err: errors.New(echo)},
	} {
		f := classify(call{method: http.MethodPut, hide: []credential.Secret{{}, secret}}, true, err)
		if text := f.Error(); strings.Contains(text, "s3c") || len(text) > maxText+200 {
			t.Errorf("got %q", text)
		}
	}
}

func TestBackOffIsNeverNothingAndBounded(t *testing.T) {
	for failures := range 2000 {
		if d := backOff(failures); d < minBackOff/2 || d > maxBackOff+minBackOff {
			t.Fatalf("after %d failures: %v", failures, d)
		}
	}
	for _, ttl := range []time.Duration{time.Millisecond, time.Second, 4 * time.Second, time.Hour, 768 * time.Hour} {
		if d := untilRenewal(ttl); d <= 0 || d > ttl*2/3 {
			t.Errorf("ttl %v: renewed after %v", ttl, d)
		}
	}
}

func TestAPolicyDenialIsNotADeadToken(t *testing.T) {
	for text, want := range map[string]bool{
		"1 error occurred:\n\t* permission denied\n\n":                     true,
		"permission denied":                                                false,
		"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n": false,
	} {
		if got := isPolicyDenial(&api.ResponseError{StatusCode: 403, Errors: []string{text}}); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
