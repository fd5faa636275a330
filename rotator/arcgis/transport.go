package arcgis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// request is one call.
type request struct {
	// name is the call's short name for Observe; op says in words what is asked
	// ("generate a key on slot 2 of item …").
	name, op string
	path     string
	form     url.Values
	// changes is true for a call after which the portal may be another: its
	// lost answer is outcome-unknown, and it is never sent twice.
	changes bool
	// token goes into the form; empty = none is sent.
	token credential.Secret
	// referer of this call; empty = the configured one.
	referer string
}

// maxBody bounds an answer.
const maxBody = 8 << 20

// NewTransport is a transport that keeps enough idle connections for that many
// calls at a time.
func NewTransport(concurrency int) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		MaxIdleConnsPerHost:   2*concurrency + 2, // an item is read by two calls at a time
		IdleConnTimeout:       30 * time.Second,  // shorter than what stands between: a change on a dead connection is outcome-unknown
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
		// a connection that died silently is noticed before its calls time out
		HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
	}
}

// send makes one call, decodes its answer into out (nil = only whether it is a
// yes) and returns the portal's clock.
func (p *Portal) send(ctx context.Context, r request, out any) (time.Time, error) {
	sent := p.config.Now()
	issuer, err := p.exchange(ctx, r, sent, out)
	if p.config.Observe != nil {
		p.config.Observe(r.name, p.config.Now().Sub(sent), err)
	}
	return issuer, err
}

func (p *Portal) exchange(ctx context.Context, r request, sent time.Time, out any) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})

	form := encode(r)
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, p.root+r.path, strings.NewReader(form))
	if err != nil {
		return time.Time{}, p.fault(r, credential.ClassPermanent, errors.New("the address is malformed"), "check the issuer's url")
	}
	if r.changes {
		call.GetBody = nil // net/http cannot send it a second time
	}
	call.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	call.Header.Set("Accept", "application/json")
	call.Header.Set("User-Agent", "keyturn")
	call.Header.Set("Referer", p.config.Referer)
	if r.referer != "" {
		call.Header.Set("Referer", r.referer)
	}

	answer, err := p.client.Do(call)
	if err != nil {
		return time.Time{}, p.lost(r, err, wrote.Load() || !p.traced)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	if err != nil {
		return time.Time{}, p.lost(r, err, true)
	}
	err = decodeAnswer(answer.StatusCode, answer.Header.Get("Content-Type"), text, out)
	var issuer time.Time
	if _, isGarbage := errors.AsType[garbage](err); !isGarbage { // else it may be a proxy that answers
		issuer = p.clock.note(answer.Header, sent, p.config.Now())
	}
	return issuer, p.judge(r, answer, err)
}

// encode writes the form. f=json stands in each: the default is a web page.
func encode(r request) string {
	form := url.Values{}
	for key, values := range r.form {
		form[key] = values
	}
	form.Set("f", "json")
	if !r.token.Empty() {
		form.Set("token", r.token.Reveal())
	}
	return form.Encode()
}

// lost is a call without a whole answer. Only one of which nothing was sent is
// known to have changed nothing.
func (p *Portal) lost(r request, err error, sent bool) error {
	var dial *net.OpError
	if errors.Is(err, syscall.ECONNREFUSED) || (errors.As(err, &dial) && dial.Op == "dial") {
		sent = false
	}
	cause, hint := lostBecause(err)
	fault := p.fault(r, credential.ClassRetryable, cause, hint)
	fault.Silent = true
	if r.changes && sent {
		fault.Class = credential.ClassUnknown
	}
	return fault
}

// lostBecause says why there is no answer. The texts of net/http may quote the
// address or what the other side sent, so only known ones are passed on.
func lostBecause(err error) (cause error, hint string) { //nolint:staticcheck // ST1008: the cause is a result, not a failure of this function
	const reach = "check that the portal is reachable from here, and its status page"
	var (
		outer     *url.Error
		operation *net.OpError
		name      *net.DNSError
		authority x509.UnknownAuthorityError
		wrongHost x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		alert     tls.AlertError
	)
	if errors.As(err, &outer) {
		err = outer.Err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled, ""
	case errors.Is(err, context.DeadlineExceeded):
		return errTimeout, reach
	case errors.As(err, &authority), errors.As(err, &wrongHost), errors.As(err, &invalid), errors.As(err, &verify):
		return errors.New("the portal's certificate is not trusted"), "set the issuer's CA, and check the host name in its url and the clock"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return errors.New("the other side does not speak TLS"), "check scheme and port of the issuer's url"
	case errors.As(err, &alert), errors.As(err, &operation) && operation.Op == "remote error": // crypto/tls calls an alert so
		return errors.New("the TLS handshake was refused"), "check the issuer's client certificate"
	case errors.As(err, &name):
		return errors.New("the portal's host name is not known"), "check the host in the issuer's url, and the name server"
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("the connection was refused"), reach
	case errors.As(err, &operation) && operation.Op == "dial":
		return errors.New("no connection could be made"), reach
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("the connection was cut"), reach
	case errors.As(err, &operation) && operation.Timeout():
		return errTimeout, reach
	}
	return errors.New("the connection broke, or the answer was no HTTP"), reach
}

var errTimeout = errors.New("no answer in time")
