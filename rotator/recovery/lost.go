package recovery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Loss says in what way Vault no longer has what the record says.
type Loss string

// The losses.
const (
	LossMissing Loss = "missing" // there is no secret, or no primary key in it
	LossStale   Loss = "stale"   // an older version, as from a backup: its key is not the primary
	LossForeign Loss = "foreign" // somebody else wrote it: left alone
	LossUnread  Loss = "unread"  // Vault or the record could not be read
)

// Lost is a credential whose primary key applications cannot read in Vault.
type Lost struct {
	Name credential.Name `json:"name"`
	Loss Loss            `json:"loss"`
	// Expires is when the key that applications may still have in memory ends.
	Expires time.Time `json:"expires,omitzero"`
	Detail  string    `json:"detail"`
	// Version is the KV version that was seen; 0 = nothing was there.
	Version uint64 `json:"vault_version"`

	primary credential.Fingerprint
	mint    uint64 // mints above are of the reissue
	state   credential.State
}

// FindLost compares the record's primaries with what Vault shows, most urgent
// first: the key that ends soonest. It changes nothing.
func FindLost(ctx context.Context, record Record, secrets Secrets, states []credential.State, workers int) ([]Lost, error) {
	results := make([]*Lost, len(states))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(workers, 1))
	for i, state := range states {
		group.Go(func() error {
			results[i] = compare(ctx, record, secrets, state)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var lost []Lost
	for _, l := range results {
		if l != nil {
			lost = append(lost, *l)
		}
	}
	slices.SortStableFunc(lost, func(a, b Lost) int {
		if c := a.Expires.Compare(b.Expires); c != 0 {
			return c
		}
		return strings.Compare(string(a.Name), string(b.Name))
	})
	return lost, nil
}

// compare looks at one credential; nil = nothing is lost. A difference counts
// only if the record stands still meanwhile: a rotation moves both.
func compare(ctx context.Context, record Record, secrets Secrets, state credential.State) *Lost {
	unread := func(err error) *Lost {
		lost := &Lost{Name: state.Name, Loss: LossUnread, Detail: err.Error()}
		if primary, ok := state.Primary(); ok {
			lost.Expires = primary.Expires
		}
		return lost
	}
	const attempts = 5
	for range attempts {
		stored, err := secrets.Read(ctx, state.Name)
		if err != nil {
			return unread(err)
		}
		lost := lossOf(state, stored)
		if lost == nil {
			return nil
		}
		now, _, err := record.Load(ctx, state.Name)
		if err != nil {
			return unread(err)
		}
		if now.Revision == state.Revision {
			return lost
		}
		now.Name = state.Name
		state = now
	}
	return unread(fmt.Errorf("its record keeps changing"))
}

// lossOf says what a document lacks; nil = nothing.
func lossOf(state credential.State, stored credential.Stored) *Lost {
	primary, ok := state.Primary()
	if !ok || state.Status != credential.StatusRegistered {
		return nil // the first key is on its way, or none is wanted
	}
	there := stored.Primary
	candidate, _ := state.Candidate()
	lost := &Lost{
		Name: state.Name, Expires: primary.Expires, Version: stored.Version, primary: primary.Fingerprint, mint: state.Mint, state: state,
	}
	switch {
	case stored.Missing:
		lost.Loss, lost.Detail = LossMissing, "Vault has no secret"
	case there.Fingerprint == primary.Fingerprint:
		return nil
	case there.Fingerprint != "" && there.Fingerprint == candidate.Fingerprint:
		return nil // its promotion is being committed
	case stored.Revision == 0:
		lost.Loss, lost.Detail = LossForeign, fmt.Sprintf("version %d in Vault was written by somebody else: left alone (keyturn rotate %s --now replaces it)", stored.Version, state.Name)
	case there.Secret.Empty():
		lost.Loss, lost.Detail = LossMissing, fmt.Sprintf("version %d in Vault has no primary key", stored.Version)
	default:
		lost.Loss, lost.Detail = LossStale, fmt.Sprintf("version %d in Vault shows key %s of revision %d, the record's primary is %s", stored.Version, there.Fingerprint, stored.Revision, primary.Fingerprint)
	}
	return lost
}
