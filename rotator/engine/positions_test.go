package engine_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// position is a portal as it may be, as far as no document says.
type position struct {
	id    int    // its place in the table
	point int    // which open question it answers, by its number in the emulator's doc.go; 0 = none that is counted there
	knobs string // JSON
	note  string // what else is so
	// portal is more of its configuration.
	portal emulator.Config
	// The declaration; no privileges = one that every portal has.
	privileges, referrers []string
	personal              bool
	manager               func(ctx context.Context, t *testing.T, w *world) credential.Secret
	between               func(ctx context.Context, t *testing.T, l *life)
	deadly                bool
	// says is what the failure on record says where there is no way; empty = a
	// whole life.
	says string
}

// positions is the table. Each knob that a row does not name is in its first position.
func positions() []position {
	const day, app = 24 * time.Hour, "https://app.example.com/map"
	long := emulator.Config{MaxLifetime: 2 * time.Minute}
	managing := []string{
		"portal:user:createItem", "portal:user:generateApiTokens", "portal:user:assignPrivilegesToApps",
		"portal:admin:viewItems", "portal:admin:updateItems", "portal:admin:deleteItems",
	}
	table := []position{
		{point: 0, knobs: `{}`, note: "the first position of every knob"},
		{point: 0, knobs: `{"activeFields":"always"}`},
		{point: 0, knobs: `{"activeFields":"after-first-key"}`},
		{point: 0, knobs: `{"searchLag":"1h"}`},
		{point: 0, knobs: `{"searchExpirations":"exact"}`},
		{point: 0, knobs: `{"listMinusOne":true}`},
		{point: 0, knobs: `{"tokenMinutes":1}`},

		{point: 1, knobs: `{"regenerateFalse":"new-key"}`},
		{point: 1, knobs: `{"regenerateFalse":"keep"}`},

		{point: 2, knobs: `{"expirationMissing":"clamp"}`},
		{point: 2, knobs: `{"expirationPast":"clamp"}`},
		{point: 2, knobs: `{"expirationPast":"accept"}`},
		{point: 2, knobs: `{"expirationTooShort":"error"}`, portal: emulator.Config{MinLifetime: day}, says: "is too soon"},
		{point: 2, knobs: `{"expirationTooShort":"clamp"}`, portal: emulator.Config{MinLifetime: day}},
		{point: 2, knobs: `{"expirationTooShort":"accept"}`, portal: emulator.Config{MinLifetime: day}},
		{point: 2, knobs: `{"expirationTooLong":"error"}`, portal: long, says: "is too late"},
		{point: 2, knobs: `{"expirationTooLong":"clamp"}`, portal: long},
		{point: 2, knobs: `{"expirationTooLong":"accept"}`, portal: long},
		{point: 2, knobs: `{"datesBeforeRegistration":true}`},

		{point: 3, knobs: `{"rounding":"none"}`},
		{point: 3, knobs: `{"rounding":"end-of-day"}`},

		{point: 4, knobs: `{"editMovesLiveKey":false}`},
		{point: 4, knobs: `{"editMovesLiveKey":true}`},

		{point: 5, knobs: `{"appUpdate":"changed"}`},
		{point: 5, knobs: `{"appUpdate":"privileges"}`},

		{point: 6, knobs: `{"revokeEmptySlot":"error"}`},
		{point: 6, knobs: `{"revokeNoSlot":"error"}`},
		{point: 6, knobs: `{"revokeNoSlot":"both"}`},
		{point: 6, knobs: `{"revokeWrongSecret":"success"}`, between: changeSecret},

		{point: 7, knobs: `{"expiryClearsActive":false}`, between: expire},
		{point: 7, knobs: `{"expiryClearsActive":true}`, between: expire},
		{point: 7, knobs: `{"revokeResetsExpiration":true}`},

		{point: 8, knobs: `{"referrerMatch":"host"}`, referrers: []string{app, "*.example.org"}},
		{point: 8, knobs: `{"referrerMatch":"origin"}`, referrers: []string{app, "*.example.org"}},
		{point: 8, knobs: `{"referrerMatch":"prefix"}`, referrers: []string{app, "*.example.org"}},
		{point: 8, knobs: `{"referrerMatch":"ignore"}`, referrers: []string{app, "*.example.org"}},
		{point: 8, knobs: `{"maxReferrers":2}`, referrers: []string{app, "*.example.org"}},
		{point: 8, knobs: `{"maxReferrers":1}`, referrers: []string{app, "*.example.org"}, says: "Too many referrers"},

		{point: 9, knobs: `{"newKeyDelay":"300ms"}`},
		{point: 9, knobs: `{"revokedKeyDelay":"300ms"}`},
		{point: 9, knobs: `{"activeLag":"300ms"}`},
		{point: 9, knobs: `{"newKeyDelay":"300ms","revokedKeyDelay":"300ms","activeLag":"300ms"}`},

		{point: 10, knobs: `{"throttleRequests":6,"throttleWindow":"1s"}`},
		{point: 10, knobs: `{"throttleRequests":6,"throttleWindow":"1s","throttleRetryAfter":"1s"}`},
		{point: 10, knobs: `{"throttleRequests":6,"throttleWindow":"1s","throttleStatus":429}`},
		{point: 10, knobs: `{"throttleRequests":6,"throttleWindow":"1s","throttleStatus":429,"throttleRetryAfter":"1s"}`},
		{point: 10, knobs: `{"throttleRequests":6,"throttleWindow":"1s","throttleStatus":200}`},

		{point: 11, knobs: `{"keyManages":"privilege"}`, note: "a key with the privileges", manager: byKey(managing...)},
		{point: 11, knobs: `{"keyManages":"privilege"}`, note: "a key without", manager: byKey("premium:user:basemaps"), says: "log in with a password"},
		{point: 11, knobs: `{"keyManages":"always"}`, note: "a key without", manager: byKey("premium:user:basemaps")},
		{point: 11, knobs: `{"keyManages":"never"}`, note: "a key with the privileges", manager: byKey(managing...), says: "log in with a password"},
		{point: 11, knobs: `{"keyManages":"always"}`, note: "a key", portal: enterprise(), manager: byKey(managing...), says: "log in with a password"},
		{point: 11, knobs: `{"appTokenManages":true}`, note: "an app token", manager: byAppToken},
		{point: 11, knobs: `{"appTokenManages":false}`, note: "an app token", manager: byAppToken, says: "permission"},
		{point: 11, knobs: `{"appTokenManages":true}`, note: "an app token", portal: enterprise(), manager: byAppToken, says: "log in with a password"},

		{point: 12, knobs: `{"recycledKeys":"dead"}`, between: recycle, deadly: true},
		{point: 12, knobs: `{"recycledKeys":"suspended"}`, between: recycle, deadly: true},
		{point: 12, knobs: `{"recycledKeys":"alive"}`, between: recycle},

		{point: 13, knobs: `{"usageAppID":"client-id"}`, between: asking("", usage)},
		{point: 13, knobs: `{"usageAppID":"item-id"}`, between: asking("", usage)},
		{point: 13, knobs: `{"usageAppID":"none"}`, between: asking("", usage)},
		{point: 13, knobs: `{"usageLag":"24h"}`, between: asking("", usage)},
		{point: 13, knobs: `{"noUsage":true}`, portal: enterprise(), between: asking("does not tell usage", usage)},

		{point: 14, knobs: `{"noAPITokens":false}`, portal: enterprise(), between: asking("", expiring)},
		{point: 14, knobs: `{"noAPITokens":true}`, portal: enterprise(), between: asking("this portal's version", expiring)},
		{point: 14, knobs: `{}`, note: "version 11.2", portal: version("11.2")},
		{point: 14, knobs: `{}`, note: "version 2025.1", portal: version("2025.1")},
		{point: 14, knobs: `{"keyCredentials":"ignored"}`, portal: version("11.1"), says: "ArcGIS Enterprise, version 11.1"},
		{point: 14, knobs: `{"keyCredentials":"refused"}`, portal: version("11.1"), says: "ArcGIS Enterprise, version 11.1"},
		{point: 14, knobs: `{"noLocationServices":true}`, portal: enterprise(), says: "premium:user:basemaps"},
		{point: 14, note: "all other knobs at once", portal: enterprise(), knobs: `{
			"rounding":"none","regenerateFalse":"new-key","expirationMissing":"clamp","expirationPast":"accept","expirationTooLong":"clamp",
			"datesBeforeRegistration":true,"editMovesLiveKey":true,"revokeEmptySlot":"error","revokeNoSlot":"both","revokeWrongSecret":"success",
			"revokeResetsExpiration":true,"expiryClearsActive":true,"activeFields":"after-first-key","searchLag":"1h","listMinusOne":true,
			"noAPITokens":true,"noUsage":true,"noBearer":true,"unknownPrivileges":"strict","newKeyDelay":"100ms","revokedKeyDelay":"100ms"}`},

		{point: 15, knobs: `{"personalFlag":"computed"}`, privileges: managing, personal: true},
		{point: 15, knobs: `{"personalFlag":"client"}`, privileges: managing, personal: true},
		{point: 15, knobs: `{"personalFlag":"strict"}`, privileges: managing, personal: true},
		{point: 15, knobs: `{"personalFlag":"strict"}`, note: "without an acknowledgement", privileges: managing, says: "personal"},

		{point: 16, knobs: `{"refusedPrivileges":"named"}`, between: mistake("not a privilege", "not a privilege")},
		{point: 16, knobs: `{"refusedPrivileges":"plain"}`, between: mistake("check the declaration's privileges", "not a privilege")},
		{point: 16, knobs: `{"refusedPrivileges":"dropped"}`, between: mistake("left out not a privilege", "not a privilege")},
		{point: 16, knobs: `{"refusedPrivileges":"named"}`, note: "101 items", between: mistake("at most 100", items(101)...)},
		{point: 16, knobs: `{"refusedPrivileges":"plain"}`, note: "101 items", between: mistake("at most 100", items(101)...)},
		{point: 16, knobs: `{"refusedPrivileges":"dropped"}`, note: "101 items", between: mistake("left out portal:app:access:item:", items(101)...)},
		{point: 16, knobs: `{"unknownPrivileges":"strict"}`, between: mistake("premium:user:teleport", "premium:user:teleport")},
		{point: 16, knobs: `{"unknownPrivileges":"any"}`, privileges: []string{"premium:user:teleport", "not a privilege"}},
		{point: 16, knobs: `{}`, note: "a privilege that the owner does not hold", between: mistake("premium:user:places", "premium:user:places"),
			portal: emulator.Config{Held: map[string][]string{user: append(managing, "premium:user:basemaps", "premium:user:geocode")}}},

		{point: 17, knobs: `{"noBearer":false}`},
		{point: 17, knobs: `{"noBearer":true}`},

		// no knob: no endpoint was seen that changes it, but somebody may have one
		{point: 18, knobs: `{}`, note: "the client secret stays"},
		{point: 18, knobs: `{}`, note: "the client secret is changed by hand", between: changeSecret},
	}
	for i := range table {
		table[i].id = i
	}
	return table
}

