package credential

import (
	"fmt"
	"slices"
	"time"
)

// Leak says that the key on a seat is in wrong hands: it dies without a drain.
type Leak struct {
	Actor   string    `json:"actor"`
	Reason  string    `json:"reason"`
	Request string    `json:"request,omitempty"`
	Since   time.Time `json:"since"`
	// Immediately has it die before its replacement is ready, and without Vault.
	Immediately bool `json:"immediately,omitempty"`
	// OverrideHold has it die though a hold stands.
	OverrideHold bool `json:"override_hold,omitempty"`
	// Failure is the memory of failed attempts to kill it; nil = none.
	Failure *Failure `json:"failure,omitempty"`
}

// Emergency reports whether a leaked key still lives, or applications have no
// key because one was killed.
func (s State) Emergency() bool {
	return s.Killed != (SeatID{}) || slices.ContainsFunc(s.Seats, func(seat Seat) bool { return seat.Leak != nil })
}

// Leaked are the seats whose key is in wrong hands and not dead yet.
func (s State) Leaked() []Seat {
	var leaked []Seat
	for _, seat := range s.Seats {
		if seat.Leak != nil {
			leaked = append(leaked, seat)
		}
	}
	return leaked
}

// orphaned reports whether applications need another key at once: theirs leaked,
// is dead because it did, or is one that somebody else put into Vault, of which
// nothing is known.
func (s State) orphaned() bool {
	primary, ok := s.Primary()
	return s.Killed != (SeatID{}) || (ok && (primary.Leak != nil || s.Vault.Foreign))
}

func compromise(s State, c Compromise, v View) (Fact, error) {
	leak := Leak{
		Actor: c.Actor, Reason: c.Reason, Request: c.Request, Since: v.Now.UTC(),
		Immediately: c.Immediately, OverrideHold: c.OverrideHold,
	}
	f := Compromised{Leak: leak, Vault: c.Vault, Outside: c.Outside.UTC()}
	if c.Outside.IsZero() {
		f.Outside = time.Time{}
	}
	if c.Gone != nil {
		gone := *c.Gone
		gone.Gone = true
		f.Keys, f.Vault = []LeakedKey{gone}, nil
		return f, nil
	}
	_, stopped := blocked(s, v)
	told := !stopped && c.Vault == nil
	for _, seat := range s.Seats {
		if !seat.meant(c.Key) {
			continue
		}
		if seat.named() && s.held(v) && !c.OverrideHold {
			return nil, fmt.Errorf("%w: by %s: %s", ErrHeld, s.holder().Actor, s.holder().Reason)
		}
		told = told && seat.Leak != nil && (seat.Leak.Immediately || !c.Immediately) && (seat.Leak.OverrideHold || !c.OverrideHold)
		fingerprint := seat.Fingerprint
		if Fingerprint(c.Key) == seat.Over {
			fingerprint = seat.Over
		}
		f.Keys = append(f.Keys, LeakedKey{Seat: seat.SeatID, Role: seat.Role, Fingerprint: fingerprint, Expires: seat.Expires})
	}
	switch {
	case len(f.Keys) == 0:
		return nil, fmt.Errorf("%w: %s", ErrNoKey, c.Key)
	case told:
		return nil, fmt.Errorf("%w: it is known, and dies as soon as it can", ErrNothing)
	}
	return f, nil
}

// meant reports whether a Compromise is about a seat.
func (s Seat) meant(key string) bool {
	switch key {
	case KeyAll:
		return true
	case KeyPrimary:
		return s.Role == RolePrimary
	case KeySecondary:
		return s.Role != RolePrimary
	}
	return key != "" && (string(s.Fingerprint) == key || string(s.Over) == key)
}

// compromise marks the seats. What stood in the way of planned steps, and was
// seen by the operator, no longer does.
func (s *State) compromise(f Compromised) {
	if !slices.ContainsFunc(f.Keys, func(k LeakedKey) bool { return !k.Gone }) {
		return // told of what is over
	}
	for i, seat := range s.Seats {
		if !slices.ContainsFunc(f.Keys, func(k LeakedKey) bool { return k.Seat == seat.SeatID }) {
			continue
		}
		leak := f.Leak
		if before := seat.Leak; before != nil {
			leak.Since = before.Since
			leak.Immediately = leak.Immediately || before.Immediately
			leak.OverrideHold = leak.OverrideHold || before.OverrideHold
		}
		s.Seats[i].Leak = &leak
	}
	s.Failure = nil
	s.acceptFound(f.Vault)
}

