package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// issue generates the key on the claimed seat. It looks at the slot first: a
// live key there that is not ours is somebody's, and stays.
func issue(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	status, err := w.issuer.Describe(ctx, step.Seat.Item)
	if err != nil {
		return nil, err
	}
	slot := status.Slot(step.Seat.Slot)
	clock := status.Clock
	if clock.IsZero() {
		clock = w.engine.config.Now()
	}
	alive := slot.Active && (slot.Expires.IsZero() || clock.Before(slot.Expires))
	if alive && !w.claim.Fence && !w.ours(step.Seat) {
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
	err = w.call(ctx, "generate a key", func(ctx context.Context) (err error) {
		minted, err = w.issuer.Issue(ctx, step.Seat, expires)
		return err
	})
	if err != nil {
		return nil, err
	}
	w.minted = &minted
	w.verify.mint = w.claim.Mint
	return nil, nil
}

// ours reports whether a seat's slot may hold a key of an earlier mint of ours:
// one whose call had no clear outcome, or one that the claim's entry replaced.
func (w *work) ours(seat credential.SeatID) bool {
	entry, ok := w.state.Seat(seat)
	return ok && entry.Mint != w.claim.Mint
}
