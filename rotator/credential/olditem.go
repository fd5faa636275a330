package credential

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// OldItem is an item that was left: it is deleted once nothing of ours lives on it.
type OldItem struct {
	Item  string    `json:"item"`
	Since time.Time `json:"since"`
	// Stray is true for one that a sweep found and that no event had named: what
	// lives there is nobody's, and is revoked with it.
	Stray bool `json:"stray,omitempty"`
	// Failure is the memory of failed attempts to delete it; nil = none.
	Failure *Failure `json:"failure,omitempty"`
}

// ItemEdited says that title, folder, tags, description and marker are as declared.
type ItemEdited struct {
	Item        string `json:"item"`
	Description string `json:"description"` // the hash of what was written
	Closed      string `json:"closed,omitempty"`
}

// ItemDeleted says that an item, and with it every key on it, is gone for good.
type ItemDeleted struct {
	Item   string `json:"item"`
	Closed string `json:"closed,omitempty"`
}

// Type implements Fact.
func (ItemEdited) Type() EventType { return TypeItemEdited }

func (ItemEdited) fact() {}

// Type implements Fact.
func (ItemDeleted) Type() EventType { return TypeItemDeleted }

func (ItemDeleted) fact() {}

// OldItem returns the entry of an item that is to be deleted.
func (s State) OldItem(item string) (OldItem, bool) {
	for _, old := range s.Old {
		if old.Item == item {
			return old, true
		}
	}
	return OldItem{}, false
}

// Uses reports whether a key of ours may live on an item, or is about to.
func (s State) Uses(item string) bool {
	onItem := func(seat SeatID) bool { return seat.Item == item }
	return slices.ContainsFunc(s.Seats, func(seat Seat) bool { return onItem(seat.SeatID) }) ||
		onItem(s.Killed) || (s.Rotation != nil && onItem(s.Rotation.Target))
}

// Items are those that the record names: in use, to be deleted, or kept. One may be
// there twice.
func (s State) Items() []string {
	var items []string
	add := func(item string) {
		if item != "" {
			items = append(items, item)
		}
	}
	for _, seat := range s.Seats {
		add(seat.Item)
	}
	add(s.Killed.Item)
	if s.Rotation != nil {
		add(s.Rotation.Target.Item)
	}
	for _, old := range s.Old {
		add(old.Item)
	}
	return append(items, s.Kept...)
}

// leave puts an item on the list of those to be deleted.
func (s *State) leave(item string, at time.Time) {
	if _, known := s.OldItem(item); item == "" || known {
		return
	}
	s.Old = append(s.Old, OldItem{Item: item, Since: at})
}

// keep takes an item off that list: it is used again, or gone.
func (s *State) keep(item string) {
	s.Old = slices.DeleteFunc(s.Old, func(old OldItem) bool { return old.Item == item })
}

// tidy is what is done beside everything else, when it can be: the item that
// applications use is edited in place, and items that were left are deleted.
func tidy(s State, v View) (Step, bool) {
	var soonest Step
	look := func(step Step) bool {
		if step.Kind != StepWait {
			return true
		}
		soonest = sooner(soonest, step)
		return false
	}
	if s.Edit != nil && s.Removing == nil && s.Status == StatusRegistered {
		if step := amend(s, v); look(step) {
			return step, true
		}
	}
	for _, old := range s.Old {
		if step := discard(s, v, old); look(step) {
			return step, true
		}
	}
	return soonest, soonest.Kind != ""
}

// amend edits title, folder, tags and description where the item is.
func amend(s State, v View) Step {
	primary, ok := s.Primary()
	if !ok {
		return wait(ReasonNotDue, time.Time{}, "there is no item to edit")
	}
	if until, waits := s.waits(s.Edit.Failure, v); waits {
		return wait(ReasonBackoff, until, "the item could not be edited: "+s.Edit.Failure.Message)
	}
	id := SeatID{Item: primary.Item}
	if step, ok := waitForClaims(s, v, OpEditItem, id); ok {
		return step
	}
	return Step{Kind: StepAmend, Reason: ReasonDescribed, Seat: id, Why: "title, folder, tags or description changed"}
}

