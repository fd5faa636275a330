package main

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
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
	opened  chan struct{}  // one slot
	items   chan seenItems // one slot: who has it looks for items
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
		opened: make(chan struct{}, 1), items: make(chan seenItems, 1), changed: func(string, bool) {}, logger: logger,
	}
	l.items <- seenItems{}
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
			_, _ = heard(asking, l, l.Whoami) // the breaker heard the answer
			cancel()
			patience = min(2*patience, l.timeout)
		}
	}
}

// pastBreaker marks the context of a call that an open breaker does not hold up.
type pastBreaker struct{}

// urgent reports whether a call belongs to an emergency, or asks whether the
// issuer is back: no breaker holds it up, and it takes the next turn that the
// rate limit has.
func urgent(ctx context.Context) bool {
	past, _ := ctx.Value(pastBreaker{}).(bool)
	return past || engine.Urgent(ctx)
}

// errAway: the breaker is open.
var errAway = errors.New("it has not answered lately, so nothing was sent")

func (l *lane) away(op string) error {
	return &credential.Fault{
		Class: credential.ClassRetryable, Silent: true, System: "portal " + l.name, Op: op, Err: errAway,
		Hint: "nothing, once the portal is reachable again: it is asked every few seconds, and the work goes on when it answers",
	}
}

// through makes a call of the issuer. An emergency's goes past an open breaker,
// which does not hear of it: the breaker has one question at a time, and a call
// can hang in it for as long as its claim.
func through[T any](ctx context.Context, l *lane, op string, call func(context.Context) (T, error)) (T, error) {
	if l.breaker.State() == gobreaker.StateClosed {
		value, err := heard(ctx, l, call)
		if !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests) {
			return value, err
		}
	}
	if urgent(ctx) {
		return limited(ctx, call)
	}
	var none T
	return none, l.away(op)
}

// heard makes a call and lets the breaker hear how it went.
func heard[T any](ctx context.Context, l *lane, call func(context.Context) (T, error)) (T, error) {
	result, err := l.breaker.Execute(func() (any, error) { return limited(ctx, call) })
	value, _ := result.(T)
	return value, err
}

// EnsureItem implements engine.Issuer, as do the four that follow. A test finds what
// a Portal can be asked and nobody asks through here.
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

// Edit implements engine.Keeper, as do the two that follow.
func (l *lane) Edit(ctx context.Context, item string, marker credential.Marker, spec credential.ItemSpec) error {
	_, err := through(ctx, l, "edit item "+item, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, l.Portal.Edit(ctx, item, marker, spec)
	})
	return err
}

// Remove is described at Edit.
func (l *lane) Remove(ctx context.Context, item string, revoke bool) error {
	_, err := through(ctx, l, "delete item "+item, func(ctx context.Context) (struct{}, error) { return struct{}{}, l.Portal.Remove(ctx, item, revoke) })
	return err
}

// Marked is described at Edit.
func (l *lane) Marked(ctx context.Context, installation string, names []credential.Name) ([]credential.MarkedItem, error) {
	return through(ctx, l, "list our items", func(ctx context.Context) ([]credential.MarkedItem, error) {
		return l.Portal.Marked(ctx, installation, names)
	})
}

// Look implements engine.Looker.
func (l *lane) Look(ctx context.Context, item string) (credential.FoundItem, error) {
	return through(ctx, l, "read item "+item, func(ctx context.Context) (credential.FoundItem, error) { return l.Portal.Look(ctx, item) })
}

// Discover lists the API key credentials of the portal, whoever made them.
func (l *lane) Discover(ctx context.Context) ([]credential.FoundItem, error) {
	return through(ctx, l, "discover items", l.Portal.Discover)
}

// Usage tells what was counted for an item.
func (l *lane) Usage(ctx context.Context, item string, from, to time.Time) ([]credential.Usage, error) {
	return through(ctx, l, "ask for the usage of item "+item, func(ctx context.Context) ([]credential.Usage, error) {
		return l.Portal.Usage(ctx, item, from, to)
	})
}

// ManagerExpiry is when the manager's own key expires; zero = it has none.
func (l *lane) ManagerExpiry(ctx context.Context) (time.Time, error) {
	return through(ctx, l, "read the manager's expiry", l.Portal.ManagerExpiry)
}
