package emulator_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// Each knob, in each of its positions.

type K = emulator.Knobs

func TestKnobRounding(t *testing.T) {
	day := time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC)
	asked := day.Add(7*time.Hour + 123*time.Millisecond)
	for knob, want := range map[string]time.Time{
		"":                     asked.Truncate(time.Second),
		emulator.RoundNone:     asked,
		emulator.RoundEndOfDay: day.Add(24*time.Hour - time.Millisecond),
		emulator.RoundSecond:   asked.Truncate(time.Second),
	} {
		c := start(t, withKnobs(K{Rounding: knob})).basemaps()
		c.b.ok(c.date(1, ms(asked)))
		equal(t, c.item()["apiToken1ExpirationDate"], any(float64(want.UnixMilli())))
	}
}

func TestKnobRegenerateFalse(t *testing.T) {
	for knob, want := range map[string]struct{ refused, newKey, oldWorks bool }{
		emulator.RegenerateError:  {refused: true, oldWorks: true},
		emulator.RegenerateNewKey: {newKey: true},
		emulator.RegenerateKeep:   {oldWorks: true},
	} {
		b := start(t, withKnobs(K{RegenerateFalse: knob}))
		c := b.basemaps()
		old := b.ok(c.generate("1", "regenerateApiToken", "false"))["access_token"].(string) // an empty slot: as with true
		m := c.generate("1", "regenerateApiToken", "false")
		equal(t, m["error"] != nil, want.refused)
		key, _ := m["access_token"].(string)
		equal(t, key != "", want.newKey)
		b.mustWork(want.oldWorks, old)
	}
}

func TestKnobExpirationMissing(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	b.ok(c.date(1, "-1"))
	b.refused(c.generate("1"), 400)
	b = start(t, withKnobs(K{ExpirationMissing: emulator.ExpirationClamp}))
	c = b.basemaps()
	b.ok(c.date(1, "-1"))
	b.mustWork(true, c.key("1"))
	if c.item()["apiToken1ExpirationDate"] == any(-1.0) {
		t.Error("the date that the portal chose is not on the item")
	}
}

func TestKnobsExpirationOutOfRange(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		in, clamped time.Duration
		knob        func(*K, string)
	}{
		"past":      {-time.Hour, day, func(k *K, v string) { k.ExpirationPast = v }},
		"too short": {time.Hour, day, func(k *K, v string) { k.ExpirationTooShort = v }},
		"too long":  {400 * day, 366 * day, func(k *K, v string) { k.ExpirationTooLong = v }},
	} {
		for _, value := range []string{emulator.ExpirationError, emulator.ExpirationClamp, emulator.ExpirationAccept} {
			t.Run(name+" "+value, func(t *testing.T) {
				k := K{Rounding: emulator.RoundNone}
				c.knob(&k, value)
				b := start(t, withKnobs(k))
				cred := b.basemaps()
				before := cred.item()["apiToken1ExpirationDate"]
				m := cred.date(1, ms(b.clock.Now().Add(c.in)))
				want := map[string]any{emulator.ExpirationError: before, emulator.ExpirationClamp: float64(b.clock.Now().Add(c.clamped).UnixMilli()),
					emulator.ExpirationAccept: float64(b.clock.Now().Add(c.in).UnixMilli())}[value]
				equal(t, m["error"] != nil, value == emulator.ExpirationError)
				equal(t, cred.item()["apiToken1ExpirationDate"], want)
			})
		}
	}
}

func TestKnobExpirationPastAtGeneration(t *testing.T) {
	for _, value := range []string{emulator.ExpirationError, emulator.ExpirationClamp, emulator.ExpirationAccept} {
		b := start(t, withKnobs(K{ExpirationPast: value}))
		c := b.basemaps()
		b.clock.Advance(31 * 24 * time.Hour)
		b.token = b.signIn(user, emulator.DefaultPassword)
		m := c.generate("1")
		equal(t, m["error"] != nil, value == emulator.ExpirationError)
		if key, ok := m["access_token"].(string); ok {
			b.mustWork(value == emulator.ExpirationClamp, key)
		}
	}
}

func TestKnobDatesBeforeRegistration(t *testing.T) {
	for _, keep := range []bool{false, true} {
		b := start(t, withKnobs(K{DatesBeforeRegistration: keep}))
		date := b.clock.Now().Add(48 * time.Hour).Truncate(time.Second)
		m := b.ok(b.post("/content/users/"+user+"/addItem", "title", "t", "type", "Application", "apiToken1ExpirationDate", ms(date)))
		want := -1.0
		if keep {
			want = float64(date.UnixMilli())
		}
		equal(t, b.post("/content/items/" + m["id"].(string))["apiToken1ExpirationDate"], any(want))
	}
}

