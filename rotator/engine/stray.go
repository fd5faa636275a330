package engine

import (
	"context"
	"errors"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Strays looks for items of ours that no event names, which is what an unanswered
// call to make one leaves behind. Names are the credentials of the issuer, removed
// ones too; named are items of which it is known that a record names them, so that
// not every record is read. It returns those that have such an item from now on, which the next pass
// deletes, and the items of credentials that have no record: those are told only.
func (e *Engine) Strays(ctx context.Context, issuer string, names []credential.Name, named map[string]bool, grace time.Duration) (of []credential.Name, unknown []credential.MarkedItem, err error) {
	keeper, ok := e.config.Issuers[issuer].(Keeper)
	if !ok {
		return nil, nil, nil
	}
	items, err := keeper.Marked(ctx, e.config.Installation, names)
	if err != nil {
		return nil, nil, err
	}
	for _, item := range items {
		if named[item.Item] {
			continue
		}
		if item.Name == "" {
			unknown = append(unknown, item)
			continue
		}
		state, err := e.Look(ctx, item.Name)
		if err != nil {
			return of, unknown, err
		}
		if state.Status == credential.StatusUnknown {
			unknown = append(unknown, item)
			continue
		}
		switch _, err := e.Command(ctx, item.Name, credential.FoundStray{MarkedItem: item, Grace: grace}); {
		case err == nil:
			of = append(of, item.Name)
		case errors.Is(err, credential.ErrNothing), errors.Is(err, credential.ErrClaimed), errors.Is(err, credential.ErrUnknown):
		default:
			return of, unknown, err
		}
	}
	return of, unknown, nil
}