// leaked is what an emergency does, before anything planned: leaked keys that
// applications do not use die now, and those that they use get a successor. A key
// that refuses to die, or must not yet, stops nothing else: the one that
// applications use must not expire meanwhile.
func leaked(s State, v View) (Step, bool) {
	if !s.Emergency() {
		return Step{}, false
	}
	if step, ok := killLeaked(s, v); ok && step.Kind != StepWait {
		return step, true
	}
	return replaceLeaked(s, v)
}

// killLeaked takes the leaked keys one by one.
func killLeaked(s State, v View) (Step, bool) {
	var soonest Step
	_, used := s.Primary()
	for _, seat := range s.Leaked() {
		shown := seat.Role == RolePrimary || (!used && seat.Role == RoleOrphan && !seat.Proven.IsZero()) // maybe, before the first promotion
		if shown && !seat.Leak.Immediately {
			continue // its successor comes first
		}
		step := kill(s, v, seat)
		if step.Kind != StepWait {
			return step, true
		}
		soonest = sooner(soonest, step)
	}
	return soonest, soonest.Kind != ""
}

// sooner returns the wait that ends first.
func sooner(a, b Step) Step {
	if a.Kind == "" || (!b.At.IsZero() && (a.At.IsZero() || b.At.Before(a.At))) {
		return b
	}
	return a
}

// kill says how a leaked key dies, or what stands in the way of it.
func kill(s State, v View, seat Seat) Step {
	switch {
	case seat.Role == RoleCandidate:
		return Step{Kind: StepAbandon, Reason: ReasonLeaked, Seat: seat.SeatID, Why: "the new key leaked"}
	case seat.Role != RolePrimary && seat.expired(v.IssuerNow()):
		return Step{Kind: StepExpire, Reason: ReasonKeyExpired, Seat: seat.SeatID, Why: "the leaked key has expired"}
	case seat.named() && s.held(v) && !seat.Leak.OverrideHold:
		h := s.holder()
		return wait(ReasonHeld, h.Until, "a leaked key lives, held by "+h.Actor+": "+h.Reason)
	}
	if !seat.Leak.Immediately { // it dies after a look at what applications have instead
		if step, ok := blocked(s, v); ok {
			return step
		}
		if s.Vault.Foreign {
			return wait(ReasonDrift, time.Time{}, "a leaked key lives until Vault shows a key of ours again")
		}
	}
	if step, ok := waitToKill(s, v, seat.SeatID); ok {
		return step
	}
	if until, waits := s.waits(seat.Leak.Failure, v); waits {
		return wait(ReasonBackoff, until, "a leaked key lives: "+seat.Leak.Failure.Message)
	}
	return Step{Kind: StepRetire, Reason: ReasonLeaked, Seat: seat.SeatID, Why: "the key leaked"}
}

// waitToKill waits for the open claims that a revocation does not stand beside.
func waitToKill(s State, v View, id SeatID) (Step, bool) {
	var longest time.Duration
	for _, c := range s.Claims {
		if c.meets(OpRevoke, id) && !s.besides(c, OpRevoke, id, v) {
			longest = max(longest, c.Over()-v.Seen[c.ID])
		}
	}
	return wait(ReasonClaimOpen, v.Now.Add(longest), "another call at the issuer may still be under way on the seat"), longest > 0
}

// besides reports whether a claim to revoke may stand beside an earlier one:
// both kill the same key, and an operator cannot wait for a daemon that may be dead.
func (s State) besides(earlier Claim, op Operation, id SeatID, v View) bool {
	seat, ok := s.Seat(id)
	if !ok || op != OpRevoke || earlier.Op != OpRevoke || seat.Leak == nil || !seat.Leak.Immediately {
		return false
	}
	return earlier.Opened.Before(seat.Leak.Since) || v.Seen[earlier.ID] >= earlier.Window.Std()/8
}

