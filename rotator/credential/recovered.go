package credential

import (
	"fmt"
	"slices"
	"time"
)

// Recovered begins a record anew after the stream was lost. What stands in it
// was read from Vault and confirmed by the issuer. What only the lost record
// knew is gone: holds, acknowledgements, an open rotation, and its history.
type Recovered struct {
	Spec Spec `json:"spec"`
	// Seats holds the primary, and what else may be alive: draining for a key
	// that Vault shows beside a newer primary, orphan for all others.
	Seats []Seat `json:"seats"`
	// Settings is taken to be that of the primary's item.
	Settings   string `json:"settings"`
	Generation uint64 `json:"generation"`
	// Version is the KV version that was read.
	Version uint64 `json:"vault_version"`
	// Mint is where the count of mints goes on, and Revision is the number of
	// this event: both above all that anybody may have used.
	Mint     uint64    `json:"mint"`
	Revision uint64    `json:"revision"`
	Due      time.Time `json:"due"`
	Gap      Gap       `json:"gap"`
}

// Gap says what is missing in the audit chain before an event.
type Gap struct {
	// Reason is what the operator said.
	Reason string `json:"reason"`
	// Mint and Revision are the highest that were found; those up to the
	// event's own are unaccounted for.
	Mint     uint64 `json:"known_mint"`
	Revision uint64 `json:"known_revision"`
	// Notes say what was seen and could not be confirmed.
	Notes []string `json:"notes,omitempty"`
}

// RecoveryGap is left free above the highest number that is found. The lost
// record may have counted on after the last write to Vault: each failed attempt
// takes an event, and may take a mint. A write that an older daemon still has
// under way must not carry a number that is used again.
const RecoveryGap = 1_000_000

// Type implements Fact.
func (Recovered) Type() EventType { return TypeRecovered }

func (Recovered) fact() {}

// DecideRecovery makes the event of a recovery, or says why there is none. It
// guards that append as Decide guards all others: the record must be empty, and
// each key must be one that can be true.
func DecideRecovery(s State, f Recovered, actor string, v View) (Event, error) {
	if s.Revision != 0 || s.Status != StatusUnknown {
		return Event{}, fmt.Errorf("%w: the record is not empty", ErrNothing)
	}
	now, primaries := v.IssuerNow(), 0
	taken := map[SeatID]bool{}
	for _, seat := range f.Seats {
		switch {
		case seat.Item == "" || (seat.Slot != 1 && seat.Slot != 2):
			return Event{}, fmt.Errorf("%w: the seat %q names no slot of an item", ErrAbsurd, seat.SeatID)
		case taken[seat.SeatID]:
			return Event{}, fmt.Errorf("%w: seat %s is listed twice", ErrAbsurd, seat.SeatID)
		case seat.Expires.After(now.Add(MaxLifetime + 24*time.Hour)):
			return Event{}, fmt.Errorf("%w: the issuer names %s as the expiry of %s", ErrAbsurd, seat.Expires, seat.SeatID)
		case seat.Mint > f.Gap.Mint:
			return Event{}, fmt.Errorf("%w: mint %d of seat %s is above the highest one, %d", ErrAbsurd, seat.Mint, seat.SeatID, f.Gap.Mint)
		}
		taken[seat.SeatID] = true
		switch seat.Role {
		case RolePrimary:
			primaries++
			if seat.Fingerprint == "" || seat.Proven.IsZero() || !seat.Expires.After(now) {
				return Event{}, fmt.Errorf("%w: the primary on %s is not proven, or has no expiry to come", ErrAbsurd, seat.SeatID)
			}
		case RoleDraining, RoleOrphan:
		case RoleCandidate:
			return Event{}, fmt.Errorf("%w: %s is a candidate, but no rotation is open", ErrAbsurd, seat.SeatID)
		default:
			return Event{}, fmt.Errorf("%w: %s has the role %q", ErrAbsurd, seat.SeatID, seat.Role)
		}
	}
	switch {
	case primaries != 1:
		return Event{}, fmt.Errorf("%w: %d primaries", ErrAbsurd, primaries)
	case f.Mint <= f.Gap.Mint || f.Revision <= f.Gap.Revision:
		return Event{}, fmt.Errorf("%w: the counters do not go on above those that were found", ErrAbsurd)
	case f.Version == 0 || f.Due.IsZero():
		return Event{}, fmt.Errorf("%w: no version in Vault, or no time of the next rotation", ErrAbsurd)
	}
	return Event{ID: v.ID, At: v.Now.UTC(), Actor: actor, Daemon: v.Daemon, Fact: f}, nil
}

// recover builds the whole state. On a record that is not empty it does nothing.
func (s *State) recover(f Recovered) {
	if s.Status != StatusUnknown {
		return
	}
	s.Status, s.Spec, s.Settings = StatusRegistered, f.Spec, f.Settings
	s.Seats = slices.Clone(f.Seats)
	s.Generation, s.Mint, s.Due = f.Generation, f.Mint, f.Due
	s.Revision = max(s.Revision, f.Revision)
	s.Vault = Vault{Version: f.Version}
}
