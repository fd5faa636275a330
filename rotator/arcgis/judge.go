package arcgis

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// judge turns what decodeAnswer says into a classified fault.
func (p *Portal) judge(r request, answer *http.Response, err error) error {
	if err == nil {
		return nil
	}
	status := answer.StatusCode
	if isThrottle(status, err) || (status == http.StatusForbidden && retryAfter(answer.Header, p.config.Now()) > 0) {
		return p.throttled(r, answer, err)
	}
	var no *refusal
	refused := errors.As(err, &no)
	switch {
	case status >= 500:
		fault := p.broken(r, fmt.Errorf("the portal answers with HTTP status %d", status))
		fault.RetryAfter = retryAfter(answer.Header, p.config.Now())
		return fault
	case status >= 300 && status < 400:
		return p.redirected(r, answer)
	case refused:
		no.message = cut(scrub(r, no.message))
		return p.refused(r, no)
	case status == http.StatusUnauthorized:
		return p.fault(r, credential.ClassDenied, fmt.Errorf("HTTP status %d, and not from the portal itself", status),
			"a proxy or web-tier authentication stands before the portal: use an address without it")
	case status >= 400:
		return p.fault(r, credential.ClassRetryable, fmt.Errorf("HTTP status %d, and not from the portal itself", status),
			"check the issuer's url, and what stands between here and the portal")
	}
	return p.broken(r, err)
}

// broken is an answer that tells nothing: whether a change was made is not known.
func (p *Portal) broken(r request, err error) *credential.Fault {
	class := credential.ClassRetryable
	if r.changes {
		class = credential.ClassUnknown
	}
	return p.fault(r, class, err, "check that the issuer's url is a portal's, and whether a proxy or a maintenance page stands before it")
}

func (p *Portal) garbled(r request, what string) error { return p.broken(r, garbage(what)) }

// throttled is a portal that wants to be left alone; nothing was changed.
func (p *Portal) throttled(r request, answer *http.Response, err error) error {
	wait := retryAfter(answer.Header, p.config.Now())
	var no *refusal
	if wait == 0 && errors.As(err, &no) {
		wait = time.Duration(secondsIn(no.message)) * time.Second
	}
	if wait == 0 {
		wait = time.Minute
	}
	fault := p.fault(r, credential.ClassRetryable, fmt.Errorf("the portal throttles (HTTP status %d)", answer.StatusCode),
		"lower the issuer's rate limit or concurrency; if it stays so, check that this address may call the portal")
	fault.RetryAfter = min(wait, time.Hour)
	return fault
}

// retryAfter reads the header: seconds or a date; 0 = neither.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return min(max(time.Duration(min(seconds, 3600))*time.Second, 0), time.Hour)
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if said, err := http.ParseTime(header.Get("Date")); err == nil {
		now = said
	}
	return min(max(until.Sub(now), 0), time.Hour)
}

// redirected: nothing is sent after a redirect, since a token would go with it.
func (p *Portal) redirected(r request, answer *http.Response) error {
	to := "elsewhere"
	if target, err := url.Parse(answer.Header.Get("Location")); err == nil && target.Host != "" {
		to = "to " + printable(strings.TrimPrefix(target.Scheme+"://"+target.Host, "://"))
	}
	return p.fault(r, credential.ClassRetryable, fmt.Errorf("the portal redirects %s (HTTP status %d)", to, answer.StatusCode),
		"set the issuer's url to where the portal really is")
}

// refused turns a no into a class, by its number.
func (p *Portal) refused(r request, no *refusal) error {
	switch {
	case no.code == 498 || no.code == 499:
		return p.fault(r, credential.ClassDenied, no, "check the issuer's login, and that nothing on the way removes the Referer header")
	case no.code == 401 || no.code == 403:
		return p.fault(r, credential.ClassDenied, no,
			"give the manager the privileges to generate API keys and to assign privileges to applications, and the ownership of the item")
	case no.code == 404:
		return p.fault(r, credential.ClassPermanent, no, "check the issuer's url, and that this portal's version has API keys")
	case no.code == 400 && isMissing(no):
		return p.fault(r, credential.ClassNotFound, no, "the item was deleted, or is hidden from this manager")
	case no.code >= 500 || no.code == http.StatusRequestTimeout:
		return p.broken(r, no)
	case no.code == 0: // no reason that can be relied on, not even for nothing having happened
		fault := p.broken(r, no)
		fault.Hint = "look at the portal's own log"
		return fault
	}
	return p.fault(r, credential.ClassPermanent, no, "")
}

// isMissing tells the one 400 that is about the existence of an item or folder
// from all others. A user that does not exist is a mistake in the configuration.
func isMissing(no *refusal) bool {
	const absent = "does not exist or is inaccessible"
	return no.messageCode == "CONT_0001" || (strings.Contains(no.message, absent) && !strings.Contains(no.message, "User "+absent))
}

// reclassed is the same fault with another class and hint.
func reclassed(err error, class credential.Class, hint string) error {
	var fault *credential.Fault
	if !errors.As(err, &fault) {
		return err
	}
	again := *fault
	again.Class, again.Hint = class, hint
	return &again
}

// codeOf returns the portal's number behind an error; 0 = none.
func codeOf(err error) int {
	var no *refusal
	if errors.As(err, &no) {
		return no.code
	}
	return 0
}

// rejected reports whether the portal did not accept the token of a call.
func rejected(err error) bool {
	code := codeOf(err)
	return code == 498 || code == 499 || code == 401
}

// scrub takes what was sent in confidence out of a message that echoes it.
func scrub(r request, message string) string {
	hide := func(value string) {
		for _, echo := range []string{value, url.QueryEscape(value), url.PathEscape(value), html.EscapeString(value)} {
			if echo = printable(echo); echo != "" { // as the message is
				message = strings.ReplaceAll(message, echo, "[redacted]")
			}
		}
	}
	hide(r.token.Reveal())
	hide(r.form.Get("password"))
	hide(r.form.Get("client_secret"))
	return message
}
