package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/arcgis/privilege"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// What stands in a declaration: one test for each row of the table of what a
// person sets by hand in the portal. A daemon, its Vault, its record and the
// portal are real or emulated; the commands are those of the program.

// declares applies one credential from standard input; fields are the lines of
// its settings and policy.
func (w *town) declares(t *testing.T, name, fields string, flags ...string) said {
	t.Helper()
	return w.keyturn(t, "name: "+name+"\nissuer: portal\n"+fields+"\n", append([]string{"apply", "-f", "-"}, flags...)...)
}

// asks sends a spec to the daemon as a client would that checks nothing.
func (w *town) asks(t *testing.T, change func(*credential.Spec)) error {
	t.Helper()
	spec := credential.Spec{Issuer: "portal", Policy: steady(), Item: credential.ItemSpec{Title: "T", Privileges: []string{"premium:user:places"}}}
	change(&spec)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := control.NewClient(w.conn, w.operator).Apply(ctx, control.Apply{Name: "raw/client", Spec: spec})
	return err
}

// refuses demands that the daemon refuses such a spec, for what it is.
func (w *town) refuses(t *testing.T, words string, change func(*credential.Spec)) {
	t.Helper()
	if err := w.asks(t, change); err == nil || !strings.Contains(err.Error(), "bad request: ") || !strings.Contains(err.Error(), words) {
		t.Errorf("the daemon says %v, want %q", err, words)
	}
}

// issued waits until a credential has had so many keys and is settled, and returns
// its state.
func (w *town) issued(t *testing.T, d *resident, name credential.Name, generation uint64) (state credential.State) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has key %d", name, generation), func() bool {
		state = w.states(t, d.record)[name]
		return state.Generation == generation && state.Rotation == nil
	})
	return state
}

// made is the item of a credential as the portal holds it.
func (w *town) made(t *testing.T, state credential.State) emulator.ItemState {
	t.Helper()
	primary, _ := state.Primary()
	for _, item := range w.portal.Snapshot() {
		if item.ID == primary.Item {
			return item
		}
	}
	t.Fatalf("the portal has no item of %s", state.Name)
	return emulator.ItemState{}
}

// manager asks the portal something with the manager's token, or with another one.
func (w *town) manager(t *testing.T, path, token string, form url.Values) (answer map[string]any) {
	t.Helper()
	post := func(path string, form url.Values) (answer map[string]any) {
		form.Set("f", "json")
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, w.portal.BasePath()+path, strings.NewReader(form.Encode()))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		recorder := httptest.NewRecorder()
		w.portal.Handler().ServeHTTP(recorder, request)
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if token == "" {
		login := post("/generateToken", url.Values{"username": {emulator.DefaultUser}, "password": {emulator.DefaultPassword}, "client": {"requestip"}})
		token, _ = login["token"].(string)
	}
	form.Set("token", token)
	return post(path, form)
}

const steadyPolicy = "policy: {lifetime: 10h, drain: 0s, settle: 0s}"

