package credential

import (
	"cmp"
	"slices"
	"time"
)

// Evolve is the only way in which a state changes. It knows no clock: all that
// it needs stands in the event.
func Evolve(s State, e Event) State {
	s = s.clone()
	s.Schema = Schema
	s.Revision++
	s.answer(e)
	switch f := e.Fact.(type) {
	case Registered:
		s.Status, s.Spec, s.Frozen = StatusRegistered, f.Spec, f.Frozen
	case Adopted:
		s.adopt(f)
	case Removing:
		s.remove(f)
	case Removed:
		s.removed()
	case ItemEdited:
		s.edited(f)
	case ItemDeleted:
		s.deleted(f)
	case Updated:
		s.update(f)
		s.lower(e)
	case Held:
		s.hold(f)
	case Released:
		s.release(f)
	case Recovered:
		s.recover(f)
	case Started:
		s.start(f, e.At)
	case Failed:
		s.fail(f.Failure)
		if f.Unused {
			s.vacate(f.Closed)
		}
		s.close(f.Closed)
	case Abandoned:
		s.abandon(e.At)
	case StepClaimed:
		s.claimStep(f, e.At)
	case Issued:
		s.issue(f, e)
	case Acknowledged:
		if s.Rotation != nil && !slices.Contains(s.Rotation.Acknowledged, f.Consumer) {
			s.Rotation.Acknowledged = append(s.Rotation.Acknowledged, f.Consumer)
		}
	case Promoted:
		s.promote(f, e)
	case Retiring:
		s.open(f.Claim)
	case Compromised:
		s.compromise(f)
	case Invalidated:
		s.invalidate(f)
	case Expiring:
		s.Notice = f.Level
	case Expired:
		s.Notice = LevelExpired
	case Drifted:
		s.drift(f, e.At)
		s.lower(e)
	}
	return s
}

// lower takes the notice back when the expiry or the lead time has changed, so
// that the levels of the new one are told.
func (s *State) lower(e Event) {
	if level := levelAt(*s, e.At); rank(level) < rank(s.Notice) {
		s.Notice = level
	}
}

func (s *State) update(f Updated) {
	if f.Spec != nil {
		if _, ok := s.Primary(); (ok || s.makingItem()) && f.Spec.Item.DescriptionHash() != s.Spec.Item.DescriptionHash() {
			s.Edit = &PendingEdit{}
		}
		s.Spec = *f.Spec
	}
	if !f.Due.IsZero() {
		s.Due = f.Due
	}
	if f.Retry || (f.Request != nil && f.Request.Now) {
		for _, failure := range s.Failures() {
			failure.Next = failure.Last
			s.fail(failure)
		}
	}
	if f.Request != nil {
		request := *f.Request
		s.Requested = &request
		s.acceptFound(request.Vault)
	}
}

// acceptFound goes on over what was found in Vault: an operator who asks for a
// rotation, or says that a key leaked, has seen it.
func (s *State) acceptFound(version *uint64) {
	if version != nil {
		s.Vault.accept(*version)
	}
	s.Drift = slices.DeleteFunc(s.Drift, func(d Finding) bool {
		if d.Kind == FindingVaultChanged || d.Kind == FindingVaultMissing {
			s.Vault.accept(d.Version)
		}
		return blocks(d.Kind)
	})
}

// accept builds on a version that somebody else left. A smaller one than was
// destroyed is of a secret that was made anew.
func (v *Vault) accept(version uint64) {
	v.Version, v.Accepted, v.Foreign = version, version, true
	if version < v.Destroyed {
		v.Destroyed = 0
	}
}

func (s *State) start(f Started, at time.Time) {
	rotation := f.Rotation
	if rotation.Reason == ReasonRefused {
		s.Healed = at
	}
	s.Rotation = &rotation
	s.Requested, s.Again, s.Failure = nil, "", nil
	s.Drift = slices.DeleteFunc(s.Drift, func(d Finding) bool { return dead(d.Kind) })
	s.open(f.Claim)
}

// abandon ends a rotation before its promotion. What it was begun for is still
// wanted, and the next one takes its seats over.
func (s *State) abandon(at time.Time) {
	if r := s.Rotation; r != nil {
		s.Again = r.Reason
		if r.NewItem {
			s.leave(r.Target.Item, at)
		}
	}
	s.Rotation, s.Failure = nil, nil
	s.orphan()
}

func (s *State) orphan() {
	for i, seat := range s.Seats {
		if seat.Role == RoleCandidate {
			s.Seats[i].Role = RoleOrphan
		}
	}
}

