package arcgis

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/together"
)

var errNoSecret = errors.New("the portal hides the client secret")

// Describe reads the item and its registration at the same time. It is
// ClassNotFound only when both say so: a hidden item also "does not exist".
func (p *Portal) Describe(ctx context.Context, item string) (credential.ItemStatus, error) {
	seen, err := p.describe(ctx, item)
	if err != nil {
		return credential.ItemStatus{}, err
	}
	status := credential.ItemStatus{Item: item, Clock: seen.clock, Slots: seen.slots()}
	if seen.app.Privileges != nil { // else it does not tell
		status.Settings = seen.app.settings().SettingsHash()
	}
	return status, nil
}

// description is what was seen of an item; with an error, found still says
// whether the item itself is there.
type description struct {
	found bool
	item  details
	app   registered
	clock time.Time
}

func (d description) slots() [2]credential.SlotStatus {
	return [2]credential.SlotStatus{
		{Active: d.app.Active1, Expires: date(d.item.Expires1)},
		{Active: d.app.Active2, Expires: date(d.item.Expires2)},
	}
}

func (p *Portal) describe(ctx context.Context, item string) (description, error) {
	owner := p.ownerOf(item)
	var seen description
	var itemErr, appErr error
	together.Do(
		func() { seen.item, seen.clock, itemErr = p.details(ctx, item) },
		func() { seen.app, appErr = p.registration(ctx, owner, item) },
	)
	if itemErr != nil {
		absent := credential.IsClass(itemErr, credential.ClassNotFound)
		switch {
		case absent && appErr == nil: // it is being deleted, or the portal's halves disagree
			return seen, reclassed(itemErr, credential.ClassRetryable, "its registration is there: ask again")
		case absent && !credential.IsClass(appErr, credential.ClassNotFound):
			return seen, appErr // denied, silent, …: then the item's absence proves nothing
		}
		return seen, itemErr
	}
	seen.found = true
	if seen.item.Owner == "" {
		seen.item.Owner = owner
	}
	if seen.item.Owner != owner { // somebody else's, or it was handed over
		p.remember(item, app{owner: seen.item.Owner})
		seen.app, appErr = p.registration(ctx, seen.item.Owner, item)
	}
	if credential.IsClass(appErr, credential.ClassNotFound) { // the item is there
		appErr = reclassed(appErr, credential.ClassPermanent, "the item is not registered, or the manager may not manage it: check both in the portal")
	}
	return seen, appErr
}

// registration reads an app and remembers its client id and secret.
func (p *Portal) registration(ctx context.Context, owner, item string) (registered, error) {
	var answer registered
	r := request{
		name: "read-registration", op: "read the registration of item " + item,
		path: userPath(owner, "items", item, "registeredAppInfo"),
	}
	if _, err := p.manage(ctx, r, &answer); err != nil {
		if codeOf(err) != 0 {
			p.forget(item)
		}
		return registered{}, err
	}
	if answer.ItemID != "" && answer.ItemID != item {
		return registered{}, p.garbled(r, "the registration of another item")
	}
	if answer.ClientID == "" || answer.ClientSecret == "" {
		return registered{}, p.fault(r, credential.ClassDenied, errNoSecret, "log in as the item's owner or an administrator")
	}
	p.remember(item, app{owner: owner, clientID: answer.ClientID, secret: credential.NewSecret(answer.ClientSecret)})
	return answer, nil
}

// absent judges a no that says that an item is not there. It is one witness,
// and the owner in the path may be out of date, so both are asked anew.
func (p *Portal) absent(ctx context.Context, item string, err error) error {
	if !credential.IsClass(err, credential.ClassNotFound) {
		return err
	}
	p.forget(item)
	if _, again := p.describe(ctx, item); again != nil {
		return again
	}
	return reclassed(err, credential.ClassRetryable, "the item is there, under another owner or again")
}

// details is what the portal says of an item.
type details struct {
	ID           string   `json:"id"`
	Owner        string   `json:"owner"`
	Title        string   `json:"title"`
	Description  string   `json:"description"`
	Tags         []string `json:"tags"`
	TypeKeywords []string `json:"typeKeywords"`
	Folder       string   `json:"ownerFolder"` // an id; empty = the root
	Protected    bool     `json:"protected"`
	Expires1     float64  `json:"apiToken1ExpirationDate"`
	Expires2     float64  `json:"apiToken2ExpirationDate"`
}

func (p *Portal) details(ctx context.Context, item string) (details, time.Time, error) {
	var answer details
	r := request{name: "read-item", op: "read item " + item, path: "/content/items/" + url.PathEscape(item)}
	clock, err := p.manage(ctx, r, &answer)
	if err == nil && answer.ID != item {
		err = p.garbled(r, "another item than the one asked for")
	}
	return answer, clock, err
}

// date reads epoch milliseconds; -1 and 0 are no date.
func date(ms float64) time.Time {
	const year9999 = 253402300799999
	if !(ms > 0) || ms > year9999 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}