// discard says what stands in the way of the deletion of an old item, if
// anything does.
func discard(s State, v View, old OldItem) Step {
	id := SeatID{Item: old.Item}
	if s.Uses(old.Item) {
		return wait(ReasonDraining, time.Time{}, "a key may live on the old item "+old.Item)
	}
	for _, d := range s.Drift {
		if d.Kind == FindingItemInUse && d.Seat.Item == old.Item {
			return wait(ReasonDrift, time.Time{}, d.Detail)
		}
	}
	if step, ok := blocked(s, v); ok && s.Removing == nil {
		return step
	}
	if s.held(v) {
		return wait(ReasonHeld, s.heldUntil(v), "held by "+s.holder().Actor+": "+s.holder().Reason)
	}
	if v.skewed() && s.Removing == nil {
		return wait(ReasonSkew, v.Now.Add(s.Spec.Policy.ProbeInterval()), fmt.Sprintf("this clock and the issuer's differ by %s; set the clock", Short(v.Skew)))
	}
	if until, waits := s.waits(old.Failure, v); waits {
		return wait(ReasonBackoff, until, "an old item could not be deleted: "+old.Failure.Message)
	}
	if step, ok := waitForClaims(s, v, OpDeleteItem, id); ok {
		return step
	}
	return Step{Kind: StepDiscard, Reason: ReasonUnwanted, Seat: id, Why: "no key of ours lives on the old item"}
}

// heldUntil is when no hold stands by either clock; zero = not by itself.
func (s State) heldUntil(v View) time.Time {
	until := s.holder().Until
	if until.IsZero() {
		return until
	}
	return later(until, until.Add(-v.Skew))
}

// claimItem opens the claim to edit or delete an item.
func claimItem(s State, c ClaimItem, v View) (Fact, error) {
	id := SeatID{Item: c.Item}
	var step Step
	switch old, ok := s.OldItem(c.Item); {
	case c.Op == OpDeleteItem && ok:
		step = discard(s, v, old)
	case c.Op == OpEditItem && s.Edit != nil && s.Removing == nil:
		step = amend(s, v)
	default:
		return nil, ErrStale
	}
	switch {
	case step.Reason == ReasonHeld:
		return nil, fmt.Errorf("%w: by %s: %s", ErrHeld, s.holder().Actor, s.holder().Reason)
	case step.Kind == StepWait || step.Seat != id:
		return nil, fmt.Errorf("%w: %s", ErrStale, step.Why)
	}
	claim, err := newClaim(s, v, c.Op, id, "")
	return StepClaimed{Claim: claim}, err
}

func itemDeleted(s State, c ItemGone, v View) (Fact, error) {
	claim, ok := holding(s, v, OpDeleteItem)
	if !ok || claim.Seat.Item != c.Item {
		return nil, ErrStale
	}
	return ItemDeleted{Item: c.Item, Closed: claim.ID}, nil
}

func itemEdited(s State, c ItemAmended, v View) (Fact, error) {
	claim, ok := holding(s, v, OpEditItem)
	if !ok || claim.Seat.Item != c.Item {
		return nil, ErrStale
	}
	return ItemEdited{Item: c.Item, Description: c.Description, Closed: claim.ID}, nil
}

func (s *State) deleted(f ItemDeleted) {
	s.close(f.Closed)
	s.keep(f.Item)
	s.Drift = slices.DeleteFunc(s.Drift, func(d Finding) bool { return d.Seat.Item == f.Item })
}

func (s *State) edited(f ItemEdited) {
	s.close(f.Closed)
	if f.Description == s.Spec.Item.DescriptionHash() {
		s.Edit = nil // else it was changed again meanwhile
	}
}

// stray takes an item of ours that no event names: what an unanswered call to
// make one left behind. Its rotation must have ended, and a while ago.
func stray(s State, c FoundStray, v View) (Fact, error) {
	_, old := s.OldItem(c.Item)
	if old || s.Uses(c.Item) || slices.Contains(s.Kept, c.Item) || c.Rotation == "" {
		return nil, fmt.Errorf("%w: the record names item %s", ErrNothing, c.Item)
	}
	if r := s.Rotation; r != nil && (c.Rotation == r.ID || strings.HasPrefix(c.Rotation, r.ID+"-")) {
		return nil, fmt.Errorf("%w: the rotation of item %s is open", ErrNothing, c.Item)
	}
	for _, claim := range s.Claims {
		if claim.Seat.Item == c.Item || claim.Op == OpCreateItem {
			return nil, fmt.Errorf("%w: %s by %s", ErrClaimed, claim.Op, claim.Daemon)
		}
	}
	if c.Created.IsZero() || v.IssuerNow().Sub(c.Created) < c.Grace {
		return nil, fmt.Errorf("%w: item %s is too young", ErrNothing, c.Item)
	}
	return Drifted{Finding: Finding{
		Kind: FindingStrayItem, Seat: SeatID{Item: c.Item}, Since: v.Now.UTC(),
		Detail: "item " + c.Item + " was made by keyturn, and no event names it; it is deleted",
	}}, nil
}
