package credential

import (
	"fmt"
	"slices"
	"time"
)

// Adopted begins a record with a key that somebody else made, and that
// applications may be using.
type Adopted struct {
	Spec Spec `json:"spec"`
	Seat Seat `json:"seat"`
	// Settings is the hash of those that the item has.
	Settings string    `json:"settings"`
	Version  uint64    `json:"vault_version"`
	Due      time.Time `json:"due"`
	Frozen   *Hold     `json:"frozen,omitempty"`
}

// Type implements Fact.
func (Adopted) Type() EventType { return TypeAdopted }

func (Adopted) fact() {}

func adopt(s State, c Adopt, v View) (Fact, error) {
	now := v.IssuerNow()
	switch primary, _ := s.Primary(); {
	case s.Status == StatusRegistered && primary.SeatID == c.Seat && primary.Fingerprint == c.Fingerprint:
		return nil, fmt.Errorf("%w: it is managed, with this very key", ErrNothing)
	case s.Status == StatusRegistered:
		return nil, fmt.Errorf("%w: a credential of this name is managed already", ErrStale)
	case c.Seat.Item == "" || (c.Seat.Slot != 1 && c.Seat.Slot != 2) || c.Fingerprint == "" || c.Version == 0:
		return nil, fmt.Errorf("%w: the seat %q or the key is not named", ErrAbsurd, c.Seat)
	case !c.Expires.After(now) || c.Expires.After(now.Add(MaxLifetime+24*time.Hour)):
		return nil, fmt.Errorf("%w: the issuer names %s as the expiry of the key", ErrAbsurd, c.Expires)
	}
	if step, ok := waitForClaims(s, v, OpDeleteItem, SeatID{Item: c.Seat.Item}); ok {
		return nil, fmt.Errorf("%w: item %s may be being deleted: %s", ErrClaimed, c.Seat.Item, step.Why)
	}
	seat := Seat{
		SeatID: c.Seat, Role: RolePrimary, Fingerprint: c.Fingerprint, Mint: s.Mint + 1,
		Expires: c.Expires.UTC(), Proven: v.Now.UTC(), Told: c.Told,
	}
	return Adopted{
		Spec: c.Spec, Seat: seat, Version: c.Version, Frozen: c.Frozen, Settings: c.Settings,
		Due: c.Spec.Policy.DueAt(s.Name, 1, v.Now, seat.Expires, v.Calendar).UTC(),
	}, nil
}

// adopt begins a life with a key that somebody else made.
func (s *State) adopt(f Adopted) {
	s.Status, s.Spec, s.Frozen, s.Settings = StatusRegistered, f.Spec, f.Frozen, f.Settings
	s.Seats, s.Mint, s.Generation, s.Due = []Seat{f.Seat}, f.Seat.Mint, 1, f.Due
	s.Vault = Vault{Version: f.Version}
	s.Edit = &PendingEdit{} // its marker is put on the item
	s.keep(f.Seat.Item)
	s.Kept = slices.DeleteFunc(s.Kept, func(item string) bool { return item == f.Seat.Item })
}
