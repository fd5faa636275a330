package credential_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// settle lets a faithful daemon work until there is nothing to do, as time goes by.
func (l *life) settle(t *testing.T) *life {
	t.Helper()
	for range 100 {
		step := l.next()
		if step.Kind == credential.StepWait {
			if step.Reason != credential.ReasonClaimOpen && step.Reason != credential.ReasonDraining {
				return l
			}
			l.now = step.At
			continue
		}
		if command := success(l, step); l.do(command) != nil {
			t.Fatalf("%s (%s) led to %T, refused: %v", step.Kind, step.Reason, command, l.do(command))
		}
	}
	t.Fatal("no end")
	return l
}

func TestASuccessionLeavesNoItem(t *testing.T) {
	l := succeeded()
	if len(l.state.Old) != 1 || l.state.Old[0].Item != "i1" || l.state.Rotation != nil {
		t.Fatalf("old items %+v, rotation %+v", l.state.Old, l.state.Rotation)
	}
	l.settle(t)
	if len(l.state.Old) != 0 || len(l.state.Claims) != 0 {
		t.Errorf("old items %+v, claims %+v", l.state.Old, l.state.Claims)
	}
}

func TestAnOldItemIsNotDeletedWhileAKeyMayLiveOnIt(t *testing.T) {
	l := withFirstKey().must(credential.Register{Spec: other()}, credential.Begin{Reason: credential.ReasonSettings}, credential.ItemMade{Item: "i2"})
	l.issue().promote()
	for what, change := range map[string]func(*life){
		"draining": func(*life) {},
		"its revocation is under way": func(l *life) {
			l.now = l.state.Rotation.DrainUntil
			l.must(credential.ClaimRevoke{Seat: credential.SeatID{Item: "i1", Slot: 1}})
		},
	} {
		change(l)
		if err := l.do(credential.ClaimItem{Op: credential.OpDeleteItem, Item: "i1"}); !errors.Is(err, credential.ErrStale) {
			t.Errorf("%s: %v, want ErrStale", what, err)
		}
	}
	if err := l.do(credential.ClaimItem{Op: credential.OpDeleteItem, Item: "i2"}); !errors.Is(err, credential.ErrStale) {
		t.Errorf("the item in use: %v, want ErrStale", err)
	}
	held := succeeded().must(credential.PutHold{Actor: "ann", Reason: "audit"})
	if err := held.do(credential.ClaimItem{Op: credential.OpDeleteItem, Item: "i1"}); !errors.Is(err, credential.ErrHeld) {
		t.Errorf("held: %v, want ErrHeld", err)
	}
}

func TestAnItemThatCannotBeDeletedStopsNothingElse(t *testing.T) {
	l := succeeded()
	l.must(credential.ClaimItem{Op: credential.OpDeleteItem, Item: "i1"}, credential.StepFailed{
		Step: credential.StepDelete, Seat: credential.SeatID{Item: "i1"}, Class: credential.ClassDenied, Answered: true, Wait: 300 * day,
	})
	if l.state.Failure != nil || l.state.Attempts(credential.StepDelete, credential.SeatID{Item: "i1"}) != 1 || len(l.state.Failures()) != 1 {
		t.Errorf("failure %+v, old items %+v", l.state.Failure, l.state.Old)
	}
	l.now = l.state.Due
	if step := l.next(); step.Kind != credential.StepBegin {
		t.Errorf("due: %s (%s)", step.Kind, step.Why)
	}
}

