package engine

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Adoption is a wish to manage a key that somebody else made. The key itself is in
// Vault, where the credential's secret is, with its seat.
type Adoption struct {
	Spec        credential.Spec
	Actor       string
	Item        string
	Fingerprint credential.Fingerprint
	Frozen      *credential.Hold
}

// Prove makes sure of everything that an adoption rests on: Vault shows this very
// key, the issuer accepts it as one of the item, and nobody else manages that. It
// changes nothing but that Vault demands check-and-set from now on, and returns the
// command to append.
func (e *Engine) Prove(ctx context.Context, name credential.Name, a Adoption) (credential.Adopt, error) {
	fault := func(hint, format string, args ...any) error {
		return &credential.Fault{
			Class: credential.ClassPermanent, System: "adoption", Op: "adopt " + string(name),
			Err: fmt.Errorf(format, args...), Hint: hint,
		}
	}
	issuer, ok := e.config.Issuers[a.Spec.Issuer]
	looker, looks := issuer.(Looker)
	if !ok || !looks {
		return credential.Adopt{}, fault("keyturn config", "the issuer %q is not configured here, or shows no items", a.Spec.Issuer)
	}
	seen, err := looker.Look(ctx, a.Item)
	if err != nil {
		return credential.Adopt{}, err
	}
	if err := e.ours(ctx, name, seen); err != nil {
		return credential.Adopt{}, err
	}
	stored, err := e.config.Store.Read(ctx, name)
	if err != nil {
		return credential.Adopt{}, err
	}
	key := stored.Primary
	switch {
	case stored.Missing || key.Secret.Empty():
		return credential.Adopt{}, fault("keyturn adopt writes it there", "Vault does not hold the key")
	case key.Secret.Fingerprint() != a.Fingerprint || key.Fingerprint != a.Fingerprint || key.Seat.Item != a.Item:
		return credential.Adopt{}, fault("adopt again", "Vault holds another key than the one that is to be adopted")
	}
	status, err := issuer.Describe(ctx, a.Item)
	if err != nil {
		return credential.Adopt{}, err
	}
	if key.Seat.Slot != 1 && key.Seat.Slot != 2 || !alive(status, key.Seat.Slot) {
		return credential.Adopt{}, fault("look at the item's keys at the issuer", "slot %d of item %s holds no living key", key.Seat.Slot, a.Item)
	}
	proof, err := issuer.Probe(ctx, credential.ProbeRequest{Key: key.Secret, Item: a.Item, Referrers: seen.Spec.Referrers})
	if err != nil {
		return credential.Adopt{}, err
	}
	expires := proof.Expires
	if expires.IsZero() {
		expires = status.Slot(key.Seat.Slot).Expires
	}
	if expires.IsZero() {
		return credential.Adopt{}, fault("set an expiration date at the issuer", "the issuer names no expiry of the key")
	}
	if err := e.config.Store.EnsureMetadata(ctx, name, a.Spec.Owner); err != nil {
		return credential.Adopt{}, err
	}
	return credential.Adopt{
		Spec: a.Spec, Actor: a.Actor, Seat: key.Seat, Fingerprint: a.Fingerprint, Expires: expires,
		Version: stored.Version, Settings: seen.Spec.SettingsHash(), Told: status.Settings, Frozen: a.Frozen,
	}, nil
}
