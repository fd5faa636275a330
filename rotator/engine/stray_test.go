package engine_test

import (
	"encoding/json"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// waitUntil lets time go by.
func waitUntil(t testing.TB, at time.Time) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(time.Until(at)):
	}
}

// field reads one field of a JSON object, which must be there.
func field(t testing.TB, body io.Reader, name string) string {
	t.Helper()
	var object map[string]any
	must(t, json.NewDecoder(body).Decode(&object))
	value, ok := object[name].(string)
	if !ok {
		t.Fatalf("no %s in %v", name, object)
	}
	return value
}

// checkPortalHas says whether an item is to be there.
func (w *world) checkPortalHas(t testing.TB, item string, want bool) {
	t.Helper()
	has := false
	for _, seen := range w.portal.Snapshot() {
		has = has || seen.ID == item
	}
	if has != want {
		t.Errorf("item %s is at the portal: %t, want %t", item, has, want)
	}
}

// stray sweeps, and wants so many credentials with an item that nobody names.
func (s *standing) stray(t testing.TB, want int) []credential.MarkedItem {
	t.Helper()
	of, unknown, err := s.engine.Strays(s.ctx, "example", []credential.Name{s.name}, nil, 0)
	must(t, err)
	if len(of) != want {
		t.Errorf("strays of %v, want %d", of, want)
	}
	return unknown
}

// marked makes an item with a marker, as a call whose answer was lost would.
func (s *standing) marked(t testing.TB, name credential.Name, rotation string) string {
	t.Helper()
	item, err := s.issuer(t).EnsureItem(s.ctx, credential.ItemOrder{
		Marker: credential.Marker{Installation: "test", Name: name, Rotation: rotation}, Spec: specOf(string(name), credential.Policy{}).Item,
	})
	must(t, err)
	return item
}

// TestASweepDeletesWhatNobodyNames, with the keys on it, and nothing else.
func TestASweepDeletesWhatNobodyNames(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "sweep/one", drain)
	used := s.primary(t).Item
	empty, live := s.marked(t, s.name, "r-lost"), s.marked(t, s.name, "r-other")
	key, err := w.issuer(t).Issue(s.ctx, credential.SeatID{Item: live, Slot: 2}, time.Now().Add(time.Hour))
	must(t, err)
	nobodys := s.marked(t, "sweep/nobody", "r-1")
	theirs, err := w.issuer(t).EnsureItem(s.ctx, credential.ItemOrder{
		Marker: credential.Marker{Installation: "other", Name: s.name, Rotation: "r-1"}, Spec: specOf("theirs", credential.Policy{}).Item,
	})
	must(t, err)
	unknown := s.stray(t, 2)
	if len(unknown) != 1 || unknown[0].Item != nobodys {
		t.Errorf("of no record: %+v", unknown)
	}
	s.until(t, func(r engine.Result) bool { return len(r.State.Old) == 0 })
	for item, want := range map[string]bool{used: true, empty: false, live: false, nobodys: true, theirs: true} {
		w.checkPortalHas(t, item, want)
	}
	if w.portal.KeyWorks(key.Key.Reveal(), "") {
		t.Error("the key on the stray item works")
	}
	s.stray(t, 0)
	s.app.check(t)
	w.checkEnd(t, s.name, 1)
}

// TestASweepLeavesWhatARotationIsAbout: the item of an open rotation, whose making
// was not answered, is found by it and not by the sweep.
func TestASweepLeavesWhatARotationIsAbout(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "sweep/open", drain)
	spec := specOf(string(s.name), w.policy(t, lifetime, lead, drain))
	spec.Item.Privileges = []string{"premium:user:places"}
	w.command(t, s.name, credential.Register{Actor: "test", Spec: spec})
	dying := w.tap(t, func(c call) mode {
		if c.what == "issuer.EnsureItem" {
			return stopAfter
		}
		return pass
	})
	if err := drive(s.ctx, w.engine(t, dying.ports(), engine.Hooks{}), s.name, ended(2)); err == nil {
		t.Fatal("the daemon was not stopped")
	}
	s.stray(t, 0)
	s.until(t, ended(2))
	s.stray(t, 0)
	s.app.check(t)
	w.checkEnd(t, s.name, 2)
}

// TestASweepAfterARemoval finds what the life before has left.
func TestASweepAfterARemoval(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "sweep/removed", drain)
	s.app.stop()
	w.command(t, s.name, credential.Remove{Actor: "test", Reason: "a test"})
	gone := func(r engine.Result) bool { return r.State.Status == credential.StatusRemoved && len(r.State.Old) == 0 }
	s.until(t, gone)
	w.checkGone(t, s.name)
	late := s.marked(t, s.name, "r-lost")
	s.stray(t, 1)
	s.until(t, gone)
	w.checkPortalHas(t, late, false)
	// and another life under the name
	w.register(t, s.name, w.policy(t, lifetime, lead, drain))
	s.until(t, ended(1))
	w.checkEnd(t, s.name, 1)
	if first := s.history(t, s.name)[0].State.Revision; first != 1 {
		t.Errorf("the record begins with event %d", first)
	}
}

// TestARemovalWhatIsKept: the secret stays in Vault, and the item at the portal, when
// an operator wants so; a sweep leaves it alone.
func TestARemovalWhatIsKept(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "removal/kept", drain)
	s.app.stop()
	before := s.primary(t)
	w.command(t, s.name, credential.Remove{Actor: "test", Reason: "a test", KeepItem: true, KeepSecret: true})
	s.until(t, func(r engine.Result) bool { return r.State.Status == credential.StatusRemoved })
	w.checkPortalHas(t, before.Item, true)
	stored, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	if stored.Missing || stored.Primary.Fingerprint != before.Fingerprint || w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") {
		t.Errorf("kept in Vault: missing %t, %s; works %t", stored.Missing, stored.Primary.Fingerprint, w.portal.KeyWorks(stored.Primary.Secret.Reveal(), ""))
	}
	s.stray(t, 0)
	w.register(t, s.name, w.policy(t, lifetime, lead, drain))
	s.until(t, ended(1))
	s.stray(t, 0)
	w.checkPortalHas(t, before.Item, true)
	if now := s.primary(t); now.Item == before.Item {
		t.Error("the next life uses the item that was kept")
	}
}

// TestARemovalWaitsForAStrangersKey, and an operator can keep the item.
func TestARemovalWaitsForAStrangersKey(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "removal/stranger", drain)
	s.app.stop()
	seat := s.primary(t)
	hand, err := w.issuer(t).Issue(s.ctx, seat.Sibling(), time.Now().Add(time.Hour))
	must(t, err)
	w.command(t, s.name, credential.Remove{Actor: "test", Reason: "a test"})
	s.until(t, func(r engine.Result) bool {
		return slices.ContainsFunc(r.State.Drift, func(d credential.Finding) bool { return d.Kind == credential.FindingItemInUse })
	})
	w.checkPortalHas(t, seat.Item, true)
	w.command(t, s.name, credential.Remove{Actor: "test", Reason: "a test", KeepItem: true})
	s.until(t, func(r engine.Result) bool { return r.State.Status == credential.StatusRemoved })
	if !w.portal.KeyWorks(hand.Key.Reveal(), "") {
		t.Error("the stranger's key was killed")
	}
}
