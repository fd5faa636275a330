package engine

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// item finds the rotation's item by its marker, or makes it. After a crash the
// marker finds it again.
func item(ctx context.Context, w *work, _ credential.Step) (credential.Command, error) {
	order := credential.ItemOrder{
		Marker: credential.Marker{
			Installation: w.engine.config.Installation, Name: w.name, Rotation: w.state.Rotation.ID,
		},
		Spec: w.state.Spec.Item,
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