func enterprise() emulator.Config {
	return emulator.Config{Edition: emulator.Enterprise, WebAdaptor: "gis"}
}

func version(text string) emulator.Config {
	c := enterprise()
	c.Org.CurrentVersion = text
	return c
}

// byKey lets the manager log in with an API key of these privileges.
func byKey(privileges ...string) func(context.Context, *testing.T, *world) credential.Secret {
	return func(ctx context.Context, t *testing.T, w *world) credential.Secret {
		_, key := w.managerKey(ctx, t, privileges...)
		return key
	}
}

func byAppToken(ctx context.Context, t *testing.T, w *world) credential.Secret {
	item, _ := w.managerKey(ctx, t, "premium:user:basemaps")
	return w.appToken(t, item)
}

func items(n int) []string {
	list := []string{}
	for i := range n {
		list = append(list, fmt.Sprintf("portal:app:access:item:%032x", i))
	}
	return list
}

// mistake declares privileges that the portal does not give, and takes that back.
func mistake(says string, privileges ...string) func(context.Context, *testing.T, *life) {
	return func(ctx context.Context, t *testing.T, l *life) {
		l.declare(t, privileges...)
		l.refused(ctx, t, says)
		l.declare(t)
		l.until(ctx, t, func(r engine.Result) bool { return r.State.Rotation == nil })
	}
}

