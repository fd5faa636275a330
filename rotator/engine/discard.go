package engine

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn/rotator/credential"
)

// discard looks at an item that was left, before the claim to delete it is opened:
// the record is signed by one of us, Vault shows no key of it, and no key is alive
// on it that is not ours to kill.
func discard(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	item := step.Seat.Item
	old, _ := w.state.OldItem(item)
	if err := together(
		func() error {
			if err := w.engine.config.Record.Verify(ctx, w.name, w.head); err != nil {
				return err
			}
			return w.shown(ctx, item)
		},
		func() error { return w.stranger(ctx, item, old.Stray) },
	); err != nil {
		return nil, err
	}
	return credential.ClaimItem{Op: credential.OpDeleteItem, Item: item}, nil
}

// shown finds that Vault still shows a key of an item to applications: the record
// may be older than Vault. What is removed may be shown, as an operator wanted.
func (w *work) shown(ctx context.Context, item string) error {
	if w.state.Status != credential.StatusRegistered || w.state.Removing != nil {
		return nil
	}
	w.vault = nil
	if err := w.read(ctx); err != nil {
		return err
	}
	for _, key := range []credential.Key{w.vault.Primary, w.vault.Secondary} {
		if key.Seat.Item == item && !key.Secret.Empty() {
			return inUse(key.Seat, fmt.Sprintf("version %d in Vault shows a key of the old item %s", w.vault.Version, item))
		}
	}
	return nil
}

// stranger finds a key on an item that keyturn did not make. On an item that no
// event ever named it is nobody's.
func (w *work) stranger(ctx context.Context, item string, stray bool) error {
	// its answer also tells the issuer's clock, by which a hold may stand
	status, err := w.issuer.Describe(ctx, item)
	switch class := credential.ClassOf(err); {
	case err == nil:
	case class == credential.ClassNotFound || class == credential.ClassPermanent:
		return nil // gone, or never registered: no key lives on it
	default:
		return err
	}
	for slot := 1; slot <= 2 && !stray; slot++ {
		if alive(status, slot) {
			return inUse(credential.SeatID{Item: item, Slot: slot},
				fmt.Sprintf("slot %d of the old item %s holds an active key that keyturn did not make", slot, item))
		}
	}
	return nil
}

func inUse(seat credential.SeatID, detail string) error {
	return &foundError{credential.Found{Finding: credential.Finding{Kind: credential.FindingItemInUse, Seat: seat, Detail: detail}}}
}

// alive reports whether a slot holds a key that has not ended by itself.
func alive(status credential.ItemStatus, slot int) bool {
	s := status.Slot(slot)
	return s.Active && (s.Expires.IsZero() || status.Clock.Before(s.Expires))
}

// destroy deletes the item for good.
func destroy(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	keeper, err := w.keeper("delete")
	if err != nil {
		return nil, err
	}
	old, _ := w.state.OldItem(step.Seat.Item)
	if err := w.call(ctx, "delete the item", func(ctx context.Context) error {
		return keeper.Remove(ctx, old.Item, old.Stray)
	}); err != nil {
		return nil, err
	}
	return credential.ItemGone{Item: old.Item}, nil
}
