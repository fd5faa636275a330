package credential

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// The values that cross the ports of the engine. They stand here so that an
// adapter needs to know the core only.

// Marker is written on an item, so that it is found again after a crash.
type Marker struct {
	Installation string
	Name         Name
	Rotation     string
}

// ItemOrder asks for an item.
type ItemOrder struct {
	Marker Marker
	Spec   ItemSpec
	// First is true when no earlier call can have made an item with the marker,
	// so that there is none to look for.
	First bool
}

// ItemStatus is what the issuer says of an item.
type ItemStatus struct {
	Item string
	// Slots are slot 1 and slot 2.
	Slots [2]SlotStatus
	// Settings identifies the privileges, items and referrers as the issuer tells
	// them, whatever their order; empty = it does not tell.
	Settings string
	// Clock is the issuer's clock when it answered.
	Clock time.Time
}

// Slot returns slot 1 or 2.
func (s ItemStatus) Slot(n int) SlotStatus { return s.Slots[n-1] }

// SlotStatus is what the issuer says of a slot.
type SlotStatus struct {
	Active bool
	// Expires is zero when the issuer names no date.
	Expires time.Time
}

// Minted is a new key.
type Minted struct {
	Key Secret
	// Expires is what the issuer said, not what was asked.
	Expires time.Time
}

// ProbeRequest asks the issuer whether it accepts a key.
type ProbeRequest struct {
	Key Secret
	// Item is the item that the key must belong to.
	Item string
	// Referrers of the credential; the request carries one that matches.
	Referrers []string
}

// Proof is the issuer's word that it accepts a key.
type Proof struct {
	// Expires is the expiry that the issuer names; zero = it named none.
	Expires time.Time
	// Clock is the issuer's clock when it answered.
	Clock time.Time
}

// ExpiringKey is a line of the issuer's own list of keys.
type ExpiringKey struct {
	Seat    SeatID
	Title   string
	Expires time.Time
}

// MarkedItem is an item that carries the marker of an installation.
type MarkedItem struct {
	Item, Title string
	// Name is the credential that it was made for; empty = none of those asked for.
	Name Name
	// Rotation is the one that made it; empty for an item that was adopted.
	Rotation string
	// Created is by the issuer's clock; zero = it does not say.
	Created time.Time
}

// FoundItem is an item as the issuer's people see it, whether keyturn made it or not.
type FoundItem struct {
	Item, Owner string
	// Spec is what would have to be declared to get it.
	Spec  ItemSpec
	Slots [2]SlotStatus
	// Installation and Marked stand on an item that some keyturn manages: the
	// words of its marker, shortened where the issuer would cut them; empty = none.
	Installation, Marked string
}

// MarkedFor reports whether the item carries the marker of a credential, whose name
// may stand there shortened.
func (f FoundItem) MarkedFor(name Name) bool {
	sum := sha256.Sum256([]byte(name))
	return f.Marked == string(name) || f.Marked == shortened+hex.EncodeToString(sum[:16])
}

// Shortened reports whether the marker does not tell the name itself.
func (f FoundItem) Shortened() bool { return strings.HasPrefix(f.Marked, shortened) }

// shortened begins what stands on an item instead of a long name.
const shortened = "sha256-"

// Usage is what one service counted for a credential in one day.
type Usage struct {
	// Day begins at midnight UTC.
	Day      time.Time
	Service  string
	Requests int64
	Credits  float64
}

// Key is a key with where it lives, as it stands in Vault.
type Key struct {
	Secret      Secret
	Fingerprint Fingerprint
	Expires     time.Time
	Seat        SeatID
	Mint        uint64
}

// Document is the content of a credential's secret in Vault.
type Document struct {
	Primary Key
	// Secondary is the candidate or the draining key; its Secret may be empty.
	Secondary  Key
	RotationID string
	// Revision is the number of the event that the content was decided from;
	// 0 = none or unreadable, so not ours.
	Revision uint64
}

// Stored is a Document with its KV version.
type Stored struct {
	Document
	// Version is the KV version that the next write must name; 0 = nothing was
	// ever there.
	Version uint64
	// Missing is true when no readable version is there (never written, or the
	// latest one deleted).
	Missing bool
}

// Head is the last event of a credential's record, as the record knows it.
type Head struct {
	// Sequence is the stream sequence that the next append expects; 0 = none yet.
	Sequence uint64
	// Hash is the hash of the event, which the next one carries.
	Hash string
	// Signature and Signer let the last event be checked later.
	Signature string
	Signer    string
}

// Entry is one committed event with the state after it.
type Entry struct {
	Name  Name
	Head  Head
	Event Event
	State State
}
