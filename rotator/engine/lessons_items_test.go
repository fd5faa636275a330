package engine_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

func (s *standing) removed(r engine.Result) bool { return r.State.Status == credential.StatusRemoved }

func inUse(r engine.Result) bool {
	return slices.ContainsFunc(r.State.Drift, func(d credential.Finding) bool { return d.Kind == credential.FindingItemInUse })
}

// TestARemovalGoesOnWhenAStrangerStops, in whichever way, without a word of an operator.
func TestARemovalGoesOnWhenAStrangerStops(t *testing.T) {
	w := newWorld(t)
	for name, stop := range map[credential.Name]func(credential.SeatID){
		"removal/invalidated": func(id credential.SeatID) { must(t, w.portal.InvalidateByHand(id.Item, id.Slot)) },
		"removal/unregistered": func(id credential.SeatID) {
			token := w.token(t)
			client := w.post(t, "/content/users/"+user+"/items/"+id.Item+"/registeredAppInfo", url.Values{"token": {token}}, "client_id")
			w.post(t, "/oauth2/apps/"+client+"/unregister", url.Values{"token": {token}}, "itemId")
		},
	} {
		s := w.standing(t, name, drain)
		s.app.stop()
		seat := s.primary(t)
		_, err := w.issuer(t).Issue(s.ctx, seat.Sibling(), time.Now().Add(time.Hour))
		must(t, err)
		w.command(t, s.name, credential.Remove{Actor: "test", Reason: "a test"})
		s.until(t, inUse)
		inspect(s.ctx, t, s.engine, s.name)
		if r, err := s.engine.Pass(s.ctx, s.name); err != nil || !inUse(r) {
			t.Fatalf("%s: while the stranger's key is alive: %s, %v", name, r.Next.Why, err)
		}
		stop(seat.Sibling())
		inspect(s.ctx, t, s.engine, s.name)
		s.until(t, s.removed)
		w.checkGone(t, s.name)
	}
}

// noVault is a store that cannot be reached.
type noVault struct{ engine.SecretStore }

func (noVault) Erase(context.Context, credential.Name, uint64) error {
	return &credential.Fault{Class: credential.ClassRetryable, System: "vault", Op: "erase", Silent: true, Err: errors.New("no answer")}
}

// TestALeakedKeyOfARemovalDiesWithoutVault, at once.
func TestALeakedKeyOfARemovalDiesWithoutVault(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "removal/leak", drain)
	s.app.stop()
	stored, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	p := w.ports(t)
	p.store = noVault{p.store}
	s.engine = w.engine(t, p, engine.Hooks{})
	w.command(t, s.name, credential.Remove{Actor: "test", Reason: "a test"})
	w.command(t, s.name, credential.Compromise{Actor: "test", Reason: "in a log", Key: credential.KeyAll, Immediately: true})
	_, err = s.engine.Pass(s.ctx, s.name)
	must(t, err)
	if w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") {
		t.Error("the leaked key lives")
	}
}

// overtaken has something happen before the first append that follows.
type overtaken struct {
	engine.Record
	first func()
	once  sync.Once
}

func (o *overtaken) Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, after credential.State) (credential.Head, error) {
	o.once.Do(o.first)
	return o.Record.Append(ctx, name, head, event, after)
}

// TestWhatWasSeenOfAKeyThatIsReplacedMeanwhile is not told: none of it.
func TestWhatWasSeenOfAKeyThatIsReplacedMeanwhile(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/overtaken", drain)
	s.app.stop()
	w.editByHand(t, s.primary(t).Item)
	p := w.ports(t)
	p.record = &overtaken{Record: p.record, first: func() {
		spec := specOf(string(s.name), w.policy(t, lifetime, lead, drain))
		spec.Item.Privileges = []string{"premium:user:places"}
		w.command(t, s.name, credential.Register{Actor: "test", Spec: spec})
		s.until(t, ended(2))
	}}
	inspect(s.ctx, t, w.engine(t, p, engine.Hooks{}), s.name)
	for _, entry := range w.history(t, s.name) {
		if f, ok := entry.Event.Fact.(credential.Drifted); ok {
			t.Errorf("found: %s on %s", f.Finding.Kind, f.Finding.Seat)
		}
	}
}

// adopted is a key that somebody made on an item, put into Vault, and adopted.
func (w *world) adopted(t *testing.T, name credential.Name, item string) *standing {
	t.Helper()
	seat := credential.SeatID{Item: item, Slot: 1}
	minted, err := w.issuer(t).Issue(t.Context(), seat, time.Now().Add(time.Hour))
	must(t, err)
	_, err = w.store.Write(t.Context(), name, credential.Document{Revision: 1, Primary: credential.Key{
		Secret: minted.Key, Fingerprint: minted.Key.Fingerprint(), Expires: minted.Expires, Seat: seat, Mint: 1,
	}}, 0)
	must(t, err)
	s := &standing{world: w, name: name, engine: w.engine(t, w.ports(t), engine.Hooks{}), ctx: t.Context()}
	proven, err := s.engine.Prove(t.Context(), name, w.adoption(t, name, item, minted.Key))
	must(t, err)
	_, err = s.engine.Command(t.Context(), name, proven)
	must(t, err)
	return s
}

