package emulator_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// One test for each line of the list of facts that an emulated portal must reproduce.

func TestChecklist01ErrorsAreStatus200AndTheDefaultFormatIsHTML(t *testing.T) {
	b := start(t, emulator.Config{})
	for path, code := range map[string]int{
		"/content/items/nothing": 400, "/oauth2/apps/nothing": 400, "/nothing/here": 404, "/generateToken": 400,
	} {
		b.refused(b.post(path), code) // post insists on status 200
	}
	e := b.refused(b.post("/content/items/nothing"), 400)
	want := object{"code": 400.0, "messageCode": "CONT_0001", "message": "Item does not exist or is inaccessible.", "details": []any{}}
	if d := cmp.Diff(want, e); d != "" {
		t.Fatal(d)
	}
	e = b.refused(b.post("/content/users/"+user, "token", ""), 499)
	want = object{"code": 499.0, "messageCode": "GWM_0003", "message": "Token Required", "details": []any{"Token Required"}}
	if d := cmp.Diff(want, e); d != "" {
		t.Fatal(d)
	}
	e = b.refused(b.post("/portals/self", "token", "rubbish"), 498)
	equal(t, e["message"], any("Invalid token."))
	status, body := b.raw(http.MethodPost, b.root+"/content/items/nothing", nil, url.Values{})
	if status != 200 || !strings.HasPrefix(body, "<!DOCTYPE html>") || !strings.Contains(body, emulator.Banner) {
		t.Fatalf("without f: %d %q", status, body)
	}
}

func TestChecklist02ReadsByBothMethodsAndTokensInFourPlaces(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	app := url.Values{"f": {"json"}, "client_id": {c.client}, "client_secret": {c.secret}, "grant_type": {"client_credentials"}}
	for _, path := range []string{"/oauth2/token", "/oauth2/token/"} {
		m := b.parse(b.raw(http.MethodPost, b.root+path, nil, app))
		equal(t, m["expires_in"], any(7200.0))
	}
	for _, path := range []string{"/content/items/" + c.id, c.path() + "/registeredAppInfo", "/oauth2/apps/" + c.client, "/community/self", "/content/users/" + user} {
		plain := url.Values{"f": {"json"}}
		bearer := http.Header{"Authorization": {"Bearer " + b.token}}
		esri := http.Header{"X-Esri-Authorization": {"Bearer " + b.token}}
		for name, m := range map[string]object{
			"form":   b.parse(b.raw(http.MethodPost, b.root+path, nil, b.form(nil))),
			"query":  b.parse(b.raw(http.MethodGet, b.root+path, nil, b.form(nil))),
			"bearer": b.parse(b.raw(http.MethodGet, b.root+path, bearer, plain)),
			"esri":   b.parse(b.raw(http.MethodPost, b.root+path, esri, plain)),
		} {
			if m["error"] != nil {
				t.Errorf("%s, token in %s: %v", path, name, m["error"])
			}
		}
	}
	b.refused(b.parse(b.raw(http.MethodGet, b.root+"/generateToken", nil, url.Values{"f": {"json"}})), 405)
}

func TestChecklist03ManagerTokensAreBoundToTheirReferer(t *testing.T) {
	b := start(t, emulator.Config{})
	m := b.ok(b.post("/generateToken", "token", "", "username", user, "password", emulator.DefaultPassword, "client", "referer", "referer", "https://manager.example"))
	equal(t, m["ssl"], any(true))
	equal(t, m["expires"], any(float64(b.clock.Now().Add(2*time.Hour).UnixMilli())))
	self := func(referer string) object {
		h := http.Header{}
		if referer != "" {
			h.Set("Referer", referer)
		}
		return b.parse(b.raw(http.MethodPost, b.root+"/community/self", h, url.Values{"f": {"json"}, "token": {m["token"].(string)}}))
	}
	b.ok(self("https://manager.example"))
	b.refused(self("https://other.example"), 498)
	b.refused(self(""), 498)
	b.clock.Advance(2 * time.Hour)
	b.refused(self("https://manager.example"), 498)
	e := b.refused(b.post("/generateToken", "token", "", "username", user, "password", "wrong", "client", "requestip"), 400)
	if d := cmp.Diff(object{"code": 400.0, "message": "Unable to generate token.", "details": []any{"Invalid username or password."}}, e); d != "" {
		t.Fatal(d)
	}
}