func TestKnobEditMovesLiveKey(t *testing.T) {
	for _, moves := range []bool{false, true} {
		b := start(t, withKnobs(K{EditMovesLiveKey: moves}))
		c := b.basemaps()
		key := c.key("1")
		c.setDate(1, 25*time.Hour)
		b.clock.Advance(26 * time.Hour)
		b.mustWork(!moves, key)
	}
}

func TestKnobAppUpdate(t *testing.T) {
	for knob, alive := range map[string][3]bool{ // unchanged, referrers changed, privileges changed
		emulator.AppUpdateAlways:     {false, false, false},
		emulator.AppUpdateChanged:    {true, false, false},
		emulator.AppUpdatePrivileges: {true, true, false},
	} {
		b := start(t, withKnobs(K{AppUpdate: knob, ReferrerMatch: emulator.ReferrerIgnore}))
		for i, pair := range [][2]string{{"privileges", `["premium:user:basemaps"]`}, {"httpReferrers", `["https://a.example"]`}, {"privileges", "[]"}} {
			c := b.basemaps()
			key := c.key("1")
			b.ok(b.post("/oauth2/apps/"+c.client+"/update", pair[0], pair[1]))
			if b.works(key) != alive[i] {
				t.Errorf("%s, edit %v: the key works: %v", knob, pair, !alive[i])
			}
		}
	}
}

func TestKnobsRevoke(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	try := func(k K, pairs ...string) (refused, oneWorks, twoWorks bool) {
		t.Helper()
		if err := b.p.SetKnobs(k); err != nil {
			t.Fatal(err)
		}
		one, two := c.key("1"), c.key("2")
		m := c.revoke(pairs...)
		return m["error"] != nil, b.works(one), b.works(two)
	}
	for _, x := range []struct {
		name  string
		knobs K
		pairs []string
		want  [3]bool
	}{
		{"no slot, default", K{}, nil, [3]bool{false, true, true}},
		{"no slot, error", K{RevokeNoSlot: emulator.RevokeError}, nil, [3]bool{true, true, true}},
		{"no slot, both", K{RevokeNoSlot: emulator.RevokeBoth}, nil, [3]bool{false, false, false}},
		{"wrong secret, default", K{}, []string{"apiToken", "1", "client_secret", "x"}, [3]bool{true, true, true}},
		{"wrong secret, success", K{RevokeWrongSecret: emulator.RevokeSuccess}, []string{"apiToken", "1", "client_secret", "x"}, [3]bool{false, true, true}},
	} {
		refused, one, two := try(x.knobs, x.pairs...)
		if got := [3]bool{refused, one, two}; got != x.want {
			t.Errorf("%s: refused, one works, two works = %v, want %v", x.name, got, x.want)
		}
	}
	for knob, refused := range map[string]bool{emulator.RevokeSuccess: false, emulator.RevokeError: true} {
		b.p.SetKnobs(K{RevokeEmptySlot: knob})
		c := b.basemaps()
		equal(t, c.revoke("apiToken", "2")["error"] != nil, refused)
	}
}

func TestKnobRevokeResetsExpiration(t *testing.T) {
	for _, resets := range []bool{false, true} {
		b := start(t, withKnobs(K{RevokeResetsExpiration: resets}))
		c := b.basemaps()
		c.key("1")
		b.ok(c.revoke("apiToken", "1"))
		equal(t, c.item()["apiToken1ExpirationDate"] == any(-1.0), resets)
	}
}

func TestKnobExpiryClearsActive(t *testing.T) {
	for _, clears := range []bool{false, true} {
		b := start(t, withKnobs(K{ExpiryClearsActive: clears}))
		c := b.basemaps()
		key := c.key("1")
		b.clock.Advance(30 * 24 * time.Hour)
		b.token = b.signIn(user, emulator.DefaultPassword)
		b.mustWork(false, key)
		equal(t, c.info()["apiToken1Active"], any(!clears))
	}
}

