package engine

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Issuer mints and kills keys. Every call has a deadline; every error is a
// credential.Fault. Calls that change the issuer are made under a claim only.
type Issuer interface {
	// EnsureItem finds the item with the marker, or makes and registers it.
	EnsureItem(ctx context.Context, order credential.ItemOrder) (item string, err error)
	// Describe reads the slots of an item.
	Describe(ctx context.Context, item string) (credential.ItemStatus, error)
	// Issue sets the slot's expiry and generates a key there, killing the one
	// that was there. It is not idempotent.
	Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error)
	// Probe asks whether the issuer accepts a key as one of the item. A refusal
	// is ClassDenied; a key of another item is ClassPermanent.
	Probe(ctx context.Context, request credential.ProbeRequest) (credential.Proof, error)
	// Revoke kills the key on a seat and reads back that it is inactive.
	Revoke(ctx context.Context, seat credential.SeatID) error
}

// Clocked is an Issuer that measures its clock: the issuer's time less ours when
// it last answered, and when that was; ok is false before the first answer.
type Clocked interface {
	Skew() (skew time.Duration, answered time.Time, ok bool)
}

// Keeper is an Issuer whose items can be edited in place, found by their marker, and
// deleted. Edit and Remove are made under a claim only.
type Keeper interface {
	// Edit sets title, folder, tags, description and marker, and touches no key. It is
	// idempotent.
	Edit(ctx context.Context, item string, marker credential.Marker, spec credential.ItemSpec) error
	// Remove deletes an item for good, once both its slots are read back inactive or
	// are over; with revoke it kills what is active first. One that is not there is no
	// error.
	Remove(ctx context.Context, item string, revoke bool) error
	// Marked lists the items that an installation made.
	Marked(ctx context.Context, installation string, names []credential.Name) ([]credential.MarkedItem, error)
}

// Looker is an Issuer that shows an item, whoever made it.
type Looker interface {
	Look(ctx context.Context, item string) (credential.FoundItem, error)
}

// SecretStore is where applications read keys.
type SecretStore interface {
	// Read returns the latest version; one that is not there is no error but
	// Stored.Missing.
	Read(ctx context.Context, name credential.Name) (credential.Stored, error)
	// Write writes over exactly version cas (0 = nothing there yet); another
	// one is ClassConflict, a lost answer ClassUnknown.
	Write(ctx context.Context, name credential.Name, doc credential.Document, cas uint64) (version uint64, err error)
	// EnsureMetadata demands check-and-set of every writer, and shows the owner.
	EnsureMetadata(ctx context.Context, name credential.Name, owner string) error
	// Destroy destroys the versions from up to and without below.
	Destroy(ctx context.Context, name credential.Name, from, below uint64) error
	// Erase destroys every version up to and with upto, the latest one too. What is
	// not there is no error.
	Erase(ctx context.Context, name credential.Name, upto uint64) error
}

// Record is the ordered events of each credential; an append is the commit.
type Record interface {
	// Load folds the record; an unknown name is the zero State and Head.
	Load(ctx context.Context, name credential.Name) (credential.State, credential.Head, error)
	// Append appends if head is still the last; another one is ClassConflict, a
	// lost acknowledgement that could not be cleared up ClassUnknown.
	Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, after credential.State) (credential.Head, error)
	// Verify checks the signature of the last event.
	Verify(ctx context.Context, name credential.Name, head credential.Head) error
}
