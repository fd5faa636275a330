package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

func held(r engine.Result) bool {
	return r.Next.Kind == credential.StepWait && r.Next.Reason == credential.ReasonHeld
}

// destructive counts the claims to revoke.
func (w *world) destructive(t testing.TB, name credential.Name) (n int) {
	t.Helper()
	for _, entry := range w.history(t, name) {
		for _, claim := range claimsOf(entry.Event.Fact) {
			if claim.Op == credential.OpRevoke {
				n++
			}
		}
	}
	return n
}

func TestAHoldInADrainKeepsTheOldKeyUntilTheRelease(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "hold/drain", drain)
	old, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	w.rotate(t, s.name)
	s.until(t, func(r engine.Result) bool { return r.State.Generation == 2 })
	w.command(t, s.name, credential.PutHold{Actor: "test", Reason: "an audit"})
	s.until(t, held)
	// long after the drain
	end := time.Now().Add(3 * drain)
	s.until(t, func(r engine.Result) bool {
		if !held(r) {
			t.Errorf("not held: %+v", r.Next)
		}
		return time.Now().After(end)
	})
	if n := w.destructive(t, s.name); n != 0 || !w.portal.KeyWorks(old.Primary.Secret.Reveal(), "") {
		t.Errorf("%d claims to revoke were appended under the hold", n)
	}
	w.command(t, s.name, credential.Release{Actor: "test"})
	s.until(t, ended(2))
	if n := w.destructive(t, s.name); n != 1 {
		t.Errorf("%d claims to revoke after the release, want 1", n)
	}
	w.checkEnd(t, s.name, 2)
	s.app.check(t)
}

// TestAHoldAgainstAClaim puts the hold between the last look at the record and
// the append of the claim: the append meets it.
func TestAHoldAgainstAClaim(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "hold/race", drain)
	w.rotate(t, s.name)
	racing := w.tap(t, func(c call) mode {
		if c.what == "record.Append "+string(credential.TypeRetiring) && c.n == 0 {
			w.command(t, s.name, credential.PutHold{Actor: "test", Reason: "a moment before"})
		}
		return pass
	})
	s.engine = w.engine(t, racing.ports(), engine.Hooks{})
	s.until(t, held)
	if n := w.destructive(t, s.name); n != 0 {
		t.Errorf("%d claims to revoke were appended under the hold", n)
	}
	w.command(t, s.name, credential.Release{Actor: "test"})
	s.until(t, ended(2))
	w.checkEnd(t, s.name, 2)
	s.app.check(t)
}

func TestAHoldAllowsNaturalExpiry(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("hold/expiry")
	// the first key lives so short that it ends by itself under the hold
	w.register(t, name, w.policy(t, 6*time.Second, 3*time.Second, drain))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s := &standing{world: w, name: name, engine: w.engine(t, w.ports(t), engine.Hooks{}), ctx: ctx}
	s.until(t, ended(1))
	s.app = w.watch(t, name, drain, 5*time.Millisecond)
	w.command(t, name, credential.Register{Actor: "test", Spec: specOf(string(name), w.policy(t, lifetime, lead, drain))})
	w.command(t, name, credential.PutHold{Actor: "test", Reason: "an audit"})
	w.rotate(t, name)
	s.until(t, func(r engine.Result) bool { return r.State.Generation == 2 && len(r.State.Seats) == 1 })
	s.app.check(t)
	if n := w.destructive(t, name); n != 0 {
		t.Errorf("%d claims to revoke were appended under the hold", n)
	}
	entries := w.history(t, name)
	if f, ok := entries[len(entries)-1].Event.Fact.(credential.Invalidated); !ok || f.How != credential.HowExpired {
		t.Errorf("the last event is %+v", entries[len(entries)-1].Event.Fact)
	}
	w.checkVersions(t, name)
	w.checkHistory(t, name)
}