func TestChecklist04ListsAreCSVForItemsAndJSONForApps(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	if d := cmp.Diff([]any{"a", "b"}, c.item()["tags"]); d != "" {
		t.Fatal(d)
	}
	app := c.info()
	for name, want := range map[string][]any{"privileges": {"premium:user:basemaps"}, "httpReferrers": {}, "redirect_uris": {"urn:ietf:wg:oauth:2.0:oob"}} {
		if d := cmp.Diff(want, app[name]); d != "" {
			t.Error(name, d)
		}
		b.refused(b.post("/oauth2/apps/"+c.client+"/update", name, "a,b"), 400)
		b.refused(b.post("/oauth2/registerApp", "itemId", b.bare("x"), "appType", "multiple", name, "a,b"), 400)
	}
	b.ok(b.post(c.path()+"/update", "typeKeywords", "[]"))
	if d := cmp.Diff([]any{"Registered App", "APIToken"}, c.item()["typeKeywords"]); d != "" {
		t.Fatal(d)
	}
}

func TestChecklist05AnItemBecomesACredential(t *testing.T) {
	b := start(t, emulator.Config{})
	b.refused(b.post("/content/users/"+user+"/addItem", "title", "no type"), 400)
	m := b.ok(b.post("/content/users/"+user+"/addItem", "title", "one", "type", "Application"))
	id := m["id"].(string)
	if d := cmp.Diff(object{"success": true, "id": id, "folder": ""}, m); d != "" {
		t.Fatal(d)
	}
	b.refused(b.post("/content/users/"+user+"/items/"+id+"/registeredAppInfo"), 400)
	app := b.ok(b.post("/oauth2/registerApp", "itemId", id, "appType", "multiple", "privileges", `["premium:user:basemaps"]`))
	for name, form := range map[string]string{"client_id": "^[A-Za-z0-9]{16}$", "client_secret": "^[0-9a-f]{32}$", "itemId": "^[0-9a-f]{32}$"} {
		if !regexp.MustCompile(form).MatchString(app[name].(string)) {
			t.Errorf("%s is %q", name, app[name])
		}
	}
	if r := app["registered"].(float64); int64(r)%1000 != 0 {
		t.Errorf("registered is not a whole second: %v", r)
	}
	b.refused(b.post("/oauth2/registerApp", "itemId", id, "appType", "multiple"), 400)
	c := credential{b, id, app["client_id"].(string), app["client_secret"].(string)}
	equal(t, c.item()["apiToken1ExpirationDate"], any(-1.0))
	c.setDate(1, 48*time.Hour)
	b.mustWork(true, c.key("1"))
	body := fmt.Sprint(c.item())
	if strings.Contains(body, "AAPT") || strings.Contains(body, c.secret) {
		t.Error("the item shows a key or a secret")
	}
}

func TestChecklist06TheTokenEndpointMakesAppTokensAndKeys(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	m := b.ok(c.generate("1")) // sends no manager token
	equal(t, m["expires_in"], any(float64(30*24*3600-1)))
	m = b.ok(b.post("/oauth2/token", "token", "", "client_id", c.client, "client_secret", c.secret, "grant_type", "client_credentials", "expiration", "999999"))
	equal(t, m["expires_in"], any(20160.0*60))
	app := m["access_token"].(string)
	if strings.HasPrefix(app, "AAPT") {
		t.Error("an app token looks like a key")
	}
	self := b.ok(b.post("/portals/self", "token", app))
	equal(t, self["appInfo"].(object)["itemId"], any(c.id))
	e := b.refused(b.post("/oauth2/token", "client_id", c.client, "client_secret", "x", "grant_type", "client_credentials"), 400)
	want := object{"code": 400.0, "error": "invalid_request", "error_description": "Invalid client_secret", "message": "Invalid client_secret", "details": []any{}}
	if d := cmp.Diff(want, e); d != "" {
		t.Fatal(d)
	}
	b.refused(c.generate("3"), 400)
	e = b.refused(b.post("/oauth2/token", "client_id", "nobody", "client_secret", "x", "grant_type", "client_credentials"), 400)
	equal(t, e["message"], any("Invalid client_id"))
}

func TestChecklist07KeysHaveATailAndNoFixedLength(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	lengths, seen := map[int]bool{}, map[string]bool{}
	for i := range 40 {
		slot := fmt.Sprint(i%2 + 1)
		key := c.key(slot)
		if !regexp.MustCompile(`^AAPT[A-Za-z0-9_.-]+$`).MatchString(key) {
			t.Fatalf("odd key %q", key)
		}
		equal(t, key[len(key)-12:], "AT"+slot+"_"+c.client[8:])
		equal(t, key[len(key)-10:len(key)-9], slot)
		lengths[len(key)], seen[key] = true, true
	}
	if len(lengths) < 2 || len(seen) != 40 {
		t.Errorf("%d lengths, %d different keys of 40", len(lengths), len(seen))
	}
}

