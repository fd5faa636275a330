package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/credential"
)

// gate is a portal that answers every call with the same refusal, or not at all.
type gate struct {
	lane *lane

	mu     sync.Mutex
	shut   bool
	stuck  chan struct{} // what is asked of an item hangs until it is closed; nil = nothing does
	paths  []string      // of the calls that came
	turned []bool        // what the lane told of the issuer: up or not
}

// openGate is a lane before such a portal.
func openGate(t *testing.T, perSecond float64) *gate {
	t.Helper()
	g := &gate{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.paths = append(g.paths, r.URL.Path)
		shut, stuck := g.shut, g.stuck
		g.mu.Unlock()
		if shut {
			panic(http.ErrAbortHandler) // the connection is cut
		}
		if stuck != nil && strings.Contains(r.URL.Path, "/content/") {
			_, _ = io.Copy(io.Discard, r.Body) // so that the end of the request is noticed
			select {
			case <-stuck:
			case <-r.Context().Done():
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"error":{"code":403,"message":"no","details":[]}}`)
	}))
	t.Cleanup(server.Close)
	transport := arcgis.NewTransport(4)
	t.Cleanup(transport.CloseIdleConnections)
	settings := arcgis.Config{
		Name: "example", URL: server.URL + "/sharing/rest", Username: "keeper", Transport: transport,
		APIKey: func() (credential.Secret, error) { return credential.NewSecret("key"), nil },
	}
	var limit *limiter
	if perSecond > 0 {
		limit = newLimiter(transport, perSecond)
		settings.Transport = limit
	}
	portal, err := arcgis.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	g.lane = breakable("example", portal, 2*time.Second, limit, zap.NewNop())
	g.lane.changed = func(_ string, up bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.turned = append(g.turned, up)
	}
	return g
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.paths = shut, nil
}

func (g *gate) seen() ([]string, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.paths), fmt.Sprint(g.turned)
}

// run lets the lane ask whether its issuer is back.
func (g *gate) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.lane.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func faultOf(t *testing.T, err error) *credential.Fault {
	t.Helper()
	var fault *credential.Fault
	if !errors.As(err, &fault) {
		t.Fatalf("no fault: %v", err)
	}
	return fault
}

// TestASilentIssuerIsSpared: after a few calls without an answer none is made, but
// for a question whether it is back; what is not sent fails at once, as silence.
// Its answer, even a refusal, ends that.
func TestASilentIssuerIsSpared(t *testing.T) {
	t.Parallel()
	g := openGate(t, 0)
	g.set(true)
	for i := range tripAfter {
		if _, err := g.lane.Describe(t.Context(), "item"); !faultOf(t, err).Silent || errors.Is(err, errAway) {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	g.set(true) // forget what came
	// not even when the breaker would let one through: a credential's call would
	// hang in it for as long as its claim
	eventually(t, "the breaker is half open", func() bool { return g.lane.breaker.State() == gobreaker.StateHalfOpen })
	for range 100 {
		began := time.Now()
		err := g.lane.Revoke(t.Context(), credential.SeatID{Item: "item", Slot: 1})
		fault := faultOf(t, err)
		if !errors.Is(err, errAway) || fault.Class != credential.ClassRetryable || !fault.Silent || fault.Hint == "" {
			t.Fatalf("an open breaker says %+v", fault)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v to say so", took)
		}
	}
	if paths, turned := g.seen(); len(paths) != 0 || turned != "[false]" {
		t.Errorf("calls that came through: %v; told: %s", paths, turned)
	}
	g.run(t)
	eventually(t, "it is asked whether it is back", func() bool { paths, _ := g.seen(); return len(paths) >= 2 })
	if paths, turned := g.seen(); slices.ContainsFunc(paths, func(p string) bool { return !strings.HasSuffix(p, "/portals/self") }) || turned != "[false]" {
		t.Errorf("calls that came: %v; told: %s", paths, turned)
	}
	g.set(false)
	eventually(t, "it is known that it is back", func() bool { _, turned := g.seen(); return turned == "[false true]" })
	if _, err := g.lane.Describe(t.Context(), "item"); credential.ClassOf(err) != credential.ClassDenied {
		t.Errorf("a call after that: %v", err)
	}
}

// TestAnEmergencyGoesPastAnOpenBreaker: it is sent at once, its answer is told,
// and while it hangs the breaker is free to ask whether the issuer is back.
func TestAnEmergencyGoesPastAnOpenBreaker(t *testing.T) {
	t.Parallel()
	g := openGate(t, 0)
	g.set(true)
	for range tripAfter {
		_, _ = g.lane.Describe(t.Context(), "item")
	}
	emergency := context.WithValue(t.Context(), pastBreaker{}, true)
	g.set(true) // forget what came
	if _, err := g.lane.Describe(emergency, "item"); !faultOf(t, err).Silent || errors.Is(err, errAway) {
		t.Errorf("an emergency's call of a silent issuer: %v", err)
	}
	if paths, _ := g.seen(); len(paths) == 0 {
		t.Error("it was not sent")
	}
	g.set(false)
	for range 10 { // whatever the breaker thinks
		if _, err := g.lane.Describe(emergency, "item"); credential.ClassOf(err) != credential.ClassDenied {
			t.Errorf("the issuer's no is told as %v", err)
		}
	}
	if _, err := g.lane.Describe(t.Context(), "item"); !errors.Is(err, errAway) {
		t.Errorf("meanwhile a planned call ends with %v", err)
	}
	eventually(t, "the breaker is half open", func() bool { return g.lane.breaker.State() == gobreaker.StateHalfOpen })
	stuck := make(chan struct{})
	g.mu.Lock()
	g.stuck = stuck
	g.mu.Unlock()
	hung := make(chan error, 1)
	go func() { _, err := g.lane.Describe(emergency, "item"); hung <- err }()
	eventually(t, "an emergency's call hangs", func() bool {
		paths, _ := g.seen()
		return slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(p, "/content/") })
	})
	g.run(t)
	eventually(t, "it is known that it is back", func() bool { _, turned := g.seen(); return turned == "[false true]" })
	if len(hung) != 0 {
		t.Error("the call that was to hang has ended")
	}
	close(stuck)
	if err := <-hung; credential.ClassOf(err) != credential.ClassDenied {
		t.Errorf("the call that hung ends with %v", err)
	}
}

// TestWhatSaysNothingOfTheIssuerOpensNoBreaker: refusals, and calls that we broke
// off ourselves.
func TestWhatSaysNothingOfTheIssuerOpensNoBreaker(t *testing.T) {
	t.Parallel()
	g := openGate(t, 0)
	for range 3 * tripAfter {
		if _, err := g.lane.Describe(t.Context(), "item"); credential.ClassOf(err) != credential.ClassDenied {
			t.Fatal(err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 * tripAfter {
		if _, err := g.lane.Describe(cancelled, "item"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := g.lane.Describe(t.Context(), "item"); credential.ClassOf(err) != credential.ClassDenied {
		t.Errorf("after that: %v", err)
	}
}

// TestARateLimitSaysThatItIsOne: a wait that would outlive the call is not sent,
// says so in its own words, and is no silence of the issuer's.
func TestARateLimitSaysThatItIsOne(t *testing.T) {
	t.Parallel()
	g := openGate(t, 0.5)
	if _, err := g.lane.Describe(t.Context(), "item"); err == nil { // takes the turns that there are
		t.Fatal("no refusal")
	}
	g.set(false)
	for range 3 * tripAfter {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := g.lane.Issue(ctx, credential.SeatID{Item: "item", Slot: 1}, time.Now().Add(time.Hour))
		cancel()
		fault := faultOf(t, err)
		if fault.Class != credential.ClassRetryable || fault.Silent || !strings.Contains(err.Error(), "rate limit leaves no turn") || !strings.Contains(err.Error(), "rate_limit") {
			t.Fatalf("%+v: %v", fault, err)
		}
	}
	if paths, turned := g.seen(); len(paths) != 0 || turned != "[]" {
		t.Errorf("calls that came through: %v; told: %s", paths, turned)
	}
}

// TestOneSilentIssuerAndTwentyHealthyKeys: one issuer takes every connection and
// never answers, with work for it waiting all the time; on another one twenty
// keys rotate on a short period, each in time.
func TestOneSilentIssuerAndTwentyHealthyKeys(t *testing.T) {
	t.Parallel()
	const healthy, quiet, generations = 20, 20, 4
	var mu sync.Mutex
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body) // so that the end of the request is noticed
		<-r.Context().Done()
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() }) // after the daemon has ended
	w := newTown(t, fmt.Sprintf(`}
  quiet: {type: arcgis, url: "%s/sharing/rest", username: x, password: {value: y}, min_lifetime: 1s, timeout: 2s, concurrency: 8`, server.URL), "")
	d := w.daemon(t)
	for i := range quiet {
		w.apply(t, credential.Name(fmt.Sprintf("quiet/app-%d", i)), "quiet", short(time.Minute, time.Second))
	}
	policy := short(40*time.Second, time.Second)
	policy.RotateBefore = credential.Duration(32 * time.Second) // due each five to eight seconds
	for i := range healthy {
		w.apply(t, credential.Name(fmt.Sprintf("healthy/app-%d", i)), "portal", policy)
	}
	eventually(t, "every healthy key has rotated", func() bool {
		for name, s := range w.states(t, d.record) {
			if name.Namespace() == "healthy" && s.Generation < generations {
				return false
			}
		}
		return true
	})
	inTime := 0
	for name, s := range w.states(t, d.record) {
		if name.Namespace() == "quiet" {
			if s.Generation != 0 {
				t.Errorf("%s has a key", name)
			}
			continue
		}
		late := time.Duration(0)
		due := time.Time{}
		if err := d.record.History(t.Context(), name, func(e credential.Entry) error {
			if _, promoted := e.Event.Fact.(credential.Promoted); promoted {
				if !due.IsZero() {
					late = max(late, e.Event.At.Sub(due))
				}
				due = e.State.Due
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if late < 5*time.Second { // a claim's window and a bit
			inTime++
		} else {
			t.Errorf("%s rotated %v after it was due", name, late)
		}
	}
	if inTime != healthy {
		t.Errorf("%d of %d rotated in time", inTime, healthy)
	}
	mu.Lock()
	defer mu.Unlock()
	if asked == 0 || asked > 100 {
		t.Errorf("the silent issuer was asked %d times", asked)
	}
}