func (s *State) claimStep(f StepClaimed, at time.Time) {
	s.close(f.Closed)
	if r := s.Rotation; r != nil {
		switch {
		case f.NewItem:
			r.Acknowledged = nil // they used a key that is given up
			if r.NewItem {
				s.leave(r.Target.Item, at)
			}
			r.NewItem, r.Phase, r.Target = true, PhaseItem, SeatID{Slot: 1}
			s.orphan()
		case f.Claim.Op == OpGenerate:
			r.Acknowledged = nil
			r.Phase, r.Target = PhaseIssue, f.Claim.Seat
			s.keep(f.Claim.Seat.Item)
		}
	}
	s.open(f.Claim)
}

// open puts a claim on the list, and its seat on the seat list.
func (s *State) open(c Claim) {
	s.Claims = slices.DeleteFunc(s.Claims, func(old Claim) bool {
		return slices.Contains(c.Supersedes, old.ID)
	})
	s.Claims = append(s.Claims, c)
	if c.Fence {
		s.Vault.Other = "" // from now on it may be gone
	}
	switch c.Op {
	case OpGenerate:
		s.Mint = c.Mint
		before, _ := s.Seat(c.Seat)
		s.Seats = slices.DeleteFunc(s.Seats, func(seat Seat) bool { return seat.SeatID == c.Seat })
		s.Seats = append(s.Seats, Seat{
			SeatID: c.Seat, Role: RoleCandidate, Mint: c.Mint, Over: cmp.Or(before.Fingerprint, before.Over),
		})
	case OpRevoke:
		for i, seat := range s.Seats {
			if seat.SeatID == c.Seat {
				s.Seats[i].Claimed = true
			}
		}
	case OpCreateItem, OpEditItem, OpDeleteItem:
	}
}

// vacate takes the seat of a claim under which nothing was generated off the
// list, unless an earlier claim may have left a key there: a key that is found
// there is not ours.
func (s *State) vacate(id string) {
	claim, _ := s.claim(id)
	s.Seats = slices.DeleteFunc(s.Seats, func(seat Seat) bool {
		return !claim.Fence && seat.SeatID == claim.Seat && seat.Mint == claim.Mint && seat.Role == RoleCandidate
	})
}

// close takes a claim off the list; an empty id closes none.
func (s *State) close(id string) {
	s.Claims = slices.DeleteFunc(s.Claims, func(c Claim) bool { return c.ID == id })
}

func (s *State) issue(f Issued, e Event) {
	s.close(f.Closed)
	s.Failure = nil
	s.Vault.Version, s.Vault.Other = max(f.Version, s.Vault.Version), f.Fingerprint // a fence may have come after it
	for i, seat := range s.Seats {
		if seat.SeatID == f.Seat {
			s.Seats[i].Fingerprint, s.Seats[i].Expires, s.Seats[i].Over = f.Fingerprint, f.Expires, ""
			s.Seats[i].Proven, s.Seats[i].Claimed, s.Seats[i].Told = e.At, false, f.Told
		}
	}
	if s.Rotation != nil {
		s.Rotation.Phase, s.Rotation.Ready = PhaseReady, e.At
	}
}

func (s *State) promote(f Promoted, e Event) {
	s.Vault.Other = ""
	if primary, _ := s.Primary(); s.refused(primary.SeatID) {
		if seat, _ := s.Seat(f.Seat); seat.Role == RoleDraining {
			s.Healed = e.At
		}
	}
	for i, seat := range s.Seats {
		switch {
		case seat.SeatID == f.Seat:
			s.Seats[i].Role, s.Seats[i].Expires = RolePrimary, f.Expires
		case seat.Role == RolePrimary:
			s.Seats[i].Role = RoleDraining
			s.Vault.Other = seat.Fingerprint
			if seat.Item != f.Seat.Item && s.Rotation != nil && s.Rotation.Target != f.Seat {
				s.Rotation.Settings = "" // an older item's, which a succession follows
			}
		}
	}
	for _, seat := range append(s.Seats, Seat{SeatID: s.Killed}) {
		if seat.Item != f.Seat.Item {
			s.leave(seat.Item, e.At)
		}
	}
	s.keep(f.Seat.Item)
	s.Killed = SeatID{}
	s.Generation++
	s.Due = f.Due
	s.Vault.Version, s.Vault.Accepted, s.Vault.Foreign = f.Version, 0, false
	s.Failure, s.Notice = nil, LevelNone
	s.Drift = slices.DeleteFunc(s.Drift, func(d Finding) bool { // of the primary before
		return dead(d.Kind) || (d.Seat.Item != f.Seat.Item && (d.Kind == FindingSettings || d.Kind == FindingUnknownKey))
	})
	s.Requested = nil // a request during the rotation hurried it on
	if r := s.Rotation; r != nil {
		s.Settings = r.Settings
		r.Phase, r.Promoted, r.DrainUntil = PhaseDrain, e.At, f.DrainUntil
	}
	s.finish()
}

