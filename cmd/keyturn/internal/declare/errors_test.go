package declare

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
)

// TestMoreErrors has the rarer mistakes, in the form of TestErrors.
func TestMoreErrors(t *testing.T) {
	const issuer, privileges, lifetime, drain = "    issuer: example", "    privileges: [premium:user:basemaps]", "      lifetime: 90d", "      drain: 1h"
	for _, test := range []struct{ name, old, new, want string }{
		{"an empty file", sound, "", "k.yaml: no credential is declared; want a list under credentials:"},
		{"an empty list", sound, "credentials: []\n", "k.yaml: no credential is declared; want a list under credentials:"},
		{"empty documents", sound, "---\n---\n", "k.yaml: no credential is declared; want a list under credentials:"},
		{"a list for all", sound, "- name: a/b\n", "k.yaml:1:1: want a mapping with the fields credentials; got a list"},
		{"text for all", sound, "maps/web\n", "k.yaml:1:1: want a mapping with the fields credentials; got text"},
		{"a policy by itself", sound, "policy: {lifetime: 1d}\n", `k.yaml:1:1: unknown field "policy"; there are credentials`},
		{"a bad document after a good one", sound, sound + "---\n- x\n---\nname: a/c\n", `k.yaml:9:1: want a mapping with the fields credentials; got a list
k.yaml:11:1: issuer: missing
k.yaml:11:1: policy: missing
k.yaml:11:1: privileges: the key could do nothing: name privileges or items`},
		{"a document that cannot be read", sound, sound + "---\na: [\n", "k.yaml:9:4: sequence end token ']' not found"},
		{"a credential from nowhere", sound, "credentials: [*x]\n", "k.yaml:1:15: an alias for which there is no anchor: put the value in quotes if it is text"},
		{"a list for a credential", sound, "credentials: [[]]\n", "k.yaml:1:15: want a mapping with the fields name, issuer, title, folder, description, tags, owner, labels, privileges, items, referrers, personal, allow_unlisted_privileges, policy; got a list"},
		{"an empty name", "maps/web", "''", "k.yaml:2:11: name: empty"},
		{"an empty issuer", "issuer: example", "issuer: ''", "k.yaml:3:13: issuer: empty"},
		{"a name of three parts", "maps/web", "a/b/c", `k.yaml:2:11: name: "a/b/c" is not a credential name: want namespace/name, each of a-z, 0-9 and -, 1 to 63 characters`},
		{"a tab in the owner", issuer, issuer + "\n    owner: \"a\\tb\"", "k.yaml:4:12: owner: has a line break or another control character"},
		{"a list of labels", issuer, issuer + "\n    labels: [a]", "k.yaml:4:13: labels: want a mapping; got a list"},
		{"labels of two lines", issuer, issuer + "\n    labels: {a.b: \"x\\n\", a: \"y\\n\"}", `k.yaml:4:19: labels.a.b: want one line of at most 256 bytes
k.yaml:4:29: labels.a: want one line of at most 256 bytes`},
		{"a label's name of two lines", issuer, issuer + "\n    labels: {\"a\\nb\": c}", `k.yaml:4:22: labels.a\nb: not the name of a label: want letters, digits and _ . / -, at most 63, the first a letter or digit`},
		{"the same label", issuer, issuer + "\n    labels: {a: b, a: c}", "k.yaml:4:20: labels: the same key stands here twice"},
		{"text for tags", issuer, issuer + "\n    tags: a", "k.yaml:4:11: tags: want a list; got text"},
		{"an empty tag", issuer, issuer + "\n    tags: [~]", "k.yaml:4:12: tags[0]: an empty entry"},
		{"empty lists of what it may do", privileges, "    privileges: []\n    items: []", "k.yaml:4:5: privileges: the key could do nothing: name privileges or items"},
		{"the same item", privileges, "    items: [0123456789abcdef0123456789abcdef, 0123456789abcdef0123456789abcdef]", "k.yaml:4:47: items[1]: the same as items[0]"},
		{"an item id that is a number", privileges, "    items: [00000000000000000000000000000001]", "k.yaml:4:13: items[0]: want text; got a number: put it in quotes"},
		{"a referrer for all", issuer, issuer + "\n    referrers: ['*']", `k.yaml:4:17: referrers[0]: "*" lets every site pass, as no referrers do: name a host, or leave referrers out`},
		{"a unit that there is not", lifetime, "      lifetime: 1y", `k.yaml:6:17: policy.lifetime: "1y" is not a duration: want a number with a unit, such as 90d, 12h or 30s`},
		{"a lifetime beyond all", lifetime, "      lifetime: 99999999w", `k.yaml:6:17: policy.lifetime: "99999999w" is too long a duration`},
		{"true for a lifetime", lifetime, "      lifetime: true", "k.yaml:6:17: policy.lifetime: want a duration such as 90d, 12h or 30s; got true or false"},
		{"an empty lifetime", lifetime, "      lifetime:", "k.yaml:6:7: policy.lifetime: missing"},
		{"a drain a second too long", drain, "      rotate_before: 1d\n      drain: 24h1s", "k.yaml:8:14: policy.drain: 24h0m1s is longer than the lead time of 24h: the old key would expire first"},
		{"an empty drain", drain, "      drain:", "k.yaml:7:7: policy.drain: empty: fill it in or leave it out"},
		{"an empty lead", drain, "      rotate_before:", "k.yaml:7:7: policy.rotate_before: empty: fill it in or leave it out"},
		{"an empty window", drain, "      window:", "k.yaml:7:7: policy.window: empty: fill it in or leave it out"},
		{"an empty gate", drain, "      confirm:", "k.yaml:7:7: policy.confirm: empty: fill it in or leave it out"},
		{"a window without start", drain, "      window: {duration: 1h}", "k.yaml:7:7: policy.window.start: missing"},
		{"a window's empty start", drain, "      window: {start: '', duration: 1h}", "k.yaml:7:23: policy.window.start: empty"},
		{"a window that panics the parser", drain, "      window: {start: CRON_TZ=, duration: 1h}", `k.yaml:7:23: policy.window.start: "CRON_TZ=" is not a cron spec: nothing follows the time zone; want CRON_TZ=Europe/Berlin 0 3 * * *`},
		{"text for a window", drain, "      window: '@daily'", "k.yaml:7:15: policy.window: want a mapping with the fields start, duration; got text"},
		{"a schedule in no zone", drain, "      schedule: CRON_TZ=Mars/X 0 0 * * *", `k.yaml:7:17: policy.schedule: "CRON_TZ=Mars/X 0 0 * * *" is not a cron spec: there is no time zone "Mars/X" here; want a name such as Europe/Berlin`},
		{"a drain longer than the lead of a schedule", drain, "      schedule: '@weekly'\n      drain: 90d", "k.yaml:8:14: policy.drain: 90d is longer than the lead time of 83d: the old key would expire first"},
		{"a gate without anything", drain, "      confirm: {}", `k.yaml:7:7: policy.confirm.consumers: missing
k.yaml:7:7: policy.confirm.before: missing
k.yaml:7:7: policy.confirm.deadline: missing
k.yaml:7:7: policy.confirm.then: missing`},
		{"the same consumer", drain, "      confirm: {consumers: [a, a], before: retire, deadline: 1h, then: halt}", "k.yaml:7:32: policy.confirm.consumers[1]: the same as policy.confirm.consumers[0]"},
		{"no time for a gate", drain, "      confirm: {consumers: [a], before: retire, deadline: 0, then: halt}", "k.yaml:7:59: policy.confirm.deadline: 0s does not lie within the lead time of 30d"},
		{"capitals in an answer", drain, "      confirm: {consumers: [a], before: Retire, deadline: 1h, then: halt}", `k.yaml:7:41: policy.confirm.before: "Retire" is not one of promote, retire; did you mean retire?`},
		{"two policies", drain, drain + "\n    policy: {lifetime: 1d}", "k.yaml:8:5: the same key stands here twice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !strings.Contains(sound, test.old) {
				t.Fatalf("%q is not in the declaration", test.old)
			}
			_, err := Parse("k.yaml", []byte(strings.Replace(sound, test.old, test.new, 1)), against())
			if err == nil {
				t.Fatalf("no error, want %s", test.want)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLimitsAreIncluded: what is exactly as long as it may be passes.
func TestLimitsAreIncluded(t *testing.T) {
	for _, policy := range []string{
		"{lifetime: 365d}", "{lifetime: 1d}", "{lifetime: 90d, drain: 30d}", "{lifetime: 90d, rotate_before: 89d23h59m59s}", "{lifetime: 90d, settle: 7.5d}",
		"{lifetime: 90d, confirm: {consumers: [a], before: retire, deadline: 30d, then: halt}}",
	} {
		text := "name: a/b\nissuer: example\nprivileges: [premium:user:places]\npolicy: " + policy + "\n"
		if _, err := Parse("k.yaml", []byte(text), against()); err != nil {
			t.Errorf("%s: %v", policy, err)
		}
	}
}

// TestANameStandsOnceInAllFiles: the second one says where the first one is.
func TestANameStandsOnceInAllFiles(t *testing.T) {
	var all []Declaration
	for _, file := range []string{"a.yaml", "b.yaml"} {
		declared, err := Read(file, []byte(sound))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, declared...)
	}
	good, err := Resolve(all, against())
	if len(good) != 1 || err == nil || err.Error() != "b.yaml:2:11: name: maps/web is declared twice; first at a.yaml:2:11" {
		t.Errorf("%d are good: %v", len(good), err)
	}
}

// TestWithoutIssuers: nothing can be suggested.
func TestWithoutIssuers(t *testing.T) {
	c := against()
	c.Issuers = nil
	_, err := Parse("k.yaml", []byte(sound), c)
	if err == nil || err.Error() != `k.yaml:3:13: issuer: no issuer "example" is configured; there are none` {
		t.Error(err)
	}
	if _, ok := err.(strict.Problems); !ok { //nolint:errorlint // this very type is promised
		t.Errorf("a %T", err)
	}
}
