package engine

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// retire makes sure that applications have a working key before the claim to
// revoke the old one is opened: Vault's primary is the promoted key, the issuer
// accepts it now, and the record is signed by one of us. Any failure here stops
// the retirement.
func retire(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	if w.state.Removing != nil { // nobody is to have a working key
		return credential.ClaimRevoke{Seat: step.Seat}, together(
			func() error { return w.engine.config.Record.Verify(ctx, w.name, w.head) },
			func() error {
				if err := w.clocked(ctx, step.Seat); err != nil || w.immediately(step.Seat) {
					return err // that one dies without Vault
				}
				return w.erase(ctx)
			},
		)
	}
	works := func() error { return w.primaryWorks(ctx, step.Seat) }
	if _, ok := w.state.Primary(); !ok || w.immediately(step.Seat) {
		works = func() error { return w.clocked(ctx, step.Seat) } // there is none to protect, or an operator did not want to wait
	}
	if err := together(
		func() error { return w.engine.config.Record.Verify(ctx, w.name, w.head) },
		works,
	); err != nil {
		return nil, err
	}
	return credential.ClaimRevoke{Seat: step.Seat}, nil
}

// immediately reports whether an operator had a leaked key die before anything else.
func (w *work) immediately(id credential.SeatID) bool {
	seat, ok := w.state.Seat(id)
	return ok && seat.Leak != nil && seat.Leak.Immediately
}

// clocked makes sure that the issuer's clock is known where a hold may not be over
// yet by it.
func (w *work) clocked(ctx context.Context, id credential.SeatID) error {
	clock, measures := w.issuer.(Clocked)
	if !measures || known(clock) || (w.state.Hold == nil && w.state.Frozen == nil) {
		return nil
	}
	_, err := w.issuer.Describe(ctx, id.Item)
	return err
}

// primaryWorks reads the promoted key from Vault and probes it.
func (w *work) primaryWorks(ctx context.Context, old credential.SeatID) error {
	w.vault = nil // what Vault says now, not what this pass wrote
	if err := w.read(ctx); err != nil {
		return err
	}
	if err := w.shows(*w.vault); err != nil {
		return err
	}
	primary, _ := w.state.Primary()
	if w.undone(primary) {
		if err := w.fence(ctx); err != nil {
			return err
		}
	}
	if w.vault.Primary.Fingerprint != primary.Fingerprint {
		return w.changed("its api_key is not the promoted key")
	}
	if err := w.prolong(old); err != nil {
		return err
	}
	_, err := w.issuer.Probe(ctx, credential.ProbeRequest{
		Key: w.vault.Primary.Secret, Item: primary.Item, Referrers: w.state.Spec.Item.Referrers,
	})
	return err
}

// undone reports whether Vault shows a key whose promotion was never recorded, as
// its rotation was abandoned meanwhile: the primary takes its place back.
func (w *work) undone(primary credential.Seat) bool {
	shown, ok := w.state.Seat(w.vault.Primary.Seat)
	return ok && shown.Role == credential.RoleOrphan && shown.Fingerprint == w.vault.Primary.Fingerprint &&
		shown.Fingerprint != "" && w.vault.Secondary.Fingerprint == primary.Fingerprint
}

// prolong finds that Vault could not be read for a part of a drain: that part
// does not count.
func (w *work) prolong(old credential.SeatID) error {
	if !w.draining(old) {
		return nil
	}
	told := later(w.state.Rotation.Promoted, w.state.Rotation.OutageEnd)
	total, end := w.engine.outage.within(told, w.engine.config.Now())
	if total <= leastOutage || end.Add(-total).Before(told) { // what was told already counts once
		return nil
	}
	return &foundError{credential.Found{Outage: total, Finding: credential.Finding{
		Kind: credential.FindingVaultOutage, Since: end.Add(-total),
		Detail: "Vault could not be read for " + credential.Short(total) + " of the drain",
	}}}
}

// leastOutage is what two clocks may differ by over a drain.
const leastOutage = 100 * time.Millisecond

// draining reports whether the seat's drain has not begun to end: after a claim
// there is nothing left to prolong.
func (w *work) draining(id credential.SeatID) bool {
	seat, ok := w.state.Seat(id)
	return ok && seat.Role == credential.RoleDraining && !seat.Claimed && seat.Leak == nil && w.state.Rotation != nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
