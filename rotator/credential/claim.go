package credential

import "fmt"

// newClaim opens a claim on a seat if every earlier one that it meets is
// closed, is the one that closes with it, or is over plus the margin.
func newClaim(s State, v View, op Operation, seat SeatID, closing string) (Claim, error) {
	claim := Claim{
		ID: v.ID, Daemon: v.Daemon, Op: op, Seat: seat,
		Window: Duration(s.Spec.Policy.ClaimWindow()), Opened: v.Now.UTC(),
	}
	for _, earlier := range s.Claims {
		if earlier.ID == closing || !earlier.meets(op, seat) {
			continue
		}
		if v.Seen[earlier.ID] < earlier.Over() {
			if s.besides(earlier, op, seat, v) {
				continue
			}
			return Claim{}, fmt.Errorf("%w: %s by %s on %s", ErrClaimed, earlier.Op, earlier.Daemon, earlier.Seat)
		}
		claim.Supersedes = append(claim.Supersedes, earlier.ID)
	}
	switch op {
	case OpGenerate:
		claim.Mint = s.Mint + 1
		_, claim.Fence = s.Seat(seat)
	case OpRevoke:
		leaked, _ := s.Seat(seat)
		claim.Fence = leaked.Leak == nil || !leaked.Leak.Immediately // that one needs no Vault
	case OpCreateItem, OpEditItem, OpDeleteItem:
	}
	return claim, guard(s, v, op, seat)
}

// guard keeps I2 and I7: no rotation generates on or revokes a primary, and
// nothing destroys a named key while a hold stands. An operator's word about a
// leaked key goes over both.
func guard(s State, v View, op Operation, id SeatID) error {
	seat, ok := s.Seat(id)
	if !ok {
		return nil
	}
	leak := Leak{}
	if seat.Leak != nil {
		leak = *seat.Leak
	}
	if seat.Leak != nil && op == OpGenerate {
		return fmt.Errorf("%w: the key on %s leaked, and dies by its own claim", ErrStale, id)
	}
	if seat.Role == RolePrimary && !leak.Immediately && s.Removing == nil {
		return fmt.Errorf("%w: %s on %s, which is the primary", ErrStale, op, id)
	}
	if seat.named() && s.held(v) && !leak.OverrideHold {
		return fmt.Errorf("%w: by %s: %s", ErrHeld, s.holder().Actor, s.holder().Reason)
	}
	return nil
}

// holding returns the claim that the pass holds; every call under it was
// answered, or the pass would have ended.
func holding(s State, v View, op Operation) (Claim, bool) {
	claim, ok := s.claim(v.Work.Claim)
	return claim, ok && claim.Op == op
}
