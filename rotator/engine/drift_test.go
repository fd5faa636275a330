package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// standing is a credential with its first key, an engine and an application.
type standing struct {
	*world
	name   credential.Name
	engine *engine.Engine
	app    *app
	ctx    context.Context
}

func (w *world) standing(t testing.TB, name credential.Name, drain time.Duration) *standing {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	w.register(t, name, w.policy(t, lifetime, lead, drain))
	s := &standing{world: w, name: name, engine: w.engine(t, w.ports(t), engine.Hooks{}), ctx: ctx}
	s.until(t, ended(1))
	s.app = w.watch(t, name, drain, 5*time.Millisecond)
	<-s.app.first
	return s
}

func (s *standing) until(t testing.TB, done func(engine.Result) bool) {
	t.Helper()
	must(t, drive(s.ctx, s.engine, s.name, done))
}

func (s *standing) primary(t testing.TB) credential.Seat {
	t.Helper()
	state, err := s.engine.Look(s.ctx, s.name)
	must(t, err)
	primary, _ := state.Primary()
	return primary
}

// drift lists what was found, in order.
func (s *standing) drift(t testing.TB) []credential.FindingKind {
	t.Helper()
	var kinds []credential.FindingKind
	for _, entry := range s.history(t, s.name) {
		if f, ok := entry.Event.Fact.(credential.Drifted); ok {
			kinds = append(kinds, f.Finding.Kind)
		}
	}
	return kinds
}

func (s *standing) wantDrift(t testing.TB, want ...credential.FindingKind) {
	t.Helper()
	got := s.drift(t)
	if len(got) != len(want) {
		t.Fatalf("found %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("found %v, want %v", got, want)
		}
	}
}

// blocked is a pass that waits for an operator.
func blocked(r engine.Result) bool {
	return r.Next.Kind == credential.StepWait && r.Next.Reason == credential.ReasonDrift
}

func TestAKeyMadeByHandInTheIdleSlotStaysAlive(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/unknown-key", drain)
	before := s.primary(t)
	stranger, err := w.issuer(t).Issue(s.ctx, before.Sibling(), time.Now().Add(time.Hour))
	must(t, err)
	hand := stranger.Key.Reveal()
	w.rotate(t, s.name)
	s.until(t, ended(2))
	s.wantDrift(t, credential.FindingUnknownKey, credential.FindingItemInUse) // so the old item stays
	after := s.primary(t)
	if after.Item == before.Item {
		t.Errorf("the new key is on %s, the item with the unknown key", after.SeatID)
	}
	if !w.portal.KeyWorks(hand, "") {
		t.Error("the key made by hand was killed")
	}
	s.app.check(t)
	w.checkHistory(t, s.name)
	w.checkVersions(t, s.name)
	// the old item keeps the stranger's key, and the next rotation leaves it alone
	w.rotate(t, s.name)
	s.until(t, ended(3))
	if !w.portal.KeyWorks(hand, "") {
		t.Error("the key made by hand was killed by the second rotation")
	}
	if got := s.primary(t); got.Item != after.Item {
		t.Errorf("the second rotation went to item %s, not to the other slot of %s", got.Item, after.Item)
	}
}

func TestAVaultValueChangedByHandStopsPlannedSteps(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/vault-changed", drain)
	before := s.primary(t)
	path := "secret/data/" + w.prefix + "/" + string(s.name)
	fields, _ := w.vault.Look(t, path)["data"].(map[string]any)
	stored, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	s.app.check(t)
	fields["api_key"] = "by-hand-" + uuid.NewString()
	w.vault.Do(t, path, map[string]any{"data": fields, "options": map[string]any{"cas": stored.Version}})

	w.rotate(t, s.name)
	s.until(t, blocked)
	s.wantDrift(t, credential.FindingVaultChanged)
	// whatever time passes, nothing more is done
	length := len(w.history(t, s.name))
	for range 20 {
		result, err := s.engine.Pass(s.ctx, s.name)
		must(t, err)
		if !blocked(result) {
			t.Fatalf("it went on: %+v", result.Next)
		}
	}
	if got := len(w.history(t, s.name)); got != length {
		t.Errorf("%d events were added while it was blocked", got-length)
	}
	if !w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") || s.primary(t) != before {
		t.Error("the primary was touched")
	}

	w.rotate(t, s.name) // the operator has looked
	s.until(t, ended(2))
	w.checkEnd(t, s.name, 2)
}

