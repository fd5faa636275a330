package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/keyturn/keyturn/rotator/credential"
)

// limiter spaces calls out. Nobody takes a turn in advance, so the next one is
// always there for an emergency's call, however many planned ones wait.
type limiter struct {
	http.RoundTripper
	rate *rate.Limiter
	// queues are by rank.
	queues [ranks]queue
}

// queue is the calls of a rank that wait for their turn.
type queue struct {
	waiting atomic.Int64  // those of a lower rank let them by
	first   chan struct{} // holds the one that is first
}

// The ranks of calls.
const (
	rankIdle       = iota // what nobody waits for: it leaves a turn to others, too
	rankBackground        // what only looks
	rankPlanned
	rankEmergency
	ranks
)

type backgroundKey struct{}

// inBackground marks the context of calls that let all others by.
func inBackground(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

func rankOf(ctx context.Context) int {
	if urgent(ctx) {
		return rankEmergency
	}
	if ctx.Value(idleKey{}) != nil {
		return rankIdle
	}
	if low, _ := ctx.Value(backgroundKey{}).(bool); low {
		return rankBackground
	}
	return rankPlanned
}

// idleKey marks the context of a call of the lowest rank.
type idleKey struct{}

// shortestPause is the least that the first in a queue waits before it asks again.
const shortestPause = time.Millisecond

// errRate: the wait for the rate limit would have outlived the call.
var errRate = errors.New("the rate limit leaves no turn before the deadline; nothing was sent")

// newLimiter limits a transport to so many calls a second.
func newLimiter(transport http.RoundTripper, perSecond float64) *limiter {
	l := &limiter{RoundTripper: transport, rate: rate.NewLimiter(0, 1)}
	for rank := range l.queues {
		l.queues[rank].first = make(chan struct{}, 1)
	}
	l.set(perSecond)
	return l
}

// set changes the limit.
func (l *limiter) set(perSecond float64) {
	l.rate.SetLimit(rate.Limit(perSecond))
	l.rate.SetBurst(max(1, int(perSecond)))
}

// RoundTrip implements http.RoundTripper.
func (l *limiter) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := l.wait(request.Context()); err != nil {
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

// wait takes a turn: by rank, and within one in the order in which the calls came.
func (l *limiter) wait(ctx context.Context) error {
	rank := rankOf(ctx)
	queue := &l.queues[rank]
	queue.waiting.Add(1)
	defer queue.waiting.Add(-1)
	select {
	case queue.first <- struct{}{}:
		defer func() { <-queue.first }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		if l.highest(rank) && l.rate.Allow() {
			return nil
		}
		pause := l.next()
		if end, ok := ctx.Deadline(); ok && time.Until(end) < pause {
			return errRate
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// highest reports whether no call of a higher rank waits, or would have to.
func (l *limiter) highest(rank int) bool {
	if rank == rankIdle && l.rate.Tokens() < float64(min(2, l.rate.Burst())) {
		return false
	}
	for above := rank + 1; above < ranks; above++ {
		if l.queues[above].waiting.Load() > 0 {
			return false
		}
	}
	return true
}

// next is how long it takes until there is a turn, or another one.
func (l *limiter) next() time.Duration {
	missing := 1 - l.rate.Tokens()
	if missing <= 0 { // it is another's
		missing = 1
	}
	return max(shortestPause, time.Duration(missing/float64(l.rate.Limit())*float64(time.Second)))
}

// starved marks a call that the rate limit left no turn.
type starved struct{ yes atomic.Bool }

type starvedKey struct{}

// limited makes a call, and tells one that the rate limit left no turn from one
// that the issuer did not answer.
func limited[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
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
}
