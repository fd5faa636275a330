package arcgis

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// request is one call.
type request struct {
	// op says in words what is asked: "generate a key on slot 2 of item …".
	op   string
	path string
	form url.Values
	// changes is true for a call after which the portal may be another: its
	// lost answer is outcome-unknown.
	changes bool
	// token goes into the form; empty = none is sent.
	token credential.Secret
	// referer of this call; empty = the configured one.
	referer string
}

// maxBody bounds an answer.
const maxBody = 8 << 20

// send makes one call, once, and decodes its answer into out. It returns the
// portal's clock.
func (p *Portal) send(ctx context.Context, r request, out any) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	form := url.Values{}
	for key, values := range r.form {
		form[key] = values
	}
	form.Set("f", "json")
	if !r.token.Empty() {
		form.Set("token", r.token.Reveal())
	}
	// A body without GetBody is never sent a second time by net/http.
	body := io.NopCloser(strings.NewReader(form.Encode()))
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, p.root+r.path, body)
	if err != nil {
		return time.Time{}, p.fault(r, credential.ClassPermanent, errors.New("the address is malformed"), "check the issuer's url")
	}
	call.ContentLength = int64(len(form.Encode()))
	call.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	call.Header.Set("Accept", "application/json")
	referer := r.referer
	if referer == "" {
		referer = p.config.Referer
	}
	call.Header.Set("Referer", referer)

	sent := p.config.Now()
	issuer, err := p.exchange(call, r, sent, out)
	if p.config.Observe != nil {
		p.config.Observe(r.op, p.config.Now().Sub(sent), err)
	}
	return issuer, err
}

