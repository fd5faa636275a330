package credential

import (
	"fmt"
	"slices"
	"time"
)

// Removal is an operator's wish to have a credential no longer.
type Removal struct {
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// KeepSecret leaves the secret in Vault, with a key that is dead.
	KeepSecret bool `json:"keep_secret,omitempty"`
	// KeepItem leaves the item that applications' key lived on at the issuer.
	KeepItem bool `json:"keep_item,omitempty"`
}

// Removing begins the end of a credential: its keys die, in no order that an
// application could rely on.
type Removing struct {
	Removal Removal `json:"removal"`
}

// Removed closes the record: no key lives.
type Removed struct{}

// Type implements Fact.
func (Removing) Type() EventType { return TypeRemoving }

func (Removing) fact() {}

// Type implements Fact.
func (Removed) Type() EventType { return TypeRemoved }

func (Removed) fact() {}

func remove(s State, c Remove, v View) (Fact, error) {
	switch {
	case s.Removing != nil && c.KeepItem && (!s.Removing.KeepItem || len(s.Old) > 0): // it cannot be deleted, and an operator knows
		removal := *s.Removing
		removal.KeepItem = true
		return Removing{Removal: removal}, nil
	case s.Removing != nil:
		return nil, fmt.Errorf("%w: it is being removed since %s", ErrNothing, s.Removing.Since.UTC().Format(time.RFC3339))
	case s.held(v):
		return nil, fmt.Errorf("%w: by %s: %s", ErrHeld, s.holder().Actor, s.holder().Reason)
	}
	return Removing{Removal: Removal{
		Actor: c.Actor, Reason: c.Reason, Since: v.Now.UTC(), KeepSecret: c.KeepSecret, KeepItem: c.KeepItem,
	}}, nil
}

// removing ends every key and item of a credential that nobody wants any more.
func removing(s State, v View) (Step, bool) {
	if s.Removing == nil {
		return Step{}, false
	}
	var soonest Step
	for _, seat := range s.Seats {
		step := end(s, v, seat)
		if step.Kind != StepWait {
			return step, true
		}
		soonest = sooner(soonest, step)
	}
	if step, ok := tidy(s, v); ok {
		if step.Kind != StepWait {
			return step, true
		}
		soonest = sooner(soonest, step)
	}
	if soonest.Kind != "" {
		return soonest, true
	}
	// an item that is being made is not named yet, and a late write to Vault would
	// bring the secret back
	var longest time.Duration
	for _, c := range s.Claims {
		longest = max(longest, c.Over()-v.Seen[c.ID])
	}
	if longest > 0 {
		return wait(ReasonClaimOpen, v.Now.Add(longest), "another call at the issuer may still be under way"), true
	}
	return Step{Kind: StepRemove, Reason: ReasonRemoved, Why: "asked for by " + s.Removing.Actor}, true
}

// end says how the key on a seat dies when the credential is removed, or what
// stands in the way.
func end(s State, v View, seat Seat) Step {
	over := seat.Leak != nil && seat.Leak.OverrideHold
	if s.held(v) && !over {
		return wait(ReasonHeld, s.heldUntil(v), "held by "+s.holder().Actor+": "+s.holder().Reason)
	}
	if step, ok := s.unsure(v); ok && !over {
		return step
	}
	if step, ok := waitToKill(s, v, seat.SeatID); ok {
		return step
	}
	if seat.Leak != nil { // whose failures are remembered with it
		if until, waits := s.waits(seat.Leak.Failure, v); waits {
			return wait(ReasonBackoff, until, "a leaked key lives: "+seat.Leak.Failure.Message)
		}
	}
	return Step{Kind: StepRetire, Reason: ReasonRemoved, Seat: seat.SeatID, Why: "the credential is removed"}
}

// unsure waits while nobody can tell by the clocks whether a hold is over.
func (s State) unsure(v View) (Step, bool) {
	return wait(ReasonSkew, v.Now.Add(s.Spec.Policy.ProbeInterval()),
		fmt.Sprintf("this clock and the issuer's differ by %s, so a hold may stand; set the clock", Short(v.Skew))), v.skewed() && (s.Hold != nil || s.Frozen != nil)
}

func removed(s State, v View) (Fact, error) {
	if step, ok := removing(s, v); !ok || step.Kind != StepRemove {
		return nil, ErrStale
	}
	return Removed{}, nil
}

// remove begins a removal: what was planned is not wanted any more.
func (s *State) remove(f Removing) {
	removal := f.Removal
	if s.Removing != nil {
		for _, old := range s.Old {
			s.Kept = append(s.Kept, old.Item)
		}
		s.Removing, s.Old = &removal, nil
		return
	}
	s.Removing = &removal
	used := s.Killed.Item
	if primary, ok := s.Primary(); ok {
		used = primary.Item
	}
	if r := s.Rotation; r != nil && r.Target.Item != used {
		s.leave(r.Target.Item, removal.Since)
	}
	for _, seat := range s.Seats {
		if seat.Item != used {
			s.leave(seat.Item, removal.Since)
		}
	}
	switch {
	case used == "":
	case removal.KeepItem:
		s.Kept = append(s.Kept, used)
	default:
		s.leave(used, removal.Since)
	}
	s.orphan()
	s.Rotation, s.Requested, s.Again, s.Failure, s.Edit, s.Killed = nil, nil, "", nil, nil, SeatID{}
	s.Drift = slices.DeleteFunc(s.Drift, func(d Finding) bool { return d.Kind != FindingItemInUse })
}

// removed closes a record. A later life under the name begins with nothing of this
// one but the counters, which only ever go up, the requests of late, and what a sweep
// must know.
func (s *State) removed() {
	*s = State{
		Schema: s.Schema, Name: s.Name, Status: StatusRemoved, Revision: s.Revision, Spec: s.Spec, Mint: s.Mint,
		Answered: s.Answered, Old: s.Old, Kept: s.Kept,
	}
}
