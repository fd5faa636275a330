package engine

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn/rotator/credential"
)

// promote makes the proven key the one that applications get. If Vault already
// says so, another daemon or an earlier life of this one did it: only the event
// is missing.
func promote(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	candidate, ok := w.state.Seat(step.Seat)
	if !ok {
		return nil, fmt.Errorf("credential %s: no seat %s to promote", w.name, step.Seat)
	}
	fresh := w.vault != nil // written by this very pass, which has just proven the key
	if err := w.read(ctx); err != nil {
		return nil, err
	}
	if w.vault.Primary.Fingerprint == candidate.Fingerprint {
		return w.promoted(ctx, candidate)
	}
	back := candidate.Role == credential.RoleDraining // in an emergency: the key before takes over again
	key := w.vault.Secondary
	if back && key.Fingerprint != candidate.Fingerprint {
		return unfit(candidate, credential.FindingNotCarried, "Vault no longer carries the key that still drains"), nil
	}
	if key.Fingerprint != candidate.Fingerprint && w.accepted(*w.vault) {
		return credential.GiveUp{Why: "Vault lost the new key, and an operator accepted that"}, nil
	}
	if key.Fingerprint != candidate.Fingerprint {
		return nil, w.changed("Vault no longer carries the new key")
	}
	if !fresh || back {
		_, err := w.issuer.Probe(ctx, credential.ProbeRequest{
			Key: key.Secret, Item: candidate.Item, Referrers: w.state.Spec.Item.Referrers,
		})
		if back && credential.IsClass(err, credential.ClassDenied) {
			return unfit(candidate, credential.FindingKeyRefused, "the issuer refuses the key that still drains"), nil
		}
		if credential.IsClass(err, credential.ClassDenied) && w.killed(ctx, candidate.SeatID) {
			return credential.GiveUp{Why: "the new key is dead at the issuer"}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	doc, err := w.withPrimary(ctx)
	if err != nil {
		return nil, err
	}
	doc.Primary, doc.Secondary = key, doc.Primary
	if _, ok := w.state.Primary(); !ok {
		doc.Secondary = credential.Key{} // the one before is dead
	}
	if err := w.put(ctx, doc); err != nil {
		return nil, err
	}
	return w.promoted(ctx, candidate)
}

// killed reports whether the issuer calls the key on a seat inactive, or its item
// gone.
func (w *work) killed(ctx context.Context, id credential.SeatID) bool {
	status, err := w.issuer.Describe(ctx, id.Item)
	if err != nil {
		return credential.IsClass(err, credential.ClassNotFound)
	}
	return !status.Slot(id.Slot).Active
}

// unfit is the finding that a key cannot take over again; a new one does.
func unfit(seat credential.Seat, kind credential.FindingKind, detail string) credential.Command {
	return credential.Found{Finding: credential.Finding{Kind: kind, Seat: seat.SeatID, Detail: detail}}
}

// promoted ends the step. No retirement follows a first key: if it took more
// than one mint, what Vault kept of the earlier ones is destroyed here.
func (w *work) promoted(ctx context.Context, candidate credential.Seat) (credential.Command, error) {
	if _, ok := w.state.Primary(); !ok && w.state.Mint > 1 {
		if err := w.engine.config.Store.Destroy(ctx, w.name, 1, w.vault.Version); err != nil {
			return nil, err
		}
	}
	return credential.KeyPromoted{Fingerprint: candidate.Fingerprint, Version: w.vault.Version}, nil
}
