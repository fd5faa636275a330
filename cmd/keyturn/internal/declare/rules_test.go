package declare

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis/privilege"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestPrivileges: what is meant is named, with the line of what was said.
func TestPrivileges(t *testing.T) {
	const privileges = "    privileges: [premium:user:basemaps]"
	const unlisted = "\n    allow_unlisted_privileges: true"
	const known = `; if the portal has it all the same, set allow_unlisted_privileges: true`
	for _, test := range []struct{ name, new, want string }{
		{"a typo", "    privileges: [premium:user:basemap]", `k.yaml:4:18: privileges[0]: "premium:user:basemap" is not in the catalogue; did you mean premium:user:basemaps?`},
		{"another case", "    privileges: [premium:user:Geocode:stored]", `k.yaml:4:18: privileges[0]: "premium:user:Geocode:stored" is not in the catalogue; did you mean premium:user:geocode:stored?`},
		{"a part left out", "    privileges: [premium:user:routing]", `k.yaml:4:18: privileges[0]: "premium:user:routing" is not in the catalogue; did you mean premium:user:networkanalysis:routing?`},
		{"a label", "    privileges: [premium:user:places, Origin/destination cost matrix]", `k.yaml:4:39: privileges[1]: "Origin/destination cost matrix" is not a privilege: want words joined by colons, such as premium:user:basemaps; did you mean premium:user:networkanalysis:origindestinationcostmatrix?`},
		{"a label with its brackets", "    privileges: ['geocode (not stored)']", `k.yaml:4:18: privileges[0]: "geocode (not stored)" is not a privilege: want words joined by colons, such as premium:user:basemaps; did you mean premium:user:geocode:temporary?`},
		{"a label without beta", "    privileges: [Elevation Service]", `k.yaml:4:18: privileges[0]: "Elevation Service" is not a privilege: want words joined by colons, such as premium:user:basemaps; did you mean premium:user:elevation?`},
		{"the last word", "    privileges: [lastmiledelivery]", `k.yaml:4:18: privileges[0]: "lastmiledelivery" is not a privilege: want words joined by colons, such as premium:user:basemaps; did you mean premium:user:networkanalysis:lastmiledelivery?`},
		{"like no other", "    privileges: [premium:user:spatialanalysis]", `k.yaml:4:18: privileges[0]: "premium:user:spatialanalysis" is not in the catalogue, which keyturn privileges lists` + known},
		{"the same twice", "    privileges: [premium:user:places, premium:user:places]", "k.yaml:4:39: privileges[1]: the same as privileges[0]"},
		{"an item", "    privileges: [portal:app:access:item:0123456789abcdef0123456789abcdef]" + unlisted, "k.yaml:4:18: privileges[0]: an item stands under items, by its id"},
		{"malformed though unlisted ones may stand", "    privileges: ['premium:user:']" + unlisted, `k.yaml:4:18: privileges[0]: "premium:user:" is not a privilege: want words joined by colons, such as premium:user:basemaps`},
		{"a space though unlisted ones may stand", "    privileges: ['premium:user:x y']" + unlisted, `k.yaml:4:18: privileges[0]: "premium:user:x y" is not a privilege: want words joined by colons, such as premium:user:basemaps`},
		{"an unlisted one", "    privileges: [premium:user:spatialanalysis]" + unlisted, ""},
		{"a near miss that is allowed", "    privileges: [premium:user:geocode]" + unlisted, ""},
		{"personal ones", "    privileges: [premium:user:places, portal:admin:viewItems, premium:user:demographics]" + unlisted, "k.yaml:2:5: personal: of personal scope, which ties the key to the account of its owner: portal:admin:viewItems, premium:user:demographics; the portal wants that acknowledged: set personal: true, or leave them out"},
		{"personal ones, and a no", "    privileges: [portal:admin:viewItems]\n    personal: false" + unlisted, "k.yaml:5:15: personal: of personal scope, which ties the key to the account of its owner: portal:admin:viewItems; the portal wants that acknowledged: set personal: true, or leave them out"},
		{"personal ones, acknowledged", "    privileges: [portal:admin:viewItems]\n    personal: true" + unlisted, ""},
		{"nothing to acknowledge", "    privileges: [premium:user:places]\n    personal: true", "k.yaml:5:15: personal: no privilege here is of personal scope, so there is nothing to acknowledge: leave it out"},
		{"items are not personal", "    items: [0123456789abcdef0123456789abcdef]\n    personal: true", "k.yaml:5:15: personal: no privilege here is of personal scope, so there is nothing to acknowledge: leave it out"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(sound, privileges, test.new, 1)
			declared, err := Parse("k.yaml", []byte(text), against())
			have := ""
			if err != nil {
				have = err.Error()
			}
			if diff := cmp.Diff(test.want, have); diff != "" {
				t.Error(diff)
			}
			if len(declared) == 1 && declared[0].Spec.Item.AllowUnlisted != strings.Contains(text, unlisted) {
				t.Error("the permission is lost")
			}
		})
	}
	for _, p := range privilege.Catalogue() {
		for _, said := range []string{p.Label, strings.ToUpper(p.Label), strings.ToUpper(p.Name), p.Name + "x", p.Name[1:]} {
			if hint := meant(said); hint != "; did you mean "+p.Name+"?" {
				t.Errorf("%q: %s", said, hint)
			}
		}
	}
}

