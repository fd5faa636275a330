package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// lane is an issuer with what stands before its calls: this daemon's part of the
// rate limit, and a circuit breaker. While the breaker is open nothing is sent
// but a question of its own, whether the issuer is back.
type lane struct {
	*arcgis.Portal
	name    string
	timeout time.Duration
	limiter *limiter // nil = no rate limit
	breaker *gobreaker.CircuitBreaker[any]
	opened  chan struct{} // one slot
	// changed is told when the issuer went or came back.
	changed func(lane string, up bool)
	logger  *zap.Logger
}

const (
	tripAfter     = 5 // calls without an answer, one after the other
	askAgain      = 500 * time.Millisecond
	firstPatience = time.Second // with the first question; doubled with each, up to the timeout of a call
)

// breakable puts the breaker before a portal.
func breakable(name string, portal *arcgis.Portal, timeout time.Duration, limiter *limiter, logger *zap.Logger) *lane {
	l := &lane{
		Portal: portal, name: name, timeout: timeout, limiter: limiter,
		opened: make(chan struct{}, 1), changed: func(string, bool) {}, logger: logger,
	}
	l.breaker = gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Timeout:       askAgain / 2,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		IsSuccessful:  answered,
		IsExcluded:    func(err error) bool { return errors.Is(err, context.Canceled) || errors.Is(err, errRate) },
		OnStateChange: func(_ string, from, to gobreaker.State) { l.turned(from, to) },
	})
	return l
}

// answered reports whether an issuer said anything at all: a refusal is an answer.
func answered(err error) bool {
	var fault *credential.Fault
	return !errors.As(err, &fault) || !fault.Silent
}

func (l *lane) turned(from, to gobreaker.State) {
	switch {
	case to == gobreaker.StateClosed:
		l.logger.Info("the issuer answers again; what waited for it goes out now", zap.String(logkey.Issuer, l.name))
		l.changed(l.name, true)
	case from == gobreaker.StateClosed:
		l.logger.Warn("the issuer does not answer; it is asked now and then whether it is back, and spared till then", zap.String(logkey.Issuer, l.name))
		l.changed(l.name, false)
		select {
		case l.opened <- struct{}{}:
		default:
		}
	}
}

// Run asks an issuer that fell silent whether it is back, until ctx ends.
func (l *lane) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.opened:
		}
		patience := firstPatience
		for l.breaker.State() != gobreaker.StateClosed {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(askAgain):
			}
			asking, cancel := context.WithTimeout(context.WithValue(ctx, pastBreaker{}, true), min(patience, l.timeout))
			_, _ = through(asking, l, "ask whether it is back", l.Whoami) // the breaker heard the answer
			cancel()
			patience = min(2*patience, l.timeout)
		}
	}
}

// pastBreaker marks a context whose calls an open breaker lets through.
// Emergencies, which no breaker holds up, would carry it too.
type pastBreaker struct{}

// starved marks a call that the rate limit left no turn.
type starved struct{ yes atomic.Bool }

type starvedKey struct{}

// errRate: the wait for the rate limit would have outlived the call.
var errRate = errors.New("the rate limit leaves no turn before the deadline; nothing was sent")

// errAway: the breaker is open.
var errAway = errors.New("it has not answered lately, so nothing was sent")

func (l *lane) away(op string) error {
	return &credential.Fault{
		Class: credential.ClassRetryable, Silent: true, System: "portal " + l.name, Op: op, Err: errAway,
		Hint: "nothing, once the portal is reachable again: it is asked every few seconds, and the work goes on when it answers",
	}
}

// through makes a call of the issuer.
func through[T any](ctx context.Context, l *lane, op string, call func(context.Context) (T, error)) (T, error) {
	var none T
	if past, _ := ctx.Value(pastBreaker{}).(bool); !past && l.breaker.State() != gobreaker.StateClosed {
		return none, l.away(op)
	}
	result, err := l.breaker.Execute(func() (any, error) {
		wait := &starved{}
		value, err := call(context.WithValue(ctx, starvedKey{}, wait))
		var fault *credential.Fault
		if wait.yes.Load() && errors.As(err, &fault) && fault.Class == credential.ClassRetryable && fault.Silent {
			err = &credential.Fault{
				Class: credential.ClassRetryable, System: fault.System, Op: fault.Op, Err: errRate,
				Hint: "raise the issuer's rate_limit, or spread the work: it is tried again by itself",
			}
		}
		return value, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return none, l.away(op)
	}
	value, ok := result.(T)
	if !ok {
		value = none
	}
	return value, err
}

// EnsureItem implements engine.Issuer, as do the four that follow.
func (l *lane) EnsureItem(ctx context.Context, order credential.ItemOrder) (string, error) {
	return through(ctx, l, "find or make the item", func(ctx context.Context) (string, error) { return l.Portal.EnsureItem(ctx, order) })
}

// Describe is described at EnsureItem.
func (l *lane) Describe(ctx context.Context, item string) (credential.ItemStatus, error) {
	return through(ctx, l, "read item "+item, func(ctx context.Context) (credential.ItemStatus, error) { return l.Portal.Describe(ctx, item) })
}

// Issue is described at EnsureItem.
func (l *lane) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error) {
	return through(ctx, l, "generate a key on "+seat.String(), func(ctx context.Context) (credential.Minted, error) { return l.Portal.Issue(ctx, seat, expires) })
}

// Probe is described at EnsureItem.
func (l *lane) Probe(ctx context.Context, request credential.ProbeRequest) (credential.Proof, error) {
	return through(ctx, l, "probe a key", func(ctx context.Context) (credential.Proof, error) { return l.Portal.Probe(ctx, request) })
}

// Revoke is described at EnsureItem.
func (l *lane) Revoke(ctx context.Context, seat credential.SeatID) error {
	_, err := through(ctx, l, "revoke "+seat.String(), func(ctx context.Context) (struct{}, error) { return struct{}{}, l.Portal.Revoke(ctx, seat) })
	return err
}

// Expiring implements schedule.Lister.
func (l *lane) Expiring(ctx context.Context, until time.Time) ([]credential.ExpiringKey, error) {
	return through(ctx, l, "list the keys that expire", func(ctx context.Context) ([]credential.ExpiringKey, error) { return l.Portal.Expiring(ctx, until) })
}

// limiter spaces calls out.
type limiter struct {
	http.RoundTripper
	rate *rate.Limiter
}

// newLimiter limits a transport to so many calls a second.
func newLimiter(transport http.RoundTripper, perSecond float64) *limiter {
	l := &limiter{transport, rate.NewLimiter(0, 1)}
	l.set(perSecond)
	return l
}

// set changes the limit; what waits already keeps its turn.
func (l *limiter) set(perSecond float64) {
	l.rate.SetLimit(rate.Limit(perSecond))
	l.rate.SetBurst(max(1, int(perSecond)))
}

// RoundTrip implements http.RoundTripper.
func (l *limiter) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := l.rate.Wait(request.Context()); err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		if wait, ok := request.Context().Value(starvedKey{}).(*starved); ok && !errors.Is(err, context.Canceled) {
			wait.yes.Store(true)
		}
		// nothing was sent: for the client as if nobody had answered the dial
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return l.RoundTripper.RoundTrip(request)
}