func TestADeletedVaultSecretStopsPlannedSteps(t *testing.T) {
	w := newWorld(t)
	for _, how := range []string{"data", "metadata"} {
		t.Run(how, func(t *testing.T) {
			s := w.standing(t, credential.Name("drift/vault-"+how), drain)
			before := s.primary(t)
			stored, err := w.store.Read(t.Context(), s.name)
			must(t, err)
			s.app.check(t)
			w.vault.Delete(t, "secret/"+how+"/"+w.prefix+"/"+string(s.name))
			w.rotate(t, s.name)
			s.until(t, blocked)
			s.wantDrift(t, credential.FindingVaultMissing)
			if !w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") || s.primary(t) != before {
				t.Error("the primary was touched")
			}
			w.rotate(t, s.name)
			s.until(t, ended(2))
			w.checkEnd(t, s.name, 2)
		})
	}
}

func TestAPrimaryThatThePortalCallsInactiveIsReplaced(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/refused", drain)
	s.app.check(t)
	before := s.primary(t)
	must(t, w.portal.InvalidateByHand(before.Item, before.Slot))
	inspect(s.ctx, t, s.engine, s.name)
	s.wantDrift(t, credential.FindingKeyRefused)
	inspect(s.ctx, t, s.engine, s.name) // told once
	s.wantDrift(t, credential.FindingKeyRefused)
	s.until(t, ended(2))
	w.checkEnd(t, s.name, 2)
	if s.primary(t).SeatID == before.SeatID {
		t.Error("the refused seat was generated on")
	}
}

func TestInspectFindsNothingWhereNothingIs(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/none", drain)
	length := len(w.history(t, s.name))
	inspect(s.ctx, t, s.engine, s.name)
	inspect(s.ctx, t, s.engine, "drift/nobody")
	if got := len(w.history(t, s.name)); got != length {
		t.Errorf("%d events for nothing", got-length)
	}
	s.app.check(t)
}

// promoteUnsaid asks for a rotation, and has a daemon die after it has promoted
// in Vault and before it could say so. It returns what Vault shows.
func (w *world) promoteUnsaid(t *testing.T, s *standing) credential.Stored {
	t.Helper()
	w.rotate(t, s.name)
	writes := 0
	dying := w.tap(t, func(c call) mode {
		if c.what == "store.Write" {
			if writes++; writes == 2 { // store, promote
				return stopAfter
			}
		}
		return pass
	})
	if err := drive(s.ctx, w.engine(t, dying.ports(), engine.Hooks{}), s.name, ended(2)); err == nil {
		t.Fatal("the daemon was not stopped")
	}
	shown, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	return shown
}

// TestSettingsChangeBesideAPromotion: a daemon dies after it has promoted in
// Vault, and before it could say so the settings change. The key that Vault
// showed keeps its drain.
func TestSettingsChangeBesideAPromotion(t *testing.T) {
	w := newWorld(t)
	const long = time.Second
	s := w.standing(t, "drift/settings", long)
	shown := w.promoteUnsaid(t, s)
	spec := specOf(string(s.name), w.policy(t, lifetime, lead, long))
	spec.Item.Privileges = append(spec.Item.Privileges, "premium:user:geocode")
	w.command(t, s.name, credential.Register{Actor: "test", Spec: spec})
	s.until(t, func(r engine.Result) bool {
		return r.State.Rotation != nil && r.State.Rotation.Phase == credential.PhaseDrain
	})
	if !w.portal.KeyWorks(shown.Primary.Secret.Reveal(), "") {
		t.Error("a key that Vault showed as the primary died without a drain")
	}
	s.until(t, func(r engine.Result) bool {
		return r.State.Rotation == nil && len(r.State.Seats) == 1 && len(r.State.Old) == 0
	})
	s.app.check(t)
	w.checkHistory(t, s.name)
	w.checkVersions(t, s.name)
	w.checkPortal(t, s.name, s.primary(t).SeatID, 1) // the old item is deleted
}

