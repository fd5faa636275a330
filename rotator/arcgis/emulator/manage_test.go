package emulator_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

func (b *bench) folder(title string) string {
	b.t.Helper()
	m := b.ok(b.post("/content/users/"+user+"/createFolder", "title", title))
	return m["folder"].(object)["id"].(string)
}

func TestFoldersHoldItems(t *testing.T) {
	b := start(t, emulator.Config{})
	id := b.folder("Keys of team 1")
	b.refused(b.post("/content/users/"+user+"/createFolder", "title", "Keys of team 1"), 400)
	b.refused(b.post("/content/users/"+user+"/createFolder", "title", "a/b"), 400)
	b.refused(b.post("/content/users/"+user+"/createFolder"), 400)
	b.refused(b.post("/content/users/"+user+"/nofolder/addItem", "title", "x", "type", "Application"), 400)
	m := b.ok(b.post("/content/users/"+user+"/"+id+"/addItem", "title", "in it", "type", "Application"))
	equal(t, m["folder"], any(id))
	item := m["id"].(string)
	c := b.basemaps()
	key := c.key("1")
	m = b.ok(b.post(c.path()+"/move", "folder", id))
	if d := cmp.Diff(object{"success": true, "itemId": c.id, "owner": user, "folder": id}, m); d != "" {
		t.Fatal(d)
	}
	b.mustWork(true, key)
	b.ok(b.post("/content/users/"+user+"/"+id+"/items/"+item+"/update", "title", "renamed"))
	b.refused(b.post("/content/users/"+user+"/other/items/"+item+"/update", "title", "y"), 400)
	list := b.ok(b.post("/content/users/" + user + "/" + id))
	equal(t, list["total"], any(2.0))
	equal(t, list["currentFolder"].(object)["title"], any("Keys of team 1"))
	root := b.ok(b.post("/content/users/" + user))
	equal(t, root["total"], any(0.0))
	equal(t, root["folders"].([]any)[0].(object)["id"], any(id))
	b.ok(b.post("/content/users/"+user+"/items/"+item+"/move", "folder", "/"))
	equal(t, b.ok(b.post("/content/users/" + user))["total"], any(1.0))
	b.ok(b.post(c.path() + "/protect"))
	b.refused(b.post("/content/users/"+user+"/"+id+"/delete"), 400)
	b.ok(b.post(c.path() + "/unprotect"))
	b.ok(b.post("/content/users/" + user + "/" + id + "/delete"))
	b.mustWork(false, key)
	b.refused(b.post("/content/items/"+c.id), 400)
	b.folder("Keys of team 1") // the title is free again
}

func TestListingsArePaged(t *testing.T) {
	b := start(t, emulator.Config{})
	for i := range 25 {
		b.bare(fmt.Sprintf("item %02d", i))
	}
	var titles []string
	for next := 1; next > 0; {
		m := b.ok(b.post("/content/users/"+user, "start", fmt.Sprint(next), "num", "10"))
		equal(t, m["total"], any(25.0))
		for _, it := range m["items"].([]any) {
			titles = append(titles, it.(object)["title"].(string))
		}
		next = int(m["nextStart"].(float64))
	}
	equal(t, len(titles), 25)
	equal(t, titles[24], "item 24")
	m := b.ok(b.post("/content/users/"+user, "sortField", "title", "sortOrder", "desc", "num", "1"))
	equal(t, m["items"].([]any)[0].(object)["title"], any("item 24"))
	m = b.ok(b.post("/search", "q", "owner:"+user, "sortField", "title", "sortOrder", "desc", "num", "100", "start", "21"))
	equal(t, len(m["results"].([]any)), 5)
	equal(t, m["nextStart"], any(-1.0))
	b.refused(b.post("/search", "q", "x", "start", "soon"), 400)
}

func TestUpdateChangesOnlyWhatIsGiven(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	b.ok(b.post(c.path()+"/update", "description", "<b>d</b>", "snippet", "s", "properties", `{"a":1}`))
	b.ok(b.post(c.path()+"/update", "snippet", "", "title", "t2"))
	it := c.item()
	equal(t, it["snippet"], any("s"))
	equal(t, it["title"], any("t2"))
	b.ok(b.post(c.path()+"/update", "snippet", "", "clearEmptyFields", "true"))
	it = c.item()
	equal(t, it["snippet"], nil)
	equal(t, it["description"], any("<b>d</b>"))
	equal(t, it["properties"].(object)["a"], any(1.0))
	b.refused(b.post(c.path()+"/update", "properties", "{"), 400)
	b.refused(b.post(c.path()+"/update", "apiToken1ExpirationDate", "tomorrow"), 400)
}

