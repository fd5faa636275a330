package report

import (
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Report is what the record says of a time. All instants are UTC; a zero one is
// left out of the JSON. All durations are text as credential.Short writes it.
type Report struct {
	// Installation is whose record it is.
	Installation string `json:"installation"`
	// Since and Until bound the period: Since is in it, Until is not.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Read is what the report was made from.
	Read Read `json:"read"`
	// Counts sums the lists up.
	Counts Counts `json:"counts"`
	// Breaches are by kind, credential and time.
	Breaches []Breach `json:"breaches"`
	// Keys are those that lived in the period, by credential and number.
	Keys []Key `json:"keys"`
	// Changes are what people did in the period and what was found changed from
	// outside, in the order of the record.
	Changes []Change `json:"changes"`
}

// Read says which events a report was made from.
type Read struct {
	// Events is the number of events up to the end of the period, InPeriod of
	// those within it.
	Events   int `json:"events"`
	InPeriod int `json:"events_in_period"`
	// Sequence and Hash are those of the last of them, to find it by.
	Sequence uint64 `json:"last_sequence"`
	Hash     string `json:"last_hash"`
	// Backwards is the number of events with a time that is more than a minute before
	// that of the one before them: a clock was wrong, and so may be lengths that
	// end or begin there.
	Backwards int `json:"backwards"`
	// Unreadable are stored messages that could not be read: they are missing
	// in all else.
	Unreadable []Unreadable `json:"unreadable"`
}

// Unreadable is a stored message that could not be read.
type Unreadable struct {
	Sequence uint64 `json:"sequence"`
	Subject  string `json:"subject"`
	Why      string `json:"why"`
}

// Counts sums a report up.
type Counts struct {
	Credentials int          `json:"credentials"` // with a record at the end of the period
	Keys        int          `json:"keys"`        // that lived in it
	Issued      int          `json:"issued"`      // of those: proven in it
	Promoted    int          `json:"promoted"`    // of those: made the primary in it
	Died        int          `json:"died"`        // of those: dead in it
	Breaches    map[Kind]int `json:"breaches"`
}

// Key is the life of one key, from the claim to generate it to its end.
type Key struct {
	Credential credential.Name `json:"credential"`
	// Fingerprint is empty for a key that was never proven: whether the issuer
	// made it at all is not on the record.
	Fingerprint credential.Fingerprint `json:"fingerprint,omitempty"`
	// Number counts the keys of a credential (the record calls it mint).
	Number uint64            `json:"number"`
	Seat   credential.SeatID `json:"seat"`
	// Why it was made: the reason of its rotation, as a code and in words.
	Reason credential.Reason `json:"reason,omitempty"`
	Why    string            `json:"why"`
	// Actor is who wanted it, Request the id of the operator's request and
	// Rotation the id of the rotation.
	Actor    string `json:"actor"`
	Request  string `json:"request,omitempty"`
	Rotation string `json:"rotation,omitempty"`
	// Replaces is the primary before it, ReplacedBy the one after it.
	Replaces   credential.Fingerprint `json:"replaces,omitempty"`
	ReplacedBy credential.Fingerprint `json:"replaced_by,omitempty"`
	// Claimed is when the claim to generate it was opened: it is not older.
	Claimed  time.Time `json:"claimed,omitzero"`
	Issued   time.Time `json:"issued,omitzero"`   // proven and in Vault
	Promoted time.Time `json:"promoted,omitzero"` // became the primary, the last time
	// Again is true for one that took over again in an emergency.
	Again    bool      `json:"again,omitempty"`
	Replaced time.Time `json:"replaced,omitzero"` // another became the primary
	Died     time.Time `json:"died,omitzero"`     // zero = alive at the end of the period
	Expires  time.Time `json:"expires,omitzero"`
	// Leaked is when somebody said that it was in wrong hands.
	Leaked time.Time `json:"leaked,omitzero"`
	// End is how it died; empty = it had not.
	End End `json:"end,omitempty"`
	// Lived is from Issued (Claimed for one that was never proven) to Died, or
	// to the end of the period. Primary is from Promoted to Replaced or that, and
	// the times before for one that took over again.
	Lived   string `json:"lived"`
	Primary string `json:"primary,omitempty"`
	// Events are the sequences of the events that say so.
	Events []uint64 `json:"events"`

	claim    string            // that it was generated under
	policy   credential.Policy // that it drains by
	drainEnd time.Time         // zero = it does not drain
	outage   time.Duration     // of Vault, by which its drain was made longer
	leak     *Breach           // that it leaked; nil = it did not
	served   time.Duration     // as the primary, before it took over again
	asked    bool              // whether its consumers had confirmed was looked at
}

// End is how a key died.
type End string

// The ends of keys.
const (
	EndRevoked     End = "revoked"     // and read back as inactive
	EndExpired     End = "expired"     // by itself
	EndOverwritten End = "overwritten" // a later key was generated on its seat
)

// Kind names a breach.
type Kind string

// The kinds of breaches; doc.go defines each.
const (
	KindLeaked      Kind = "leaked"
	KindOverAge     Kind = "older-than-policy"
	KindDrain       Kind = "drained-too-long"
	KindHeld        Kind = "held"
	KindFailed      Kind = "failed"
	KindUnconfirmed Kind = "never-acknowledged"
)

// Breach is one departure from the policy.
type Breach struct {
	Kind        Kind                   `json:"kind"`
	Credential  credential.Name        `json:"credential"`
	Fingerprint credential.Fingerprint `json:"fingerprint,omitempty"`
	Rotation    string                 `json:"rotation,omitempty"`
	// Since is when it began, maybe before the period. Until is zero if it had
	// not ended by the end of the period.
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"`
	// Lasted is from Since to Until or the end of the period; empty for what
	// has no length.
	Lasted string `json:"lasted,omitempty"`
	// Actor and Reason are those of a hold or of a leak.
	Actor  string `json:"actor,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Attempts that failed, by class.
	Attempts int                      `json:"attempts,omitempty"`
	Classes  map[credential.Class]int `json:"classes,omitempty"`
	// Missing are the consumers whose word was not there.
	Missing []string `json:"missing,omitempty"`
	Text    string   `json:"text"`
	// Events are the sequences of the first and the last event that say so.
	Events []uint64 `json:"events"`
}

// Change is an event that a person caused, or that came from outside.
type Change struct {
	At         time.Time            `json:"at"`
	Credential credential.Name      `json:"credential"`
	Type       credential.EventType `json:"type"`
	Actor      string               `json:"actor"`
	Request    string               `json:"request,omitempty"`
	Sequence   uint64               `json:"sequence"`
	Text       string               `json:"text"`
}
