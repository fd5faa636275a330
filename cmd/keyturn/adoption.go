package main

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// prove makes sure of what an adoption rests on, for the control service: also that
// no record of this installation has to do with the item, whatever is marked on it.
func (d *daemon) prove(ctx context.Context, request control.Adopt) (credential.Adopt, error) {
	var other error
	if err := d.record.Recover(ctx, func(e credential.Entry) error {
		if e.Name != request.Name && other == nil {
			other = managed(e.Name, e.State, request.Item)
		}
		return nil
	}); err != nil {
		return credential.Adopt{}, err
	}
	if other != nil {
		return credential.Adopt{}, other
	}
	return d.engine.Prove(ctx, request.Name, engine.Adoption{Spec: request.Spec, Item: request.Item, Fingerprint: request.Fingerprint})
}

// managed says that a credential has to do with an item: a key of it lives there,
// or it is about to delete it.
func managed(name credential.Name, s credential.State, item string) error {
	hint := fmt.Sprintf("keyturn show %s; one credential manages an item, and keyturn remove %s --keep-item lets it go", name, name)
	_, old := s.OldItem(item)
	var err error
	switch {
	case s.Uses(item):
		err = fmt.Errorf("it belongs to %s", name)
	case old:
		err, hint = fmt.Errorf("%s has left it and is about to delete it", name), "keyturn show "+string(name)
	default:
		return nil
	}
	return &credential.Fault{Class: credential.ClassPermanent, System: "record", Op: "manage item " + item, Err: err, Hint: hint}
}
