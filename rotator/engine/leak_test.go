package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

func compromise(key string, change ...func(*credential.Compromise)) credential.Compromise {
	c := credential.Compromise{Actor: "oncall", Reason: "in a log", Request: "r", Key: key}
	for _, f := range change {
		f(&c)
	}
	return c
}

func immediately(c *credential.Compromise) { c.Immediately = true }

// safe is the end of an emergency.
func safe(r engine.Result) bool {
	_, ok := r.State.Primary()
	return ok && !r.State.Emergency()
}

// living is a credential whose key lives a day and would drain for an hour.
func (w *world) living(ctx context.Context, t testing.TB, name credential.Name, change ...func(*arcgis.Config)) (*engine.Engine, credential.Key) {
	t.Helper()
	w.register(t, name, w.policy(t, 24*time.Hour, 4*time.Hour, time.Hour))
	e := w.engine(t, w.ports(t, change...), engine.Hooks{})
	must(t, drive(ctx, e, name, ended(1)))
	stored, err := w.store.Read(ctx, name)
	must(t, err)
	return e, stored.Primary
}

// after lists the types of events since the last key.compromised, itself included.
func (w *world) after(t testing.TB, name credential.Name) []credential.EventType {
	t.Helper()
	var types []credential.EventType
	for _, entry := range w.history(t, name) {
		kind := entry.Event.Fact.Type()
		if kind == credential.TypeCompromised {
			types = nil
		}
		types = append(types, kind)
	}
	return types
}

func expect(t testing.TB, got []credential.EventType, want ...credential.EventType) {
	t.Helper()
	same := len(got) == len(want)
	for i := range want {
		same = same && got[i] == want[i]
	}
	if !same {
		t.Errorf("the events are\n%v, want\n%v", got, want)
	}
}

// TestALeakedPrimaryIsReplacedAndThenDies: the drain would be an hour; nobody
// waits for it, and no application is left without a key.
func TestALeakedPrimaryIsReplacedAndThenDies(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("leak/primary")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, old := w.living(ctx, t, name)
	app := w.watch(t, name, 0, time.Millisecond)
	<-app.first

	w.command(t, name, compromise(string(old.Fingerprint)))
	must(t, drive(ctx, e, name, safe))
	expect(t, w.after(t, name), credential.TypeCompromised, credential.TypeStarted, credential.TypeIssued,
		credential.TypePromoted, credential.TypeRetiring, credential.TypeInvalidated)
	if w.portal.KeyWorks(old.Secret.Reveal(), "") {
		t.Error("the leaked key still works")
	}
	w.checkEnd(t, name, 2)
	app.check(t)
}

// TestAKeyDiesImmediatelyThoughVaultIsSealed: the portal is all that it takes, and
// the replacement follows when Vault is back.
func TestAKeyDiesImmediatelyThoughVaultIsSealed(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("leak/sealed")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	e, old := w.living(ctx, t, name)

	w.vault.Seal(t)
	w.command(t, name, compromise(credential.KeyPrimary, immediately))
	must(t, drive(ctx, e, name, func(r engine.Result) bool { return r.State.Failure != nil }))
	if w.portal.KeyWorks(old.Secret.Reveal(), "") {
		t.Error("the leaked key still works")
	}
	state, err := e.Look(ctx, name)
	must(t, err)
	if primary, ok := state.Primary(); ok || !state.Emergency() {
		t.Errorf("the record names %+v as the primary, emergency %v", primary, state.Emergency())
	}
	if wait := state.Failure.Next.Sub(state.Failure.Last); wait > time.Second {
		t.Errorf("the next attempt is %s away", wait)
	}
	w.vault.Unseal(t)
	must(t, w.store.Login(ctx))
	must(t, drive(ctx, e, name, safe))
	w.checkEnd(t, name, 2)
}

// TestALeakIsDealtWithAsSoonAsThePortalAnswers: what could not be done is on
// record with why, and goes on whatever the back-off would be.
func TestALeakIsDealtWithAsSoonAsThePortalAnswers(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("leak/silent")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	e, _ := w.living(ctx, t, name, func(c *arcgis.Config) { c.Timeout = 200 * time.Millisecond })
	must(t, w.portal.SetFaults(emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultError, Path: "/sharing/rest"}}}))

	w.command(t, name, compromise(credential.KeyPrimary))
	must(t, drive(ctx, e, name, func(r engine.Result) bool { return r.State.Failure != nil && r.State.Failure.Attempts == 3 }))
	state, err := e.Look(ctx, name)
	must(t, err)
	if f := state.Failure; f.Message == "" || f.Next.Sub(f.Last) > 4*time.Second || len(state.Leaked()) != 1 {
		t.Errorf("failure %+v, leaked %+v", f, state.Leaked())
	}
	must(t, w.portal.SetFaults(emulator.Faults{}))
	must(t, drive(ctx, e, name, safe))
	w.checkEnd(t, name, 2)
}

