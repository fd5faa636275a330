package engine

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// revoke kills the key on the claimed seat: first Vault without it, which
// fences every older writer, then the key at the issuer and, as nobody reads
// them any more, the Vault versions that held it.
//
// A key that an operator had die immediately needs no Vault: it may be down, too.
func revoke(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	kill := func() error {
		err := w.call(ctx, "revoke the key", func(ctx context.Context) error {
			return w.issuer.Revoke(ctx, step.Seat)
		})
		seat, _ := w.state.Seat(step.Seat)
		if credential.IsClass(err, credential.ClassNotFound) && (seat.Leak == nil || w.state.Removing != nil) {
			return nil // with its item it is gone, too, and the item is deleted from the recycle bin next; of a leaked key that is not enough
		}
		return err
	}
	if w.state.Removing != nil {
		if err := kill(); err != nil {
			return nil, err
		}
		return w.buried(step.Seat, credential.HowRevoked), nil
	}
	if w.immediately(step.Seat) {
		if err := kill(); err != nil {
			return nil, err
		}
		w.cover(ctx, step.Seat)
		return w.buried(step.Seat, credential.HowRevoked), nil
	}
	if err := w.fence(ctx); err != nil {
		return nil, err
	}
	if err := together(kill, func() error { return w.bury(ctx) }); err != nil {
		return nil, err
	}
	return w.buried(step.Seat, credential.HowRevoked), nil
}

// cover takes a key that died immediately out of Vault, if Vault can be reached
// and has another one. If not, the next write does.
func (w *work) cover(ctx context.Context, dead credential.SeatID) {
	primary, ok := w.state.Primary()
	if !ok || primary.SeatID == dead || w.fence(ctx) != nil || w.bury(ctx) != nil {
		w.vault = nil // nothing is known of it
	}
}

// expire takes a key that ended by itself, or that somebody else replaced, out of Vault and off the seat list.
// The issuer says that it has: our clock may be wrong. It changes nothing there,
// so it needs no claim.
func expire(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	over, err := w.over(ctx, step.Seat)
	if err != nil || !over {
		return nil, err
	}
	if err := w.fence(ctx); err != nil {
		return nil, err
	}
	if err := w.bury(ctx); err != nil {
		return nil, err
	}
	if seat, _ := w.state.Seat(step.Seat); seat.Replaced {
		return w.buried(step.Seat, credential.HowReplaced), nil
	}
	return w.buried(step.Seat, credential.HowExpired), nil
}

// over asks the issuer whether the key on a seat is dead. If not, its answer has
// set our idea of its clock right.
func (w *work) over(ctx context.Context, id credential.SeatID) (bool, error) {
	if seat, _ := w.state.Seat(id); seat.Replaced {
		return w.replaced(ctx, seat)
	}
	status, err := w.issuer.Describe(ctx, id.Item)
	if credential.IsClass(err, credential.ClassNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	slot := status.Slot(id.Slot)
	if !slot.Active || (!slot.Expires.IsZero() && !status.Clock.Before(slot.Expires)) {
		return true, nil
	}
	if step := credential.Next(w.state, w.engine.view(w)); step.Kind != credential.StepExpire || step.Seat != id {
		return false, nil
	}
	if seat, _ := w.state.Seat(id); !slot.Expires.IsZero() && !slot.Expires.Equal(seat.Expires) {
		return false, expiryDiffers(seat, slot.Expires) // somebody set another date, or made a key there
	}
	return false, &credential.Fault{
		Class: credential.ClassRetryable, System: "issuer " + w.state.Spec.Issuer, Op: "see that the key on " + id.String() + " has expired",
		Hint: "the issuer calls it active until " + slot.Expires.UTC().Format(time.RFC3339),
	}
}

// replaced uses a key that was refused throughout the settle time once more, if Vault
// still carries it: one that works again is ours, and drains as any other.
func (w *work) replaced(ctx context.Context, seat credential.Seat) (bool, error) {
	w.vault = nil
	if err := w.read(ctx); err != nil {
		return false, err
	}
	key := w.vault.Secondary
	if key.Fingerprint != seat.Fingerprint || key.Secret.Empty() {
		return true, nil
	}
	_, err := w.issuer.Probe(ctx, credential.ProbeRequest{Key: key.Secret, Item: seat.Item, Referrers: w.state.Spec.Item.Referrers})
	switch {
	case credential.IsClass(err, credential.ClassDenied):
		return true, nil
	case err != nil:
		return false, err
	}
	return false, &foundError{credential.Found{Healed: true, Finding: credential.Finding{
		Kind: credential.FindingKeyReplaced, Seat: seat.SeatID, Detail: "it is no longer so",
	}}}
}

// bury destroys the Vault versions below the fence: they may hold the key.
func (w *work) bury(ctx context.Context) error {
	if w.vault == nil { // no primary, so no fence was needed
		return nil
	}
	from, below := max(w.state.Vault.Destroyed, 1), w.vault.Version
	if from >= below {
		return nil
	}
	return w.engine.config.Store.Destroy(ctx, w.name, from, below)
}

func (w *work) buried(seat credential.SeatID, how credential.How) credential.Command {
	if w.vault == nil {
		return credential.KeyInvalidated{Seat: seat, How: how, Version: w.state.Vault.Version}
	}
	return credential.KeyInvalidated{Seat: seat, How: how, Version: w.vault.Version, Destroyed: w.vault.Version}
}
