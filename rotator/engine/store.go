package engine

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// store writes the new key to Vault beside the primary. It makes no call at the
// issuer, so it may end after the claim's window.
func store(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	doc, err := w.withPrimary(ctx)
	if err != nil {
		return nil, err
	}
	doc.Secondary = credential.Key{
		Secret: w.minted.Key, Fingerprint: w.minted.Key.Fingerprint(),
		Expires: w.minted.Expires, Seat: step.Seat, Mint: w.claim.Mint,
	}
	if err := w.put(ctx, doc); err != nil {
		return nil, err
	}
	w.stored = true
	return nil, nil
}
