package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// issue generates the key on the claimed seat. It looks at the slot first: a
// live key there that is not ours is somebody's, and stays. And it makes sure
// that the key can be kept.
func issue(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	var status credential.ItemStatus
	if err := together(
		func() (err error) { status, err = w.issuer.Describe(ctx, step.Seat.Item); return err },
		func() error { return w.canStore(ctx) },
	); err != nil {
		return nil, err
	}
	clock := status.Clock
	if clock.IsZero() {
		clock = w.engine.config.Now()
	}
	status.Clock = clock
	if alive(status, step.Seat.Slot) && !w.claim.Fence { // with a fence, the key there is an earlier mint of ours
		return credential.Found{Finding: credential.Finding{
			Kind: credential.FindingUnknownKey, Seat: step.Seat,
			Detail: fmt.Sprintf("slot %d of item %s holds an active key that keyturn did not make", step.Seat.Slot, step.Seat.Item),
		}}, nil
	}
	if w.claim.Fence {
		if err := w.fence(ctx); err != nil {
			return nil, err
		}
	}
	expires := clock.Add(w.state.Spec.Policy.Lifetime.Std()).UTC().Truncate(time.Second)
	var minted credential.Minted
	if err := w.call(ctx, "generate a key", func(ctx context.Context) (err error) {
		minted, err = w.issuer.Issue(ctx, step.Seat, expires)
		return err
	}); err != nil {
		return nil, err
	}
	w.minted = &minted
	w.verify.mint, w.verify.told = w.claim.Mint, status.Settings
	return nil, nil
}

// canStore proves that the key can be kept, before it is made: Vault is read,
// and told to demand check-and-set before its first version.
func (w *work) canStore(ctx context.Context) error {
	if w.state.Vault.Version == 0 {
		if err := w.engine.config.Store.EnsureMetadata(ctx, w.name, w.state.Spec.Owner); err != nil {
			return err
		}
	}
	_, err := w.withPrimary(ctx)
	return err
}
