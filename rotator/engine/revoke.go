package engine

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// revoke kills the key on the claimed seat: first Vault without it, which
// fences every older writer, then the key at the issuer and, as nobody reads
// them any more, the Vault versions that held it.
func revoke(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	if err := w.fence(ctx); err != nil {
		return nil, err
	}
	if err := together(
		func() error {
			return w.call(ctx, "revoke the key", func(ctx context.Context) error {
				return w.issuer.Revoke(ctx, step.Seat)
			})
		},
		func() error { return w.bury(ctx) },
	); err != nil {
		return nil, err
	}
	return w.buried(step.Seat, credential.HowRevoked), nil
}

// expire takes a key that ended by itself out of Vault and off the seat list.
// It changes nothing at the issuer, so it needs no claim.
func expire(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	if err := w.fence(ctx); err != nil {
		return nil, err
	}
	if err := w.bury(ctx); err != nil {
		return nil, err
	}
	return w.buried(step.Seat, credential.HowExpired), nil
}

// bury destroys the Vault versions below the fence: they may hold the key.
func (w *work) bury(ctx context.Context) error {
	from, below := max(w.state.Vault.Destroyed, 1), w.vault.Version
	if from >= below {
		return nil
	}
	return w.engine.config.Store.Destroy(ctx, w.name, from, below)
}

func (w *work) buried(seat credential.SeatID, how credential.How) credential.Command {
	return credential.KeyInvalidated{Seat: seat, How: how, Version: w.vault.Version, Destroyed: w.vault.Version}
}