func (s *State) invalidate(f Invalidated) {
	s.close(f.Closed)
	s.Failure = nil
	if f.Version != s.Vault.Version {
		s.Vault.Other = "" // written with the primary alone
	}
	s.Vault.Version = f.Version
	s.Vault.Destroyed = max(s.Vault.Destroyed, f.Destroyed)
	if primary, ok := s.Primary(); ok && primary.SeatID == f.Seat && s.Removing == nil {
		s.Killed = f.Seat
	}
	s.Seats = slices.DeleteFunc(s.Seats, func(seat Seat) bool { return seat.SeatID == f.Seat })
	s.finish()
}

// finish ends the rotation when only the primary is left.
func (s *State) finish() {
	if s.Rotation != nil && s.Rotation.Phase == PhaseDrain && len(s.Seats) == 1 && s.Seats[0].Role == RolePrimary {
		s.Rotation = nil
	}
}

func (s *State) drift(f Drifted, at time.Time) {
	if f.Finding.Kind == FindingStrayItem {
		s.leave(f.Finding.Seat.Item, at)
		s.Old[len(s.Old)-1].Stray = true
		return
	}
	s.Drift = slices.DeleteFunc(s.Drift, func(d Finding) bool {
		return d.Kind == f.Finding.Kind && d.Seat == f.Finding.Seat
	})
	if f.Finding.Kind == FindingVaultOutage {
		if s.Rotation != nil {
			s.Rotation.DrainUntil = f.DrainUntil
			s.Rotation.Outage += f.Outage
			s.Rotation.OutageEnd = f.Finding.Since.Add(f.Outage.Std())
		}
		return
	}
	if !f.Healed && f.Finding.Kind != FindingExpiry {
		s.Drift = append(s.Drift, f.Finding)
	}
	if f.Finding.Kind == FindingKeyReplaced {
		for i, seat := range s.Seats {
			if seat.SeatID == f.Finding.Seat {
				s.Seats[i].Replaced = !f.Healed
			}
		}
	}
	if f.Expires.IsZero() {
		if !f.Healed {
			s.forget(f.Finding, at)
		}
		return
	}
	for i, seat := range s.Seats {
		if seat.SeatID == f.Finding.Seat {
			s.Seats[i].Expires = f.Expires
			if seat.Role == RolePrimary {
				if due := f.Expires.Add(-s.Spec.Policy.RotateBefore.Std()); due.Before(s.Due) {
					s.Due = due
				}
			}
		}
	}
}

// forget takes a seat off the list on which an unknown key was found before
// anything was generated: it is not ours, so it is not ours to revoke. The claim
// of who found it was not used, and nobody would come to close it.
func (s *State) forget(f Finding, at time.Time) {
	r := s.Rotation
	if f.Kind != FindingUnknownKey || r == nil || r.Phase != PhaseIssue || r.Target != f.Seat {
		return
	}
	s.Seats = slices.DeleteFunc(s.Seats, func(seat Seat) bool {
		return seat.SeatID == f.Seat && seat.Fingerprint == "" && seat.Role == RoleCandidate
	})
	s.Claims = slices.DeleteFunc(s.Claims, func(c Claim) bool { return c.Seat == f.Seat && c.Op == OpGenerate })
	if r.NewItem {
		s.leave(r.Target.Item, at)
	}
	r.Strangers++
	r.NewItem, r.Phase, r.Target = true, PhaseItem, SeatID{Slot: 1}
}

// blocks reports whether a finding stops planned steps until an operator has
// looked at it.
func blocks(kind FindingKind) bool {
	return kind == FindingVaultChanged || kind == FindingVaultMissing
}

// dead reports whether a finding says that a key is of no use: if it is the
// primary, the next one is made at once.
func dead(kind FindingKind) bool {
	return kind == FindingKeyRefused || kind == FindingKeyReplaced || kind == FindingItemMissing || kind == FindingNotCarried
}
