package credential

import (
	"fmt"
	"time"
)

// Schema is the version of State and of the facts; a reader refuses a newer one.
const Schema = 1

// State is all that is known of a credential, folded from its record. It holds
// no secret. The zero State is a credential that nobody registered.
type State struct {
	Schema int    `json:"schema"`
	Name   Name   `json:"name"`
	Status Status `json:"status"`
	// Revision counts the events; Vault writes carry it.
	Revision uint64 `json:"revision"`
	Spec     Spec   `json:"spec"`
	// Generation counts the promotions.
	Generation uint64 `json:"generation"`
	// Mint is the number of the newest mint.
	Mint uint64 `json:"mint"`
	// Settings is the hash of the settings that the primary's item was made with.
	Settings string `json:"settings,omitempty"`
	// Seats is every seat that may hold a live key.
	Seats []Seat `json:"seats,omitempty"`
	// Claims are those not closed; at most one per seat is not over.
	Claims   []Claim   `json:"claims,omitempty"`
	Rotation *Rotation `json:"rotation,omitempty"`
	// Due is when the next planned rotation begins; zero = now.
	Due time.Time `json:"due,omitzero"`
	// Requested is an operator's wish to rotate; nil = none.
	Requested *Request `json:"requested,omitempty"`
	// Again is the reason of a rotation that was abandoned and is to be begun
	// anew; empty = none.
	Again Reason `json:"again,omitempty"`
	// Answered are the requests of late, so that one sent again counts once.
	Answered []Answered `json:"answered,omitempty"`
	Vault    Vault      `json:"vault"`
	Hold     *Hold      `json:"hold,omitempty"`
	// Frozen is the hold that stands on all credentials; nil = none.
	Frozen *Hold `json:"frozen,omitempty"`
	// Killed is where the primary was that an emergency killed before there was
	// another; zero = there is a primary, or was none yet.
	Killed SeatID `json:"killed,omitzero"`
	// Failure is the memory of failed attempts; nil = none since the last success.
	Failure *Failure `json:"failure,omitempty"`
	// Notice is the last level told of the primary's expiry.
	Notice Level `json:"notice,omitempty"`
	// Drift is what was found and is not healed.
	Drift []Finding `json:"drift,omitempty"`
	// Healed is when a key that was dead at the issuer was last replaced.
	Healed time.Time `json:"healed,omitzero"`
	// Edit is set while the item is to be edited in place.
	Edit *PendingEdit `json:"edit,omitempty"`
	// Old are items that were left and are to be deleted; Kept are those that an
	// operator kept when a life under this name ended.
	Old  []OldItem `json:"old_items,omitempty"`
	Kept []string  `json:"kept_items,omitempty"`
	// Removing is set while the credential is being removed.
	Removing *Removal `json:"removing,omitempty"`
}

// PendingEdit is an edit of title, folder, tags and description, and of the marker.
type PendingEdit struct {
	// Failure is the memory of failed attempts; nil = none.
	Failure *Failure `json:"failure,omitempty"`
}

// Status says whether the credential is managed.
type Status string

// The states of a credential.
const (
	StatusUnknown    Status = ""
	StatusRegistered Status = "registered"
	StatusRemoved    Status = "removed"
)

// Vault is what the record knows of the secret in Vault.
type Vault struct {
	// Version is the KV version that the next write names.
	Version uint64 `json:"version"`
	// Destroyed is the version below which all are destroyed.
	Destroyed uint64 `json:"destroyed,omitempty"`
	// Other is the key that Vault carries beside the primary; empty = none, or one
	// that a claim may have taken out.
	Other Fingerprint `json:"other,omitempty"`
	// Foreign is true from an operator's request, which accepted what somebody
	// else left in Vault, to the next promotion: the primary there need not be
	// the record's. Accepted is the version that was accepted; 0 = nothing was there.
	Foreign  bool   `json:"foreign,omitempty"`
	Accepted uint64 `json:"accepted,omitempty"`
}

// Phase says how far a rotation is.
type Phase string

// The phases of a rotation.
const (
	PhaseItem  Phase = "item"  // the item is being made
	PhaseIssue Phase = "issue" // the key is being generated, stored and verified
	PhaseReady Phase = "ready" // the key is stored and proven; the gate may wait
	PhaseDrain Phase = "drain" // promoted; what is left is to retire the old seats
)

// Rotation is the one that is open.
type Rotation struct {
	ID      string    `json:"id"`
	Reason  Reason    `json:"reason"`
	Actor   string    `json:"actor"`
	Started time.Time `json:"started"`
	Phase   Phase     `json:"phase"`
	// Target is the seat of the new key; its item is empty until it is made.
	Target SeatID `json:"target"`
	// NewItem is true when the key goes to a new item.
	NewItem bool `json:"new_item,omitempty"`
	// Strangers counts the keys of somebody else that were found where the new one
	// was to go: no item with such a key is taken again.
	Strangers int `json:"strangers,omitempty"`
	// Settings is the hash of the settings of the target's item.
	Settings string `json:"settings"`
	// Ready is when the key was proven.
	Ready time.Time `json:"ready,omitzero"`
	// Promoted and DrainUntil are zero before the promotion.
	Promoted   time.Time `json:"promoted,omitzero"`
	DrainUntil time.Time `json:"drain_until,omitzero"`
	// Acknowledged are the consumers that confirmed the new key.
	Acknowledged []string `json:"acknowledged,omitempty"`
	// Outage is the time of the drain in which Vault could not be read.
	Outage Duration `json:"outage,omitempty"`
	// OutageEnd is the end of the last such time.
	OutageEnd time.Time `json:"outage_end,omitzero"`
}