// failure is the memory of failed attempts that a step adds to.
func (s State) failure(step StepKind, id SeatID) *Failure {
	if old, ok := s.OldItem(id.Item); ok && (step == StepDiscard || step == StepDelete) {
		return old.Failure
	}
	if s.Edit != nil && (step == StepAmend || step == StepEdit) {
		return s.Edit.Failure
	}
	seat, ok := s.Seat(id)
	if ok && seat.Leak != nil && (step == StepRetire || step == StepRevoke) {
		return seat.Leak.Failure
	}
	return s.Failure
}

// Attempts is how often a step has failed of late.
func (s State) Attempts(step StepKind, id SeatID) int {
	if f := s.failure(step, id); f != nil {
		return f.Attempts
	}
	return 0
}

// fail remembers a failed attempt: one to kill a leaked key where the leak is, one
// about an item with the item, so that nothing else waits for it.
func (s *State) fail(f Failure) {
	if s.Edit != nil && (f.Step == StepAmend || f.Step == StepEdit) {
		s.Edit = &PendingEdit{Failure: &f}
		return
	}
	for i, old := range s.Old {
		if old.Item == f.Seat.Item && (f.Step == StepDiscard || f.Step == StepDelete) {
			s.Old[i].Failure = &f
			return
		}
	}
	for i, seat := range s.Seats {
		if seat.SeatID == f.Seat && seat.Leak != nil && (f.Step == StepRetire || f.Step == StepRevoke) {
			leak := *seat.Leak
			leak.Failure = &f
			s.Seats[i].Leak = &leak
			return
		}
	}
	s.Failure = &f
}

// Failures are all memories of failed attempts.
func (s State) Failures() []Failure {
	var all []Failure
	if s.Failure != nil {
		all = append(all, *s.Failure)
	}
	for _, seat := range s.Leaked() {
		if seat.Leak.Failure != nil {
			all = append(all, *seat.Leak.Failure)
		}
	}
	if s.Edit != nil && s.Edit.Failure != nil {
		all = append(all, *s.Edit.Failure)
	}
	for _, old := range s.Old {
		if old.Failure != nil {
			all = append(all, *old.Failure)
		}
	}
	return all
}

// replaceLeaked gets applications another key: one that is proven and that Vault
// carries, else a new one.
func replaceLeaked(s State, v View) (Step, bool) {
	if !s.orphaned() {
		return Step{}, false
	}
	if step, ok := blocked(s, v); ok {
		return step, true
	}
	if seat, ok := s.spare(v); ok {
		return Step{Kind: StepPromote, Reason: ReasonLeaked, Seat: seat.SeatID, Why: "the primary key leaked"}, true
	}
	if s.Rotation != nil && s.Rotation.Phase != PhaseDrain {
		return Step{}, false // the next one is being made
	}
	return beginAt(s, v, ReasonLeaked, v.Now, "the primary key leaked")
}

// spare is a proven key that can take over at once: nobody may have killed it
// since, and Vault carries it.
func (s State) spare(v View) (Seat, bool) {
	if seat, ok := s.Candidate(); ok && s.Rotation.ready() && s.fit(seat, v) {
		return seat, true
	}
	if s.Rotation != nil && s.Rotation.Phase != PhaseDrain {
		return Seat{}, false
	}
	for _, seat := range s.Seats {
		// while the leaked one works, nothing is gained by a key that is about to end
		lasts := s.Killed != (SeatID{}) || v.IssuerNow().Before(s.Spec.Policy.PageAt(seat.Expires))
		if seat.Role == RoleDraining && seat.Fingerprint == s.Vault.Other && lasts && s.fit(seat, v) {
			return seat, true
		}
	}
	return Seat{}, false
}

func (s State) fit(seat Seat, v View) bool {
	return !seat.Proven.IsZero() && !seat.Claimed && !seat.Replaced && seat.Leak == nil && !seat.expired(v.IssuerNow()) && !s.refused(seat.SeatID)
}

func (r *Rotation) ready() bool { return r != nil && r.Phase == PhaseReady }
