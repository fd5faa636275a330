package engine_test

import (
	"context"
	"errors"
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

// noVault is a store that cannot be reached.

type noVault struct{ engine.SecretStore }

func (noVault) Erase(context.Context, credential.Name) error {
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

// adopted is a key that somebody made on an item, put into Vault, and adopted.

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
	of, _, err := a.engine.Strays(a.ctx, "example", []credential.Name{a.name, b.name}, 0)
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