// TestAKeyMadeByHandOnANewItem: somebody is faster than the first key.
func TestAKeyMadeByHandOnANewItem(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("drift/new-item")
	w.register(t, name, w.policy(t, lifetime, lead, drain))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var hand credential.Secret
	raced := w.tap(t, func(c call) mode {
		if c.what == "issuer.Describe" && c.n == 0 {
			items := w.portal.Snapshot()
			stranger, err := w.issuer(t).Issue(ctx, credential.SeatID{Item: items[0].ID, Slot: 1}, time.Now().Add(time.Hour))
			must(t, err)
			hand = stranger.Key
		}
		return pass
	})
	s := &standing{world: w, name: name, engine: w.engine(t, raced.ports(), engine.Hooks{}), ctx: ctx}
	s.until(t, ended(1))
	s.wantDrift(t, credential.FindingUnknownKey, credential.FindingItemInUse)
	if !w.portal.KeyWorks(hand.Reveal(), "") {
		t.Error("the key made by hand was killed")
	}
	if items := w.portal.Snapshot(); len(items) != 2 || s.primary(t).Item != items[1].ID {
		t.Errorf("the key is on %s, of %d items", s.primary(t).SeatID, len(items))
	}
	w.checkHistory(t, name)
}

// TestAVaultValueChangedInADrain: what applications get now is not the promoted
// key, so the old one stays.
func TestAVaultValueChangedInADrain(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/in-drain", drain)
	old, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	w.rotate(t, s.name)
	s.until(t, func(r engine.Result) bool { return r.State.Generation == 2 })
	s.app.check(t)
	path := "secret/data/" + w.prefix + "/" + string(s.name)
	fields, _ := w.vault.Look(t, path)["data"].(map[string]any)
	stored, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	fields["api_key"] = old.Primary.Secret.Reveal() // somebody goes back to the old key
	w.vault.Do(t, path, map[string]any{"data": fields, "options": map[string]any{"cas": stored.Version}})
	s.until(t, blocked)
	s.wantDrift(t, credential.FindingVaultChanged)
	if n := w.destructive(t, s.name); n != 0 || !w.portal.KeyWorks(old.Primary.Secret.Reveal(), "") {
		t.Errorf("%d claims to revoke the key that Vault shows", n)
	}
}

// A promotion that Vault already shows and the record does not: the settings
// change and are taken back; the key that applications have must not be
// generated over without a drain.
func TestAKeyThatVaultShowsIsNotGeneratedOver(t *testing.T) {
	w := newWorld(t)
	const long = time.Second
	s := w.standing(t, "drift/shown", long)
	shown := w.promoteUnsaid(t, s)
	changed := specOf(string(s.name), w.policy(t, lifetime, lead, long))
	changed.Item.Privileges = append(changed.Item.Privileges, "premium:user:geocode")
	w.command(t, s.name, credential.Register{Actor: "test", Spec: changed})
	abandoned := false
	s.engine = w.engine(t, w.tap(t, func(c call) mode {
		if c.what == "record.Append "+string(credential.TypeStarted) && !abandoned {
			abandoned = true // taken back before the succession begins
			w.command(t, s.name, credential.Register{Actor: "test", Spec: specOf(string(s.name), w.policy(t, lifetime, lead, long))})
		}
		return pass
	}).ports(), engine.Hooks{})
	s.until(t, func(r engine.Result) bool {
		return r.State.Rotation != nil && r.State.Rotation.Phase == credential.PhaseDrain
	})
	if !w.portal.KeyWorks(shown.Primary.Secret.Reveal(), "") {
		t.Error("a key that Vault showed as the primary died without a drain")
	}
	s.until(t, func(r engine.Result) bool { return r.State.Rotation == nil && len(r.State.Seats) == 1 })
	s.app.check(t)
}