func TestChecklist08RegeneratingKillsTheOldKeyOfTheSlotOnly(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	one, two := c.key("1"), c.key("2")
	again := c.key("1")
	b.mustWork(false, one)
	b.mustWork(true, two)
	b.mustWork(true, again)
}

func TestChecklist09UpdatingTheAppKillsBothKeysAndReplacesLists(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.credential(`["premium:user:basemaps","portal:app:access:item:00000000000000000000000000000001"]`, "[]")
	one, two := c.key("1"), c.key("2")
	m := b.ok(b.post("/oauth2/apps/"+c.client+"/update", "privileges", `["premium:user:places"]`))
	equal(t, m["apiToken1Active"], any(false))
	equal(t, m["apiToken2Active"], any(false))
	if d := cmp.Diff([]any{"premium:user:places"}, m["privileges"]); d != "" {
		t.Fatal(d)
	}
	b.mustWork(false, one)
	b.mustWork(false, two)
	b.mustWork(true, c.key("1"))
}

func TestChecklist10RevokingAlwaysSaysSuccess(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	one, two := c.key("1"), c.key("2")
	equal(t, b.ok(c.revoke("apiToken", "1", "regenerateApiToken", "true", "grant_type", "client_credentials"))["success"], any(true))
	b.mustWork(false, one)
	b.mustWork(true, two)
	equal(t, c.info()["apiToken1Active"], any(false))
	equal(t, c.info()["apiToken2Active"], any(true))
	equal(t, b.ok(c.revoke("apiToken", "1"))["success"], any(true)) // nothing there
	documented := b.post("/oauth2/revokeToken/", "token", "", "auth_token", two, "client_id", c.client, "token_type_hint", "access_token")
	equal(t, b.ok(documented)["success"], any(true))
	b.mustWork(true, two)
}

func TestChecklist11DatesOutliveRevokesAndSearchDoesNotKnowThem(t *testing.T) {
	b := start(t, withKnobs(emulator.Knobs{SearchLag: 5 * time.Second}))
	c := b.basemaps()
	c.key("1")
	before := c.item()["apiToken1ExpirationDate"]
	b.ok(c.revoke("apiToken", "1"))
	equal(t, c.item()["apiToken1ExpirationDate"], before)
	query := `type:"Application" AND typekeywords:("Registered App" AND "APIToken")`
	found := func() object { return b.ok(b.post("/search", "q", "owner:"+user, "filter", query)) }
	equal(t, found()["total"], any(0.0))
	b.clock.Advance(5 * time.Second)
	m := found()
	equal(t, m["total"], any(1.0))
	equal(t, m["nextStart"], any(-1.0))
	hit := m["results"].([]any)[0].(object)
	equal(t, hit["id"], any(c.id))
	equal(t, hit["apiToken1ExpirationDate"], any(-1.0))
	b.ok(b.post(c.path()+"/delete", "permanentDelete", "true"))
	equal(t, found()["total"], any(1.0))
	b.clock.Advance(5 * time.Second)
	equal(t, found()["total"], any(0.0))
}

func TestChecklist12SelfTellsWhoseKeyItIs(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	key := c.key("2")
	m := b.ok(b.post("/portals/self", "token", key))
	info := m["appInfo"].(object)
	for name, want := range map[string]any{"appId": c.client, "itemId": c.id, "appTitle": "credential", "expirationDate": c.item()["apiToken2ExpirationDate"]} {
		equal(t, info[name], want)
	}
	m = b.ok(b.post("/community/self", "token", key))
	equal(t, m["appInfo"].(object)["expirationDate"], c.item()["apiToken2ExpirationDate"])
	m = b.ok(b.post("/portals/self", "token", ""))
	if m["appInfo"] != nil || m["user"] != nil || m["id"] == nil {
		t.Errorf("anonymous: %v", m)
	}
	m = b.ok(b.post("/portals/self"))
	equal(t, m["user"].(object)["username"], any(user))
	b.ok(c.revoke("apiToken", "2"))
	b.refused(b.post("/portals/self", "token", key), 498)
}

// Item 13 of the list, the knobs, is knobs_test.go.
