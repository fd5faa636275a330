package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/declare"
	"github.com/keyturn/keyturn/rotator/arcgis/privilege"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// defaultLifetime is that of the keys that follow one which was adopted without a
// declaration.
const defaultLifetime = 90 * 24 * time.Hour

// declared makes the declaration, from the file and the item.
func (a *adopting) declared(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	limits, err := a.client.Limits(asking)
	if err != nil {
		return err
	}
	limit, ok := limits.Issuers[a.issuer]
	if !ok {
		return fmt.Errorf("no issuer %q is configured at the daemons", a.issuer)
	}
	if a.file != "" {
		return a.fromFile(limit)
	}
	a.spec = credential.Spec{Issuer: a.issuer, Item: a.found.Spec}
	a.spec.Item.Title = cmp.Or(a.spec.Item.Title, string(a.name))
	a.spec.Item.AllowUnlisted = slices.ContainsFunc(a.spec.Item.Privileges, func(p string) bool { return !privilege.Listed(p) })
	a.spec.Policy = credential.Policy{Lifetime: credential.Duration(max(defaultLifetime, limit.MinLifetime))}
	if a.spec.Policy, err = a.spec.Policy.Resolve(limit.MinLifetime, a.reader.calendar, wallClock()); err != nil {
		return err
	}
	if err := declare.Check(a.spec); err != nil {
		return fmt.Errorf("item %s has what cannot be declared: %w (try: change it in the portal, or declare with -f what is wanted instead)", a.item, err)
	}
	return nil
}

// fromFile takes the declaration of the name; title, folder, description and tags
// that it does not give are the item's.
func (a *adopting) fromFile(limit control.IssuerLimits) error {
	data, err := os.ReadFile(a.file)
	if err != nil {
		return usage(err)
	}
	list, err := declare.Read(a.file, data)
	if err != nil {
		return usage(fmt.Errorf("nothing was changed:\n%w", err))
	}
	list = slices.DeleteFunc(list, func(d declare.Declaration) bool { return d.Name != a.name })
	if len(list) == 0 {
		return usage(fmt.Errorf("%s declares no %s", a.file, a.name))
	}
	if issuer := list[0].Spec.Issuer; issuer != a.issuer {
		return usage(fmt.Errorf("%s: %s is declared at issuer %s, and --issuer is %s", list[0].At("issuer"), a.name, issuer, a.issuer))
	}
	if list, err = declare.Resolve(list, declare.Context{
		Issuers: map[string]declare.Issuer{a.issuer: {MinLifetime: limit.MinLifetime}}, Calendar: a.reader.calendar, Now: wallClock(),
	}); err != nil {
		return usage(fmt.Errorf("nothing was changed:\n%w", err))
	}
	a.spec = list[0].Spec
	item, have := &a.spec.Item, a.found.Spec
	for field, take := range map[string]func(){
		"title":       func() { item.Title = cmp.Or(have.Title, item.Title) },
		"folder":      func() { item.Folder = have.Folder },
		"description": func() { item.Description = have.Description },
		"tags":        func() { item.Tags = have.Tags },
	} {
		if _, given := list[0].Positions[field]; !given {
			take()
		}
	}
	return nil
}

// foretell says what will happen.
func (a *adopting) foretell(expires time.Time) {
	now := wallClock()
	a.say("%s: key %s lives on slot %d of item %s (%q, of %s) at issuer %s, and expires %s (%s)", a.name, a.key.Fingerprint(),
		a.seat.Slot, a.item, a.found.Spec.Title, a.found.Owner, a.issuer, clock(expires), until(expires, now))
	path := secretPath(a.reader.config.Vault, a.name)
	switch {
	case a.was.Missing:
		a.say("  it is written to %s, field api_key, where nothing is yet", path)
	case a.was.Primary.Secret == a.key:
		a.say("  it stands in %s, field api_key, already; what keyturn keeps beside it is added", path)
	default:
		a.say("  it is written to %s, field api_key, over the dead key of an earlier life", path)
	}
	if len(a.was.Extra) > 0 {
		a.say("  these fields there are lost: %s", strings.Join(a.was.Extra, ", "))
	}
	due := a.spec.Policy.DueAt(a.name, 1, now, expires, a.reader.calendar)
	switch {
	case a.spec.Item.SettingsHash() != a.found.Spec.SettingsHash():
		after := credential.State{Seats: []credential.Seat{{SeatID: a.seat, Role: credential.RolePrimary}}}
		a.say("  %s declares other privileges, items or referrers than the item has, so that at once %s", a.file, control.Succession(after, a.spec.Policy))
	case !due.After(now):
		a.say("  it expires within the lead time of %s, so that a rotation follows at once", credential.Short(a.spec.Policy.RotateBefore.Std()))
	default:
		a.say("  it is not rotated: the next rotation begins %s", until(due, now))
	}
	if a.spec.Item.DescriptionHash() != a.found.Spec.DescriptionHash() {
		a.say("  title, folder, tags or description of the item are edited in place to what is declared, which touches no key")
	}
	a.say("  the item is marked as keyturn's, by type keywords")
}
