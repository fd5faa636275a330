package vault

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
)

func testKey(value string, slot int) credential.Key {
	secret := credential.NewSecret(value)
	return credential.Key{
		Secret: secret, Fingerprint: secret.Fingerprint(), Expires: time.Date(2027, 1, 2, 3, 4, 5, 6_000_000, time.UTC),
		Seat: credential.SeatID{Item: "a1", Slot: slot}, Mint: 3,
	}
}

// asRead is what Vault returns for fields.
func asRead(fields map[string]string) map[string]any {
	data := make(map[string]any, len(fields))
	for key, value := range fields {
		data[key] = value
	}
	return data
}

func TestDecodeTellsWhatIsNotOurs(t *testing.T) {
	doc := credential.Document{Primary: testKey("one", 1), Secondary: testKey("two", 2), RotationID: "r", Revision: 9}
	fields, err := encode(doc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(doc, decode(asRead(fields)), cmp.Comparer(func(a, b credential.Secret) bool { return a == b })); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
	tests := []struct {
		what, field string
		value       any // nil = absent
		revision    uint64
	}{
		{"another key", "api_key", "three", 0},
		{"another secondary key", "secondary_api_key", "three", 0},
		{"another fingerprint", "fingerprint", "0123456789abcdef", 0},
		{"no fingerprint", "fingerprint", nil, 0},
		{"no key", "api_key", nil, 0},
		{"a number as the key", "api_key", json.Number("5"), 0},
		{"no revision", "revision", nil, 0},
		{"a revision in words", "revision", "nine", 0},
		{"a revision with a sign", "revision", "+9", 0},
		{"a revision with a leading zero", "revision", "09", 0},
		{"a negative revision", "revision", "-9", 0},
		{"a revision that is too large", "revision", "18446744073709551616", 0},
		{"a revision as a number", "revision", json.Number("9"), 0},
		{"a date in another form", "expires_at", "tomorrow", 0},
		{"a seat without a slot", "seat", "a1", 0},
		{"a seat with slot 0", "seat", "a1/0", 0},
		{"a seat without an item", "seat", "/1", 0},
		{"a seat in another spelling", "seat", "a1/01", 0},
		{"no mint", "secondary_mint", nil, 0},
		{"a field of somebody else", "note", "hello", 9},
		{"no date", "expires_at", nil, 9},
		{"no seat", "seat", nil, 9},
	}
	for _, test := range tests {
		data := asRead(maps.Clone(fields))
		if test.value == nil {
			delete(data, test.field)
		} else {
			data[test.field] = test.value
		}
		got := decode(data)
		if got.Revision != test.revision {
			t.Errorf("%s: revision %d, want %d", test.what, got.Revision, test.revision)
		}
		if key := got.Primary; !key.Secret.Empty() && key.Fingerprint != key.Secret.Fingerprint() {
			t.Errorf("%s: the fingerprint is not that of the key", test.what)
		}
	}
	for what, data := range map[string]map[string]any{
		"nothing":          {},
		"a secret by hand": {"api_key": "x"},
		"a revision alone": {"revision": "9"},
	} {
		if got := decode(data); got.Revision != 0 {
			t.Errorf("%s: revision %d", what, got.Revision)
		}
	}
}

func TestAKeyThatIsNotThereHasNoFields(t *testing.T) {
	fields, err := encode(credential.Document{Secondary: testKey("two", 2), Revision: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"api_key", "fingerprint", "expires_at", "seat", "mint", "rotation_id"} {
		if value, there := fields[field]; there {
			t.Errorf("%s is %q", field, value)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("k", "fp", "2027-01-01T00:00:00Z", "a/1", "1", "r", "1")
	f.Fuzz(func(t *testing.T, key, fingerprint, expires, seat, mint, rotation, revision string) {
		data := map[string]any{
			"api_key": key, "fingerprint": fingerprint, "expires_at": expires, "seat": seat,
			"mint": mint, "rotation_id": rotation, "revision": revision,
		}
		doc := decode(data)
		if doc.Revision == 0 {
			return
		}
		// What counts as ours is what encode would have written.
		fields, err := encode(doc)
		if err == nil {
			if again := decode(asRead(fields)); again != doc {
				t.Errorf("it changes when written again: %+v, %+v", doc, again)
			}
		}
	})
}