// TestRowExpirationDate: a date that no portal takes is refused before anything is
// asked of it, and the date that the portal reports back is the one that counts.
func TestRowExpirationDate(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	const fields = "privileges: [premium:user:places]\npolicy: {lifetime: %s}"
	began := time.Now()
	for lifetime, words := range map[string]string{
		"366d":   "-:4:20: policy.lifetime: 366d is longer than the 365 days that a key may live",
		"365d1s": "-:4:20: policy.lifetime: 8760h0m1s is longer than the 365 days that a key may live",
		"0":      "-:4:20: policy.lifetime: missing: say how long a key lives, e.g. 90d",
		"-1d":    `-:4:20: policy.lifetime: "-1d" is not a duration`,
		"999ms":  "-:4:20: policy.lifetime: 999ms is shorter than the issuer's minimum of 1s",
	} {
		w.declares(t, "rows/date", fmt.Sprintf(fields, lifetime)).has(t, 2, "nothing was changed", words)
	}
	for lifetime, words := range map[time.Duration]string{
		credential.MaxLifetime + 1: "is longer than the 365 days that a key may live", 0: "policy lifetime: missing",
		-time.Hour: "policy lifetime: missing", time.Second - 1: "is shorter than the issuer's minimum of 1s",
	} {
		w.refuses(t, words, func(s *credential.Spec) { s.Policy.Lifetime = credential.Duration(lifetime) })
	}
	if calls := w.calls(began); len(calls) != 0 || len(w.states(t, d.record)) != 0 {
		t.Errorf("what was refused made the calls %v and the credentials %v", calls, w.states(t, d.record))
	}

	if err := w.portal.SetKnobs(emulator.Knobs{Rounding: emulator.RoundEndOfDay}); err != nil {
		t.Fatal(err)
	}
	w.declares(t, "rows/date", fmt.Sprintf(fields, "365d, settle: 0s")).has(t, 0, "rows/date registered")
	state := w.issued(t, d, "rows/date", 1)
	primary, _ := state.Primary()
	told := w.made(t, state).Slots[primary.Slot-1].KeyExpires
	if off := told.Sub(primary.Expires); off < 0 || off > 2*time.Second || told.UTC().Hour() != 23 || told.Sub(began) < credential.MaxLifetime {
		t.Errorf("the portal says %v, the record %v", told, primary.Expires)
	}
	if stored := w.keys(t, "rows/date").Primary.Expires; !stored.Equal(primary.Expires.Truncate(time.Second)) {
		t.Errorf("Vault says %v, the record %v", stored, primary.Expires)
	}
	w.keyturn(t, "", "show", "rows/date").has(t, 0, clock(primary.Expires))
}

// TestRowReferrers: what is no origin is refused; what is one reaches the portal as
// it is, and keys rotate though the portal takes them only with a Referer that fits.
func TestRowReferrers(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	const fields = "privileges: [premium:user:places]\n" + steadyPolicy + "\nreferrers: "
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("https://a%d.example.com", i)
	}
	for referrers, words := range map[string]string{
		"['ftp://example.com']":                "-:5:13: referrers[0]: \"ftp://example.com\" is not a referrer: want an http or https origin",
		"[example.com, 'https://u@a.example']": "-:5:26: referrers[1]: \"https://u@a.example\" is not a referrer",
		"['https://a.example, b.example']":     "-:5:13: referrers[0]: ",
		"['*']":                                "-:5:13: referrers[0]: \"*\" lets every site pass, as no referrers do",
		"['*example.com']":                     "-:5:13: referrers[0]: \"*example.com\" is not a referrer",
		"[a.example, a.example]":               "-:5:24: referrers[1]: the same as referrers[0]",
		"[" + strings.Join(many, ", ") + "]":   "-:5:1: referrers: 101 referrers, but a credential has at most 100",
	} {
		w.declares(t, "rows/referrers", fields+referrers).has(t, 2, "nothing was changed", words)
	}
	w.refuses(t, "referrers[0]: ", func(s *credential.Spec) { s.Item.Referrers = []string{"https://a.example?x"} })
	w.refuses(t, "referrers: 101 referrers", func(s *credential.Spec) { s.Item.Referrers = many })

	want := []string{"https://*.example.com", "https://maps-*.example.org:8443/*", "shop.example.net"}
	fits, other := "https://app.example.com/", "https://example.net/"
	for _, mode := range []string{emulator.ReferrerHost, emulator.ReferrerOrigin, emulator.ReferrerPrefix} {
		name := "rows/referrers-" + mode
		if err := w.portal.SetKnobs(emulator.Knobs{ReferrerMatch: mode}); err != nil {
			t.Fatal(err)
		}
		list, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		w.declares(t, name, fields+string(list)).has(t, 0, name+" registered")
		state := w.issued(t, d, credential.Name(name), 1)
		if diff := cmp.Diff(want, w.made(t, state).Referrers); diff != "" {
			t.Errorf("%s: the portal has other referrers: %s", mode, diff)
		}
		w.keyturn(t, "", "rotate", name, "--now", "--reason", "test").has(t, 0, "requested")
		w.issued(t, d, credential.Name(name), 2)
		key := w.keys(t, credential.Name(name)).Primary.Secret.Reveal()
		if !w.portal.KeyWorks(key, fits) || w.portal.KeyWorks(key, other) || w.portal.KeyWorks(key, "") {
			t.Errorf("%s: the portal does not enforce the referrers, so this test shows nothing", mode)
		}
	}
}