// TestAnItemThatWasKeptGoesOverToAnotherName, with its marker.
func TestAnItemThatWasKeptGoesOverToAnotherName(t *testing.T) {
	w := newWorld(t)
	a := w.standing(t, "adopt/before", drain)
	a.app.stop()
	item := a.primary(t).Item
	w.command(t, a.name, credential.Remove{Actor: "test", Reason: "a test", KeepItem: true})
	a.until(t, a.removed)
	b := w.adopted(t, "adopt/after", item)
	b.until(t, func(r engine.Result) bool { return r.State.Edit == nil || r.State.Edit.Failure != nil })
	if state, err := b.engine.Look(b.ctx, b.name); err != nil || state.Edit != nil {
		t.Errorf("the edit: %+v, %v", state.Edit, err)
	}
	found, err := w.issuer(t).Look(b.ctx, item)
	must(t, err)
	if found.Marked != string(b.name) {
		t.Errorf("it is marked for %q", found.Marked)
	}
}

// TestASweepLeavesWhatAnotherCredentialAdopted, before the marker has gone over.
func TestASweepLeavesWhatAnotherCredentialAdopted(t *testing.T) {
	w := newWorld(t)
	a := w.standing(t, "sweep/before", drain)
	item := a.marked(t, a.name, "r-lost")
	b := w.adopted(t, "sweep/after", item)
	of, _, err := a.engine.Strays(a.ctx, "example", []credential.Name{a.name, b.name}, nil, 0)
	must(t, err)
	if len(of) != 0 {
		t.Errorf("strays of %v", of)
	}
}

// TestAnItemThatIsToBeDeletedIsNotAdopted: it would be deleted with its new key.
func TestAnItemThatIsToBeDeletedIsNotAdopted(t *testing.T) {
	w := newWorld(t)
	a := w.standing(t, "adopt/stray", drain)
	item := a.marked(t, a.name, "r-lost")
	a.stray(t, 1)
	seen := engine.Adoption{Spec: specOf("maps", w.policy(t, lifetime, lead, drain)), Actor: "test", Item: item}
	if _, err := a.engine.Prove(t.Context(), "adopt/other", seen); !credential.IsClass(err, credential.ClassPermanent) || !strings.Contains(err.Error(), "it belongs to adopt/stray") {
		t.Errorf("%v, want that it belongs to adopt/stray", err)
	}
}

// TestAKeyThatWasRefusedForAWhileIsOurs: its successor was begun, and by then it works
// again. It drains and is revoked, and no event calls it replaced by somebody.
func TestAKeyThatWasRefusedForAWhileIsOurs(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/again", drain)
	s.app.stop()
	before := s.primary(t)
	w.command(t, s.name, credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyReplaced, Seat: before.SeatID, Detail: "a test"}})
	s.until(t, ended(2))
	for _, entry := range w.history(t, s.name) {
		if f, ok := entry.Event.Fact.(credential.Invalidated); ok && f.How != credential.HowRevoked {
			t.Errorf("%s is called %s", f.Seat, f.How)
		}
	}
	w.checkEnd(t, s.name, 2) // nothing else is alive
}

// eternal is a portal that names an end of its keys that cannot be true.
type eternal struct{ *sentry }

func (e eternal) Describe(ctx context.Context, item string) (credential.ItemStatus, error) {
	status, err := e.sentry.Describe(ctx, item)
	for i := range status.Slots {
		status.Slots[i].Expires = status.Clock.Add(3 * credential.MaxLifetime)
	}
	return status, err
}

// TestADateThatCannotBeTrueIsNotAFailure, and is not told at each look.
func TestADateThatCannotBeTrueIsNotAFailure(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/absurd", drain)
	s.app.stop()
	p := w.ports(t)
	p.issuer = eternal{&sentry{Portal: w.issuer(t), world: w}}
	s.engine = w.engine(t, p, engine.Hooks{})
	before := len(w.history(t, s.name))
	for range 3 {
		inspect(s.ctx, t, s.engine, s.name)
	}
	if events := w.history(t, s.name); len(events) != before {
		t.Errorf("%d events, the last is %s", len(events)-before, events[len(events)-1].Event.Fact.Type())
	}
}

// TestTheKeyOfAnItemThatSomebodyDeletedIsDead, and the rotation that replaced it ends.
func TestTheKeyOfAnItemThatSomebodyDeletedIsDead(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "drift/deleted", drain)
	s.app.stop()
	must(t, w.portal.DeleteByHand(s.primary(t).Item))
	inspect(s.ctx, t, s.engine, s.name)
	s.until(t, ended(2))
	for _, entry := range w.history(t, s.name) {
		if f, ok := entry.Event.Fact.(credential.Failed); ok {
			t.Errorf("failed: %s", f.Failure.Message)
		}
	}
	w.checkEnd(t, s.name, 2)
}
