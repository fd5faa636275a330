package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// portalTrouble is a portal that works, but not well.
type portalTrouble struct {
	id     string // the namespace of its credentials ends in it
	name   string
	knobs  emulator.Knobs
	faults emulator.Faults
	// met proves that the trouble was there.
	met func(p *emulator.Portal, failures []string) bool
}

const slowLead = 8 * time.Second

func troubles() []portalTrouble {
	const window = slowLead / 8 // of a claim: generating a key takes three calls, one after the other
	lost := []emulator.Rule{{Kind: emulator.FaultDrop, Path: "/sharing/rest", Act: true, Every: 10}}
	late := []emulator.Rule{{Kind: emulator.FaultDelay, Path: "/oauth2/token", Every: 7, Delay: window}}
	limited := func(status int, wait time.Duration) emulator.Knobs {
		return emulator.Knobs{ThrottleRequests: 60, ThrottleWindow: time.Second, ThrottleStatus: status, ThrottleRetryAfter: wait}
	}
	often := emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultThrottle, Path: "/sharing/rest", Every: 10}}} // on a slow machine, too
	says := func(text string) func(*emulator.Portal, []string) bool {
		return func(_ *emulator.Portal, failures []string) bool {
			return slices.ContainsFunc(failures, func(said string) bool { return strings.Contains(said, text) })
		}
	}
	return []portalTrouble{
		{id: "slow", name: "slow", faults: emulator.Faults{Latency: window / 8, Jitter: window / 4, Rules: late}, met: says("no answer in time")},
		{id: "403", name: "throttles with 403", knobs: limited(403, 0), faults: often, met: says("throttles (HTTP status 403)")},
		{id: "429", name: "throttles with 429 and Retry-After", knobs: limited(429, time.Second), faults: often, met: says("throttles (HTTP status 429)")},
		{id: "lossy", name: "loses every tenth answer after acting", faults: emulator.Faults{Rules: lost},
			met: func(p *emulator.Portal, _ []string) bool { return p.Faults().Rules[0].Fired > 20 }},
	}
}

// TestSlowThrottledAndLossyPortals takes ten credentials through their first key,
// a rotation, a change of settings and another rotation, each with an application
// at its side, at a portal that is in trouble all the while. No application is
// refused, no key is lost, and every key that the portal shows is on record.
func TestSlowThrottledAndLossyPortals(t *testing.T) {
	w := newWorld(t)
	side(t, 4, troubles(), func(x portalTrouble) string { return x.name }, func(t *testing.T, x portalTrouble) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		own := w.beside(t, emulator.Config{Knobs: x.knobs, Faults: x.faults})
		e := own.engine(t, own.ports(t), engine.Hooks{})
		var lives sync.WaitGroup
		var names []credential.Name
		for i := range 10 {
			name := credential.Name(fmt.Sprintf("trouble-%s/c%d", x.id, i))
			names = append(names, name)
			l := own.begin(t, e, name, credential.ItemSpec{Privileges: []string{"premium:user:basemaps"}}, own.policy(t, lifetime, slowLead, drain))
			lives.Go(func() {
				app := own.watch(t, name, drain, 20*time.Millisecond)
				for generation, step := range []func(){
					func() {}, func() { own.rotate(t, name) }, func() { l.declare(t, "premium:user:geocode") }, func() { own.rotate(t, name) },
				} {
					step()
					if err := drive(ctx, e, name, ended(uint64(generation+1))); err != nil {
						t.Error(err)
						return
					}
				}
				app.check(t)
			})
		}
		lives.Wait()
		met := x.met(own.portal, own.failures(t, names))
		must(t, own.portal.SetFaults(emulator.Faults{}))
		for _, name := range names {
			own.checkRest(t, name, 4)
		}
		if !met {
			t.Error("the portal was in no trouble")
		}
		if left := leftItems(t, own); left > 0 {
			t.Errorf("%d items are left over, of %d successions", left, len(names))
		}
	})
}

// failures lists what failed, as it stands on record.
func (w *world) failures(t testing.TB, names []credential.Name) (said []string) {
	t.Helper()
	for _, name := range names {
		for _, entry := range w.history(t, name) {
			if f, ok := entry.Event.Fact.(credential.Failed); ok {
				said = append(said, f.Failure.Message)
			}
		}
	}
	return said
}
