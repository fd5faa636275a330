package credential

import (
	"fmt"
	"time"
)

// SeatID is where a key lives at the issuer: an item and one of its two slots.
type SeatID struct {
	Item string `json:"item"`
	Slot int    `json:"slot"`
}

// String is "item/slot", the form that stands in Vault.
func (id SeatID) String() string { return fmt.Sprintf("%s/%d", id.Item, id.Slot) }

// Sibling is the other slot of the same item.
func (id SeatID) Sibling() SeatID { return SeatID{Item: id.Item, Slot: 3 - id.Slot} }

// Role says what the key on a seat is for.
type Role string

// The roles of seats.
const (
	RolePrimary   Role = "primary"   // applications use it
	RoleCandidate Role = "candidate" // being made, or ready
	RoleDraining  Role = "draining"  // on its way out, still works
	RoleOrphan    Role = "orphan"    // nobody wants it; to be revoked
)

// Seat is one entry of the seat list: a seat that may hold a live key.
type Seat struct {
	SeatID
	Role Role `json:"role"`
	// Fingerprint of the key; empty until the key is proven.
	Fingerprint Fingerprint `json:"fingerprint,omitempty"`
	// Over is the fingerprint of a key that was on the seat when a claim to
	// generate over it was opened, and that may be alive until the new one is
	// proven; empty = none.
	Over Fingerprint `json:"over,omitempty"`
	// Mint numbers the call that generated the key.
	Mint uint64 `json:"mint"`
	// Expires is the expiry on the issuer's clock; zero until the key is proven.
	Expires time.Time `json:"expires,omitzero"`
	// Proven is when the key was accepted by the issuer throughout the settle
	// time; zero = never.
	Proven time.Time `json:"proven,omitzero"`
	// Claimed is true once a claim to generate or revoke on this seat was
	// opened after the key was proven: such a key is never promoted.
	Claimed bool `json:"claimed,omitempty"`
	// Leak is set when the key is in wrong hands.
	Leak *Leak `json:"leak,omitempty"`
	// Replaced is true when the key is dead and the slot holds another one, which
	// keyturn did not make: it is nobody's to revoke.
	Replaced bool `json:"replaced,omitempty"`
	// Told is ItemStatus.Settings when the key was made; empty = unknown.
	Told string `json:"told_settings,omitempty"`
}

// named reports whether the seat may hold a key that an event has named: no
// hold lets such a one be destroyed.
func (s Seat) named() bool { return s.Fingerprint != "" || s.Over != "" }

// expired reports whether the key has ended by itself.
func (s Seat) expired(issuerNow time.Time) bool {
	return !s.Expires.IsZero() && !issuerNow.Before(s.Expires)
}

// Operation is a kind of call that changes the issuer.
type Operation string

// The operations that need a claim.
const (
	OpGenerate   Operation = "generate"
	OpRevoke     Operation = "revoke"
	OpCreateItem Operation = "create-item"
	OpEditItem   Operation = "edit-item"
	OpDeleteItem Operation = "delete-item"
)

// Claim is the right to make calls that change the issuer.
type Claim struct {
	// ID is unique; by it the holder knows its own claim.
	ID     string    `json:"id"`
	Daemon string    `json:"daemon"`
	Op     Operation `json:"op"`
	// Seat is what the claim covers. Slot 0 covers the item and both its
	// seats; an empty item is an item that is not made yet.
	Seat SeatID `json:"seat"`
	// Mint is the number of the key to generate; 0 for other operations.
	Mint uint64 `json:"mint,omitempty"`
	// Fence is true when the seat may hold a key that Vault has shown: the
	// holder writes Vault without that key before it generates or revokes. A
	// leaked key that dies immediately needs none.
	Fence bool `json:"fence,omitempty"`
	// Window is how long calls may be made, counted from when the holder began
	// the append; as much again is the margin.
	Window Duration  `json:"window"`
	Opened time.Time `json:"opened"`
	// Supersedes names earlier claims that this one meets and that were over.
	Supersedes []string `json:"supersedes,omitempty"`
}

// Over is how long a successor waits from its first sight of the claim: the
// window and the margin.
func (c Claim) Over() time.Duration { return 2 * c.Window.Std() }

// meets reports whether two claims cover a common seat.
func (c Claim) meets(op Operation, seat SeatID) bool {
	if c.Seat.Item != seat.Item {
		return false
	}
	if op == OpCreateItem || c.Op == OpCreateItem {
		return true
	}
	return c.Seat.Slot == 0 || seat.Slot == 0 || c.Seat.Slot == seat.Slot
}
