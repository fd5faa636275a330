package credential

import (
	"encoding/json"
	"fmt"
	"time"
)

// Event is one change of state. Who and when stand beside what.
type Event struct {
	// ID is a UUID: the message id, and how a lost acknowledgement is recognised.
	ID string
	At time.Time
	// Actor is who wanted it: "policy", "sweep" or an operator's name.
	Actor string
	// Daemon is who appended it.
	Daemon string
	// Request is the id of the operator's request; empty for planned work. Digest
	// tells its content, in the event that answers it.
	Request string
	Digest  string
	Fact    Fact
}

// Fact is what happened. The set is closed: the marker is not exported.
type Fact interface {
	Type() EventType
	fact()
}

// EventType is the CloudEvents type of a fact.
type EventType string

// The types of events.
const (
	TypeRegistered   EventType = "io.keyturn.credential.registered"
	TypeUpdated      EventType = "io.keyturn.credential.updated"
	TypeHeld         EventType = "io.keyturn.credential.held"
	TypeReleased     EventType = "io.keyturn.credential.released"
	TypeRecovered    EventType = "io.keyturn.credential.recovered"
	TypeAdopted      EventType = "io.keyturn.credential.adopted"
	TypeRemoving     EventType = "io.keyturn.credential.removing"
	TypeRemoved      EventType = "io.keyturn.credential.removed"
	TypeStarted      EventType = "io.keyturn.rotation.started"
	TypeFailed       EventType = "io.keyturn.rotation.failed"
	TypeAbandoned    EventType = "io.keyturn.rotation.abandoned"
	TypeStepClaimed  EventType = "io.keyturn.step.claimed"
	TypeIssued       EventType = "io.keyturn.key.issued"
	TypeAcknowledged EventType = "io.keyturn.key.acknowledged"
	TypePromoted     EventType = "io.keyturn.key.promoted"
	TypeRetiring     EventType = "io.keyturn.key.retiring"
	TypeCompromised  EventType = "io.keyturn.key.compromised"
	TypeInvalidated  EventType = "io.keyturn.key.invalidated"
	TypeExpiring     EventType = "io.keyturn.key.expiring"
	TypeExpired      EventType = "io.keyturn.key.expired"
	TypeDrift        EventType = "io.keyturn.drift.detected"
	TypeItemEdited   EventType = "io.keyturn.item.edited"
	TypeItemDeleted  EventType = "io.keyturn.item.deleted"
)

// Registered begins a record.
type Registered struct {
	Spec Spec `json:"spec"`
	// Frozen is the freeze that stood on all credentials then.
	Frozen *Hold `json:"frozen,omitempty"`
}

// Updated changes what is declared, or asks for a rotation, or both.
type Updated struct {
	Spec    *Spec     `json:"spec,omitempty"`
	Request *Request  `json:"request,omitempty"`
	Due     time.Time `json:"due,omitzero"`
	// Retry ends the wait after a failed attempt.
	Retry bool `json:"retry,omitempty"`
}

// Held freezes destructive steps.
type Held struct {
	Hold Hold `json:"hold"`
	// Freeze is true for the hold that stands on all credentials.
	Freeze bool `json:"freeze,omitempty"`
}

// Released ends a hold.
type Released struct {
	Reason string `json:"reason,omitempty"`
	Freeze bool   `json:"freeze,omitempty"`
}

// Compromised says that keys are in wrong hands. It opens no claim: whoever goes
// on from it does, at once.
type Compromised struct {
	Keys []LeakedKey `json:"keys"`
	Leak Leak        `json:"leak"`
	// Vault is the KV version that the operator accepts; nil = what was found.
	Vault *uint64 `json:"accept_vault,omitempty"`
	// Outside is when an operator killed the keys outside of keyturn, as a signed file
	// says; zero = nobody did.
	Outside time.Time `json:"outside,omitzero"`
}

