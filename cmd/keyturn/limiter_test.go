package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a transport that notes what is sent, and when.
type wire struct {
	mu    sync.Mutex
	start time.Time
	sent  []string
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, fmt.Sprintf("%s at %v", r.URL.Path, time.Since(w.start)))
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// limitedWire is a wire behind a limit of so many calls a second. Send makes a
// call, in order with those before it, and tells how it ended.
func limitedWire(perSecond float64) (w *wire, send func(ctx context.Context, what string) <-chan error) {
	w = &wire{start: time.Now()}
	l := newLimiter(w, perSecond)
	return w, func(ctx context.Context, what string) <-chan error {
		ended := make(chan error, 1)
		go func() {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://portal/"+what, nil)
			if err == nil {
				var answer *http.Response
				if answer, err = l.RoundTrip(request); err == nil {
					err = answer.Body.Close()
				}
			}
			ended <- err
		}()
		synctest.Wait()
		return ended
	}
}

// TestAnEmergencysCallsTakeTheNextTurns: within the same limit, before all
// planned calls that wait; those keep their order.
func TestAnEmergencysCallsTakeTheNextTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, send := limitedWire(1)
		emergency := context.WithValue(t.Context(), pastBreaker{}, true)
		for i := range 4 {
			send(t.Context(), fmt.Sprintf("planned-%d", i))
		}
		time.Sleep(2500 * time.Millisecond)
		for i := range 3 {
			send(emergency, fmt.Sprintf("emergency-%d", i))
		}
		time.Sleep(2 * time.Second)
		send(emergency, "emergency-3") // a planned call was about to take a turn
		time.Sleep(time.Minute)
		synctest.Wait()
		want := "[/planned-0 at 0s /planned-1 at 1s /planned-2 at 2s /emergency-0 at 3s /emergency-1 at 4s /emergency-2 at 5s /emergency-3 at 6s /planned-3 at 7s]"
		if got := fmt.Sprint(w.sent); got != want {
			t.Errorf("sent\n%s, want\n%s", got, want)
		}
	})
}

// TestBackgroundCallsLetAllOthersBy within the same limit.
func TestBackgroundCallsLetAllOthersBy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, send := limitedWire(1)
		for i := range 3 {
			send(inBackground(t.Context()), fmt.Sprintf("probe-%d", i))
		}
		time.Sleep(500 * time.Millisecond)
		for i := range 3 {
			send(t.Context(), fmt.Sprintf("planned-%d", i))
		}
		send(context.WithValue(inBackground(t.Context()), pastBreaker{}, true), "emergency")
		time.Sleep(time.Minute)
		synctest.Wait()
		want := "[/probe-0 at 0s /emergency at 1s /planned-0 at 2s /planned-1 at 3s /planned-2 at 4s /probe-1 at 5s /probe-2 at 6s]"
		if got := fmt.Sprint(w.sent); got != want {
			t.Errorf("sent\n%s, want\n%s", got, want)
		}
	})
}

// TestCallsWaitForTheLimitWithinTheirDeadline: one that gets no turn by then is
// not sent, whether others are before it or the limit is that low; what it would
// have taken is there for the next.
func TestCallsWaitForTheLimitWithinTheirDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, send := limitedWire(0.1)
		<-send(t.Context(), "first")
		short, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		began := time.Now()
		if err := <-send(short, "short"); !errors.Is(err, errRate) || time.Since(began) != 0 {
			t.Errorf("a call whose turn comes after its deadline ends after %v with %v", time.Since(began), err)
		}
		waits := send(t.Context(), "waits")
		queued, gone := context.WithTimeout(t.Context(), 5*time.Second)
		defer gone()
		if err := <-send(queued, "queued"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("a call behind another ends after %v with %v", time.Since(began), err)
		}
		if err := <-waits; err != nil {
			t.Error(err)
		}
		if err := <-send(t.Context(), "last"); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(w.sent); got != "[/first at 0s /waits at 10s /last at 20s]" {
			t.Errorf("sent %s", got)
		}
	})
}

// TestIdleCallsLetAllOthersBy: what nobody waits for takes a turn only when nobody
// else wants one, and leaves one where the limit has two.
func TestIdleCallsLetAllOthersBy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, send := limitedWire(1)
		careless := context.WithValue(t.Context(), idleKey{}, true)
		send(t.Context(), "planned-0")
		send(careless, "idle")
		var last <-chan error
		for i := range 3 {
			last = send(t.Context(), fmt.Sprintf("planned-%d", i+1))
		}
		<-last
		time.Sleep(time.Minute)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.sent) != 5 || !strings.HasPrefix(w.sent[4], "/idle at ") {
			t.Errorf("sent %v", w.sent)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w, send := limitedWire(2)
		careless := context.WithValue(t.Context(), idleKey{}, true)
		time.Sleep(time.Minute) // nobody has called for some time
		for range 3 {
			send(careless, "idle")
		}
		send(t.Context(), "planned") // has its turn at once
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.sent) != 2 || w.sent[1] != "/planned at 1m0s" {
			t.Errorf("sent %v", w.sent)
		}
	})
}
