package credential

import (
	"fmt"
	"time"
)

// draining retires the seats that a promotion left behind, one by one.
func draining(s State, v View) (Step, bool) {
	r := s.Rotation
	if r == nil || r.Phase != PhaseDrain {
		return Step{}, false
	}
	for _, seat := range s.Seats { // first, since it frees a slot and needs no claim
		if step := retire(s, v, seat); seat.Role != RolePrimary && step.Kind == StepExpire {
			return step, true
		}
	}
	if reason, why, ok := s.overtaken(v); ok {
		return s.heal(v, reason, why)
	}
	var soonest Step
	for _, seat := range s.Seats {
		if seat.Role == RolePrimary {
			continue
		}
		step := retire(s, v, seat)
		if step.Kind != StepWait {
			return step, true
		}
		soonest = sooner(soonest, step)
	}
	primary, _ := s.Primary()
	if at := s.overtakenAt(v, primary); at.After(v.Now) { // in case none of them ends before
		soonest.At = earlier(soonest.At, at)
	}
	return soonest, soonest.Kind != ""
}

// overtakenAt is when the primary needs a successor, drain or no drain, by our
// clock: at its warning level, unless it is due later, because the issuer gave
// less than was asked.
func (s State) overtakenAt(v View, primary Seat) time.Time {
	return later(s.Spec.Policy.WarnAt(primary.Expires), s.Due).Add(-v.Skew)
}

// overtaken reports whether the next rotation must begin though this one still
// drains: a hold or a gate may keep a drain open until the old key's own
// expiry, and the primary must not end meanwhile. It takes the seats over.
func (s State) overtaken(v View) (reason Reason, why string, ok bool) {
	primary, _ := s.Primary()
	if _, stopped := blocked(s, v); stopped {
		return "", "", false
	}
	if s.refused(primary.SeatID) {
		return ReasonRefused, "the issuer refuses the primary key", true
	}
	if s.Requested != nil && s.Vault.Foreign { // what was promoted is gone from Vault, and an operator knows
		return ReasonRequested, "asked for by " + s.Requested.Actor, true
	}
	return ReasonExpiring, "the primary nears its expiry before the drain is over", !v.Now.Before(s.overtakenAt(v, primary))
}

// retire says what stands in the way of the end of one seat, if anything does.
func retire(s State, v View, seat Seat) Step {
	if seat.Leak != nil {
		return kill(s, v, seat)
	}
	expired := seat.expired(v.IssuerNow())
	if step, ok := blocked(s, v); ok && expired {
		return step // its end is written to Vault, too
	}
	if seat.Replaced {
		return Step{Kind: StepExpire, Reason: ReasonRefused, Seat: seat.SeatID, Why: "the old key is dead, and its slot is somebody else's"}
	}
	if expired {
		return Step{Kind: StepExpire, Reason: ReasonKeyExpired, Seat: seat.SeatID, Why: "the old key has expired"}
	}
	ends := seat.Expires // where a wait has no other end, the key's own expiry ends it
	if !ends.IsZero() {
		ends = ends.Add(-v.Skew)
	}
	if step, ok := blocked(s, v); ok {
		step.At = ends
		return step
	}
	if s.held(v) && seat.named() {
		until := s.holder().Until
		if !until.IsZero() {
			until = later(until, until.Add(-v.Skew))
		}
		return wait(ReasonHeld, earlier(until, ends), "held by "+s.holder().Actor+": "+s.holder().Reason)
	}
	if v.skewed() {
		return wait(ReasonSkew, earlier(v.Now.Add(s.Spec.Policy.ProbeInterval()), ends),
			fmt.Sprintf("this clock and the issuer's differ by %s; set the clock", Short(v.Skew)))
	}
	// A proven orphan drains too: a promotion that was overtaken may have shown it.
	if seat.Role == RoleDraining || !seat.Proven.IsZero() {
		if step, ok := stillDraining(s, v); ok {
			step.At = earlier(step.At, ends)
			return step
		}
	}
	if step, ok := waitForClaims(s, v, OpRevoke, seat.SeatID); ok {
		return step
	}
	return Step{Kind: StepRetire, Reason: ReasonDrainOver, Seat: seat.SeatID, Why: "the old key is no longer wanted"}
}

// stillDraining waits for the drain, its gate and the window. The drain is
// over when both clocks say so.
func stillDraining(s State, v View) (Step, bool) {
	r := s.Rotation
	until := r.DrainUntil
	if behind := until.Add(-v.Skew); behind.After(until) {
		until = behind
	}
	if v.Now.Before(until) {
		return wait(ReasonDraining, until, "both keys work until the drain ends"), true
	}
	opens, reason, why := gate(s, BeforeRetire, r.Promoted)
	if reason == ReasonHalted || v.Now.Before(opens) {
		return wait(reason, opens, why), true
	}
	if at := s.Spec.Policy.OpenAt(v.Now, v.Calendar); at.After(v.Now) {
		return wait(ReasonWindow, at, "outside the window for planned steps"), true
	}
	return Step{}, false
}

