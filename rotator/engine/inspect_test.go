package engine_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// settling makes suspicions take a while.
func (s *standing) settling(t *testing.T, settle time.Duration) {
	t.Helper()
	policy := s.policy(t, lifetime, lead, drain)
	policy.Settle = credential.Duration(settle)
	s.command(t, s.name, credential.Register{Actor: "test", Spec: specOf(string(s.name), policy)})
}

// changing counts the calls at the portal that a claim is needed for.
func changing(w *world) (n int) {
	for what, calls := range w.portal.Calls() {
		if slices.ContainsFunc([]string{"oauth2/token", "revokeToken", "delete", "addItem", "registerApp", "update", "unregister"}, func(end string) bool {
			return strings.HasSuffix(what, end)
		}) {
			n += calls
		}
	}
	return n
}

// TestAPrimaryThatSomebodyGeneratedAnew: its slot is active, and the key is dead.
// It is replaced after a second look, on a seat that is nobody's, and the key that
// somebody made there stays alive.
func TestAPrimaryThatSomebodyGeneratedAnew(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/regenerated", drain)
	s.app.check(t)
	const settle = 600 * time.Millisecond
	s.settling(t, settle)
	before := s.primary(t)
	hand, err := w.portal.RegenerateByHand(before.Item, before.Slot)
	must(t, err)
	began := time.Now()
	again, err := s.engine.Inspect(s.ctx, s.name)
	must(t, err)
	if again <= 0 || again > settle {
		t.Fatalf("a suspicion is looked at again after %s", again)
	}
	s.wantDrift(t)
	for len(s.drift(t)) == 0 {
		again, err = s.engine.Inspect(s.ctx, s.name)
		must(t, err)
		waitUntil(t, time.Now().Add(min(again, 100*time.Millisecond)))
	}
	if took := time.Since(began); took < settle {
		t.Errorf("judged dead after %s, before the settle time was over", took)
	}
	inspect(s.ctx, t, s.engine, s.name)
	s.wantDrift(t, credential.FindingKeyReplaced)
	s.until(t, ended(2))
	if after := s.primary(t); after.SeatID == before.SeatID {
		t.Errorf("the new key is on %s, where somebody made one", after.SeatID)
	}
	if !w.portal.KeyWorks(hand, "") {
		t.Error("the key that somebody made was killed")
	}
	for _, entry := range w.history(t, s.name) {
		if f, ok := entry.Event.Fact.(credential.Invalidated); ok && f.How != credential.HowReplaced {
			t.Errorf("%s is called %s", f.Seat, f.How)
		}
	}
	inspect(s.ctx, t, s.engine, s.name) // now it is a stranger's key in the idle slot
	s.wantDrift(t, credential.FindingKeyReplaced, credential.FindingUnknownKey)
}

// TestASuspicionThatPasses: a key that is refused for a moment lives on.
func TestASuspicionThatPasses(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/suspicion", drain)
	s.settling(t, 300*time.Millisecond)
	refuse := emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultError, Path: "/portals/self", Code: 498}}}
	for range 3 {
		must(t, w.portal.SetFaults(refuse))
		again, err := s.engine.Inspect(s.ctx, s.name)
		must(t, err)
		if again == 0 {
			t.Fatal("no suspicion")
		}
		must(t, w.portal.SetFaults(emulator.Faults{}))
		waitUntil(t, time.Now().Add(again))
		inspect(s.ctx, t, s.engine, s.name)
	}
	s.wantDrift(t)
	s.app.check(t)
}

// TestADeadPrimaryGivesWayToTheKeyThatDrains: nothing is generated.
func TestADeadPrimaryGivesWayToTheKeyThatDrains(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/swap", lead-time.Second)
	w.rotate(t, s.name)
	s.until(t, func(r engine.Result) bool { return r.State.Generation == 2 })
	s.app.check(t)
	dead, mints := s.primary(t), w.portal.Calls()["oauth2/token"]
	must(t, w.portal.InvalidateByHand(dead.Item, dead.Slot))
	inspect(s.ctx, t, s.engine, s.name)
	s.until(t, func(r engine.Result) bool { return r.State.Generation == 3 })
	if now := s.primary(t); now.SeatID != dead.Sibling() || now.Mint != dead.Mint-1 {
		t.Errorf("the primary is mint %d on %s", now.Mint, now.SeatID)
	}
	stored, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	if !w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") || w.portal.Calls()["oauth2/token"] != mints {
		t.Error("applications have no working key, or a new one was made")
	}
}

