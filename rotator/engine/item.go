package engine

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn/rotator/credential"
)

// item finds the rotation's item by its marker, or makes it. After a crash the
// marker finds it again.
func item(ctx context.Context, w *work, _ credential.Step) (credential.Command, error) {
	order := credential.ItemOrder{
		Marker: credential.Marker{
			Installation: w.engine.config.Installation, Name: w.name, Rotation: w.mark(),
		},
		Spec: w.state.Spec.Item,
		// the claim that began the rotation is used once, and before any other
		First: w.claim.ID == w.state.Rotation.ID,
	}
	var made string
	err := w.call(ctx, "make the item", func(ctx context.Context) (err error) {
		made, err = w.issuer.EnsureItem(ctx, order)
		return err
	})
	if err != nil {
		return nil, err
	}
	return credential.ItemMade{Item: made}, nil
}

// mark names the rotation on its item. An item of it in which a stranger's key
// was found is not to be found again, so each such finding changes the mark.
func (w *work) mark() string {
	r := w.state.Rotation
	if r.Strangers == 0 {
		return r.ID
	}
	return fmt.Sprintf("%s-%d", r.ID, r.Strangers)
}