// LeakedKey is one of them, as it was then.
type LeakedKey struct {
	// Gone is true for one that is on no seat any more: it is told, and nothing follows.
	Gone        bool        `json:"gone,omitempty"`
	Seat        SeatID      `json:"seat"`
	Role        Role        `json:"role"`
	Fingerprint Fingerprint `json:"fingerprint,omitempty"`
	Expires     time.Time   `json:"expires,omitzero"`
}

// Started begins a rotation and opens its first claim.
type Started struct {
	Rotation Rotation `json:"rotation"`
	Claim    Claim    `json:"claim"`
}

// Failed is one attempt that failed; the rotation, if there is one, stays open.
type Failed struct {
	Failure Failure `json:"failure"`
	// Closed names the holder's claim if every call under it was answered.
	Closed string `json:"closed,omitempty"`
	// Unused is true when the closed claim was to generate, and nothing was.
	Unused bool `json:"unused,omitempty"`
}

// Abandoned ends a rotation before its promotion.
type Abandoned struct {
	Why string `json:"why"`
}

// StepClaimed opens a claim: another mint, a take-over or an item call.
type StepClaimed struct {
	Claim Claim `json:"claim"`
	// Closed names the holder's earlier claim if every call under it was answered.
	Closed string `json:"closed,omitempty"`
	// Item is the item that was made under the closed claim.
	Item string `json:"item,omitempty"`
	// NewItem sends the rotation to an item that is not made yet.
	NewItem bool `json:"new_item,omitempty"`
}

// Issued says that the new key is in Vault and proven.
type Issued struct {
	Seat        SeatID      `json:"seat"`
	Mint        uint64      `json:"mint"`
	Fingerprint Fingerprint `json:"fingerprint"`
	Expires     time.Time   `json:"expires"`
	Version     uint64      `json:"vault_version"`
	Closed      string      `json:"closed,omitempty"`
	// Told are the item's settings as the issuer tells them; empty = unknown.
	Told string `json:"told_settings,omitempty"`
}

// Acknowledged says that a consumer uses the key.
type Acknowledged struct {
	Consumer    string      `json:"consumer"`
	Fingerprint Fingerprint `json:"fingerprint"`
}

// Promoted says that applications get the new key.
type Promoted struct {
	Seat        SeatID      `json:"seat"`
	Fingerprint Fingerprint `json:"fingerprint"`
	Expires     time.Time   `json:"expires"`
	Version     uint64      `json:"vault_version"`
	DrainUntil  time.Time   `json:"drain_until,omitzero"`
	// Due is when the next planned rotation begins.
	Due time.Time `json:"due"`
}

// Retiring opens the claim to revoke.
type Retiring struct {
	Claim       Claim       `json:"claim"`
	Fingerprint Fingerprint `json:"fingerprint,omitempty"`
}

// Invalidated says that a key is dead: read back as inactive, or expired.
type Invalidated struct {
	Seat        SeatID      `json:"seat"`
	Fingerprint Fingerprint `json:"fingerprint,omitempty"`
	How         How         `json:"how"`
	Version     uint64      `json:"vault_version"`
	Destroyed   uint64      `json:"destroyed_below"`
	Closed      string      `json:"closed,omitempty"`
}

// How a key died.
type How string

// The ways a key dies.
const (
	HowRevoked How = "revoked"
	HowExpired How = "expired"
	// HowReplaced: the issuer refuses it, and its slot holds a key that is not ours.
	HowReplaced How = "replaced"
)

// Expiring tells that the primary nears its expiry.
type Expiring struct {
	Level       Level       `json:"level"`
	Fingerprint Fingerprint `json:"fingerprint"`
	Expires     time.Time   `json:"expires"`
}

// Expired tells that the primary has expired.
type Expired struct {
	Fingerprint Fingerprint `json:"fingerprint"`
	Expires     time.Time   `json:"expires"`
}

// Drifted tells of a difference between record, Vault and issuer.
type Drifted struct {
	Finding Finding `json:"finding"`
	// Healed names a kind of finding that is no longer true.
	Healed bool `json:"healed,omitempty"`
	// Expires is the primary's expiry by the issuer, where that differs.
	Expires time.Time `json:"expires,omitzero"`
	// DrainUntil is the new end of a drain after an outage of Vault.
	DrainUntil time.Time `json:"drain_until,omitzero"`
	// Outage is the time that does not count as drained.
	Outage Duration `json:"outage,omitempty"`
}

