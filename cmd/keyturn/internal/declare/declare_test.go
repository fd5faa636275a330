package declare

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

const day = 24 * time.Hour

func against() Context {
	return Context{
		Issuers:  map[string]Issuer{"example": {MinLifetime: day}, "other": {MinLifetime: time.Second}},
		Calendar: &schedule.Calendar{},
		Now:      time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC),
	}
}

func TestReadAndResolve(t *testing.T) {
	data, err := os.ReadFile("testdata/credentials.yaml")
	if err != nil {
		t.Fatal(err)
	}
	read, err := Read("credentials.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	web := credential.Spec{
		Issuer: "example",
		Item: credential.ItemSpec{
			Title: "Web map", Folder: "keyturn", Description: "The key of the public map.\nAsk the maps team.\n", Tags: []string{"a", "b"},
			Privileges: []string{"premium:user:basemaps"}, Items: []string{"0123456789abcdef0123456789abcdef"}, Referrers: []string{"https://*.example.com"},
		},
		Policy: credential.Policy{
			Lifetime: credential.Duration(90 * day), RotateBefore: credential.Duration(30 * day),
			Drain: credential.Duration(day), DrainSet: true, Settle: credential.Duration(time.Minute), SettleSet: true,
			Window:  &credential.Window{Start: "CRON_TZ=Europe/Berlin 0 1 * * *", Duration: credential.Duration(4 * time.Hour)},
			Confirm: &credential.Confirm{Consumers: []string{"web"}, Before: "promote", Deadline: credential.Duration(12 * time.Hour), Then: "proceed"},
		},
		Labels: map[string]string{"env": "prod"}, Owner: "team-maps",
	}
	mobile := credential.Spec{
		Issuer: "example", Policy: web.Policy,
		Item: credential.ItemSpec{Title: "maps/mobile", Privileges: []string{"premium:user:basemaps"}},
	}
	mobile.Policy.Lifetime = credential.Duration(26 * 7 * day)
	batch := credential.Spec{
		Issuer: "example",
		Item:   credential.ItemSpec{Title: "routing/batch", Privileges: []string{"premium:user:networkanalysis:routing"}},
		Policy: credential.Policy{
			Lifetime: credential.Duration(60 * day), DrainSet: true, SettleSet: true, Schedule: "CRON_TZ=Europe/Berlin 0 3 1 * *",
		},
	}
	compare := func(have []Declaration, want ...credential.Spec) {
		t.Helper()
		names := []credential.Name{"maps/web", "maps/mobile", "routing/batch"}
		if len(have) != len(want) {
			t.Fatalf("%d declarations", len(have))
		}
		for i, d := range have {
			if diff := cmp.Diff(want[i], d.Spec); diff != "" || d.Name != names[i] {
				t.Errorf("%s: %s", d.Name, diff)
			}
		}
	}
	compare(read, web, mobile, batch)
	for field, want := range map[string]string{
		"name": "credentials.yaml:3:11", "policy.drain": "credentials.yaml:20:14", "policy.confirm.consumers[0]": "credentials.yaml:23:29",
		"items": "credentials.yaml:14:5", "items[0]": "credentials.yaml:14:13", "policy.schedule": "credentials.yaml:17:5", "nothing": "credentials.yaml:3:5",
	} {
		if have := read[0].At(field).String(); have != want {
			t.Errorf("%s stands at %s, want %s", field, have, want)
		}
	}
	resolved, err := Resolve(read, against())
	if err != nil {
		t.Fatal(err)
	}
	batch.Policy.RotateBefore = credential.Duration(60*day - 31*day - time.Hour) // October has an hour more
	compare(resolved, web, mobile, batch)
	if read[2].Spec.Policy.RotateBefore != 0 {
		t.Error("Resolve changed what it was given")
	}
	if resolved[0].Spec.Policy.Window == resolved[1].Spec.Policy.Window {
		t.Error("two declarations share a window")
	}
}