func TestOwnersAndAdmins(t *testing.T) {
	b := start(t, emulator.Config{Users: map[string]string{user: "a", "other": "b", "boss": "c"}, Admins: []string{"boss"}})
	b.token = b.signIn(user, "a")
	c := b.basemaps()
	b.token = b.signIn("other", "b")
	for _, path := range []string{c.path() + "/update", c.path() + "/registeredAppInfo", c.path() + "/delete", "/oauth2/apps/" + c.client, "/content/users/" + user} {
		b.refused(b.post(path, "title", "x"), 403)
	}
	e := b.refused(b.post("/content/users/other/items/"+c.id+"/update", "title", "x"), 400)
	equal(t, e["messageCode"], any("CONT_0001"))
	b.refused(b.post("/content/items/"+c.id), 400)
	equal(t, b.ok(b.post("/search", "q", "credential"))["total"], any(0.0))
	b.token = b.signIn("boss", "c")
	b.refused(b.post("/content/users/boss/items/"+c.id+"/registeredAppInfo"), 400)
	b.ok(b.post(c.path() + "/registeredAppInfo"))
	b.refused(b.post("/oauth2/registerApp", "itemId", c.id, "appType", "multiple"), 403) // owner only
	b.refused(b.post("/content/users/nobody"), 400)
	equal(t, b.ok(b.post("/search", "q", "credential"))["total"], any(1.0))
	b.ok(b.post("/oauth2/apps/" + c.client + "/unregister"))
	b.token = b.signIn(user, "a")
	if words := c.item()["typeKeywords"].([]any); len(words) != 0 {
		t.Errorf("keywords after unregister: %v", words)
	}
}

func TestHeldPrivileges(t *testing.T) {
	b := start(t, emulator.Config{Held: map[string][]string{user: {"portal:user:generateApiTokens", "portal:user:assignPrivilegesToApps", "premium:user:basemaps"}}})
	c := b.basemaps()
	e := b.refused(b.post("/oauth2/apps/"+c.client+"/update", "privileges", `["premium:user:basemaps","premium:user:places"]`), 400)
	if d := cmp.Diff([]any{"premium:user:places"}, e["details"]); d != "" {
		t.Fatal(d)
	}
	b = start(t, emulator.Config{Held: map[string][]string{user: {"premium:user:basemaps"}}})
	b.refused(b.post("/oauth2/registerApp", "itemId", b.bare("x"), "appType", "multiple"), 403)
}

func TestAtMost100ItemsPerCredential(t *testing.T) {
	b := start(t, emulator.Config{})
	list := func(n int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf(`"portal:app:access:item:%032x"`, i))
		}
		return "[" + strings.Join(names, ",") + "]"
	}
	c := b.credential(list(100), "[]")
	b.refused(b.post("/oauth2/apps/"+c.client+"/update", "privileges", list(101)), 400)
	b.refused(b.post("/oauth2/apps/"+c.client+"/update", "privileges", `["portal:app:access:item:x"]`), 400)
}

func TestAnAPIKeyAsManager(t *testing.T) {
	b := start(t, emulator.Config{})
	target := b.basemaps()
	admin := b.credential(fmt.Sprintf(`["portal:admin:viewItems","portal:admin:updateItems","portal:app:access:item:%s"]`, target.id), "[]")
	other, weak := b.basemaps(), b.basemaps()
	adminKey, weakKey := admin.key("1"), weak.key("1")
	b.token = adminKey
	app := b.ok(b.post(target.path() + "/registeredAppInfo"))
	equal(t, app["client_secret"], any(target.secret))
	target.setDate(2, 50*24*time.Hour)
	b.ok(b.post("/content/items/" + target.id))
	b.refused(b.post(other.path()+"/update", "title", "x"), 403)
	b.refused(b.post("/content/items/"+other.id), 400)
	b.refused(b.post("/portals/self/apiTokens"), 403)
	b.refused(b.post("/content/users/"+user+"/addItem", "title", "x", "type", "Application"), 403)
	b.token = weakKey
	b.refused(b.post(target.path()+"/registeredAppInfo"), 403)
	b.p.SetKnobs(K{KeyManages: emulator.KeyManagesAlways})
	b.ok(b.post(target.path() + "/registeredAppInfo"))
	b.token = adminKey
	b.p.SetKnobs(K{KeyManages: emulator.KeyManagesNever})
	b.refused(b.post(target.path()+"/registeredAppInfo"), 403)
}

