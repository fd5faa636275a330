package engine

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// resume goes on after a claim that ended without a result. What Vault holds
// decides: this very mint is proven and used; if it is definitely not there, the
// key is lost, and the next mint takes the same seat.
func resume(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	candidate, ok := w.state.Seat(step.Seat)
	if w.state.Rotation.Phase == credential.PhaseItem || !ok {
		return credential.ClaimMint{}, nil
	}
	if candidate.Fingerprint != "" { // named, so another mint on it destroys
		if err := w.engine.config.Record.Verify(ctx, w.name, w.head); err != nil {
			return nil, err
		}
	}
	w.vault = nil
	if err := w.read(ctx); err != nil {
		return nil, err
	}
	key := w.vault.Secondary
	if w.accepted(*w.vault) && w.vault.Primary.Seat == step.Seat {
		key = w.vault.Primary // an operator put it there, in an emergency
	}
	if key.Seat != step.Seat || key.Mint != candidate.Mint || key.Secret.Empty() || candidate.Claimed || w.refused() {
		return credential.ClaimMint{}, nil
	}
	w.minted = &credential.Minted{Key: key.Secret, Expires: key.Expires}
	w.stored = true
	w.verify.mint = key.Mint
	if status, err := w.issuer.Describe(ctx, step.Seat.Item); err == nil {
		w.verify.told = status.Settings
	}
	return nil, nil
}

// refused reports whether the last attempt ended with the issuer's word that
// the new key is no good.
func (w *work) refused() bool {
	f := w.state.Failure
	return f != nil && f.Step == credential.StepVerify &&
		(f.Class == credential.ClassDenied || f.Class == credential.ClassPermanent)
}
