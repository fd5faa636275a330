package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/rotator/credential"
)

// edit brings title, folder, tags, description and marker of the item up to what is
// declared. It touches no key.
func edit(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	keeper, err := w.keeper("edit")
	if err != nil {
		return nil, err
	}
	if looker, ok := w.issuer.(Looker); ok {
		seen, err := looker.Look(ctx, step.Seat.Item)
		if err != nil {
			return nil, err
		}
		if err := w.engine.ours(ctx, w.name, seen); err != nil {
			return nil, err
		}
	}
	spec := w.state.Spec.Item
	marker := credential.Marker{Installation: w.engine.config.Installation, Name: w.name}
	if err := w.call(ctx, "edit the item", func(ctx context.Context) error {
		return keeper.Edit(ctx, step.Seat.Item, marker, spec)
	}); err != nil {
		return nil, err
	}
	return credential.ItemAmended{Item: step.Seat.Item, Description: spec.DescriptionHash()}, nil
}

// keeper is the issuer, if it can do something to items.
func (w *work) keeper(op string) (Keeper, error) {
	keeper, ok := w.issuer.(Keeper)
	if !ok {
		return nil, &credential.Fault{
			Class: credential.ClassPermanent, System: "issuer " + w.state.Spec.Issuer, Op: op + " an item",
			Err: errors.New("this issuer cannot"),
		}
	}
	return keeper, nil
}

// ours makes sure that an item that is marked is marked for this credential, or for
// one that has let it go: two records that rotate one item would kill each other's
// keys.
func (e *Engine) ours(ctx context.Context, name credential.Name, seen credential.FoundItem) error {
	fault := func(err error) error {
		return &credential.Fault{
			Class: credential.ClassPermanent, System: "record", Op: "manage item " + seen.Item, Err: err,
			Hint: "one credential manages an item; remove the other one first, or its keyturn-… type keywords if it is gone",
		}
	}
	switch other := credential.Name(seen.Marked); {
	case seen.Installation == "" || (seen.Installation == e.config.Installation && seen.MarkedFor(name)):
		return nil
	case seen.Installation != e.config.Installation:
		return fault(fmt.Errorf("the installation %q manages it", seen.Installation))
	case seen.Shortened():
		return fault(errors.New("another credential manages it, whose name is too long to stand there"))
	default:
		state, _, err := e.config.Record.Load(ctx, other)
		if err != nil {
			return err
		}
		if _, old := state.OldItem(seen.Item); old || state.Uses(seen.Item) {
			return fault(fmt.Errorf("it belongs to %s", other))
		}
		return nil
	}
}
