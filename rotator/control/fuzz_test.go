package control

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nkeys"

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
		check[Apply](t, data)
		check[Rotate](t, data)
		check[Retry](t, data)
		check[Invalidate](t, data)
		check[Hold](t, data)
		check[Release](t, data)
		check[Acknowledge](t, data)
		check[Freeze](t, data)
		check[Thaw](t, data)
		check[Import](t, data)
		check[Nothing](t, data)
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

// FuzzOpen: only what a known key signed, for this installation and now, is let
// in; the arguments of somebody without any role reach nothing.
func FuzzOpen(f *testing.F) {
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	s := New(Config{ // there is nobody to carry anything out
		Installation: "test", Now: func() time.Time { return now },
		Operators: func() Operators { return Operators{public: {Name: "ann"}} },
	})
	sound := `{"installation":"test","request":"r","at":"2030-01-02T03:04:05Z","arguments":%s}`
	signer := Identity{pair: pair, public: public}
	for i, e := range s.endpoints() {
		body := fmt.Appendf(nil, sound, `{"name":"a/b","reason":"x"}`)
		signature, err := signer.sign(e.subject, body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), public, signature, body, false)
		f.Add(uint8(i), public, signature, append(body, ' '), false)
		f.Add(uint8(i), public, "", fmt.Appendf(nil, sound, `{}`), true)
		f.Add(uint8(i), "", "", body, false)
	}
	f.Add(uint8(0), "U\x1b", "x", []byte(`{"request":"r","arguments":{"name":"\u001b"}}`), false)
	f.Fuzz(func(t *testing.T, number uint8, key, signature string, body []byte, sign bool) {
		e := s.endpoints()[int(number)%len(s.endpoints())]
		if sign {
			made, err := signer.sign(e.subject, body)
			if err != nil {
				t.Fatal(err)
			}
			key, signature = public, made
		}
		by, arguments, err := s.open(e.name, e.subject, micro.Headers{HeaderOperator: {key}, HeaderSignature: {signature}}, body)
		if err == nil {
			var envelope envelope
			if json.Unmarshal(body, &envelope) != nil || envelope.Installation != "test" || envelope.At.Sub(now).Abs() > credential.Freshness ||
				key != public || !verify(public, e.subject, body, signature) || by.operator != "ann" || by.request != envelope.Request || by.digest == "" {
				t.Fatalf("let in: %+v %s", by, body)
			}
			if _, err = e.handle(t.Context(), by, arguments); err == nil && e.name != "whoami" {
				t.Fatalf("%s was carried out: %s", e.name, arguments)
			}
		}
		var no *denied
		switch {
		case err == nil, errors.Is(err, errBad):
		case errors.As(err, &no):
			for _, field := range []string{no.Key, no.Operator, no.Credential, no.Request} {
				if len(field) > maxNoted || strings.ContainsFunc(field, func(r rune) bool { return r <= ' ' || r > '~' }) {
					t.Fatalf("%q would be kept", field)
				}
			}
			if data, err := json.Marshal(no.Denial); err != nil || len(data) > 1500 || no.Reason == "" {
				t.Fatalf("%s, %v", data, err)
			}
		default:
			t.Fatalf("neither bad nor denied: %v", err)
		}
	})
}

func check[T any, P arguments[T]](t *testing.T, data []byte) {
	t.Helper()
	var request, again T
	name := P(&request).credential()
	if err := decodeRequest(data, &request, name); err != nil {
		if code, text := refusal(err); !errors.Is(err, errBad) || code != CodeBad || len(text) > 1000+8*len(data) {
			t.Fatalf("%s %.200s: %v", code, text, err)
		}
		return
	}
	if name != nil {
		if _, err := credential.ParseName(string(*name)); err != nil {
			t.Fatalf("the name %q was taken", *name)
		}
	}
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatalf("a request that was taken cannot be written: %v", err)
	}
	if err := strictly(text, &again); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if second, err := json.Marshal(again); err != nil || string(second) != string(text) {
		t.Fatalf("%s became %s, %v", text, second, err)
	}
}

// FuzzOpenBreakGlass: a file that is opened is one that its operator signed as it
// stands; all else is refused as bad.
func FuzzOpenBreakGlass(f *testing.F) {
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		f.Fatal(err)
	}
	signer := Identity{Installation: "test", pair: pair, public: public}
	done := BreakGlass{ID: "1", Name: "a/b", Reason: "x", Keys: []BrokenKey{{Seat: credential.SeatID{Item: "i", Slot: 1}, Dead: true}}}
	file, err := signer.Seal(done)
	if err != nil {
		f.Fatal(err)
	}
	unsigned, err := Identity{Installation: "test"}.Seal(done)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{string(file), string(unsigned), strings.Replace(string(file), "a/b", "a/c", 1), string(file[:len(file)/2]), string(file) + "{}", "null", "{}", "[]", "", "\x00"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		opened, err := OpenBreakGlass(data)
		if err != nil {
			if !errors.Is(err, errBad) {
				t.Fatalf("it is not refused as bad: %v", err)
			}
			return
		}
		var file signed
		if json.Unmarshal(data, &file) != nil || len(opened.Keys) == 0 || opened.Operator != file.Operator || opened.Request == "" {
			t.Fatalf("opened: %+v", opened)
		}
		raw, err := base64.RawURLEncoding.DecodeString(file.Signature)
		if err != nil {
			t.Fatal(err)
		}
		text, err := file.bytes()
		if by, keyErr := nkeys.FromPublicKey(file.Operator); err != nil || keyErr != nil || by.Verify(text, raw) != nil {
			t.Fatalf("nobody signed %s", data)
		}
	})
}
