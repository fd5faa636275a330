package control

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
)

// FuzzDecodeRequest: a request is taken as it was meant, or refused as bad; what
// a daemon does not know is never passed over.
func FuzzDecodeRequest(f *testing.F) {
	for _, text := range []string{
		`{"name":"a/b","spec":{"issuer":"portal","item":{"title":"T"},"policy":{"lifetime":"720h"}},"dry_run":true}`,
		`{"name":"a/b","reason":"leaver","now":true}`,
		`{"name":"a/b","name":"A/B"}`, `{"name":"a/b","speck":{}}`, `{"NAME":"a/b"}`, `{"name":"a/b","spec":{"policy":{"lifetime":9}}}`,
		`{"name":"a/b"} {"name":"c/d"}`, `{"name":"a/*","request":"1"}`, `null`, `[]`, ``, "\x00", `{"name":"\u0061/b"}`, `{"name":"a/b","spec":null}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var apply Apply
		check(t, data, &apply, new(Apply), &apply.Name)
		var rotate Rotate
		check(t, data, &rotate, new(Rotate), &rotate.Name)
	})
}

// FuzzDecodeAck: an acknowledgement that is taken is small, of a credential that
// can exist, with a fingerprint; all else is refused as bad, and not repeated.
func FuzzDecodeAck(f *testing.F) {
	for _, text := range []string{
		`{"name":"a/b","fingerprint":"0123456789abcdef"}`, `{"name":"a/b","fingerprint":"AAPTkey"}`, `{"fingerprint":"0123456789abcdef"}`,
		`{"name":"a/b","fingerprint":"0123456789abcdef","consumer":"c"}`, `{"name":"a/b","fingerprint":"0123456789abcdef\n"}`, `null`, `[]`, ``, "\x00",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ack, err := decodeAck(data)
		if err != nil {
			if code, text := refusal(err); code != CodeBad || ack.Fingerprint != "" && len(ack.Fingerprint) >= 20 && strings.Contains(text, string(ack.Fingerprint)) {
				t.Fatalf("%s %.200s", code, text)
			}
			return
		}
		if _, err := credential.ParseName(string(ack.Name)); err != nil || len(ack.Fingerprint) != 16 || len(data) > maxAck {
			t.Fatalf("%q was taken: %+v", data, ack)
		}
	})
}

func check(t *testing.T, data []byte, request, again any, name *credential.Name) {
	t.Helper()
	if err := decodeRequest(data, request, name); err != nil {
		if code, text := refusal(err); !errors.Is(err, errBad) || code != CodeBad || len(text) > 1000+8*len(data) {
			t.Fatalf("%s %.200s: %v", code, text, err)
		}
		return
	}
	if _, err := credential.ParseName(string(*name)); err != nil {
		t.Fatalf("the name %q was taken", *name)
	}
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatalf("a request that was taken cannot be written: %v", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(again); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if second, err := json.Marshal(again); err != nil || string(second) != string(text) {
		t.Fatalf("%s became %s, %v", text, second, err)
	}
}