// sound is a declaration in lines 1 to 7; the tests change one piece of it.
const sound = `credentials:
  - name: maps/web
    issuer: example
    privileges: [premium:user:basemaps]
    policy:
      lifetime: 90d
      drain: 1h
`

func TestErrors(t *testing.T) {
	const issuer, privileges, lifetime, drain = "    issuer: example", "    privileges: [premium:user:basemaps]", "      lifetime: 90d", "      drain: 1h"
	confirm := func(text string) string { return drain + "\n      confirm: {" + text + "}" }
	many := "[" + strings.Repeat("x, ", 101) + "]"
	ids := make([]string, 101)
	for i := range ids {
		ids[i] = fmt.Sprintf("a%031x", i)
	}
	for _, test := range []struct{ name, old, new, want string }{
		{"an unknown field", issuer, issuer + "\n    onwer: me", `k.yaml:4:5: unknown field "onwer"; did you mean owner?`},
		{"a field one level too high", issuer, issuer + "\n    rotate_before: 1d", `k.yaml:4:5: unknown field "rotate_before"; did you mean policy.rotate_before?`},
		{"an unknown field of a policy", lifetime, lifetime + "\n      rotateBefore: 1d", `k.yaml:7:7: policy: unknown field "rotateBefore"; did you mean rotate_before?`},
		{"an unknown list", "credentials:", "credentails:", `k.yaml:1:1: unknown field "credentails"; did you mean credentials?`},
		{"a credential beside the list", "credentials:", "owner: me\ncredentials:", `k.yaml:1:1: unknown field "owner"; there are credentials`},
		{"not a list", sound, "credentials: {name: a/b}\n", "k.yaml:1:14: credentials: want a list; got a mapping"},
		{"nothing at all", sound, "# none\n", "k.yaml: no credential is declared; want a list under credentials:"},
		{"an empty entry", sound, sound + "  -\n", "k.yaml:8:5: credentials[1]: an empty entry"},
		{"text for a credential", sound, "credentials: [maps/web]\n", "k.yaml:1:15: want a mapping with the fields name, issuer, title, folder, description, tags, owner, labels, privileges, items, referrers, personal, allow_unlisted_privileges, policy; got text"},
		{"no name", "  - name: maps/web\n    issuer", "  - issuer", "k.yaml:2:5: name: missing"},
		{"a bad name", "maps/web", "Maps", `k.yaml:2:11: name: "Maps" is not a credential name: want namespace/name, each of a-z, 0-9 and -, 1 to 63 characters`},
		{"no issuer", issuer + "\n", "", "k.yaml:2:5: issuer: missing"},
		{"an unknown issuer", issuer, "    issuer: exmaple", `k.yaml:3:13: issuer: no issuer "exmaple" is configured; did you mean example?`},
		{"an issuer like no other", issuer, "    issuer: xyzzy", `k.yaml:3:13: issuer: no issuer "xyzzy" is configured; there are example, other`},
		{"declared twice", sound, sound + strings.TrimPrefix(sound, "credentials:\n"), "k.yaml:8:11: name: maps/web is declared twice; first at k.yaml:2:11"},
		{"an empty title", issuer, issuer + "\n    title: ''", "k.yaml:4:12: title: empty: give a text or leave the field out"},
		{"a title of two lines", issuer, issuer + "\n    title: \"a\\nb\"", "k.yaml:4:12: title: has a line break or another control character"},
		{"a tag with a comma", issuer, issuer + "\n    tags: [a, 'b,c']", "k.yaml:4:15: tags[1]: not a tag: want text without a comma or a line break"},
		{"the same tag", issuer, issuer + "\n    tags: [a, a]", "k.yaml:4:15: tags[1]: the same as tags[0]"},
		{"a number as a tag", issuer, issuer + "\n    tags: [2024]", "k.yaml:4:12: tags[0]: want text; got a number: put it in quotes"},
		{"a label that is not text", issuer, issuer + "\n    labels: {prod: true}", "k.yaml:4:20: labels.prod: want text; got true or false: put it in quotes"},
		{"a label's name", issuer, issuer + "\n    labels: {'a=b': c}", "k.yaml:4:21: labels.a=b: not the name of a label: want letters, digits and _ . / -, at most 63, the first a letter or digit"},
		{"a key that could do nothing", privileges + "\n", "", "k.yaml:2:5: privileges: the key could do nothing: name privileges or items"},
		{"a privilege", privileges, "    privileges: ['premium user']", `k.yaml:4:18: privileges[0]: "premium user" is not a privilege: want words joined by colons, such as premium:user:basemaps`},
		{"a privilege that the parser takes for a mapping", sound, "credentials: [{name: a/b, issuer: other, privileges: [a:b], policy: {lifetime: 1d}}]\n", "k.yaml:1:55: privileges[0]: want text; got a mapping: put it in quotes"},
		{"an item as a privilege", privileges, "    privileges: [portal:app:access:item:0123456789abcdef0123456789abcdef]", "k.yaml:4:18: privileges[0]: an item stands under items, by its id"},
		{"a bad item", privileges, "    items: [0123]", "k.yaml:4:13: items[0]: want text; got a number: put it in quotes"},
		{"another bad item", privileges, "    items: [0123456789ABCDEF0123456789ABCDEF]", `k.yaml:4:13: items[0]: "0123456789ABCDEF0123456789ABCDEF" is not an item id: want 32 of 0-9 and a-f`},
		{"too many items", privileges, "    items: [" + strings.Join(ids, ", ") + "]", ""},
		{"a referrer with a wildcard that says too little", issuer, issuer + "\n    referrers: ['*example.com']", `k.yaml:4:17: referrers[0]: "*example.com" is not a referrer: want an http or https origin such as https://*.example.com, where * stands for whole parts of the host`},
		{"a referrer of another scheme", issuer, issuer + "\n    referrers: [https://a.example, 'ftp://x']", `k.yaml:4:36: referrers[1]: "ftp://x" is not a referrer: want an http or https origin such as https://*.example.com, where * stands for whole parts of the host`},
		{"a referrer with a comma", issuer, issuer + "\n    referrers: ['https://a,b']", `k.yaml:4:17: referrers[0]: "https://a,b" is not a referrer: want an http or https origin such as https://*.example.com, where * stands for whole parts of the host`},
		{"personal", issuer, issuer + "\n    personal: yes", "k.yaml:4:15: personal: want true or false; got text"},
		{"no policy", "    policy:\n" + lifetime + "\n" + drain, "", "k.yaml:2:5: policy: missing"},
		{"an empty policy", lifetime + "\n" + drain, "", "k.yaml:5:5: policy: missing"},
		{"no lifetime", lifetime + "\n", "", "k.yaml:5:5: policy.lifetime: missing"},
		{"a lifetime without unit", lifetime, "      lifetime: 90", `k.yaml:6:17: policy.lifetime: "90" is not a duration: want a number with a unit, such as 90d, 12h or 30s`},
		{"a negative lifetime", lifetime, "      lifetime: -1d", `k.yaml:6:17: policy.lifetime: "-1d" is not a duration: want a number with a unit, such as 90d, 12h or 30s`},
		{"a lifetime of zero", lifetime, "      lifetime: 0", "k.yaml:6:17: policy.lifetime: missing: say how long a key lives, e.g. 90d"},
		{"too short a lifetime", lifetime, "      lifetime: 12h", "k.yaml:6:17: policy.lifetime: 12h is shorter than the issuer's minimum of 24h"},
		{"too long a lifetime", lifetime, "      lifetime: 53w", "k.yaml:6:17: policy.lifetime: 371d is longer than the 365 days that a key may live"},
		{"a lead as long as the life", drain, "      rotate_before: 90d", "k.yaml:7:22: policy.rotate_before: 90d does not lie within the lifetime of 90d"},
		{"no lead", drain, "      rotate_before: 0s", "k.yaml:7:22: policy.rotate_before: a key needs some time to be replaced in: leave the field out for the default"},
		{"lead and schedule", drain, "      rotate_before: 30d\n      schedule: '@weekly'", "k.yaml:7:22: policy.rotate_before: want one of rotate_before and schedule: with a schedule, the lead time follows from it"},
		{"too long a drain", drain, "      drain: 31d", "k.yaml:7:14: policy.drain: 31d is longer than the lead time of 30d: the old key would expire first"},
		{"too long a settle", drain, "      settle: 8d", "k.yaml:7:15: policy.settle: 8d is longer than a quarter of the lead time of 30d"},
		{"a schedule", drain, "      schedule: 0 3 1 *", `k.yaml:7:17: policy.schedule: "0 3 1 *" is not a cron spec: expected exactly 5 fields, found 4: [0 3 1 *]`},
		{"a schedule that panics the parser", drain, "      schedule: CRON_TZ=Europe/Berlin", `k.yaml:7:17: policy.schedule: "CRON_TZ=Europe/Berlin" is not a cron spec: nothing follows the time zone; want CRON_TZ=Europe/Berlin 0 3 * * *`},
		{"a schedule that never comes", drain, "      schedule: 0 0 31 2 *", `k.yaml:7:17: policy.schedule: "0 0 31 2 *" never fires`},
		{"too rare a schedule", drain, "      schedule: '@yearly'", `k.yaml:7:17: policy.schedule: "@yearly" leaves 365d between two runs, but a key lives 90d`},
		{"an empty schedule", drain, "      schedule: ''", "k.yaml:7:17: policy.schedule: empty: give a cron spec or leave the field out"},
		{"a window that never opens", drain, "      window: {start: 0 0 31 2 *, duration: 1h}", `k.yaml:7:23: policy.window.start: "0 0 31 2 *" never fires, so the window never opens`},
		{"a window's start", drain, "      window: {start: nightly, duration: 1h}", `k.yaml:7:23: policy.window.start: "nightly" is not a cron spec: expected exactly 5 fields, found 1: [nightly]`},
		{"a window of no length", drain, "      window: {start: '@daily', duration: 0}", "k.yaml:7:43: policy.window.duration: missing: say how long the window stays open"},
		{"a window without length", drain, "      window: {start: '@daily'}", "k.yaml:7:7: policy.window.duration: missing"},
		{"no consumers", drain, confirm("consumers: [], before: promote, deadline: 1h, then: halt"), "k.yaml:8:17: policy.confirm.consumers: no consumer is named: the gate would always be open"},
		{"a consumer's name", drain, confirm("consumers: ['a b'], before: promote, deadline: 1h, then: halt"), `k.yaml:8:29: policy.confirm.consumers[0]: "a b" is not the name of a consumer: want letters, digits and _ . @ -, at most 63, the first a letter or digit`},
		{"before what", drain, confirm("consumers: [a], before: promotion, deadline: 1h, then: halt"), `k.yaml:8:41: policy.confirm.before: "promotion" is not one of promote, retire`},
		{"no deadline", drain, confirm("consumers: [a], before: retire, then: halt"), "k.yaml:8:7: policy.confirm.deadline: missing"},
		{"too late a deadline", drain, confirm("consumers: [a], before: retire, deadline: 31d, then: halt"), "k.yaml:8:59: policy.confirm.deadline: 31d does not lie within the lead time of 30d"},
		{"then what", drain, confirm("consumers: [a], before: retire, deadline: 1h, then: stop"), `k.yaml:8:69: policy.confirm.then: "stop" is not one of proceed, halt`},
		{"the same items", privileges, "    items: " + many, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !strings.Contains(sound, test.old) {
				t.Fatalf("%q is not in the declaration", test.old)
			}
			_, err := Parse("k.yaml", []byte(strings.Replace(sound, test.old, test.new, 1)), against())
			if err == nil {
				t.Fatalf("no error, want %s", test.want)
			}
			if test.want == "" {
				const want = "k.yaml:4:5: items: 101 items, but a credential reaches at most 100; split it"
				if first, _, _ := strings.Cut(err.Error(), "\n"); first != want {
					t.Error(first)
				}
				return
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllErrorsAtOnceWithTheGoodOnes(t *testing.T) {
	text := sound + `  - name: maps/bad
    issuer: nowhere
    items: [zz]
    policy: {lifetime: 1}
  - name: maps/good
    issuer: other
    privileges: [premium:user:places]
    policy: {lifetime: 1m}
---
credentials:
  - name: maps/web
    issuer: other
    privileges: [premium:user:places]
    policy: {lifetime: 2s, drain: 2s}
`
	declared, err := Parse("k.yaml", []byte(text), against())
	want := `k.yaml:10:13: items[0]: "zz" is not an item id: want 32 of 0-9 and a-f
k.yaml:11:24: policy.lifetime: "1" is not a duration: want a number with a unit, such as 90d, 12h or 30s
k.yaml:18:11: name: maps/web is declared twice; first at k.yaml:2:11
k.yaml:21:35: policy.drain: 2s is longer than the lead time of 666ms: the old key would expire first`
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, strings.ReplaceAll(err.Error(), "667ms", "666ms")); diff != "" {
		t.Error(diff)
	}
	if len(declared) != 2 || declared[0].Name != "maps/web" || declared[1].Name != "maps/good" {
		t.Errorf("%v", declared)
	}
}

func TestManyDeclarationsWithOneScheduleAreQuick(t *testing.T) {
	var text strings.Builder
	text.WriteString("credentials:\n")
	for i := range 2000 {
		_, _ = fmt.Fprintf(&text, "- {name: load/c-%d, issuer: other, privileges: ['premium:user:places'], policy: {lifetime: 2h, schedule: '@hourly'}}\n", i)
	}
	declared, err := Parse("k.yaml", []byte(text.String()), against())
	if err != nil || len(declared) != 2000 {
		t.Fatal(len(declared), err)
	}
	calls := &counting{Calendar: &schedule.Calendar{}}
	c := against()
	c.Calendar = calls
	if _, err := Resolve(declared[:1000], c); err != nil {
		t.Fatal(err)
	}
	if calls.n > 20_000 {
		t.Errorf("%d looks at the calendar for one schedule", calls.n)
	}
}

type counting struct {
	credential.Calendar
	n int
}

func (c *counting) Next(spec string, after time.Time) (time.Time, bool) {
	c.n++
	return c.Calendar.Next(spec, after)
}

func FuzzDeclarations(f *testing.F) {
	data, err := os.ReadFile("testdata/credentials.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add(sound)
	f.Add("name: a/b\nissuer: other\nitems: &i [*i]\npolicy: {<<: *p, lifetime: 1m}")
	f.Add("credentials: [&a {<<: *a}, *a, null, [], {labels: {? {}: x}}]")
	f.Add("credentials:\n- policy: {schedule: 'TZ=', window: {start: CRON_TZ=}}\n...\n--- !!x\n%TAG")
	f.Fuzz(func(t *testing.T, text string) {
		declared, err := Parse("k.yaml", []byte(text), Context{
			Issuers: map[string]Issuer{"example": {}, "other": {}}, Calendar: &schedule.Calendar{}, Now: time.Unix(1_800_000_000, 0),
		})
		if len(declared) == 0 && err == nil {
			t.Error("neither a declaration nor an error")
		}
		for _, d := range declared {
			if _, err := credential.ParseName(string(d.Name)); err != nil || d.Spec.Policy.RotateBefore <= 0 {
				t.Errorf("%+v: %v", d, err)
			}
		}
	})
}
