package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Inspect compares the primary key of the record with the issuer's word, and
// records what differs: another expiry moves the plan, a key that the issuer
// calls inactive is replaced at once. It changes nothing at the issuer.
func (e *Engine) Inspect(ctx context.Context, name credential.Name) error {
	w := &work{engine: e, name: name}
	if err := e.load(ctx, w); err != nil {
		return err
	}
	primary, ok := w.state.Primary()
	if !ok || w.state.Status != credential.StatusRegistered {
		return nil
	}
	issuer, err := e.issuer(w)
	if err != nil {
		return nil //nolint:nilerr // said by the pass that follows
	}
	status, err := issuer.Describe(ctx, primary.Item)
	finding := credential.Finding{Seat: primary.SeatID}
	switch slot := status.Slot(primary.Slot); {
	case credential.IsClass(err, credential.ClassNotFound):
		finding.Kind = credential.FindingItemMissing
		finding.Detail = "item " + primary.Item + " is gone at the issuer"
	case err != nil:
		return nil //nolint:nilerr // the issuer is silent or denies: the next sweep asks again
	case !slot.Active:
		finding.Kind = credential.FindingKeyRefused
		finding.Detail = fmt.Sprintf("slot %d of item %s is inactive at the issuer", primary.Slot, primary.Item)
	case !slot.Expires.IsZero() && !slot.Expires.Equal(primary.Expires):
		return e.commit(ctx, w, expiryDiffers(primary, slot.Expires).Found)
	default:
		return nil
	}
	return e.commit(ctx, w, credential.Found{Finding: finding})
}

// expiryDiffers is the finding that the issuer names another date than the record.
func expiryDiffers(seat credential.Seat, said time.Time) *foundError {
	return &foundError{credential.Found{Expires: said, Finding: credential.Finding{
		Kind: credential.FindingExpiry, Seat: seat.SeatID,
		Detail: fmt.Sprintf("the issuer names %s, the record named %s", said.UTC().Format(time.RFC3339), seat.Expires.UTC().Format(time.RFC3339)),
	}}}
}