// TestOneHealAtATime: the next one waits for four probe intervals.
func TestOneHealAtATime(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/heals", 0)
	s.app.check(t)
	probe := w.policy(t, lifetime, lead, 0).ProbeInterval()
	kill := func() {
		primary := s.primary(t)
		must(t, w.portal.InvalidateByHand(primary.Item, primary.Slot))
		inspect(s.ctx, t, s.engine, s.name)
	}
	kill()
	s.until(t, ended(2))
	kill()
	result, err := s.engine.Pass(s.ctx, s.name)
	must(t, err)
	if wait := time.Until(result.Next.At); result.Next.Reason != credential.ReasonDrift || wait > 4*probe || wait < probe {
		t.Errorf("waits %s for %s: %s", wait, result.Next.Reason, result.Next.Why)
	}
	s.until(t, ended(3))
	healed := []time.Time{}
	for _, entry := range w.history(t, s.name) {
		if f, ok := entry.Event.Fact.(credential.Started); ok && f.Rotation.Reason == credential.ReasonRefused {
			healed = append(healed, entry.Event.At)
		}
	}
	if len(healed) != 2 || healed[1].Sub(healed[0]) < 4*probe {
		t.Errorf("healed at %v, a probe interval is %s", healed, probe)
	}
}

// TestWhatAnOperatorHasToDecide is found once, told, and left alone.
func TestWhatAnOperatorHasToDecide(t *testing.T) {
	w := newWorld(t)
	for what, c := range map[string]struct {
		deed func(*testing.T, *standing)
		kind credential.FindingKind
	}{
		"an unknown key in the idle slot": {func(t *testing.T, s *standing) {
			_, err := w.issuer(t).Issue(s.ctx, s.primary(t).Sibling(), time.Now().Add(time.Hour))
			must(t, err)
		}, credential.FindingUnknownKey},
		"Vault was written by hand": {func(t *testing.T, s *standing) {
			_, err := w.vault.Client(t, w.vault.Token).KVv2("secret").Put(t.Context(), w.prefix+"/"+string(s.name), map[string]any{"api_key": "of somebody"}, api.WithCheckAndSet(w.version(t, s.name)))
			must(t, err)
		}, credential.FindingVaultChanged},
		"the key in Vault was exchanged, and nothing else": {func(t *testing.T, s *standing) {
			kv := w.vault.Client(t, w.vault.Token).KVv2("secret")
			secret, err := kv.Get(t.Context(), w.prefix+"/"+string(s.name))
			must(t, err)
			secret.Data["api_key"] = "of somebody"
			_, err = kv.Put(t.Context(), w.prefix+"/"+string(s.name), secret.Data, api.WithCheckAndSet(w.version(t, s.name)))
			must(t, err)
		}, credential.FindingVaultChanged},
		"the secret was deleted": {func(t *testing.T, s *standing) {
			must(t, w.vault.Client(t, w.vault.Token).KVv2("secret").Delete(t.Context(), w.prefix+"/"+string(s.name)))
		}, credential.FindingVaultMissing},
		"the secret was deleted with its history": {func(t *testing.T, s *standing) {
			must(t, w.vault.Client(t, w.vault.Token).KVv2("secret").DeleteMetadata(t.Context(), w.prefix+"/"+string(s.name)))
		}, credential.FindingVaultMissing},
	} {
		t.Run(what, func(t *testing.T) {
			s := w.standing(t, credential.Name("decide/"+strings.Map(func(r rune) rune {
				if r == ' ' || r == ',' || (r >= 'A' && r <= 'Z') {
					return '-'
				}
				return r
			}, what)), drain)
			s.app.stop()
			c.deed(t, s)
			before := changing(w)
			for range 3 {
				again, err := s.engine.Inspect(s.ctx, s.name)
				must(t, err)
				waitUntil(t, time.Now().Add(again))
				_, err = s.engine.Pass(s.ctx, s.name)
				must(t, err)
			}
			s.wantDrift(t, c.kind)
			if now := changing(w); now != before {
				t.Errorf("%d calls changed the portal", now-before)
			}
		})
	}
}

