package credential

import (
	"errors"
	"time"
)

// Command is a wish to change the state, or the result of a step. The set is
// closed: the marker is not exported.
type Command interface{ command() }

// Asked is an operator's command with the identity of the request that carried
// it, so that one that comes again is answered and not repeated.
type Asked struct {
	Command
	// ID is unique to the request; Digest tells its content.
	ID, Digest string
}

// Register begins the record of a credential, or changes what is declared.
type Register struct {
	Spec  Spec
	Actor string
	// Frozen is the freeze that a new credential begins under; nil = none.
	Frozen *Hold
}

// Adopt begins the record of a credential whose key somebody else made. It was read
// from Vault, and proven at the issuer.
type Adopt struct {
	Spec        Spec
	Actor       string
	Seat        SeatID
	Fingerprint Fingerprint
	Expires     time.Time
	// Version is the KV version that holds it.
	Version uint64
	// Settings is the hash of those that the item has; Told is ItemStatus.Settings.
	Settings, Told string
	// Frozen is the freeze that the credential begins under; nil = none.
	Frozen *Hold
}

// Remove ends a credential: its keys die.
type Remove struct {
	Actor, Reason        string
	KeepSecret, KeepItem bool
}

// RequestRotation asks for a rotation.
type RequestRotation struct {
	ID     string
	Actor  string
	Reason string
	Now    bool
	// Vault is the KV version that is accepted; nil = that of a finding.
	Vault *uint64
}

// Retry skips the wait after a failed attempt.
type Retry struct{ Actor string }

// PutHold freezes destructive steps; a zero Until has no end. Freeze is the hold
// that stands on all credentials, beside one of their own. NoShorter refuses one
// that ends before the one that it would take the place of.
type PutHold struct {
	Actor, Reason string
	Until         time.Time
	Freeze        bool
	NoShorter     bool
}

// Release ends a hold, or the freeze.
type Release struct {
	Actor, Reason string
	Freeze        bool
}

// Compromise says that keys are in wrong hands and must die.
type Compromise struct {
	Actor, Reason string
	// Request is the id of the request.
	Request string
	// Key is KeyPrimary, KeySecondary, KeyAll or a fingerprint.
	Key string
	// Immediately has them die before there is a replacement.
	Immediately bool
	// OverrideHold has them die though a hold stands.
	OverrideHold bool
	// Vault is the KV version that is accepted; nil = that of a finding.
	Vault *uint64
	// Outside is when somebody killed the key outside of keyturn; zero = nobody did.
	Outside time.Time
	// Gone is such a key that is on no seat any more; nil = Key says which.
	Gone *LeakedKey
}

// Which keys a Compromise is about, besides a fingerprint.
const (
	KeyPrimary   = "primary"
	KeySecondary = "secondary"
	KeyAll       = "all"
)

// Acknowledge says that a consumer uses a key.
type Acknowledge struct {
	Consumer    string
	Fingerprint Fingerprint
}

// Tell gives notice of the primary's expiry.
type Tell struct{ Level Level }

// Begin starts a rotation.
type Begin struct{ Reason Reason }

// ClaimMint opens a claim for the next mint, or for the item that it needs.
type ClaimMint struct{}

// ItemMade is the result of the item step.
type ItemMade struct{ Item string }

// KeyIssued is the result of issue, store and verify.
type KeyIssued struct {
	Seat        SeatID
	Mint        uint64
	Fingerprint Fingerprint
	Expires     time.Time
	Version     uint64
	// Told are the item's settings as the issuer told them; empty = unknown.
	Told string
}

// KeyPromoted is the result of promote.
type KeyPromoted struct {
	Fingerprint Fingerprint
	Version     uint64
}

// ClaimRevoke opens the claim to revoke a seat; Vault was read and the primary
// probed just before.
type ClaimRevoke struct{ Seat SeatID }

// KeyInvalidated is the result of revoke, or of an expiry.
type KeyInvalidated struct {
	Seat               SeatID
	How                How
	Version, Destroyed uint64
}

// StepFailed is the result of a step that failed.
type StepFailed struct {
	Step    StepKind
	Seat    SeatID
	Class   Class
	Message string
	// Answered is true if every call made under the claim was answered.
	Answered bool
	// Silent is true if the issuer gave no answer.
	Silent bool
	// Wait is the time until the next attempt.
	Wait time.Duration
}

// GiveUp ends a rotation before its promotion.
type GiveUp struct{ Why string }

// ClaimItem opens the claim to edit or delete an item.
type ClaimItem struct {
	Op   Operation
	Item string
}

// ItemAmended is the result of an edit in place; Description is the hash of what
// was written.
type ItemAmended struct{ Item, Description string }

// ItemGone is the result of a deletion.
type ItemGone struct{ Item string }

// KeysGone is the result of the last step of a removal.
type KeysGone struct{}

// FoundStray tells of an item with our marker, after a sweep.
type FoundStray struct {
	MarkedItem
	// Grace is how old it must be.
	Grace time.Duration
}

// Found tells of a difference between record, Vault and issuer.
type Found struct {
	Finding Finding
	Healed  bool
	// Expires is the expiry by the issuer, where that differs.
	Expires time.Time
	// Outage is the time of a drain in which Vault could not be read.
	Outage time.Duration
}

func (Register) command()        {}
func (Adopt) command()           {}
func (Remove) command()          {}
func (ClaimItem) command()       {}
func (ItemAmended) command()     {}
func (ItemGone) command()        {}
func (KeysGone) command()        {}
func (FoundStray) command()      {}
func (RequestRotation) command() {}
func (Retry) command()           {}
func (Compromise) command()      {}
func (PutHold) command()         {}
func (Release) command()         {}
func (Acknowledge) command()     {}
func (Tell) command()            {}
func (Begin) command()           {}
func (ClaimMint) command()       {}
func (ItemMade) command()        {}
func (KeyIssued) command()       {}
func (KeyPromoted) command()     {}
func (ClaimRevoke) command()     {}
func (KeyInvalidated) command()  {}
func (StepFailed) command()      {}
func (GiveUp) command()          {}
func (Found) command()           {}

// Why Decide refuses.
var (
	// ErrNothing: the state is already as wished.
	ErrNothing = errors.New("nothing to do")
	// ErrStale: the state has moved on, so the result or wish no longer fits.
	ErrStale = errors.New("the state has moved on")
	// ErrHeld: a hold stands, and the step is destructive.
	ErrHeld = errors.New("a hold stands")
	// ErrClaimed: an earlier claim may still be at work.
	ErrClaimed = errors.New("an earlier claim is not over")
	// ErrRepeated: the request was answered before; State.Answer has the answer.
	ErrRepeated = errors.New("the request was answered before")
	// ErrTaken: the id of the request is that of another one.
	ErrTaken = errors.New("another request had the id")
	// ErrNoKey: no living key is meant.
	ErrNoKey = errors.New("no such living key")
	// ErrNotNamed: the policy waits for no consumer of that name.
	ErrNotNamed = errors.New("the policy names no such consumer")
	// ErrUnknown: nobody registered the credential.
	ErrUnknown = errors.New("no such credential")
	// ErrAbsurd: a date or count that cannot be true.
	ErrAbsurd = errors.New("absurd value")
)
