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
	// pressing is how many calls of emergencies wait: planned ones let them by.
	pressing atomic.Int64
	// waiting is how many planned calls wait: idle ones let them by.
	waiting atomic.Int64
	// Each holds the call that is first in its queue.
	planned, emergencies, idle chan struct{}
}

// idleKey marks the context of a call that lets all others by.
type idleKey struct{}

func idle(ctx context.Context) bool { return ctx.Value(idleKey{}) != nil }

// shortestPause is the least that the first in a queue waits before it asks again.
const shortestPause = time.Millisecond

// errRate: the wait for the rate limit would have outlived the call.
var errRate = errors.New("the rate limit leaves no turn before the deadline; nothing was sent")

// newLimiter limits a transport to so many calls a second.
func newLimiter(transport http.RoundTripper, perSecond float64) *limiter {
	l := &limiter{
		RoundTripper: transport, rate: rate.NewLimiter(0, 1),
		planned: make(chan struct{}, 1), emergencies: make(chan struct{}, 1), idle: make(chan struct{}, 1),
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

// wait takes a turn: in the order in which the calls came, those of emergencies
// first, and idle ones when nobody else waits or would have to.
func (l *limiter) wait(ctx context.Context) error {
	queue, may := l.planned, func() bool { return l.pressing.Load() == 0 }
	switch {
	case urgent(ctx):
		queue, may = l.emergencies, func() bool { return true }
		l.pressing.Add(1)
		defer l.pressing.Add(-1)
	case idle(ctx):
		queue, may = l.idle, func() bool {
			return l.pressing.Load() == 0 && l.waiting.Load() == 0 && l.rate.Tokens() >= float64(min(2, l.rate.Burst()))
		}
	default:
		l.waiting.Add(1)
		defer l.waiting.Add(-1)
	}
	select {
	case queue <- struct{}{}:
		defer func() { <-queue }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		if may() && l.rate.Allow() {
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
