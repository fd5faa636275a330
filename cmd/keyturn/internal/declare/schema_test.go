package declare

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict/schematest"
	"github.com/keyturn/keyturn/rotator/arcgis/privilege"
)

func TestSchemaIsInStep(t *testing.T) {
	s := schematest.Read(t, "../../../../deploy/schema/credentials.schema.json")
	s.Raw = reflect.TypeFor[entry]()
	s.Compare(t, "document", s.At(t, "anyOf", 0), reflect.TypeFor[document]())
	s.Compare(t, "credential", s.At(t, "anyOf", 1), reflect.TypeFor[entry]())
	credential := func(keys ...any) map[string]any {
		return s.At(t, append([]any{"$defs", "credential", "properties"}, keys...)...)
	}
	for _, test := range []struct {
		schema map[string]any
		want   string
	}{
		{credential("items", "items"), itemID.String()},
		{credential("privileges", "items"), wellFormed.String()},
		{credential("referrers", "items"), referrer.String()},
		{credential("privileges", "items", "not"), "^" + privilege.ItemAccess},
		{credential("labels", "propertyNames"), labelKey.String()},
		{credential("policy", "properties", "confirm", "properties", "consumers", "items"), consumerName.String()},
	} {
		if test.schema["pattern"] != test.want {
			t.Errorf("the pattern is %v, in the program %s", test.schema["pattern"], test.want)
		}
	}
	for _, bound := range []struct{ schema, want any }{
		{credential("items")["maxItems"], float64(maxItems)}, {credential("referrers")["maxItems"], float64(maxReferrers)},
		{credential("referrers", "items")["maxLength"], float64(maxReferrer)},
	} {
		if bound.schema != bound.want {
			t.Errorf("at most %v, in the program %v", bound.schema, bound.want)
		}
	}
	var names []any
	for _, p := range privilege.Catalogue() {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff(names, s.At(t, "$defs", "credential", "oneOf", 1, "properties", "privileges", "items")["enum"]); diff != "" {
		t.Errorf("the schema has another catalogue: %s", diff)
	}
}

// TestSchemaAgreesWithTheProgram: an editor underlines nothing that works, and
// what it can see of what does not.
func TestSchemaAgreesWithTheProgram(t *testing.T) {
	s := schematest.Read(t, "../../../../deploy/schema/credentials.schema.json")
	c := against()
	c.Issuers["maps"] = Issuer{MinLifetime: day}
	for _, name := range []string{"testdata/credentials.yaml", "../../../../deploy/schema/examples/credentials.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(name, data, c); err != nil {
			t.Error(err)
		}
		if wrong := s.Validate(t, data); len(wrong) > 0 {
			t.Errorf("%s: %v", name, wrong)
		}
	}
	for _, text := range []string{
		"{}", "[]", "x", "credentials: {}", "credentials: [x]", "credentials: []", "owner: me", sound + "owner: me", strings.Replace(sound, "maps/web", "Maps", 1),
	} {
		if _, err := Parse("k.yaml", []byte(text), c); err == nil || len(s.Validate(t, []byte(text))) == 0 {
			t.Errorf("%q: the program says %v, the schema %v", text, err, s.Validate(t, []byte(text)))
		}
	}
	const lifetime, privileges = "lifetime: 90d", "    privileges: [premium:user:basemaps]"
	for _, change := range [][2]string{
		{"name: maps/web", "owner: me"}, {"issuer: example\n", "issuer: example\n    extra: 1\n"}, {"issuer: example", "issuer: ''"}, {"issuer: example\n", "issuer: example\n    title: ''\n"},
		{"issuer: example\n", "issuer: example\n    tags: [a, a]\n"}, {"issuer: example\n", "issuer: example\n    tags: ['a,b']\n"}, {"issuer: example\n", "issuer: example\n    tags: [' ']\n"},
		{"issuer: example\n", "issuer: example\n    labels: {a: 1}\n"}, {"issuer: example\n", "issuer: example\n    labels: {'a b': c}\n"}, {"issuer: example\n", "issuer: example\n    referrers: ['*.*']\n"},
		{"issuer: example\n", "issuer: example\n    personal: 'yes'\n"}, {"issuer: example\n", "issuer: example\n    owner: \"a\\tb\"\n"}, {"issuer: example\n", "issuer: example\n    labels: {a: \"b\\nc\"}\n"},
		{privileges, ""}, {privileges, "    privileges: []"}, {privileges, "    items: []"}, {privileges, "    privileges: [a]"}, {privileges, "    items: [a]"},
		{privileges, "    privileges: [premium:user:basemap]"}, {privileges, privileges + "\n    allow_unlisted_privileges: 'yes'"},
		{privileges, "    allow_unlisted_privileges: false\n    privileges: [portal:admin:viewItems]"},
		{privileges, "    privileges: [portal:app:access:item:0123456789abcdef0123456789abcdef]"},
		{lifetime, "lifetime: 90"}, {lifetime, "lifetime:"}, {lifetime, "rotate_before: 1d"}, {lifetime, lifetime + "\n      rotate_before: 1d\n      schedule: '@weekly'"},
		{lifetime, lifetime + "\n      schedule: ''"}, {lifetime, lifetime + "\n      window: {}"}, {lifetime, lifetime + "\n      window:"},
		{lifetime, lifetime + "\n      confirm: {consumers: [], before: retire, deadline: 1h, then: halt}"}, {lifetime, lifetime + "\n      confirm: {consumers: [a], before: x, deadline: 1h, then: halt}"},
	} {
		text := []byte(strings.Replace(sound, change[0], change[1], 1))
		if _, err := Parse("k.yaml", text, c); err == nil || len(s.Validate(t, text)) == 0 {
			t.Errorf("%q → %q: the program says %v, the schema %v", change[0], change[1], err, s.Validate(t, text))
		}
	}
}
