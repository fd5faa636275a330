package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
)

// health is where a daemon serves /readyz.
func (r *resident) health(t *testing.T) string {
	t.Helper()
	var address string
	eventually(t, "it says where its health is", func() bool {
		for _, line := range r.logs.FilterMessage("metrics and health").All() {
			address = fmt.Sprint(line.ContextMap()["address"])
		}
		return address != ""
	})
	return address
}

// readyz waits until /readyz has this status and says all of these words.
func (r *resident) readyz(t *testing.T, want int, words ...string) {
	t.Helper()
	health := r.health(t)
	eventually(t, fmt.Sprintf("/readyz says %d %v", want, words), func() bool {
		status, body := get(t, health+"/readyz")
		for _, word := range words {
			if !strings.Contains(body, word) {
				return false
			}
		}
		return status == want
	})
}

// TestReadyzTellsTheTruth: what is lost is named, and is ready again when it is
// back.
func TestReadyzTellsTheTruth(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	d.readyz(t, 200, "ready")

	w.vault.Seal(t)
	d.readyz(t, 503, "vault:", "sealed", "try:")
	w.vault.Unseal(t)
	d.readyz(t, 200)

	w.nats.Shutdown()
	d.readyz(t, 503, "nats: disconnected")
	w.nats.Restart(t)
	d.readyz(t, 200)

	if err := w.nats.DisableJetStream(); err != nil { // the connection stays, the record cannot be read
		t.Fatal(err)
	}
	d.readyz(t, 503, "record: ")
	if status, body := get(t, d.health(t)+"/readyz"); status != 503 || strings.Contains(body, "nats:") {
		t.Errorf("without JetStream /readyz says %d: %s", status, body)
	}
	if status, _ := get(t, d.health(t)+"/healthz"); status != 200 {
		t.Errorf("/healthz: %d, want 200: it is alive", status)
	}
	w.nats.Restart(t)
	d.readyz(t, 200)
}

// TestStartWithAPortalThatIsAway: it is ready all the same, says so, and does the
// work as soon as the portal answers, with no wait for back-offs of an hour.
func TestStartWithAPortalThatIsAway(t *testing.T) {
	t.Parallel()
	const credentials = 12
	const perSecond = 60
	w := newTown(t, fmt.Sprintf(", concurrency: 6, rate_limit: %d", perSecond), "")
	w.hush()
	d := w.daemon(t)
	d.readyz(t, 200)
	policy := short(24*time.Hour, time.Second) // back-offs of up to an hour
	for i := range credentials {
		w.apply(t, credential.Name(fmt.Sprintf("team/app-%d", i)), "portal", policy)
	}
	eventually(t, "it says that the issuer does not answer", func() bool { return d.logs.FilterMessageSnippet("does not answer").Len() == 1 })
	eventually(t, "all have failed, and wait", func() bool {
		for _, s := range w.states(t, d.record) {
			if s.Failure == nil || !s.Failure.Silent {
				return false
			}
		}
		return true
	})
	if got := counted(t, d.metrics, "keyturn_issuer_up", "portal"); got != 0 {
		t.Errorf("keyturn_issuer_up is %v", got)
	}
	soonest := time.Hour
	for _, s := range w.states(t, d.record) {
		soonest = min(soonest, time.Until(s.Failure.Next))
	}
	w.speak()
	began := time.Now()
	eventually(t, "all have their key", func() bool {
		for _, s := range w.states(t, d.record) {
			if s.Generation == 0 {
				return false
			}
		}
		return true
	})
	calls := w.calls(began)
	if most := perSecond*time.Since(began).Seconds() + 2*perSecond; float64(len(calls)) > most { // and the burst of a second, before and after
		t.Errorf("%d calls in %v at a limit of %d a second", len(calls), time.Since(began), perSecond)
	}
	if took := time.Since(began); took > soonest {
		t.Errorf("all have their key %v after the portal was back; the first back-off would have ended after %v", took, soonest)
	}
	if got := counted(t, d.metrics, "keyturn_issuer_up", "portal"); got != 1 {
		t.Errorf("keyturn_issuer_up is %v", got)
	}
}

// TestAnEndLeavesNothingBehind: a daemon that is told to end while a call hangs
// ends within its bound, and another one goes on with what it left.
func TestAnEndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	first := w.daemon(t)
	w.hush()
	w.apply(t, "team/app", "portal", short(2*time.Minute, time.Second)) // a claim of five seconds
	eventually(t, "a claim is open", func() bool { return first.beat().Lanes["portal"].Holds == 1 })
	began := time.Now()
	if err := first.end(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v to end", took)
	}
	second := w.daemon(t)
	w.speak()
	eventually(t, "the other one has issued the key", func() bool {
		state, _, err := second.record.Load(t.Context(), "team/app")
		return err == nil && state.Generation == 1
	})
}

// TestAPanicInAPartIsAnError of the whole, with its stack.
func TestAPanicInAPartIsAnError(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := newDaemon(w.load(t), w.calendar, zap.NewNop(), serveOptions{})
	d.metrics.claims = nil // the first event that is noted panics
	d.scheduler = nil
	ended := make(chan error, 1)
	go func() { ended <- d.serve(t.Context()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "panicked") || !strings.Contains(err.Error(), ".go:") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it goes on")
	}
}

// TestAJumpOfTheClockLeadsToASweep at once, not by the spec's next firing.
func TestAJumpOfTheClockLeadsToASweep(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", `, sweep: "0 0 1 1 *"`) // once a year
	d := w.daemon(t)
	began := time.Now()
	d.jumped(8 * time.Hour)
	eventually(t, "the issuer's list was read", func() bool {
		for _, c := range w.calls(began) {
			if strings.HasSuffix(c.path, "/apiTokens") {
				return true
			}
		}
		return false
	})
	if n := d.logs.FilterMessageSnippet("the clock has jumped").Len(); n != 1 {
		t.Errorf("told %d times", n)
	}
}
