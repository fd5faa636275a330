package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Strays looks for items of ours that no event names, which is what an unanswered
// call to make one leaves behind. It is given the credentials of the issuer, removed
// ones too, and the items of which it is known that a record names them, so that not
// every record is read. It returns those that have such an item from now on, which the
// next pass deletes, and the items of credentials that have no record: those are told
// only.
func (e *Engine) Strays(ctx context.Context, issuer string, credentials []credential.Name, named map[string]bool, grace time.Duration) (of []credential.Name, unknown []credential.MarkedItem, err error) {
	keeper, ok := e.config.Issuers[issuer].(Keeper)
	if !ok {
		return nil, nil, nil
	}
	items, err := keeper.Marked(ctx, e.config.Installation, credentials)
	if err != nil {
		return nil, nil, err
	}
	var used map[string]bool
	var failed error
	for _, item := range items {
		if named[item.Item] {
			continue
		}
		if item.Name == "" {
			unknown = append(unknown, item)
			continue
		}
		state, err := e.Look(ctx, item.Name)
		if err != nil { // that of one credential keeps no other's items
			failed = errors.Join(failed, err)
			continue
		}
		if state.Status == credential.StatusUnknown {
			unknown = append(unknown, item)
			continue
		}
		if !names(state, item.Item) {
			if used == nil {
				if used, err = e.used(ctx, credentials); err != nil {
					return of, unknown, err
				}
			}
			if used[item.Item] {
				continue // it has gone over to another credential, and its marker has not yet
			}
		}
		switch _, err := e.Command(ctx, item.Name, credential.FoundStray{MarkedItem: item, Grace: grace}); {
		case err == nil:
			of = append(of, item.Name)
		case errors.Is(err, credential.ErrNothing), errors.Is(err, credential.ErrClaimed), errors.Is(err, credential.ErrUnknown):
		default:
			failed = errors.Join(failed, err)
		}
	}
	return of, unknown, failed
}

// names reports whether a record says what becomes of an item.
func names(s credential.State, item string) bool {
	_, old := s.OldItem(item)
	return old || s.Uses(item) || slices.Contains(s.Kept, item)
}

// used are the items that a key of any of the credentials may live on.
func (e *Engine) used(ctx context.Context, credentials []credential.Name) (map[string]bool, error) {
	used := map[string]bool{}
	for _, name := range credentials {
		state, err := e.Look(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, seat := range state.Seats {
			used[seat.Item] = true
		}
	}
	return used, nil
}
