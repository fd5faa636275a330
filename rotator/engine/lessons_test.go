package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestLesson01NothingIsRevokedWhileTheKeyThatWasRolledOutDoesNotWork: what
// applications were given is no good, and nobody has said so yet.
func TestLesson01NothingIsRevokedWhileTheKeyThatWasRolledOutDoesNotWork(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "lesson/one", drain)
	s.app.check(t) // it would meet the dead key
	old, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	w.rotate(t, s.name)
	s.until(t, func(r engine.Result) bool { return r.State.Generation == 2 })
	rolledOut := s.primary(t)
	must(t, w.portal.InvalidateByHand(rolledOut.Item, rolledOut.Slot))
	s.until(t, func(r engine.Result) bool { return r.State.Failure != nil && r.State.Failure.Attempts >= 3 })
	if n := w.destructive(t, s.name); n != 0 || !w.portal.KeyWorks(old.Primary.Secret.Reveal(), "") {
		t.Fatalf("%d claims to revoke; the old key works: %v", n, w.portal.KeyWorks(old.Primary.Secret.Reveal(), ""))
	}
	inspect(s.ctx, t, s.engine, s.name) // the sweep asks the portal, and a working key follows
	s.until(t, func(r engine.Result) bool { return r.State.Generation == 3 })
	stored, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	if !w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") {
		t.Error("Vault's primary does not work after the heal")
	}
}

// TestLesson02AHoldIsEnforcedByTheAppendOfTheDestroyingClaim: the hold comes
// between the last look at the record and the append, of a claim to revoke and
// of one that takes it over.
func TestLesson02AHoldIsEnforcedByTheAppendOfTheDestroyingClaim(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name    credential.Name
		append  credential.EventType
		claimed int // claims to revoke, before the hold
	}{
		{"lesson/hold-claim", credential.TypeRetiring, 0},
		{"lesson/hold-take-over", credential.TypeStepClaimed, 1},
	} {
		t.Run(string(c.append), func(t *testing.T) {
			s := w.standing(t, c.name, drain)
			w.rotate(t, s.name)
			if c.claimed > 0 {
				dying := w.tap(t, func(c call) mode {
					if c.what == "issuer.Revoke" {
						return stopBefore
					}
					return pass
				})
				if err := drive(s.ctx, w.engine(t, dying.ports(), engine.Hooks{}), s.name, ended(2)); !errors.Is(err, errStopped) {
					t.Fatalf("the daemon was not stopped: %v", err)
				}
			}
			racing := w.tap(t, func(met call) mode {
				if met.what == "record.Append "+string(c.append) && met.n == 0 {
					w.command(t, s.name, credential.PutHold{Actor: "test", Reason: "a moment before"})
				}
				return pass
			})
			s.engine = w.engine(t, racing.ports(), engine.Hooks{})
			s.until(t, held)
			if n := w.destructive(t, s.name); n != c.claimed {
				t.Errorf("%d claims to revoke under the hold, want %d", n, c.claimed)
			}
			if slices.ContainsFunc(racing.calls, func(c call) bool { return c.what == "issuer.Revoke" }) {
				t.Error("the key was revoked under the hold")
			}
			w.command(t, s.name, credential.Release{Actor: "test"})
			s.until(t, ended(2))
			w.checkEnd(t, s.name, 2)
			s.app.check(t)
		})
	}
}

func TestLesson06ThreeReplicasRotateOnce(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "lesson/six", drain)
	w.rotate(t, s.name)
	var group sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		e := w.engine(t, w.ports(t), engine.Hooks{})
		group.Go(func() { errs[i] = drive(s.ctx, e, s.name, ended(2)) })
	}
	group.Wait()
	must(t, errors.Join(errs...))
	w.checkOneWinner(t, s.name, 2)
	w.checkEnd(t, s.name, 2)
	for _, entry := range w.history(t, s.name) {
		if f, ok := entry.Event.Fact.(credential.Promoted); ok && (!f.Due.After(entry.Event.At) || !f.Due.Before(f.Expires)) {
			t.Errorf("promoted at %v, due %v, expires %v", entry.Event.At, f.Due, f.Expires)
		}
	}
	s.app.check(t)
}

