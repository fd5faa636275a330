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