// asking asks the portal what no rotation needs; it answers, or the failure says so.
func asking(says string, ask func(ctx context.Context, p *arcgis.Portal, item string) error) func(context.Context, *testing.T, *life) {
	return func(ctx context.Context, t *testing.T, l *life) {
		state, err := l.engine.Look(ctx, l.name)
		must(t, err)
		primary, _ := state.Primary()
		switch err := ask(ctx, l.issuer(t), primary.Item); {
		case says == "":
			must(t, err)
		case err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "(try: "):
			t.Errorf("%v, want %q and what to try", err, says)
		}
	}
}

func usage(ctx context.Context, p *arcgis.Portal, item string) error {
	_, err := p.Usage(ctx, item, time.Now().Add(-time.Hour), time.Now())
	return err
}

func expiring(ctx context.Context, p *arcgis.Portal, item string) error {
	keys, err := p.Expiring(ctx, time.Now().Add(time.Hour))
	if err == nil && !slices.ContainsFunc(keys, func(k credential.ExpiringKey) bool { return k.Seat.Item == item }) {
		err = fmt.Errorf("the key on item %s is not among %d that expire", item, len(keys))
	}
	return err
}

// changeSecret changes the client secret between the promotion of a key and the
// end of the one before it.
func changeSecret(ctx context.Context, t *testing.T, l *life) {
	state, err := l.engine.Look(ctx, l.name)
	must(t, err)
	primary, _ := state.Primary()
	l.rotate(t, l.name)
	l.until(ctx, t, func(r engine.Result) bool { return r.State.Generation == state.Generation+1 })
	must(t, l.portal.ChangeSecretByHand(primary.Item))
	l.until(ctx, t, ended(state.Generation+1))
}