// TestASecretThatWasDeletedAndCameBack: nobody has to decide anything.
func TestASecretThatWasDeletedAndCameBack(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/undeleted", drain)
	s.app.stop()
	kv, path := w.vault.Client(t, w.vault.Token).KVv2("secret"), w.prefix+"/"+string(s.name)
	version := w.version(t, s.name)
	must(t, kv.Delete(t.Context(), path))
	inspect(s.ctx, t, s.engine, s.name)
	s.wantDrift(t, credential.FindingVaultMissing)
	must(t, kv.Undelete(t.Context(), path, []int{version}))
	inspect(s.ctx, t, s.engine, s.name)
	inspect(s.ctx, t, s.engine, s.name)
	s.wantDrift(t, credential.FindingVaultMissing, credential.FindingVaultMissing) // and that it is over
	w.rotate(t, s.name)
	s.until(t, ended(2))
	w.checkEnd(t, s.name, 2)
}

// version is the KV version that a person sees.
func (w *world) version(t testing.TB, name credential.Name) int {
	t.Helper()
	stored, err := w.store.Read(t.Context(), name)
	must(t, err)
	return int(stored.Version)
}

// editByHand changes the settings of an item as a person would: that kills both keys.
func (w *world) editByHand(t *testing.T, item string) {
	t.Helper()
	token := w.token(t)
	client := w.post(t, "/content/users/"+user+"/items/"+item+"/registeredAppInfo", url.Values{"token": {token}}, "client_id")
	w.post(t, "/oauth2/apps/"+client+"/update", url.Values{"token": {token}, "privileges": {`["premium:user:elevation"]`}}, "itemId")
}

// TestSettingsThatWereEditedAtTheIssuer: the edit has killed the key, and the next
// one goes to an item that is as declared.
func TestSettingsThatWereEditedAtTheIssuer(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/edited", drain)
	s.app.check(t)
	before := s.primary(t)
	w.editByHand(t, before.Item)
	inspect(s.ctx, t, s.engine, s.name)
	if kinds := s.drift(t); !slices.Contains(kinds, credential.FindingSettings) || !slices.Contains(kinds, credential.FindingKeyRefused) {
		t.Fatalf("found %v", kinds)
	}
	s.until(t, ended(2))
	if s.primary(t).Item == before.Item {
		t.Error("the new key is on the item with the other settings")
	}
	w.checkEnd(t, s.name, 2)
}

// TestAnOldItemThatSomebodyUses is not deleted before they stop.
func TestAnOldItemThatSomebodyUses(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/in-use", drain)
	old := s.primary(t)
	hand, err := w.issuer(t).Issue(s.ctx, old.Sibling(), time.Now().Add(time.Hour))
	must(t, err)
	spec := specOf(string(s.name), w.policy(t, lifetime, lead, drain))
	spec.Item.Privileges = []string{"premium:user:places"}
	w.command(t, s.name, credential.Register{Actor: "test", Spec: spec})
	s.until(t, ended(2))
	inspect(s.ctx, t, s.engine, s.name)
	s.wantDrift(t, credential.FindingItemInUse)
	if !w.portal.KeyWorks(hand.Key.Reveal(), "") {
		t.Error("the key that somebody made was killed")
	}
	w.checkPortalHas(t, old.Item, true)
	must(t, w.portal.InvalidateByHand(old.Item, old.Sibling().Slot))
	inspect(s.ctx, t, s.engine, s.name)
	s.until(t, func(r engine.Result) bool { return len(r.State.Old) == 0 })
	w.checkPortalHas(t, old.Item, false)
	s.app.check(t)
	w.checkEnd(t, s.name, 2)
}

// TestAnItemThatVaultShowsIsNotDeleted, though the record says that it was left: a
// record that was put back from a copy is older than Vault.
func TestAnItemThatVaultShowsIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/rolled-back", drain)
	s.app.check(t)
	stored, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	item, err := w.issuer(t).EnsureItem(s.ctx, credential.ItemOrder{
		Marker: credential.Marker{Installation: "test", Name: s.name, Rotation: "forgotten"}, Spec: specOf(string(s.name), credential.Policy{}).Item,
	})
	must(t, err)
	seat := credential.SeatID{Item: item, Slot: 1}
	minted, err := w.issuer(t).Issue(s.ctx, seat, time.Now().Add(time.Hour))
	must(t, err)
	stored.Secondary = credential.Key{Secret: minted.Key, Fingerprint: minted.Key.Fingerprint(), Expires: minted.Expires, Seat: seat, Mint: 9}
	_, err = w.store.Write(t.Context(), s.name, stored.Document, stored.Version)
	must(t, err)
	s.stray(t, 1)
	_, err = s.engine.Pass(s.ctx, s.name)
	must(t, err)
	s.wantDrift(t, credential.FindingStrayItem, credential.FindingItemInUse)
	if !w.portal.KeyWorks(minted.Key.Reveal(), "") {
		t.Error("a key that Vault shows was killed")
	}
}