func TestReferrers(t *testing.T) {
	wrong := func(referrers ...string) error {
		return Check(credential.Spec{Item: credential.ItemSpec{Title: "T", Privileges: []string{"premium:user:places"}, Referrers: referrers}})
	}
	for _, good := range []string{
		"https://example.com", "http://localhost:3000", "https://*.example.com", "https://*", "http://10.0.0.1:*", "https://a.example/path/*",
		"https://xn--bcher-kva.example", "example.com", "localhost", "*.example.com", "*.internal", "example.com:8443/a/b", "https://maps-*.example.com",
		"https://a.*.example.com", "https://*.*.example.com", "https://my_app.example.com:65535", "https://EXAMPLE.com/", "https://" + strings.Repeat("a.", 119) + "example",
	} {
		if err := wrong(good); err != nil {
			t.Errorf("%s is refused: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "https://", "https://-a.example", "-a.b.example", "https://a b", "https://u:p@a.example", "https://u@a.example", "https://a.example?x", "https://a.example#x",
		"https://a\n", "ws://a", "https://a,b.example", `https://"a".example`, "https://a.example'", "*example.com", "https://*example.com", "https://example.*", "https://a.*.example.*",
		"https://a..example", "https://.example.com", "https://a.example:0", "https://a.example:65536", "https://a.example:99999", "https://a.example:", "http*://a.example", "https:/a.example",
		"//a.example", "https://a.example\\b", "https://\u00e4.example", "https://a.example/\u0000",
	} {
		if err := wrong(bad); err == nil || !strings.Contains(err.Error(), "is not a referrer") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, everywhere := range []string{"*", "*.*", "*:*", "**", "*/", "https://example.com/*"} {
		if err := wrong(everywhere); (err == nil) != (everywhere == "https://example.com/*") || err != nil && !strings.Contains(err.Error(), "lets every site pass") {
			t.Errorf("%q: %v", everywhere, err)
		}
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("https://a%d.example.com", i)
	}
	if err := wrong(many[:100]...); err != nil {
		t.Errorf("100 referrers: %v", err)
	}
	for want, list := range map[string][]string{
		"referrers: 101 referrers, but a credential has at most 100": many,
		"referrers[0]: 257 bytes, but a referrer has at most 256":    {"https://a.example/" + strings.Repeat("a", 239)},
		"referrers[1]: the same as referrers[0]":                     {many[0], many[0]},
	} {
		if err := wrong(list...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := wrong("https://a.example/" + strings.Repeat("a", 238)); err != nil {
		t.Errorf("256 bytes: %v", err)
	}
}

func TestOneHundredItems(t *testing.T) {
	items := make([]string, 101)
	for i := range items {
		items[i] = fmt.Sprintf("a%031x", i)
	}
	spec := credential.Spec{Item: credential.ItemSpec{Title: "T", Items: items[:100]}}
	if err := Check(spec); err != nil {
		t.Errorf("100 items: %v", err)
	}
	spec.Item.Items = items
	if err := Check(spec); err == nil || err.Error() != "items: 101 items, but a credential reaches at most 100; split it" {
		t.Errorf("101 items: %v", err)
	}
}

// TestCheckTellsAllThatIsWrong: it sees what a reader of files sees, and has no
// places to point at.
func TestCheckTellsAllThatIsWrong(t *testing.T) {
	err := Check(credential.Spec{
		Owner: "a\nb", Labels: map[string]string{"a b": "c"},
		Item: credential.ItemSpec{
			Title: "T\x00", Folder: "\t", Tags: []string{"a,b"}, Privileges: []string{"premium:user:placess"}, Items: []string{"X"},
			Referrers: []string{"ftp://x"},
		},
		Policy: credential.Policy{Confirm: &credential.Confirm{Consumers: []string{"a b"}}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	var fields []string
	for part := range strings.SplitSeq(err.Error(), "; ") {
		if field, _, found := strings.Cut(part, ": "); found {
			fields = append(fields, field)
		}
	}
	want := []string{"title", "folder", "owner", "tags[0]", "labels.a b", "privileges[0]", "items[0]", "referrers[0]", "policy.confirm.consumers[0]"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
}