func TestWhatASweepFinds(t *testing.T) {
	found := func(item, rotation string, age time.Duration) credential.FoundStray {
		return credential.FoundStray{
			MarkedItem: credential.MarkedItem{Item: item, Rotation: rotation, Created: start.Add(-age)}, Grace: time.Hour,
		}
	}
	making := withFirstKey().must(credential.Register{Spec: other()}, credential.Begin{Reason: credential.ReasonSettings})
	open := making.state.Rotation.ID
	making.work = credential.Work{}
	late := withFirstKey().must(credential.Register{Spec: other()}, credential.Begin{Reason: credential.ReasonSettings}, credential.GiveUp{})
	late.now = late.now.Add(time.Hour)
	gone := withFirstKey().must(credential.Remove{Actor: "ann", KeepItem: true}).settle(t)
	for what, c := range map[string]struct {
		life  *life
		stray credential.FoundStray
		want  error
	}{
		"nobody registered it":               {newLife(), found("x", "r", day), credential.ErrUnknown},
		"an item that is used":               {withFirstKey(), found("i1", "r", day), credential.ErrNothing},
		"an old item":                        {succeeded(), found("i1", "r", day), credential.ErrNothing},
		"young":                              {withFirstKey(), found("x", "r", time.Hour-1), credential.ErrNothing},
		"of an age nobody knows":             {withFirstKey(), credential.FoundStray{MarkedItem: credential.MarkedItem{Item: "x", Rotation: "r"}}, credential.ErrNothing},
		"adopted once":                       {withFirstKey(), found("x", "", day), credential.ErrNothing},
		"of the open rotation":               {making, found("x", open, day), credential.ErrNothing},
		"of its second attempt":              {making, found("x", open+"-1", day), credential.ErrNothing},
		"while an item may be made":          {making, found("x", "r", day), credential.ErrClaimed},
		"when it was made, or never will be": {late, found("x", "r", day), nil},
		"kept when it was removed":           {gone, found("i1", "r", day), credential.ErrNothing},
		"stray":                              {withFirstKey(), found("x", "r", time.Hour), nil},
		"stray, of what was removed":         {gone, found("x", "r", day), nil},
	} {
		if err := c.life.do(c.stray); !errors.Is(err, c.want) || (c.want == nil && err != nil) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
			continue
		}
		if c.want != nil {
			continue
		}
		if old, ok := c.life.state.OldItem("x"); !ok || !old.Stray {
			t.Errorf("%s: old items %+v", what, c.life.state.Old)
		}
		if c.life.settle(t); len(c.life.state.Old) != 0 {
			t.Errorf("%s: it is not deleted: %s", what, c.life.next().Why)
		}
	}
}

func TestARemovalEndsEverything(t *testing.T) {
	for what, l := range map[string]*life{
		"with one key":     withFirstKey(),
		"in a drain":       inDrain(),
		"in a succession":  withFirstKey().must(credential.Register{Spec: other()}, credential.Begin{Reason: credential.ReasonSettings}, credential.ItemMade{Item: "i2"}).issue(),
		"without a key":    newLife().must(credential.Register{Spec: spec()}),
		"making the first": newLife().must(credential.Register{Spec: spec()}, credential.Begin{Reason: credential.ReasonFirstKey}),
		"with a leak":      withFirstKey().must(credential.Compromise{Key: credential.KeyPrimary, Immediately: true}),
		"with an old item": succeeded(),
	} {
		before := l.state
		l.must(credential.Remove{Actor: "ann", Reason: "no longer used"})
		for _, c := range []credential.Command{credential.Register{Spec: other()}, credential.RequestRotation{ID: "r", Now: true}} {
			if err := l.do(c); !errors.Is(err, credential.ErrStale) {
				t.Errorf("%s: %T: %v, want ErrStale", what, c, err)
			}
		}
		l.work = credential.Work{} // another daemon
		l.settle(t)
		s := l.state
		if s.Status != credential.StatusRemoved || len(s.Seats)+len(s.Old)+len(s.Claims) != 0 || s.Rotation != nil || s.Removing != nil {
			t.Errorf("%s: %+v", what, s)
		}
		if s.Revision <= before.Revision || s.Mint < before.Mint {
			t.Errorf("%s: a counter fell", what)
		}
		// another life under the name
		l.must(credential.Register{Spec: spec(), Actor: "ann"}).settle(t)
		if primary, ok := l.state.Primary(); !ok || primary.Mint <= before.Mint || l.state.Generation != 1 {
			t.Errorf("%s: the next life: %+v", what, l.state)
		}
	}
}

func TestARemovalIsRefusedWhileHeld(t *testing.T) {
	l := withFirstKey().must(credential.PutHold{Actor: "ann", Reason: "audit"})
	if err := l.do(credential.Remove{Actor: "ann"}); !errors.Is(err, credential.ErrHeld) {
		t.Errorf("held: %v, want ErrHeld", err)
	}
	l.must(credential.Release{}, credential.Remove{Actor: "ann"}, credential.PutHold{Actor: "ann", Reason: "wait"})
	if err := l.do(credential.ClaimRevoke{Seat: credential.SeatID{Item: "i1", Slot: 1}}); !errors.Is(err, credential.ErrHeld) {
		t.Errorf("held meanwhile: %v, want ErrHeld", err)
	}
}