// begin starts a rotation when one is due.
func begin(s State, v View) (Step, bool) {
	if s.Rotation != nil {
		return Step{}, false
	}
	primary, ok := s.Primary()
	switch {
	case !ok:
		return beginAt(s, v, ReasonFirstKey, v.Now, "there is no key yet")
	case s.refused(primary.SeatID):
		return s.heal(v, ReasonRefused, "the issuer refuses the primary key")
	case s.Requested != nil && s.Requested.Now:
		return beginAt(s, v, ReasonRequested, v.Now, "asked for by "+s.Requested.Actor)
	case s.Requested != nil:
		return beginAt(s, v, ReasonRequested, s.inWindow(v, v.IssuerNow()), "asked for by "+s.Requested.Actor)
	case s.Settings != s.Spec.Item.SettingsHash():
		return beginAt(s, v, ReasonSettings, s.inWindow(v, v.IssuerNow()), "the declared settings changed")
	case s.Again != "":
		return beginAt(s, v, s.Again, s.inWindow(v, v.IssuerNow()), "the rotation before was abandoned")
	}
	reason, why := ReasonExpiring, "the lead time before expiry has begun"
	if s.Spec.Policy.Schedule != "" {
		reason, why = ReasonSchedule, "the schedule says so"
	}
	return beginAt(s, v, reason, s.inWindow(v, later(s.Due, v.IssuerNow())), why)
}

// heal gets applications another key for one that is dead at the issuer: one that
// still drains, or a new one. It happens now and then only, or an issuer that
// refuses for a while would be given one key after another. Any other reason to
// begin waits for nothing.
func (s State) heal(v View, reason Reason, why string) (Step, bool) {
	if reason != ReasonRefused {
		return beginAt(s, v, reason, v.Now, why)
	}
	next := s.Healed.Add(4 * s.Spec.Policy.ProbeInterval())
	asked := s.Requested != nil && s.Requested.Now
	if !s.Healed.IsZero() && v.Now.Before(next) && !v.Now.Before(s.Healed) && !asked {
		return wait(ReasonDrift, next, why+", and one was replaced a moment ago"), true
	}
	if seat, ok := s.spare(v); ok {
		return Step{Kind: StepPromote, Reason: reason, Seat: seat.SeatID, Why: why}, true
	}
	return beginAt(s, v, reason, v.Now, why)
}

// idle reports whether no key of ours can be on the seat beside the primary: none
// is listed, and no claim may put one there.
func (s State) idle(id SeatID) bool {
	primary, ok := s.Primary()
	_, listed := s.Seat(id)
	for _, c := range s.Claims {
		listed = listed || c.meets(OpGenerate, id)
	}
	return ok && !listed && primary.Sibling() == id && (s.Rotation == nil || s.Rotation.Target != id)
}

// free reports whether a seat may be generated over. A key that still drains is
// given up for applications whose own one leaked.
func (s State) free(seat Seat, reason Reason, v View) bool {
	switch {
	case seat.Leak != nil:
		return false // it dies first, by its own claim
	case !seat.named():
		return true
	case s.held(v):
		return false
	case reason == ReasonLeaked && s.Vault.Foreign && s.Vault.Accepted != 0:
		return false // Vault may show this very key to applications
	case seat.Role == RoleDraining:
		return reason == ReasonLeaked && s.Killed == (SeatID{}) // or Vault may show it already, instead of what was killed
	}
	return seat.Proven.IsZero()
}

// inWindow moves an instant of the issuer's clock into the next window, unless
// the key would be past its warning level by then, and tells it by our clock:
// what is due is due by the issuer's, since ours may be wrong.
func (s State) inWindow(v View, t time.Time) time.Time {
	at := s.Spec.Policy.OpenAt(t, v.Calendar)
	if primary, ok := s.Primary(); ok {
		if warn := s.Spec.Policy.WarnAt(primary.Expires); at.After(warn) {
			at = later(warn, t)
		}
	}
	return at.Add(-v.Skew)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// refused reports whether the issuer calls the key on a seat dead.
func (s State) refused(seat SeatID) bool {
	for _, d := range s.Drift {
		if dead(d.Kind) && d.Seat == seat {
			return true
		}
	}
	return false
}

// beginAt begins at an instant, once the claims that it meets are over.
func beginAt(s State, v View, reason Reason, at time.Time, why string) (Step, bool) {
	if at.After(v.Now) {
		return wait(ReasonNotDue, at, why), true
	}
	op, seat := s.target(reason, v)
	if step, ok := waitForClaims(s, v, op, seat); ok {
		return step, true
	}
	return Step{Kind: StepBegin, Reason: reason, Seat: seat, Why: why}, true
}

// target says where the next key goes: the other slot of the primary's item,
// or a new item when there is none, when the settings changed, or when a key
// sits in that slot that is somebody else's, still drains, was proven (a
// promotion that was overtaken may have shown it), or must not be destroyed while
// a hold stands: no hold lets the primary expire.
func (s State) target(reason Reason, v View) (Operation, SeatID) {
	primary, ok := s.Primary()
	if s.Killed != (SeatID{}) {
		primary, ok = Seat{SeatID: s.Killed}, true
	}
	if !ok || reason == ReasonSettings || s.Settings != s.Spec.Item.SettingsHash() {
		return OpCreateItem, SeatID{}
	}
	idle := primary.Sibling()
	if seat, ok := s.Seat(idle); ok && !s.free(seat, reason, v) {
		return OpCreateItem, SeatID{}
	}
	for _, d := range s.Drift {
		gone := d.Kind == FindingItemMissing || d.Kind == FindingSettings
		if (d.Kind == FindingUnknownKey && d.Seat == idle) || (gone && d.Seat.Item == idle.Item) {
			return OpCreateItem, SeatID{}
		}
	}
	return OpGenerate, idle
}