// Request is a rotation that somebody asked for.
type Request struct {
	ID     string    `json:"id"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	// Now skips the window, the back-off and the gate's wait.
	Now bool `json:"now,omitempty"`
	// Vault is the KV version that the operator has seen and accepts, 0 where
	// nothing is there; nil = whatever was found accepted.
	Vault *uint64 `json:"accept_vault,omitempty"`
}

// Hold is an operator's freeze.
type Hold struct {
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Until is zero for a hold without an end.
	Until time.Time `json:"until,omitzero"`
}

// Failure is the memory of failed attempts at one step.
type Failure struct {
	Step     StepKind  `json:"step"`
	Seat     SeatID    `json:"seat,omitzero"`
	Class    Class     `json:"class"`
	Message  string    `json:"message"`
	Attempts int       `json:"attempts"`
	Since    time.Time `json:"since"`
	Last     time.Time `json:"last"`
	// Next is when the step is tried again.
	Next time.Time `json:"next"`
	// Silent is true when no answer came: the wait ends as soon as the issuer
	// answers anybody.
	Silent bool `json:"silent,omitempty"`
}

// ID tells failures of one credential apart, for View.Seen.
func (f Failure) ID() string { return fmt.Sprintf("failure %d %d", f.Attempts, f.Last.UnixNano()) }

// Level is how near the primary is to its expiry.
type Level string

// The levels of a notice.
const (
	LevelNone    Level = ""
	LevelWarn    Level = "warn"
	LevelPage    Level = "page"
	LevelExpired Level = "expired"
)

// FindingKind names a difference between record, Vault and issuer.
type FindingKind string

// The findings.
const (
	FindingUnknownKey   FindingKind = "unknown-key"      // an active key in the idle slot that is not ours
	FindingVaultChanged FindingKind = "vault-changed"    // the secret was written by somebody else
	FindingVaultMissing FindingKind = "vault-missing"    // the secret is gone
	FindingKeyRefused   FindingKind = "key-refused"      // the primary is refused by the issuer
	FindingExpiry       FindingKind = "expiry-differs"   // the issuer names another expiry
	FindingVaultOutage  FindingKind = "vault-unreadable" // time of a drain that does not count
	FindingItemMissing  FindingKind = "item-missing"     // the item is gone at the issuer
	FindingNotCarried   FindingKind = "key-not-in-vault" // Vault has lost a key that was to take over again
	FindingKeyReplaced  FindingKind = "key-replaced"     // the primary is refused, and its slot holds another key
	FindingSettings     FindingKind = "settings-differ"  // privileges, items or referrers were edited at the issuer
	FindingItemInUse    FindingKind = "item-in-use"      // an old item holds a key that is not ours, or one that Vault shows
	FindingStrayItem    FindingKind = "stray-item"       // an item of ours that no event names
)

// Finding is one difference.
type Finding struct {
	Kind   FindingKind `json:"kind"`
	Seat   SeatID      `json:"seat,omitzero"`
	Detail string      `json:"detail"`
	Since  time.Time   `json:"since"`
	// Version is the KV version that was found, where the finding is about Vault.
	Version uint64 `json:"vault_version,omitempty"`
}

// Primary returns the seat that applications use; ok is false before the first
// promotion.
func (s State) Primary() (Seat, bool) { return s.byRole(RolePrimary) }

// Candidate returns the seat of the rotation's new key.
func (s State) Candidate() (Seat, bool) { return s.byRole(RoleCandidate) }

func (s State) byRole(role Role) (Seat, bool) {
	for _, seat := range s.Seats {
		if seat.Role == role {
			return seat, true
		}
	}
	return Seat{}, false
}

// Seat returns the entry of a seat.
func (s State) Seat(id SeatID) (Seat, bool) {
	for _, seat := range s.Seats {
		if seat.SeatID == id {
			return seat, true
		}
	}
	return Seat{}, false
}

// Held reports whether a hold or the freeze stands.
func (s State) Held(now time.Time) bool { return s.Hold.stands(now) || s.Frozen.stands(now) }

func (h *Hold) stands(now time.Time) bool {
	return h != nil && (h.Until.IsZero() || now.Before(h.Until))
}

// held reports whether a hold stands by our clock or the issuer's: one of them
// may be wrong.
func (s State) held(v View) bool { return s.Held(v.Now) || s.Held(v.IssuerNow()) }

// holder is the hold that stands longest; ask held first.
func (s State) holder() Hold {
	switch {
	case s.Hold == nil && s.Frozen == nil:
		return Hold{}
	case s.Hold == nil, s.Frozen != nil && s.Frozen.Until.IsZero():
		return *s.Frozen
	case s.Frozen == nil, s.Hold.Until.IsZero(), s.Hold.Until.After(s.Frozen.Until):
		return *s.Hold
	}
	return *s.Frozen
}

// claim returns an open claim by its id.
func (s State) claim(id string) (Claim, bool) {
	for _, c := range s.Claims {
		if c.ID == id {
			return c, true
		}
	}
	return Claim{}, false
}

// clone copies what Evolve changes in place.
func (s State) clone() State {
	s.Seats = append([]Seat(nil), s.Seats...)
	s.Claims = append([]Claim(nil), s.Claims...)
	s.Drift = append([]Finding(nil), s.Drift...)
	s.Answered = append([]Answered(nil), s.Answered...)
	s.Old = append([]OldItem(nil), s.Old...)
	s.Kept = append([]string(nil), s.Kept...)
	if s.Rotation != nil {
		r := *s.Rotation
		r.Acknowledged = append([]string(nil), r.Acknowledged...)
		s.Rotation = &r
	}
	return s
}