func TestKnobReferrerMatch(t *testing.T) {
	for _, x := range []struct {
		knob, pattern, referer string
		want                   bool
	}{
		{"", "https://app.example/map", "https://app.example/other?x=1", true},
		{"", "app.example", "http://APP.example:8080/", true},
		{"", "app.example:8080", "http://app.example:8080/", true},
		{"", "app.example:8080", "http://app.example/", false},
		{"", "*.example", "https://a.b.example", true},
		{"", "*.example", "https://example", false},
		{"", "app.example", "https://app.example.evil", false},
		{"", "app.example", "", false},
		{"", "*", "https://anything", true},
		{"origin", "https://app.example", "http://app.example", false},
		{"origin", "https://app.example", "https://app.example/path", true},
		{"origin", "https://app.example", "https://app.example:8443/path", false},
		{"prefix", "https://app.example/map", "https://app.example/map/7", true},
		{"prefix", "https://app.example/map", "https://app.example/other", false},
		{"ignore", "https://app.example", "", true},
	} {
		b := start(t, withKnobs(K{ReferrerMatch: x.knob}))
		c := b.credential("[]", `["`+x.pattern+`"]`)
		key := c.key("1")
		if got := b.p.KeyWorks(key, x.referer); got != x.want {
			t.Errorf("%s: pattern %q, referer %q: %v", x.knob, x.pattern, x.referer, got)
		}
	}
}

func TestKnobMaxReferrers(t *testing.T) {
	b := start(t, withKnobs(K{MaxReferrers: 1}))
	c := b.credential("[]", `["a"]`)
	b.refused(b.post("/oauth2/apps/"+c.client+"/update", "httpReferrers", `["a","b"]`), 400)
}

func TestKnobsPropagationDelay(t *testing.T) {
	b := start(t, withKnobs(K{NewKeyDelay: 10 * time.Second, RevokedKeyDelay: 20 * time.Second}))
	c := b.basemaps()
	old := c.key("1")
	b.mustWork(false, old)
	b.refused(b.post("/portals/self", "token", old), 498)
	b.clock.Advance(10 * time.Second)
	b.mustWork(true, old)
	key := c.key("1")
	b.mustWork(true, old)
	equal(t, c.info()["apiToken1Active"], any(true))
	b.clock.Advance(19 * time.Second)
	b.mustWork(true, old)
	b.clock.Advance(time.Second)
	b.mustWork(false, old)
	b.mustWork(true, key)
	b.ok(b.post(c.path()+"/delete", "permanentDelete", "true"))
	b.mustWork(true, key)
	b.clock.Advance(20 * time.Second)
	b.mustWork(false, key)
}

func TestKnobActiveLag(t *testing.T) {
	b := start(t, withKnobs(K{ActiveLag: 5 * time.Second}))
	c := b.basemaps()
	c.key("1")
	equal(t, c.info()["apiToken1Active"], any(false))
	b.clock.Advance(5 * time.Second)
	equal(t, c.info()["apiToken1Active"], any(true))
	b.ok(c.revoke("apiToken", "1"))
	equal(t, c.info()["apiToken1Active"], any(true))
	b.clock.Advance(5 * time.Second)
	equal(t, c.info()["apiToken1Active"], any(false))
}

func TestKnobActiveFields(t *testing.T) {
	for knob, want := range map[string][3]bool{ // in registerApp, in registeredAppInfo, there after a first key
		emulator.ActiveNotAtRegister: {false, true, true},
		emulator.ActiveAlways:        {true, true, true},
		emulator.ActiveAfterFirstKey: {false, false, true},
	} {
		b := start(t, withKnobs(K{ActiveFields: knob}))
		reply := b.ok(b.post("/oauth2/registerApp", "itemId", b.bare("x"), "appType", "multiple"))
		c := b.basemaps()
		before := c.info()
		c.key("2")
		var got [3]bool
		for i, m := range []object{reply, before, c.info()} {
			_, got[i] = m["apiToken1Active"]
		}
		equal(t, got, want)
	}
}

func TestKnobsSearchAndListExpirations(t *testing.T) {
	b := start(t, withKnobs(K{SearchExpirations: emulator.SearchExact, ListMinusOne: true}))
	c := b.basemaps()
	date := c.item()["apiToken1ExpirationDate"]
	hit := b.ok(b.post("/search", "q", "id:"+c.id))["results"].([]any)[0].(object)
	equal(t, hit["apiToken1ExpirationDate"], date)
	listed := func() any {
		return b.ok(b.post("/content/users/" + user))["items"].([]any)[0].(object)["apiToken1ExpirationDate"]
	}
	equal(t, listed(), any(-1.0))
	b.p.SetKnobs(K{})
	equal(t, listed(), date)
}