// Type implements Fact.
func (Registered) Type() EventType { return TypeRegistered }

// Type implements Fact.
func (Updated) Type() EventType { return TypeUpdated }

// Type implements Fact.
func (Held) Type() EventType { return TypeHeld }

// Type implements Fact.
func (Released) Type() EventType { return TypeReleased }

// Type implements Fact.
func (Started) Type() EventType { return TypeStarted }

// Type implements Fact.
func (Failed) Type() EventType { return TypeFailed }

// Type implements Fact.
func (Abandoned) Type() EventType { return TypeAbandoned }

// Type implements Fact.
func (StepClaimed) Type() EventType { return TypeStepClaimed }

// Type implements Fact.
func (Issued) Type() EventType { return TypeIssued }

// Type implements Fact.
func (Acknowledged) Type() EventType { return TypeAcknowledged }

// Type implements Fact.
func (Promoted) Type() EventType { return TypePromoted }

// Type implements Fact.
func (Retiring) Type() EventType { return TypeRetiring }

// Type implements Fact.
func (Compromised) Type() EventType { return TypeCompromised }

// Type implements Fact.
func (Invalidated) Type() EventType { return TypeInvalidated }

// Type implements Fact.
func (Expiring) Type() EventType { return TypeExpiring }

// Type implements Fact.
func (Expired) Type() EventType { return TypeExpired }

// Type implements Fact.
func (Drifted) Type() EventType { return TypeDrift }

func (Registered) fact()   {}
func (Updated) fact()      {}
func (Held) fact()         {}
func (Released) fact()     {}
func (Started) fact()      {}
func (Failed) fact()       {}
func (Abandoned) fact()    {}
func (StepClaimed) fact()  {}
func (Issued) fact()       {}
func (Acknowledged) fact() {}
func (Promoted) fact()     {}
func (Retiring) fact()     {}
func (Compromised) fact()  {}
func (Invalidated) fact()  {}
func (Expiring) fact()     {}
func (Expired) fact()      {}
func (Drifted) fact()      {}

// DecodeFact reads the JSON of a fact of that type.
func DecodeFact(kind EventType, data []byte) (Fact, error) {
	switch kind {
	case TypeRegistered:
		return decode[Registered](data)
	case TypeAdopted:
		return decode[Adopted](data)
	case TypeRemoving:
		return decode[Removing](data)
	case TypeRemoved:
		return decode[Removed](data)
	case TypeItemEdited:
		return decode[ItemEdited](data)
	case TypeItemDeleted:
		return decode[ItemDeleted](data)
	case TypeUpdated:
		return decode[Updated](data)
	case TypeHeld:
		return decode[Held](data)
	case TypeReleased:
		return decode[Released](data)
	case TypeRecovered:
		return decode[Recovered](data)
	case TypeStarted:
		return decode[Started](data)
	case TypeFailed:
		return decode[Failed](data)
	case TypeAbandoned:
		return decode[Abandoned](data)
	case TypeStepClaimed:
		return decode[StepClaimed](data)
	case TypeIssued:
		return decode[Issued](data)
	case TypeAcknowledged:
		return decode[Acknowledged](data)
	case TypePromoted:
		return decode[Promoted](data)
	case TypeRetiring:
		return decode[Retiring](data)
	case TypeCompromised:
		return decode[Compromised](data)
	case TypeInvalidated:
		return decode[Invalidated](data)
	case TypeExpiring:
		return decode[Expiring](data)
	case TypeExpired:
		return decode[Expired](data)
	case TypeDrift:
		return decode[Drifted](data)
	}
	return nil, fmt.Errorf("unknown event type %q: written by a newer keyturn?", kind)
}

func decode[F Fact](data []byte) (Fact, error) {
	var f F
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Type(), err)
	}
	return f, nil
}