// TestLesson08ConsumersGetBothKeysThroughoutTheOverlap looks at what Vault shows
// to applications: the coming key before it is promoted, the going one after it.
func TestLesson08ConsumersGetBothKeysThroughoutTheOverlap(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "lesson/eight", 3*time.Second)
	path := "secret/data/" + w.prefix + "/" + string(s.name)
	both := func(when string) (primary, secondary string) {
		t.Helper()
		fields, _ := w.vault.Look(t, path)["data"].(map[string]any)
		primary, _ = fields["api_key"].(string)
		secondary, _ = fields["secondary_api_key"].(string)
		if !w.portal.KeyWorks(primary, "") || !w.portal.KeyWorks(secondary, "") || primary == secondary {
			t.Errorf("%s: the primary works: %v, the secondary works: %v, they are one: %v", when,
				w.portal.KeyWorks(primary, ""), w.portal.KeyWorks(secondary, ""), primary == secondary)
		}
		return primary, secondary
	}
	var coming string
	watching := w.tap(t, func(c call) mode {
		if c.what == "record.Append "+string(credential.TypeIssued) {
			_, coming = both("before the promotion")
		}
		return pass
	})
	s.engine = w.engine(t, watching.ports(), engine.Hooks{})
	old, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	w.rotate(t, s.name)
	s.until(t, func(r engine.Result) bool { return r.State.Generation == 2 })
	primary, secondary := both("in the drain")
	if primary != coming || secondary != old.Primary.Secret.Reveal() {
		t.Errorf("in the drain Vault shows the new key: %v, the old one: %v", primary == coming, secondary == old.Primary.Secret.Reveal())
	}
	s.app.check(t)
}

// TestLesson09TheIntentIsOnRecordBeforeTheIssuerIsCalled: each change at the
// issuer is claimed, and one whose result could not be kept locks nobody out.
func TestLesson09TheIntentIsOnRecordBeforeTheIssuerIsCalled(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("lesson/nine")
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	w.register(t, name, w.policy(t, lifetime, lead, drain))
	op := map[string]credential.Operation{
		"issuer.EnsureItem": credential.OpCreateItem, "issuer.Issue": credential.OpGenerate, "issuer.Revoke": credential.OpRevoke,
	}
	met := map[string]int{}
	looking := func(after func(call) mode) func(call) mode {
		return func(c call) mode {
			if want, changes := op[c.what]; changes {
				met[c.what]++
				state, _, err := w.record.Load(t.Context(), name)
				must(t, err)
				if !slices.ContainsFunc(state.Claims, func(claim credential.Claim) bool { return claim.Op == want }) {
					t.Errorf("%s without a claim on record: %+v", c, state.Claims)
				}
			}
			return after(c)
		}
	}
	dying := w.tap(t, looking(func(c call) mode {
		if c.what == "issuer.Issue" {
			return stopAfter // the key is made, and lost
		}
		return pass
	}))
	if err := drive(ctx, w.engine(t, dying.ports(), engine.Hooks{}), name, ended(1)); !errors.Is(err, errStopped) {
		t.Fatalf("the daemon was not stopped: %v", err)
	}
	next := w.tap(t, looking(func(call) mode { return pass }))
	e := w.engine(t, next.ports(), engine.Hooks{})
	must(t, drive(ctx, e, name, ended(1)))
	w.rotate(t, name)
	must(t, drive(ctx, e, name, ended(2)))
	if met["issuer.EnsureItem"] != 1 || met["issuer.Issue"] != 3 || met["issuer.Revoke"] != 1 {
		t.Errorf("calls that change the issuer: %v", met)
	}
	w.checkEnd(t, name, 2)
}

