package engine

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// revoke kills the key on the claimed seat: first Vault without it, which
// fences every older writer, then the issuer, then the Vault versions that held it.
func revoke(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	if err := w.fence(ctx); err != nil {
		return nil, err
	}
	if err := w.call(ctx, "revoke the key", func(ctx context.Context) error {
		return w.issuer.Revoke(ctx, step.Seat)
	}); err != nil {
		return nil, err
	}
	return w.buried(ctx, step.Seat, credential.HowRevoked)
}

// expire takes a key that ended by itself out of Vault and off the seat list.
// It changes nothing at the issuer, so it needs no claim.
func expire(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	if err := w.fence(ctx); err != nil {
		return nil, err
	}
	return w.buried(ctx, step.Seat, credential.HowExpired)
}

// buried destroys the Vault versions that may hold the dead key.
func (w *work) buried(ctx context.Context, seat credential.SeatID, how credential.How) (credential.Command, error) {
	below := w.vault.Version
	if from := max(w.state.Vault.Destroyed, 1); from < below {
		if err := w.engine.config.Store.Destroy(ctx, w.name, from, below); err != nil {
			return nil, err
		}
	}
	return credential.KeyInvalidated{Seat: seat, How: how, Version: below, Destroyed: below}, nil
}
