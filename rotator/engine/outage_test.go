package engine_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestTimeInWhichVaultWasAwayDoesNotCountAsDrained: applications could not fetch
// the new key, so the old one lives that much longer.
func TestTimeInWhichVaultWasAwayDoesNotCountAsDrained(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("maps/outage")
	const drain, away = 2 * time.Second, 1500 * time.Millisecond
	w.register(t, name, w.policy(t, lifetime, 8*time.Second, drain))
	e := w.engine(t, w.ports(t), engine.Hooks{})
	must(t, drive(t.Context(), e, name, ended(1)))
	w.command(t, name, credential.RequestRotation{ID: engine.NewID(), Actor: "test", Now: true})
	must(t, drive(t.Context(), e, name, func(r engine.Result) bool { return r.State.Generation == 2 }))

	promoted := time.Now()
	e.StoreReachable(false, promoted)
	e.StoreReachable(true, promoted.Add(away))
	must(t, drive(t.Context(), e, name, ended(2)))

	var prolonged *credential.Drifted
	for _, entry := range w.history(t, name) {
		switch f := entry.Event.Fact.(type) {
		case credential.Drifted:
			if f.Finding.Kind == credential.FindingVaultOutage {
				prolonged = &f
			}
		case credential.Retiring:
			if kept := entry.Event.At.Sub(promoted); kept < drain+away-100*time.Millisecond {
				t.Errorf("the old key was given %v, want the drain of %v and the outage of %v", kept, drain, away)
			}
		}
	}
	if prolonged == nil || prolonged.Outage.Std() < away-100*time.Millisecond || prolonged.Outage.Std() > away+100*time.Millisecond {
		t.Errorf("the outage is not on record as it was: %+v", prolonged)
	}
}