func TestKnobAppTokenManages(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	b.token = b.ok(b.post("/oauth2/token", "client_id", c.client, "client_secret", c.secret, "grant_type", "client_credentials"))["access_token"].(string)
	b.refused(b.post(c.path()+"/registeredAppInfo"), 403)
	b.p.SetKnobs(K{AppTokenManages: true})
	b.ok(b.post(c.path() + "/registeredAppInfo"))
}

func TestEnterpriseHasOtherPathsAndNoBin(t *testing.T) {
	b := start(t, emulator.Config{Edition: emulator.Enterprise})
	equal(t, b.p.BasePath(), "/portal/sharing/rest")
	equal(t, b.ok(b.post("/portals/self"))["isPortal"], any(true))
	info := b.ok(b.post("/info"))
	equal(t, info["owningSystemUrl"], any(b.srv.URL+"/portal"))
	equal(t, info["authInfo"].(object)["tokenServicesUrl"], any(b.root+"/generateToken"))
	c := b.credential(`["portal:user:createItem"]`, "[]")
	key := c.key("1")
	b.refused(b.post("/content/users/"+user+"/addItem", "token", key, "title", "x", "type", "Application"), 403)
	b.refused(b.post(c.path()+"/canRecycle"), 400)
	b.ok(b.post(c.path() + "/delete"))
	equal(t, len(b.p.Snapshot()), 0)
	status, _ := b.raw(http.MethodGet, b.srv.URL+"/sharing/rest/info", nil, url.Values{"f": {"json"}})
	equal(t, status, 404)
}

func TestProtectedItemsStay(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	b.ok(b.post(c.path() + "/canDelete"))
	b.ok(b.post(c.path() + "/protect"))
	b.refused(b.post(c.path()+"/canDelete"), 400)
	b.refused(b.post(c.path()+"/delete", "permanentDelete", "true"), 400)
	b.ok(b.post(c.path() + "/unprotect"))
	b.ok(b.post(c.path()+"/delete", "permanentDelete", "true"))
	e := b.refused(c.generate("1"), 400)
	equal(t, e["message"], any("Invalid client_id"))
}

func TestExpiryScanListsEachKey(t *testing.T) {
	b := start(t, emulator.Config{})
	c, d := b.basemaps(), b.basemaps()
	c.key("1")
	c.key("2")
	d.key("1")
	scan := func(pairs ...string) []any { return b.ok(b.post("/portals/self/apiTokens", pairs...))["items"].([]any) }
	equal(t, len(scan()), 3)
	equal(t, len(scan("startExpirationDate", ms(b.clock.Now()), "endExpirationDate", ms(b.clock.Now().Add(40*24*time.Hour)))), 2)
	first := scan("num", "1")[0].(object)
	equal(t, first["itemId"], any(c.id))
	equal(t, first["apiToken"], any(1.0))
	equal(t, first["owner"], any(user))
	b.ok(c.revoke("apiToken", "1"))
	equal(t, len(scan()), 2)
}

func TestSearchLanguage(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	plain := b.bare("Harbour map")
	for q, want := range map[string]string{
		"harbour": plain, `title:"harbour map"`: plain, "id:" + c.id: c.id, `typekeywords:APIToken`: c.id,
		`type:Application -typekeywords:"Registered App"`: plain, `harbour OR nothing`: plain,
		`(title:credential AND tags:a) NOT harbour`: c.id, `title:(harbour OR boat)`: plain,
	} {
		m := b.ok(b.post("/search", "q", q))
		if hits := m["results"].([]any); len(hits) != 1 || hits[0].(object)["id"] != want {
			t.Errorf("%s finds %v", q, m["total"])
		}
	}
	for _, q := range []string{"(a", "a AND", "OR", ")", "NOT", "-"} {
		b.refused(b.post("/search", "q", q), 400)
	}
	b.refused(b.post("/search"), 400)
	equal(t, b.ok(b.post("/search", "q", "harbour", "token", ""))["total"], any(0.0))
}