// TestRowPrivileges: the catalogue is listed, what was probably meant is said,
// what is unlisted or personal is said in so many words, and the portal gets
// exactly what was declared.
func TestRowPrivileges(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	listing := w.keyturn(t, "", "privileges")
	listing.has(t, 0, "Elevation service (beta)", "premium:user:networkanalysis:vehiclerouting")
	if lines := strings.Count(listing.out, "\n"); lines != 16 || strings.Count(listing.out, "  beta\n") != 2 {
		t.Errorf("%d lines:\n%s", lines, listing.out)
	}
	w.keyturn(t, "", "privileges", "demographics").has(t, 3, `no privilege of the list has "demographics"`, "try: keyturn privileges")
	declares := func(fields string) said { return w.declares(t, "rows/privileges", fields+"\n"+steadyPolicy) }
	declares("privileges: [premium:user:geocode:store]").has(t, 2, `-:3:14: privileges[0]: "premium:user:geocode:store" is not in the catalogue; did you mean premium:user:geocode:stored?`)
	declares("privileges: [Service area]").has(t, 2, `-:3:14: privileges[0]: "Service area" is not a privilege`, "did you mean premium:user:networkanalysis:servicearea?")
	declares("privileges: [premium:user:demographics]").has(t, 2, "-:3:14: ", "keyturn privileges", "allow_unlisted_privileges: true")
	const unlisted = "\nallow_unlisted_privileges: true"
	declares("privileges: [premium:user:demographics, premium:user:geocode, portal:admin:viewItems]"+unlisted).
		has(t, 2, "-:1:1: personal: ", "account of its owner: premium:user:demographics, portal:admin:viewItems; ", "personal: true")
	declares("privileges: [premium:user:places]\npersonal: true").has(t, 2, "-:4:11: personal: no privilege here is of personal scope")
	declares("privileges: [portal:app:access:item:0123456789abcdef0123456789abcdef]"+unlisted).has(t, 2, "-:3:14: ", "an item stands under items")

	privileges := func(list ...string) func(*credential.Spec) {
		return func(s *credential.Spec) {
			s.Item.Privileges, s.Item.AllowUnlisted = list, list[0] != "premium:user:basemap"
		}
	}
	w.refuses(t, "did you mean premium:user:basemaps?", privileges("premium:user:basemap"))
	w.refuses(t, `"no colon" is not a privilege`, privileges("no colon"))
	w.refuses(t, "of personal scope", privileges("portal:admin:viewItems"))
	w.refuses(t, "an item stands under items", privileges("portal:app:access:item:0123456789abcdef0123456789abcdef"))
	if n := len(w.states(t, d.record)) + len(w.portal.Snapshot()); n != 0 {
		t.Errorf("what was refused left %d things behind", n)
	}

	if err := w.portal.SetKnobs(emulator.Knobs{UnknownPrivileges: emulator.PrivilegesStrict, PersonalFlag: emulator.PersonalClient}); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range privilege.Catalogue() {
		all = append(all, p.Name)
	}
	for name, c := range map[credential.Name]struct {
		privileges []string
		fields     string
		personal   bool
	}{
		"rows/all":      {all, "", false},
		"rows/unlisted": {[]string{"premium:user:geocode", "premium:user:networkanalysis:snaptoroads"}, unlisted, false},
		"rows/personal": {[]string{"premium:user:places", "portal:admin:viewItems"}, unlisted + "\npersonal: true", true},
	} {
		w.declares(t, string(name), "privileges: ["+strings.Join(c.privileges, ", ")+"]"+c.fields+"\n"+steadyPolicy).has(t, 0, string(name)+" registered")
		item := w.made(t, w.issued(t, d, name, 1))
		if diff := cmp.Diff(c.privileges, item.Privileges); diff != "" {
			t.Errorf("%s: the portal has other privileges: %s", name, diff)
		}
		app := w.manager(t, "/content/users/"+emulator.DefaultUser+"/items/"+item.ID+"/registeredAppInfo", "", url.Values{})
		if app["isPersonalAPIToken"] != c.personal {
			t.Errorf("%s: of personal scope: %v, want %v", name, app["isPersonalAPIToken"], c.personal)
		}
	}
	// taking the permission back touches no key
	w.declares(t, "rows/all", "privileges: ["+strings.Join(all, ", ")+"]"+unlisted+"\n"+steadyPolicy).has(t, 0, "rows/all updated", "item.allow_unlisted: none → true")
	if s := w.states(t, d.record)["rows/all"]; s.Rotation != nil || s.Generation != 1 {
		t.Errorf("a permission led to a rotation: %+v", s.Rotation)
	}
}

