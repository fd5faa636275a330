package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/keyturn/keyturn/rotator/credential"
)

// system is the name of Vault in faults.
const system = "vault"

// errUnreadable stands for an answer that is not what Vault sends.
var errUnreadable = errors.New("the answer could not be read")

// classify says what a failed request means for the next attempt. connected is
// false when no connection was ever had, so that nothing can have been sent.
// It is the only place where a class is chosen for an answer of Vault.
func classify(k call, connected bool, err error) *credential.Fault {
	f := &credential.Fault{System: system, Op: k.what}
	var refused *api.ResponseError
	if errors.As(err, &refused) {
		f.Err = errors.New(statusText(refused, k.hide))
		classifyStatus(f, k, refused)
		return f
	}

	var unanswered *url.Error
	if connected && !errors.As(err, &unanswered) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		err = errUnreadable // cut in the middle, or not Vault's; the cause could quote it
	}
	f.Silent = true
	f.Err = transportError{text: short(hide(innermost(err).Error(), k.hide)), cause: err}
	f.Class = credential.ClassRetryable
	f.Hint = transportHint(err)
	if k.write() && connected {
		f.Class = credential.ClassUnknown
		f.Hint = "read the secret: it may have been written"
	}
	return f
}

// classifyStatus fills in the class of a refusal that carries an HTTP status.
func classifyStatus(f *credential.Fault, k call, refused *api.ResponseError) {
	switch status := refused.StatusCode; {
	case isSealed(refused):
		f.Class, f.Silent, f.Hint = credential.ClassRetryable, true, "unseal Vault"
	case notActive(refused):
		f.Class, f.Silent, f.Hint = credential.ClassRetryable, true, "wait until Vault has an active node"
	case status >= 500 && k.write():
		f.Class, f.Silent, f.Hint = credential.ClassUnknown, true, "read the secret: it may have been written"
	case status >= 500:
		f.Class, f.Silent, f.Hint = credential.ClassRetryable, true, "look into Vault's own log"
	case isCASMismatch(refused):
		f.Class, f.Hint = credential.ClassConflict, "somebody else wrote first: read again and decide again"
	case isUpgrading(refused):
		f.Class, f.Hint = credential.ClassRetryable, "the mount was made a moment ago; wait"
	case k.login && slices.Contains([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}, status):
		f.Class, f.Hint = credential.ClassDenied, "check the auth method, the role and the secret that keyturn logs in with"
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		f.Class = credential.ClassDenied
		f.Hint = fmt.Sprintf("give the policy of keyturn %s on %s", k.need, k.path)
	case status == http.StatusNotFound && refused.RawError:
		f.Class, f.Silent, f.Hint = credential.ClassRetryable, true, "the answer did not come from Vault: check the address and the proxy before it"
	case status == http.StatusNotFound:
		f.Class, f.Hint = credential.ClassPermanent, "the mount is missing: vault secrets enable -path=MOUNT kv-v2, or correct the mount in the config"
	case slices.Contains([]int{http.StatusRequestTimeout, http.StatusPreconditionFailed, http.StatusTooManyRequests, 472, 473}, status):
		f.Class, f.Hint = credential.ClassRetryable, "Vault asks to wait"
	default:
		f.Class, f.Hint = credential.ClassPermanent, "Vault refuses the request as it is"
	}
}

// isCASMismatch reports whether a write lost by check-and-set. Vault says it
// in words only; this is the one place that knows them.
func isCASMismatch(refused *api.ResponseError) bool {
	return refused.StatusCode == http.StatusBadRequest &&
		says(refused, "check-and-set parameter did not match")
}

// isSealed reports whether Vault said that it is sealed.
func isSealed(refused *api.ResponseError) bool {
	return refused.StatusCode == http.StatusServiceUnavailable && says(refused, "Vault is sealed")
}

// notActive reports whether a standby said that there is no active node to
// which it could pass the request.
func notActive(refused *api.ResponseError) bool {
	return refused.StatusCode >= 500 && says(refused, "local node not active but active cluster node not found")
}

// isUpgrading reports whether a mount is in the moment after it was made.
func isUpgrading(refused *api.ResponseError) bool {
	return refused.StatusCode == http.StatusBadRequest && says(refused, "Upgrading from non-versioned to versioned")
}

// isPolicyDenial reports whether a 403 comes from a policy, so that the token
// itself is valid. A token that is not valid is refused in other words.
func isPolicyDenial(refused *api.ResponseError) bool {
	return refused.StatusCode == http.StatusForbidden &&
		says(refused, "1 error occurred") && !says(refused, "invalid token")
}

// emptyNotFound reports whether a 404 is Vault's "there is nothing": it comes
// without an error text. A missing mount comes with one.
func emptyNotFound(err error) bool {
	var refused *api.ResponseError
	return errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound &&
		!refused.RawError && len(refused.Errors) == 0
}

func says(refused *api.ResponseError, text string) bool {
	return !refused.RawError && slices.ContainsFunc(refused.Errors, func(s string) bool { return strings.Contains(s, text) })
}

// statusText is the status with Vault's own words, never a body, and without
// the values that were sent.
func statusText(refused *api.ResponseError, secrets []credential.Secret) string {
	text := fmt.Sprintf("status %d", refused.StatusCode)
	if refused.RawError {
		return text + " (the answer did not come from Vault)"
	}
	for _, s := range refused.Errors {
		if s = short(hide(s, secrets)); s != "" {
			text += ": " + s
		}
	}
	return text
}

// maxText bounds a text of somebody else in an error.
const maxText = 200

// short puts a text on one line of bounded length.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > maxText {
		s = string(runes[:maxText]) + "…"
	}
	return s
}

// hide removes values that were sent from a text.
func hide(text string, secrets []credential.Secret) string {
	for _, s := range secrets {
		if !s.Empty() {
			text = strings.ReplaceAll(text, s.Reveal(), s.String())
		}
	}
	return text
}

// transportError is a failure without an answer. Its cause stays visible to
// errors.Is (a cancelled context); its text is chosen here.
type transportError struct {
	text  string
	cause error
}

func (e transportError) Error() string        { return e.text }
func (e transportError) Is(target error) bool { return errors.Is(e.cause, target) }

// innermost strips what the HTTP client put around a failure: method and URL.
func innermost(err error) error {
	var wrapped *url.Error
	for errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err
}

// transportHint says what to try when no answer came.
func transportHint(err error) string {
	var (
		unknownCA *tls.CertificateVerificationError
		host      x509.HostnameError
		noTLS     tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &host):
		return "the certificate is for another name: set the TLS server name"
	case errors.As(err, &unknownCA):
		return "the certificate of Vault is not trusted: give its CA"
	case strings.Contains(err.Error(), "remote error: tls: ") && strings.Contains(err.Error(), "certificate"):
		return "Vault wants a client certificate, or another one: check it"
	case errors.As(err, &noTLS), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "Vault does not speak TLS there: check the address"
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return "Vault does not answer in time: check it and the way to it"
	}
	return "check the address and that Vault runs"
}