// expire lets a key end by itself, after another one took over.
func expire(ctx context.Context, t *testing.T, l *life) {
	state, err := l.engine.Look(ctx, l.name)
	must(t, err)
	spec := l.spec
	spec.Policy = l.policy(t, 12*time.Second, 4*time.Second, drain)
	l.command(t, l.name, credential.Register{Actor: "test", Spec: spec})
	l.rotate(t, l.name)
	l.until(ctx, t, func(r engine.Result) bool { return r.State.Generation > state.Generation && r.State.Rotation == nil })
	revoked := l.destructive(t, l.name)
	l.command(t, l.name, credential.PutHold{Actor: "test", Reason: "so that nobody revokes the old key"})
	l.declare(t) // by which the short-lived key is due at once
	state, err = l.engine.Look(ctx, l.name)
	must(t, err)
	l.until(ctx, t, ended(state.Generation+1))
	l.command(t, l.name, credential.Release{Actor: "test"})
	if n := l.destructive(t, l.name); n != revoked {
		t.Errorf("%s: %d claims to revoke under the hold", l.name, n-revoked)
	}
}

// recycle puts the item in use into the recycle bin, and takes it out again when
// a key on another item has taken over. In between nobody can tell whether the
// old key is dead, so it stays on record.
func recycle(ctx context.Context, t *testing.T, l *life) {
	state, err := l.engine.Look(ctx, l.name)
	must(t, err)
	primary, _ := state.Primary()
	must(t, l.portal.RecycleByHand(primary.Item))
	_, err = l.engine.Inspect(ctx, l.name)
	must(t, err)
	l.until(ctx, t, func(r engine.Result) bool { return r.State.Generation == state.Generation+1 })
	l.post(t, "/content/users/"+user+"/items/"+primary.Item+"/restore", url.Values{"token": {l.token(t)}}, "itemId")
	l.until(ctx, t, ended(state.Generation+1))
}