func (p *Portal) exchange(call *http.Request, r request, sent time.Time, out any) (time.Time, error) {
	answer, err := p.client.Do(call)
	if err != nil {
		return time.Time{}, p.lost(r, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	if err != nil {
		return time.Time{}, p.lost(r, err)
	}
	issuer := p.clock.note(answer.Header, sent, p.config.Now())
	if len(text) > maxBody {
		return issuer, p.garbled(r, "an answer of more than 8 MiB")
	}
	return issuer, p.judge(r, answer, text, out)
}

// failure is every shape in which the portal says no.
type failure struct {
	Error *struct {
		Code        json.Number     `json:"code"`
		MessageCode string          `json:"messageCode"`
		Message     string          `json:"message"`
		Description string          `json:"error_description"`
		Details     json.RawMessage `json:"details"`
	} `json:"error"`
	Success       *bool           `json:"success"`
	Status        json.RawMessage `json:"status"`
	Code          json.Number     `json:"code"`
	Message       string          `json:"message"`
	StatusMessage string          `json:"statusMessage"`
	Messages      []string        `json:"messages"`
}

// judge decides whether an answer is a yes, and decodes it.
func (p *Portal) judge(r request, answer *http.Response, text []byte, out any) error {
	code, message, failed, err := decodeFailure(text)
	switch {
	case answer.StatusCode == http.StatusTooManyRequests, err != nil && answer.StatusCode == http.StatusForbidden, failed && code == http.StatusTooManyRequests:
		return p.throttled(r, answer)
	case answer.StatusCode >= 500:
		return p.broken(r, fmt.Errorf("the portal answers with HTTP status %d", answer.StatusCode))
	case answer.StatusCode >= 300 && !failed:
		return p.fault(r, credential.ClassRetryable, fmt.Errorf("the portal answers with HTTP status %d", answer.StatusCode),
			"check the issuer's url, and what stands between here and the portal")
	case err != nil:
		return p.garbled(r, describeGarbage(answer.Header.Get("Content-Type"), text))
	case failed:
		return p.refused(r, code, message)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return p.garbled(r, "JSON of another shape than expected")
	}
	return nil
}

// decodeFailure looks for every shape of a no. The texts that it returns are
// the portal's own short messages, cut and without details.
func decodeFailure(text []byte) (code int, message string, failed bool, err error) {
	if trimmed := bytes.TrimSpace(text); len(trimmed) == 0 || trimmed[0] != '{' {
		return 0, "", false, errors.New("no JSON object")
	}
	var f failure
	if err := json.Unmarshal(text, &f); err != nil {
		// an answer may use the same names for other things: only a body that is no
		// JSON at all is garbage
		if !json.Valid(text) {
			return 0, "", false, err
		}
		var bare struct {
			Error json.RawMessage `json:"error"`
		}
		if json.Unmarshal(text, &bare) == nil && len(bare.Error) > 0 && string(bare.Error) != "null" {
			return 0, "an error of an unknown shape", true, nil
		}
		return 0, "", false, nil
	}
	status := strings.Trim(string(f.Status), `"`)
	switch {
	case status == "failure" || status == "failed" || status == "error":
		message = f.Message
		if message == "" {
			message = f.StatusMessage
		}
		if message == "" && len(f.Messages) > 0 {
			message = f.Messages[0]
		}
		return number(f.Code), short(message), true, nil
	case f.Error != nil:
		message = f.Error.Message
		if message == "" {
			message = f.Error.Description
		}
		var details []string
		if json.Unmarshal(f.Error.Details, &details) == nil && len(details) > 0 && details[0] != message {
			message += " " + details[0]
		}
		return number(f.Error.Code), short(message), true, nil
	case f.Success != nil && !*f.Success:
		return 0, "success is false", true, nil
	}
	return 0, "", false, nil
}

func number(n json.Number) int {
	i, err := strconv.Atoi(n.String())
	if err != nil {
		return 0
	}
	return i
}

func short(s string) string {
	const most = 160
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}

// describeGarbage says what came instead of JSON, without quoting it.
func describeGarbage(contentType string, text []byte) string {
	switch trimmed := bytes.TrimSpace(text); {
	case len(trimmed) == 0:
		return "an empty answer"
	case trimmed[0] == '<' || strings.HasPrefix(contentType, "text/html"):
		return "a web page instead of JSON"
	case trimmed[0] == '{':
		return "JSON that ends in the middle"
	}
	return "an answer that is not JSON"
}

func (p *Portal) fault(r request, class credential.Class, err error, hint string) error {
	return &credential.Fault{Class: class, System: "portal " + p.config.Name, Op: r.op, Err: err, Hint: hint}
}

// garbled is an answer that cannot be read: whether a change was made is not
// known.
func (p *Portal) garbled(r request, what string) error {
	return p.broken(r, fmt.Errorf("the portal sent %s", what))
}

func (p *Portal) broken(r request, err error) error {
	class := credential.ClassRetryable
	if r.changes {
		class = credential.ClassUnknown
	}
	return p.fault(r, class, err, "check that the issuer's url is a portal, and whether a proxy or a maintenance page stands before it")
}

// throttled is a portal that wants to be left alone; nothing was changed.
func (p *Portal) throttled(r request, answer *http.Response) error {
	wait := time.Minute
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		wait = min(time.Duration(seconds)*time.Second, time.Hour)
	}
	return &credential.Fault{
		Class: credential.ClassRetryable, System: "portal " + p.config.Name, Op: r.op, RetryAfter: wait,
		Err:  fmt.Errorf("the portal throttles (HTTP status %d)", answer.StatusCode),
		Hint: "lower the issuer's rate_limit or concurrency",
	}
}

// lost is a call without an answer. Only one that cannot have been sent is
// known to have changed nothing.
func (p *Portal) lost(r request, err error) error {
	fault := &credential.Fault{
		Class: credential.ClassRetryable, System: "portal " + p.config.Name, Op: r.op, Silent: true,
		Hint: "check that the portal is reachable from here",
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // its text would hold the address
	}
	var dial *net.OpError
	sent := !errors.Is(err, syscall.ECONNREFUSED) && (!errors.As(err, &dial) || dial.Op != "dial")
	if r.changes && sent {
		fault.Class = credential.ClassUnknown
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		fault.Err = errors.New("no answer in time")
	case errors.Is(err, context.Canceled):
		fault.Err = context.Canceled
	default:
		fault.Err = err
	}
	return fault
}

// refused turns a numeric code into a class.
func (p *Portal) refused(r request, code int, message string) error {
	err := fmt.Errorf("%s (code %d)", message, code)
	switch {
	case code == 498 || code == 499:
		return p.fault(r, credential.ClassDenied, err, "the token or key is not accepted: check the issuer's login, its referer and its clock")
	case code == 403:
		return p.fault(r, credential.ClassDenied, err, "give the manager the privileges to generate API keys and to assign privileges, and the ownership of the item")
	case code == 400 && strings.Contains(message, "does not exist or is inaccessible"):
		return p.fault(r, credential.ClassNotFound, err, "the item was deleted, or is hidden from this manager")
	case code >= 500:
		return p.broken(r, err)
	}
	return p.fault(r, credential.ClassPermanent, err, "")
}

// rejected reports whether the portal did not accept the token of a call.
func rejected(err error) bool {
	var fault *credential.Fault
	if !errors.As(err, &fault) || fault.Class != credential.ClassDenied || fault.Err == nil {
		return false
	}
	text := fault.Err.Error()
	return strings.HasSuffix(text, "(code 498)") || strings.HasSuffix(text, "(code 499)")
}