// TestRowItemAccess: a hundred items that are there are reached by the key, and
// no more; one that is not there, or hidden, is told beforehand.
func TestRowItemAccess(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	ids := make([]string, 101)
	for i := range ids {
		answer := w.manager(t, "/content/users/"+emulator.DefaultUser+"/addItem", "", url.Values{"title": {fmt.Sprint("layer ", i)}, "type": {"Feature Service"}})
		ids[i], _ = answer["id"].(string)
	}
	fields := func(ids ...string) string {
		return "items: ['" + strings.Join(ids, "', '") + "']\n" + steadyPolicy
	}
	const absent = "0123456789abcdef0123456789abcdef"
	w.declares(t, "rows/items", fields(ids...)).has(t, 2, "-:3:1: items: 101 items, but a credential reaches at most 100; split it")
	w.declares(t, "rows/items", fields(ids[0], ids[0][:31])).has(t, 2, "-:3:45: items[1]: ", "is not an item id: want 32 of 0-9 and a-f")
	w.declares(t, "rows/items", fields(ids[0], ids[0])).has(t, 2, "-:3:45: items[1]: the same as items[0]")
	w.refuses(t, "items: 101 items", func(s *credential.Spec) { s.Item.Items = ids })
	w.refuses(t, "is not an item id", func(s *credential.Spec) { s.Item.Items = []string{"../../community/users"} })
	for _, flags := range [][]string{{"--dry-run"}, nil} {
		w.declares(t, "rows/items", fields(ids[0], absent), flags...).
			has(t, 1, "rows/items: ", "items: "+absent+": not there, or hidden from the manager of issuer portal", "try: check the ids")
	}
	w.hush()
	w.declares(t, "rows/items", fields(ids[1])).has(t, 1, "rows/items: ", "does not say whether the items are there, so nothing was changed", "apply the same again")
	w.speak()
	if states := w.states(t, d.record); len(states) != 0 {
		t.Errorf("what was refused is on record: %v", states)
	}

	w.declares(t, "rows/items", fields(ids[:100]...), "--dry-run").has(t, 0, "rows/items would be registered")
	w.declares(t, "rows/items", fields(ids[:100]...)).has(t, 0, "rows/items registered")
	state := w.issued(t, d, "rows/items", 1)
	var want []string
	for _, id := range ids[:100] {
		want = append(want, privilege.ItemAccess+id)
	}
	have := w.made(t, state).Privileges
	slices.Sort(want)
	slices.Sort(have)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("the portal gives other access: %s", diff)
	}
	key := w.keys(t, "rows/items").Primary.Secret.Reveal()
	for i, reaches := range map[int]bool{0: true, 99: true, 100: false} {
		if answer := w.manager(t, "/content/items/"+ids[i], key, url.Values{}); (answer["id"] == ids[i]) != reaches {
			t.Errorf("item %d: %v, want that the key reaches it: %v", i, answer, reaches)
		}
	}
}