func TestAdoption(t *testing.T) {
	seat := credential.SeatID{Item: "theirs", Slot: 2}
	adopt := credential.Adopt{
		Spec: spec(), Actor: "ann", Seat: seat, Fingerprint: "fp", Expires: start.Add(60 * day), Version: 3,
		Settings: spec().Item.SettingsHash(), Told: "told",
	}
	l := newLife().must(adopt)
	primary, ok := l.state.Primary()
	if !ok || primary.SeatID != seat || primary.Proven.IsZero() || l.state.Vault.Version != 3 || l.state.Rotation != nil || primary.Told != "told" {
		t.Fatalf("%+v", l.state)
	}
	if l.settle(t); l.state.Edit != nil { // the marker, and no rotation
		t.Errorf("%s: %s", l.next().Kind, l.next().Why)
	}
	if step := l.next(); step.Kind != credential.StepWait || step.Reason != credential.ReasonNotDue || l.state.Generation != 1 {
		t.Errorf("%s (%s): %s", step.Kind, step.Reason, step.Why)
	}
	if err := l.do(adopt); !errors.Is(err, credential.ErrNothing) {
		t.Errorf("again: %v, want ErrNothing", err)
	}
	another := adopt
	another.Fingerprint = "other"
	if err := l.do(another); !errors.Is(err, credential.ErrStale) {
		t.Errorf("another key under the name: %v, want ErrStale", err)
	}
	l.now = l.state.Due
	if step := l.next(); step.Kind != credential.StepBegin || step.Seat != seat.Sibling() {
		t.Errorf("due: %s on %s", step.Kind, step.Seat)
	}
	for what, change := range map[string]func(*credential.Adopt){
		"expired":          func(a *credential.Adopt) { a.Expires = start },
		"without an end":   func(a *credential.Adopt) { a.Expires = time.Time{} },
		"for ever":         func(a *credential.Adopt) { a.Expires = start.Add(500 * day) },
		"no slot":          func(a *credential.Adopt) { a.Seat.Slot = 0 },
		"no item":          func(a *credential.Adopt) { a.Seat.Item = "" },
		"nothing in Vault": func(a *credential.Adopt) { a.Version = 0 },
		"no fingerprint":   func(a *credential.Adopt) { a.Fingerprint = "" },
	} {
		bad := adopt
		change(&bad)
		if err := newLife().do(bad); !errors.Is(err, credential.ErrAbsurd) {
			t.Errorf("%s: %v, want ErrAbsurd", what, err)
		}
	}
	declared := adopt
	declared.Spec = other()
	if step := newLife().must(declared).settle(t); step.state.Settings != other().Item.SettingsHash() || len(step.state.Old) != 0 {
		t.Errorf("other settings: %+v", step.state)
	}
}

func TestAKeyThatSomebodyReplacedIsNobodysToRevoke(t *testing.T) {
	first := credential.SeatID{Item: "i1", Slot: 1}
	l := withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyReplaced, Seat: first}})
	for _, event := range l.settle(t).events {
		if f, ok := event.Fact.(credential.Retiring); ok {
			t.Errorf("a claim to revoke on %s", f.Claim.Seat)
		}
	}
	primary, _ := l.state.Primary()
	if primary.SeatID != first.Sibling() || len(l.state.Seats) != 1 {
		t.Errorf("seats %+v", l.state.Seats)
	}
}

func TestSettingsThatWereEditedElsewhere(t *testing.T) {
	first := credential.SeatID{Item: "i1", Slot: 1}
	l := withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingSettings, Seat: first}})
	if step := l.next(); step.Kind != credential.StepWait || step.Reason != credential.ReasonNotDue {
		t.Errorf("before an operator asks: %s (%s)", step.Kind, step.Why)
	}
	l.must(credential.RequestRotation{ID: "r", Now: true}).settle(t)
	if primary, _ := l.state.Primary(); primary.Item == "i1" || len(l.state.Drift) != 0 || len(l.state.Old) != 0 {
		t.Errorf("primary %+v, drift %+v, old items %+v", primary, l.state.Drift, l.state.Old)
	}
}
