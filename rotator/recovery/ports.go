package recovery

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Record is where the events go.
type Record interface {
	// Load folds the record; an unknown name is the zero State and Head.
	Load(ctx context.Context, name credential.Name) (credential.State, credential.Head, error)
	// Append appends if head is still the last; another one is ClassConflict.
	// The same event may be appended again after an outcome that is not known.
	Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, after credential.State) (credential.Head, error)
}

// Secrets is where applications read keys.
type Secrets interface {
	// Read returns the latest version; one that is not there is Stored.Missing.
	Read(ctx context.Context, name credential.Name) (credential.Stored, error)
	// List names all credentials that have a secret, or had one.
	List(ctx context.Context) ([]credential.Name, error)
}

// Issuer says which keys work. Neither call changes anything.
type Issuer interface {
	// Describe reads the slots of an item; one that is gone is ClassNotFound.
	Describe(ctx context.Context, item string) (credential.ItemStatus, error)
	// Probe asks whether a key of the item is accepted. A refusal is
	// ClassDenied; a key of another item is ClassPermanent.
	Probe(ctx context.Context, request credential.ProbeRequest) (credential.Proof, error)
}

// Marking is an Issuer that finds items by their markers. Without it no item
// counts as marked.
type Marking interface {
	// Marked lists the items with the marker of the installation, whatever the
	// folder and rotation, and says for which of the credentials.
	Marked(ctx context.Context, installation string, names []credential.Name) ([]credential.MarkedItem, error)
}
