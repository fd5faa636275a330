package emulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// The knobs that are not about one key, and how knobs travel.

func TestKnobRecycledKeys(t *testing.T) {
	for knob, want := range map[string][2]bool{ // in the bin, after a restore
		emulator.RecycledDead: {false, false}, emulator.RecycledSuspended: {false, true}, emulator.RecycledAlive: {true, true},
	} {
		b := start(t, withKnobs(K{RecycledKeys: knob}))
		c := b.basemaps()
		key := c.key("1")
		b.ok(b.post(c.path() + "/delete"))
		b.refused(b.post("/content/items/"+c.id), 400)
		equal(t, b.ok(b.post("/content/users/"+user, "foldertype", "recyclebin"))["total"], any(1.0))
		equal(t, b.ok(b.post("/content/users/" + user))["total"], any(0.0))
		got := [2]bool{b.works(key)}
		b.ok(b.post(c.path() + "/restore"))
		got[1] = b.works(key)
		equal(t, got, want)
		b.ok(b.post(c.path()+"/delete", "permanentDelete", "true"))
		b.mustWork(false, key)
	}
}

func TestKnobsThrottle(t *testing.T) {
	for _, k := range []K{
		{ThrottleRequests: 3}, {ThrottleRequests: 3, ThrottleStatus: 429, ThrottleRetryAfter: 7 * time.Second}, {ThrottleRequests: 3, ThrottleStatus: 200},
	} {
		b := start(t, emulator.Config{})
		b.p.SetKnobs(k)
		k = b.p.Knobs()
		for range 3 {
			b.ok(b.post("/info"))
		}
		res, err := b.do(http.MethodGet, b.root+"/info", nil, url.Values{"f": {"json"}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		equal(t, res.StatusCode, k.ThrottleStatus)
		want := ""
		if k.ThrottleRetryAfter > 0 {
			want = "7"
		}
		equal(t, res.Header.Get("Retry-After"), want)
		_, body := b.raw(http.MethodGet, b.root+"/info", nil, url.Values{"f": {"json"}})
		equal(t, strings.Contains(body, "retry after 60 seconds"), true)
		b.clock.Advance(time.Minute)
		b.ok(b.post("/info"))
	}
}

func TestKnobTokenMinutes(t *testing.T) {
	b := start(t, emulator.Config{})
	life := func() time.Duration {
		m := b.ok(b.post("/generateToken", "username", user, "password", emulator.DefaultPassword, "client", "requestip", "expiration", "99999", "token", ""))
		return time.UnixMilli(int64(m["expires"].(float64))).Sub(b.clock.Now().Truncate(time.Millisecond))
	}
	equal(t, life(), 21600*time.Minute)
	equal(t, b.post("/portals/self")["maxTokenExpirationMinutes"], any(-1.0))
	b.p.SetKnobs(K{TokenMinutes: 30})
	equal(t, life(), 30*time.Minute)
	equal(t, b.post("/portals/self")["maxTokenExpirationMinutes"], any(30.0))
}

func TestKnobNoBearer(t *testing.T) {
	b := start(t, withKnobs(K{NoBearer: true}))
	h := http.Header{"Authorization": {"Bearer " + b.token}}
	b.refused(b.parse(b.raw(http.MethodGet, b.root+"/community/self", h, url.Values{"f": {"json"}})), 499)
	h = http.Header{"X-Esri-Authorization": {"Bearer " + b.token}}
	b.ok(b.parse(b.raw(http.MethodGet, b.root+"/community/self", h, url.Values{"f": {"json"}})))
}

func TestKnobUnknownPrivileges(t *testing.T) {
	for knob, want := range map[string][3]bool{ // known, well-formed, nonsense
		emulator.PrivilegesWellFormed: {true, true, false}, emulator.PrivilegesStrict: {true, false, false}, emulator.PrivilegesAny: {true, true, true},
	} {
		b := start(t, withKnobs(K{UnknownPrivileges: knob}))
		for i, name := range []string{"premium:user:places", "premium:user:teleport", "whatever you like"} {
			m := b.post("/oauth2/registerApp", "itemId", b.bare("x"), "appType", "multiple", "privileges", `["`+name+`"]`)
			equal(t, m["error"] == nil, want[i])
			if e, refused := m["error"].(object); refused {
				equal(t, e["details"].([]any)[0], any(name))
			}
		}
	}
}

func TestKnobPersonalFlag(t *testing.T) {
	for knob, want := range map[string]bool{emulator.PersonalComputed: true, emulator.PersonalClient: false} {
		b := start(t, withKnobs(K{PersonalFlag: knob}))
		m := b.ok(b.post("/oauth2/registerApp", "itemId", b.bare("x"), "appType", "multiple", "privileges", `["portal:admin:viewItems"]`, "isPersonalAPIToken", "false"))
		equal(t, m["isPersonalAPIToken"], any(want))
	}
	b := start(t, withKnobs(K{PersonalFlag: emulator.PersonalStrict}))
	for privilege, flag := range map[string]string{"portal:admin:viewItems": "true", "premium:user:places": "false"} {
		wrong := map[string]string{"true": "false", "false": "true"}[flag]
		form := []string{"itemId", b.bare("x"), "appType", "multiple", "privileges", `["` + privilege + `"]`, "isPersonalAPIToken"}
		b.refused(b.post("/oauth2/registerApp", append(form, wrong)...), 400)
		equal(t, b.ok(b.post("/oauth2/registerApp", append(form, flag)...))["isPersonalAPIToken"], any(flag == "true"))
	}
}

func TestKnobsMissingEndpoints(t *testing.T) {
	b := start(t, withKnobs(K{NoUsage: true, NoAPITokens: true}))
	b.refused(b.post("/portals/self/usage"), 404)
	b.refused(b.post("/portals/self/apiTokens"), 404)
	b.p.SetKnobs(K{})
	b.ok(b.post("/portals/self/usage"))
	b.ok(b.post("/portals/self/apiTokens"))
}

func TestKnobsRefuseUnknownValues(t *testing.T) {
	v := reflect.TypeFor[K]()
	for i := range v.NumField() {
		positions := emulator.Positions()[v.Field(i).Tag.Get("json")]
		if v.Field(i).Type.Kind() != reflect.String {
			continue
		}
		if len(positions) < 2 {
			t.Errorf("%s has the positions %q", v.Field(i).Name, positions)
		}
		var k K
		reflect.ValueOf(&k).Elem().Field(i).SetString("nonsense")
		if _, err := emulator.New(withKnobs(k)); err == nil || !strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%s takes anything: %v", v.Field(i).Name, err)
		}
	}
}

func TestKnobsTravelAsJSON(t *testing.T) {
	b := start(t, emulator.Config{})
	put := func(body string) (int, string) {
		req, err := http.NewRequest(http.MethodPut, b.srv.URL+"/emulator/knobs", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode, fmt.Sprint(res.Header.Get("X-Emulated-Portal"))
	}
	status, mark := put(`{"newKeyDelay":"90s","rounding":"none","searchLag":1000}`)
	equal(t, status, 200)
	equal(t, mark, "keyturn")
	equal(t, b.p.Knobs().NewKeyDelay, 90*time.Second)
	equal(t, b.p.Knobs().SearchLag, time.Microsecond)
	equal(t, b.p.Knobs().Rounding, emulator.RoundNone)
	for _, body := range []string{`{"rounding":"up"}`, `{"nwKeyDelay":"1s"}`, `{"newKeyDelay":"soon"}`, `{"newKeyDelay":"-1s"}`} {
		status, _ = put(body)
		equal(t, status, 400)
	}
	data, err := json.Marshal(b.p.Knobs())
	var back K
	if err == nil {
		err = json.Unmarshal(data, &back)
	}
	if d := cmp.Diff(b.p.Knobs(), back); err != nil || d != "" {
		t.Fatal(err, d)
	}
}