func TestTheResourceAnswersWithTrueStatuses(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.credential("[]", `["https://app.example"]`)
	key := c.key("2")
	address := b.srv.URL + "/emulator/resource"
	from := func(referer string, h http.Header) http.Header {
		if h == nil {
			h = http.Header{}
		}
		h.Set("Referer", referer)
		return h
	}
	const good = "https://app.example/page"
	for name, x := range map[string]struct {
		method string
		header http.Header
		form   url.Values
		want   int
	}{
		"query":         {"GET", from(good, nil), url.Values{"token": {key}}, 200},
		"form":          {"POST", from(good, nil), url.Values{"token": {key}}, 200},
		"bearer":        {"GET", from(good, http.Header{"Authorization": {"Bearer " + key}}), nil, 200},
		"esri":          {"GET", from(good, http.Header{"X-Esri-Authorization": {"Bearer " + key}}), nil, 200},
		"wrong referer": {"GET", from("https://evil.example", nil), url.Values{"token": {key}}, 401},
		"wrong key":     {"GET", from(good, nil), url.Values{"token": {key + "x"}}, 401},
		"no key":        {"GET", from(good, nil), nil, 401},
		"manager token": {"GET", from(good, nil), url.Values{"token": {b.token}}, 401},
	} {
		status, body := b.raw(x.method, address, x.header, x.form)
		if status != x.want || (status == 401) != strings.Contains(body, `"error"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if status == 200 {
			m := b.parse(status, body)
			if m["ok"] != true || m["itemId"] != c.id || m["slot"] != 2.0 || m["title"] != "credential" {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

func TestUsageCountsAsStrings(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	b.basemaps()
	one, two := c.key("1"), c.key("2")
	for _, key := range []string{one, one, two} {
		b.raw(http.MethodGet, b.srv.URL+"/emulator/resource", nil, url.Values{"token": {key}})
	}
	b.clock.Advance(time.Hour)
	m := b.ok(b.post("/portals/self/usage", "period", "1h", "vars", "num,credits", "groupby", "appId", "etype", "svcusg"))
	data := m["data"].([]any)
	equal(t, len(data), 1)
	row := data[0].(object)
	equal(t, row["appId"], any(c.client))
	var total string
	for _, pair := range row["num"].([]any) {
		if n := pair.([]any)[1].(string); n != "0" {
			total += n
		}
	}
	equal(t, total, "3")
	b.p.SetKnobs(K{UsageLag: 24 * time.Hour})
	equal(t, len(b.ok(b.post("/portals/self/usage"))["data"].([]any)), 0)
	b.refused(b.post("/portals/self/usage", "period", "2d"), 400)
	b.refused(b.post("/portals/other/usage"), 404)
}

func TestUsageByServiceWithCredits(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	for _, service := range []string{"geocode", "geocode", "", "places"} {
		b.raw(http.MethodGet, b.srv.URL+"/emulator/resource", nil, url.Values{"token": {c.key("1")}, "service": {service}})
	}
	of := func(pairs ...string) map[string]object {
		rows := map[string]object{}
		for _, row := range b.ok(b.post("/portals/self/usage", append(pairs, "period", "1d")...))["data"].([]any) {
			rows[row.(object)["stype"].(string)] = row.(object)
		}
		return rows
	}
	last := func(pairs any) string {
		list := pairs.([]any)
		return list[len(list)-1].([]any)[1].(string)
	}
	rows := of()
	equal(t, len(rows), 3)
	equal(t, last(rows["geocode"]["num"]), "2")
	equal(t, last(rows["geocode"]["credits"]), "0.0800")
	equal(t, last(rows["emulator"]["credits"]), "0.0000")
	equal(t, len(of("stype", "geocode,places")), 2)
	equal(t, len(of("appId", "nobody")), 0)
	equal(t, len(of("etype", "geocodecnt")), 0)
	only := of("vars", "credits")["places"]
	equal(t, only["num"], nil)
	equal(t, last(only["credits"]), "0.0000")
}

func TestSmallAnswers(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	key := c.key("1")
	equal(t, b.ok(b.post("/oauth2/validateApiKey", "key", key, "privilege", "premium:user:basemaps"))["valid"], any(true))
	equal(t, b.ok(b.post("/oauth2/validateApiKey", "key", key, "privilege", "premium:user:places"))["valid"], any(false))
	equal(t, b.ok(b.post("/portals/self/apiKeys"))["nextStart"], any(-1.0))
	equal(t, b.ok(b.post("/community/users/" + user))["username"], any(user))
	b.ok(b.post("/portals/self/usageCost"))
	b.ok(b.post("/"))
	b.ok(b.post(c.path()))
	b.refused(b.post("/oauth2/apps/"+c.client+"/resetApiKey"), 400)
	b.refused(b.post("/community/users/"+user+"/report"), 400)
	b.refused(b.post("/community/users/nobody"), 400)
	status, body := b.raw(http.MethodGet, b.srv.URL+"/emulator/", nil, nil)
	if status != 200 || !strings.Contains(body, emulator.Banner) {
		t.Errorf("landing: %d %s", status, body)
	}
}
