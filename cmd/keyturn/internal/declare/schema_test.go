package declare

import (
	"reflect"
	"testing"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict/schematest"
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
		{credential("privileges", "items"), privilege.String()},
		{credential("referrers", "items"), referrer.String()},
		{credential("labels", "propertyNames"), labelKey.String()},
		{credential("policy", "properties", "confirm", "properties", "consumers", "items"), consumerName.String()},
	} {
		if test.schema["pattern"] != test.want {
			t.Errorf("the pattern is %v, in the program %s", test.schema["pattern"], test.want)
		}
	}
	if most := credential("items")["maxItems"]; most != float64(maxItems) {
		t.Errorf("at most %v items, in the program %d", most, maxItems)
	}
}