// TestAnEmergencyDoesNotWaitForAKeyThatSettles: the new key of a rotation would be
// proven for a quarter of an hour yet. The leaked one dies now; the new one takes
// over as soon as the issuer accepts it, since what applications have is dead.
func TestAnEmergencyDoesNotWaitForAKeyThatSettles(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("leak/settling")
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	e, old := w.living(ctx, t, name)
	slow := specOf(string(name), w.policy(t, 24*time.Hour, 4*time.Hour, time.Hour))
	slow.Policy.Settle = credential.Duration(15 * time.Minute)
	w.command(t, name, credential.Register{Actor: "test", Spec: slow})
	w.rotate(t, name)
	must(t, drive(ctx, e, name, func(r engine.Result) bool { return r.Next.Why == "the new key is settling" }))

	w.command(t, name, compromise(credential.KeyPrimary, immediately))
	must(t, drive(ctx, e, name, safe))
	expect(t, w.after(t, name), credential.TypeCompromised, credential.TypeRetiring, credential.TypeInvalidated,
		credential.TypeIssued, credential.TypePromoted)
	if w.portal.KeyWorks(old.Secret.Reveal(), "") {
		t.Error("the leaked key still works")
	}
	w.checkEnd(t, name, 2)
}

// TestTheKeyBeforeTakesOverAgain: during a drain the old key is proven and in
// Vault, so it is promoted at once; one that the portal has killed meanwhile is
// not, and a new one is made in its place.
func TestTheKeyBeforeTakesOverAgain(t *testing.T) {
	w := newWorld(t)
	for what, dead := range map[string]bool{"alive": false, "dead": true} {
		t.Run(what, func(t *testing.T) {
			name := credential.Name("leak/" + what)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			e, old := w.living(ctx, t, name)
			w.rotate(t, name)
			must(t, drive(ctx, e, name, func(r engine.Result) bool { return r.State.Generation == 2 }))
			leaked, err := w.store.Read(ctx, name)
			must(t, err)
			if dead {
				must(t, w.issuer(t).Revoke(ctx, old.Seat))
			}
			w.command(t, name, compromise(credential.KeyPrimary))
			must(t, drive(ctx, e, name, safe))
			now, err := w.store.Read(ctx, name)
			must(t, err)
			if again := now.Primary.Secret == old.Secret; again == dead || w.portal.KeyWorks(leaked.Primary.Secret.Reveal(), "") {
				t.Errorf("the old key took over: %v; the leaked one works: %v", again, w.portal.KeyWorks(leaked.Primary.Secret.Reveal(), ""))
			}
			w.checkEnd(t, name, 3)
		})
	}
}

// TestCallsOfAnEmergencyAreMarked, so that no breaker holds them up.
func TestCallsOfAnEmergencyAreMarked(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("leak/urgent")
	ports := w.ports(t)
	marks := &marking{Issuer: ports.issuer}
	ports.issuer = marks
	w.register(t, name, w.policy(t, 24*time.Hour, 4*time.Hour, time.Hour))
	e := w.engine(t, ports, engine.Hooks{})
	must(t, drive(t.Context(), e, name, ended(1)))
	if marks.urgent != 0 || marks.planned == 0 {
		t.Errorf("%d urgent and %d planned calls before", marks.urgent, marks.planned)
	}
	planned := marks.planned
	w.command(t, name, compromise(credential.KeyPrimary))
	must(t, drive(t.Context(), e, name, safe))
	if marks.urgent == 0 || marks.planned != planned {
		t.Errorf("%d urgent and %d planned calls in the emergency", marks.urgent, marks.planned-planned)
	}
}

// marking counts calls that belong to an emergency, and others.
type marking struct {
	engine.Issuer
	urgent, planned int
}

func (m *marking) note(ctx context.Context) {
	if engine.Urgent(ctx) {
		m.urgent++
	} else {
		m.planned++
	}
}

func (m *marking) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error) {
	m.note(ctx)
	return m.Issuer.Issue(ctx, seat, expires)
}

func (m *marking) Revoke(ctx context.Context, seat credential.SeatID) error {
	m.note(ctx)
	return m.Issuer.Revoke(ctx, seat)
}
