package credential_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// A key that leaked dies while its credential is removed, as it would without: over
// a hold where an operator said so, and beside an earlier revocation that hangs.
func TestALeakedKeyDiesDuringARemoval(t *testing.T) {
	first := credential.SeatID{Item: "i1", Slot: 1}
	removed := func() *life { return withFirstKey().must(credential.Remove{Actor: "ann"}) }

	held := removed().must(credential.PutHold{Actor: "ann", Reason: "audit"})
	if step := held.next(); step.Reason != credential.ReasonHeld {
		t.Fatalf("held: %s (%s)", step.Kind, step.Why)
	}
	held.must(credential.Compromise{Key: credential.KeyAll, Actor: "ann", Reason: "found", OverrideHold: true})
	if step := held.next(); step.Kind != credential.StepRetire || step.Seat != first {
		t.Errorf("a leaked key, over the hold: %s (%s)", step.Kind, step.Why)
	}
	if err := held.do(credential.ClaimRevoke{Seat: first}); err != nil {
		t.Errorf("the claim: %v", err)
	}

	hangs := removed().must(credential.ClaimRevoke{Seat: first})
	hangs.work = credential.Work{} // another daemon
	hangs.now = hangs.now.Add(10 * time.Second)
	hangs.must(credential.Compromise{Key: credential.KeyAll, Actor: "ann", Reason: "found", Immediately: true})
	if step := hangs.next(); step.Kind != credential.StepRetire {
		t.Errorf("beside a revocation that hangs: %s (%s)", step.Kind, step.Why)
	}
}

// An issuer that refuses to kill a leaked key of a removal is asked again after a while,
// not over and over.
func TestALeakedKeyOfARemovalThatRefusesToDieIsTriedByAndBy(t *testing.T) {
	first := credential.SeatID{Item: "i1", Slot: 1}
	l := withFirstKey().must(credential.Compromise{Key: credential.KeyAll, Actor: "ann", Reason: "found", Immediately: true},
		credential.Remove{Actor: "ann"}, credential.ClaimRevoke{Seat: first},
		credential.StepFailed{Step: credential.StepRevoke, Seat: first, Class: credential.ClassRetryable, Answered: true, Wait: time.Minute})
	if step := l.next(); step.Kind != credential.StepWait || !step.At.Equal(l.now.Add(time.Minute)) {
		t.Errorf("%s at %s (%s)", step.Kind, step.At, step.Why)
	}
	l.now = l.now.Add(time.Minute)
	if l.settle(t); l.state.Status != credential.StatusRemoved {
		t.Errorf("it ends as %+v", l.state)
	}
}

// A key that was refused for a while and called replaced, and works again, is ours
// to revoke, with a drain.
func TestAKeyThatWasCalledReplacedAndWorksIsOurs(t *testing.T) {
	first := credential.SeatID{Item: "i1", Slot: 1}
	replaced := credential.Finding{Kind: credential.FindingKeyReplaced, Seat: first}
	l := withFirstKey().must(credential.Found{Finding: replaced}, credential.Begin{Reason: credential.ReasonRefused})
	if err := l.do(credential.Found{Finding: replaced, Healed: true}); err != nil {
		t.Fatalf("it works again: %v", err)
	}
	if err := l.do(credential.Found{Finding: replaced, Healed: true}); !errors.Is(err, credential.ErrNothing) {
		t.Errorf("told again: %v", err)
	}
	l.issue().promote()
	if seat, _ := l.state.Seat(first); seat.Replaced {
		t.Error("it is still called replaced")
	}
	if step := l.next(); step.Kind != credential.StepWait || step.Reason != credential.ReasonDraining {
		t.Errorf("%s (%s)", step.Kind, step.Why)
	}
}

// A title that is changed while a new item is being made is not what that item was
// made with: it is edited after the promotion.
func TestATitleThatChangesWhileANewItemIsMade(t *testing.T) {
	titled := func(s credential.Spec) credential.Spec {
		s.Item.Title = "another"
		return s
	}
	for what, c := range map[string]struct {
		life *life
		spec credential.Spec
	}{
		"the first":       {newLife().must(credential.Register{Spec: spec()}, credential.Begin{Reason: credential.ReasonFirstKey}, credential.ItemMade{Item: "i2"}), spec()},
		"of a succession": {withFirstKey().must(credential.Register{Spec: other()}, credential.Begin{Reason: credential.ReasonSettings}, credential.ItemMade{Item: "i2"}), other()},
	} {
		l := c.life.must(credential.Register{Spec: titled(c.spec)})
		l.settle(t)
		edited := ""
		for _, event := range l.events {
			if f, ok := event.Fact.(credential.ItemEdited); ok {
				edited = f.Item
			}
		}
		if primary, _ := l.state.Primary(); primary.Item != "i2" || edited != "i2" || l.state.Edit != nil {
			t.Errorf("%s: %q was edited last, applications use %q: %s", what, edited, primary.Item, l.next().Why)
		}
	}
}

// The mark of a rotation's items goes on with each stranger that was met, also when
// an earlier one is gone: no item in which one was met is found again.
func TestTheStrangersOfARotationAreCounted(t *testing.T) {
	l := withFirstKey()
	l.now = l.state.Due
	met := credential.Finding{Kind: credential.FindingUnknownKey, Seat: credential.SeatID{Item: "i1", Slot: 2}}
	l.must(credential.Begin{Reason: credential.ReasonExpiring}, credential.Found{Finding: met})
	if n := l.state.Rotation.Strangers; n != 1 {
		t.Errorf("%d strangers, want 1", n)
	}
	l.must(credential.Found{Finding: met, Healed: true})
	if n := l.state.Rotation.Strangers; n != 1 {
		t.Errorf("%d strangers after one is gone, want 1", n)
	}
}

// A freeze that came just before the record was closed is not lifted by a thaw, which
// is about what is managed: it must not stand for ever over what a sweep finds later.
func TestAFreezeEndsWithTheRecord(t *testing.T) {
	l := withFirstKey().must(credential.Remove{Actor: "ann"})
	for l.next().Kind != credential.StepRemove {
		l.must(success(l, l.next()))
	}
	l.must(credential.PutHold{Actor: "ann", Reason: "incident", Freeze: true}, credential.KeysGone{})
	l.must(credential.FoundStray{MarkedItem: credential.MarkedItem{Item: "x", Rotation: "r", Created: start.Add(-day)}})
	if l.settle(t); len(l.state.Old) != 0 {
		t.Errorf("it is never deleted: %s", l.next().Why)
	}
}

// An item of the life before that is to be deleted is adopted and no longer deleted, or
// refused while somebody may be deleting it.
func TestAnItemThatIsToBeDeletedAndIsAdopted(t *testing.T) {
	adopt := credential.Adopt{
		Spec: spec(), Actor: "ann", Seat: credential.SeatID{Item: "x", Slot: 1}, Fingerprint: "fp", Expires: start.Add(60 * day),
		Version: 3, Settings: spec().Item.SettingsHash(),
	}
	l := withFirstKey().must(credential.Remove{Actor: "ann"}).settle(t)
	l.must(credential.FoundStray{MarkedItem: credential.MarkedItem{Item: "x", Rotation: "r", Created: start.Add(-day)}})
	l.must(credential.ClaimItem{Op: credential.OpDeleteItem, Item: "x"})
	l.refuses(t, adopt, credential.ErrClaimed)
	l.work, l.now = credential.Work{}, l.now.Add(time.Hour) // it was never deleted
	l.must(adopt)
	if len(l.state.Old) != 0 {
		t.Errorf("old items %+v", l.state.Old)
	}
}
