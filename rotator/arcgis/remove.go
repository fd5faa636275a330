package arcgis

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Remove unregisters an item whose slots were both read back inactive, deletes it
// for good, past the recycle bin, and reads back that it is gone. With revoke it
// kills what is active first; without, a key that may still work is a permanent
// refusal that names its slot, and changes nothing. An item that is not there is no
// error, and a Remove that stopped anywhere can be repeated.
func (p *Portal) Remove(ctx context.Context, item string, revoke bool) error {
	r := request{op: "remove item " + item}
	if item == "" {
		return p.fault(r, credential.ClassPermanent, errors.New("no item is named"), "")
	}
	seen, err := p.describe(ctx, item)
	if seen.item.Protected {
		return p.protected(r)
	}
	if err == nil && revoke {
		seen, err = p.revokeAll(ctx, item, seen)
	}
	switch {
	case credential.IsClass(err, credential.ClassNotFound):
		return p.emptyBin(ctx, item)
	case err == nil:
		if err := p.dead(r, seen, revoke); err != nil {
			return err
		}
		if err := p.unregister(ctx, item, seen.app.ClientID); err != nil {
			return err
		}
	case !unregistered(seen, err):
		return err
	}
	return p.erase(ctx, item, seen.item.Owner)
}

// dead refuses an item with a key that may still work.
func (p *Portal) dead(r request, seen description, revoked bool) error {
	for slot := 1; slot <= 2; slot++ {
		s, until := seen.slots()[slot-1], "an unknown date"
		if !s.Expires.IsZero() {
			until = s.Expires.Format(time.RFC3339)
		}
		switch {
		case s.Active && revoked:
			return p.fault(r, credential.ClassRetryable, fmt.Errorf("slot %d is active again: somebody generates keys on it", slot), "")
		case s.Active && (s.Expires.IsZero() || s.Expires.After(seen.clock)):
			return p.fault(r, credential.ClassPermanent, fmt.Errorf("slot %d has a key that may still work (until %s)", slot, until), "revoke it first")
		}
	}
	return nil
}

// unregistered tells from what was seen, and why not more, that an item is there
// and has no app any more. What hides its registration still has the keyword.
func unregistered(seen description, err error) bool {
	return seen.found && credential.IsClass(err, credential.ClassPermanent) && !slices.Contains(seen.item.TypeKeywords, keywordRegistered)
}

// revokeAll kills what is active, and reads both slots again. A refusal counts if
// the app is still there.
func (p *Portal) revokeAll(ctx context.Context, item string, seen description) (description, error) {
	var refused error
	for slot := 1; slot <= 2 && refused == nil; slot++ {
		if !seen.app.active(slot) {
			continue
		}
		refused = p.Revoke(ctx, credential.SeatID{Item: item, Slot: slot})
		if refused != nil && !isRefusal(refused) {
			return seen, refused
		}
	}
	now, err := p.describe(ctx, item)
	if err == nil {
		err = refused
	}
	return now, err
}

// unregister ends the app of an item; it may have been ended meanwhile.
func (p *Portal) unregister(ctx context.Context, item, clientID string) error {
	r := request{
		name: "unregister", op: "unregister item " + item, changes: true,
		path: "/oauth2/apps/" + url.PathEscape(clientID) + "/unregister",
	}
	_, err := p.manage(ctx, r, nil)
	if !isRefusal(err) {
		return err
	}
	seen, again := p.describe(ctx, item)
	if again != nil && (credential.IsClass(again, credential.ClassNotFound) || unregistered(seen, again)) {
		return nil
	}
	return err
}

// erase deletes an item for good and reads back that it is gone.
func (p *Portal) erase(ctx context.Context, item, owner string) error {
	r := p.deletion(item, owner)
	if _, err := p.manage(ctx, r, nil); err != nil && !credential.IsClass(err, credential.ClassNotFound) {
		if isRefusal(err) {
			if now, _, again := p.details(ctx, item); again == nil && now.Protected {
				return p.protected(r)
			}
		}
		return err
	}
	p.forget(item)
	_, _, err := p.details(ctx, item)
	switch {
	case credential.IsClass(err, credential.ClassNotFound):
		return nil
	case err != nil:
		return err
	}
	return p.fault(r, credential.ClassRetryable, errors.New("the item is still there"), "")
}

// emptyBin deletes from the recycle bin what is not there any more otherwise, and is
// content with nothing to delete. What lies in somebody else's bin is not known.
func (p *Portal) emptyBin(ctx context.Context, item string) error {
	_, err := p.manage(ctx, p.deletion(item, p.ownerOf(item)), nil)
	if code := codeOf(err); code == http.StatusBadRequest || code == http.StatusForbidden {
		return nil
	}
	return err
}

func (p *Portal) deletion(item, owner string) request {
	return request{
		name: "delete-item", op: "delete item " + item, changes: true,
		path: userPath(owner, "items", item, "delete"), form: url.Values{"permanentDelete": {"true"}},
	}
}

func (p *Portal) protected(r request) error {
	return p.fault(r, credential.ClassPermanent, errors.New("it is protected against deletion"), "switch off the delete protection in the item's settings in the portal")
}