// TestLesson14NotYetIsNotWrong: a portal that accepts a new key a little later
// gets no second one made; a key that is wrong is not promoted.
func TestLesson14NotYetIsNotWrong(t *testing.T) {
	w := newWorld(t)
	must(t, w.portal.SetKnobs(emulator.Knobs{NewKeyDelay: 300 * time.Millisecond})) // patience is an eighth of the lead
	s := w.standing(t, "lesson/fourteen", drain)
	w.rotate(t, s.name)
	s.until(t, ended(2))
	w.checkOneWinner(t, s.name, 2)
	for _, entry := range w.history(t, s.name) {
		if f, ok := entry.Event.Fact.(credential.Failed); ok {
			t.Errorf("an attempt failed: %s", f.Failure.Message)
		}
	}
	w.checkEnd(t, s.name, 2)

	must(t, w.portal.SetFaults(emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultError, Path: "portals/self", Code: 498}}}))
	w.rotate(t, s.name)
	s.until(t, func(r engine.Result) bool { return r.State.Failure != nil })
	result, err := s.engine.Pass(s.ctx, s.name)
	must(t, err)
	if f := result.State.Failure; f == nil || f.Step != credential.StepVerify || f.Class != credential.ClassDenied || result.State.Generation != 2 {
		t.Errorf("generation %d, failure %+v; want a verify that was denied", result.State.Generation, f)
	}
	s.app.check(t)
}

// TestTrapALockThatIsShorterThanTheWork: a daemon that was held up makes no call
// under a claim whose window is over.
func TestTrapALockThatIsShorterThanTheWork(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "trap/lock", drain)
	late := &shifted{}
	claims := 0
	slow := w.tap(t, func(c call) mode {
		switch {
		case strings.HasPrefix(c.what, "record.Append"):
			claims++
		case c.what == "issuer.Describe" && c.n == 0:
			late.by(time.Second) // longer than the window
		case c.what == "issuer.Issue" && claims < 2:
			t.Errorf("%s is made under a claim whose window is over", c)
		}
		return pass
	})
	w.rotate(t, s.name)
	s.engine = w.engineAt(t, slow.ports(), late.now)
	s.until(t, ended(2))
	w.checkEnd(t, s.name, 2)
	s.app.check(t)
}

// TestTrapDeleteBeforeCreate: in the order of the calls of a whole rotation the
// old key dies last.
func TestTrapDeleteBeforeCreate(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "trap/order", drain)
	all := w.tap(t, func(call) mode { return pass })
	s.engine = w.engine(t, all.ports(), engine.Hooks{})
	w.rotate(t, s.name)
	s.until(t, ended(2))
	order := []string{
		"issuer.Issue", "store.Write", "issuer.Probe", "record.Append " + string(credential.TypeIssued), "record.Append " + string(credential.TypePromoted),
		"issuer.Probe", "record.Append " + string(credential.TypeRetiring), "store.Write", "issuer.Revoke",
	}
	left := all.calls
	for _, what := range order {
		i := slices.IndexFunc(left, func(c call) bool { return c.what == what })
		if i < 0 {
			t.Fatalf("no %s in its place: %v", what, all.calls)
		}
		for _, early := range left[:i] {
			if what != "issuer.Revoke" && (early.what == "issuer.Revoke" || early.what == "store.Destroy") {
				t.Errorf("%s comes before %s", early, what)
			}
		}
		left = left[i+1:]
	}
	s.app.check(t)
}

// TestLesson16OneBadKeyDoesNotStopTheOthers: a portal that refuses one
// credential is no reason to stop another.
func TestLesson16OneBadKeyDoesNotStopTheOthers(t *testing.T) {
	w := newWorld(t)
	bad, good := w.standing(t, "lesson/bad", drain), w.standing(t, "lesson/good", drain)
	good.engine = bad.engine
	must(t, w.portal.SetFaults(emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultError, Path: bad.primary(t).Item, Code: 400}}}))
	w.rotate(t, bad.name)
	w.rotate(t, good.name)
	bad.until(t, func(r engine.Result) bool { return r.State.Failure != nil && r.State.Failure.Attempts >= 2 })
	good.until(t, ended(2))
	w.checkEnd(t, good.name, 2)
	if got := bad.primary(t); got.Mint != 1 {
		t.Errorf("the bad one's primary is %+v", got)
	}
	bad.app.check(t)
	good.app.check(t)
}
