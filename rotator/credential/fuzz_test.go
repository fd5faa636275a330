package credential_test

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// FuzzFact: a fact that is read is written and read the same, and whatever it
// says, folding it neither panics nor changes the state that it started from.
func FuzzFact(f *testing.F) {
	for _, fact := range facts() {
		text, err := json.Marshal(fact)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(fact.Type()), text)
		f.Add(string(fact.Type()), []byte("{}"))
	}
	f.Add("", []byte("{}"))
	f.Add(string(credential.TypeUpdated), []byte(`{"spec":null,"request":null,"due":"0001-01-01T00:00:00Z"}`))
	f.Add(string(credential.TypeHeld), []byte(`{"hold":{"until":"9999-12-31T23:59:59+23:59"}}`))
	f.Add(string(credential.TypeStepClaimed), []byte(`{"claim":{"op":"eat","seat":{"slot":-1},"supersedes":["",""]},"new_item":true}`))
	states := []credential.State{{}, withFirstKey().named(), making().named(), proven().named(), inDrain().named()}
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		fact, err := credential.DecodeFact(credential.EventType(kind), data)
		if err != nil {
			if fact != nil {
				t.Fatalf("%+v beside %v", fact, err)
			}
			return
		}
		if string(fact.Type()) != kind {
			t.Fatalf("%s is read as %s", kind, fact.Type())
		}
		text, err := json.Marshal(fact)
		if err != nil {
			return // a year that cannot be written was never written
		}
		again, err := credential.DecodeFact(fact.Type(), text)
		if err != nil {
			t.Fatalf("%s is not read again: %v", text, err)
		}
		if second, err := json.Marshal(again); err != nil || string(second) != string(text) {
			t.Fatalf("%s became %s, %v", text, second, err)
		}
		for _, s := range states {
			before, _ := json.Marshal(s)
			after := credential.Evolve(s, credential.Event{ID: "e", At: start, Fact: fact})
			if text, _ := json.Marshal(s); string(text) != string(before) {
				t.Fatalf("folding %s changed the state before", kind)
			}
			look(t, after)
		}
	})
}

// FuzzState: a state that is read is written and read the same, and whatever it
// says, there is an answer to what comes next, and it is one of those there are.
func FuzzState(f *testing.F) {
	for _, s := range []credential.State{{}, newLife().must(credential.Register{Spec: spec()}).named(), withFirstKey().named(), making().named(), proven().named(), inDrain().named()} {
		text, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		`{"status":"registered","spec":{"policy":{"lifetime":"-1h","window":{"start":"every 1h","duration":"-9h"}}}}`,
		`{"status":"registered","rotation":{"phase":"issue"},"seats":[{"role":"orphan"},{"role":"primary"}]}`,
		`{"status":"registered","rotation":{"phase":"drain"},"seats":[{"role":"primary"},{"role":"primary"}],"drift":[{"kind":"key-refused"}]}`,
		`{"status":"registered","rotation":{"phase":"ready"},"failure":{"attempts":-1,"next":"9999-01-01T00:00:00Z"}}`,
		`{"status":"registered","claims":[{"window":"2562047h47m16.854775807s","seat":{}}],"seats":[{"expires":"0001-01-01T00:00:01Z","role":"orphan"}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s credential.State
		if json.Unmarshal(data, &s) != nil {
			return
		}
		if text, err := json.Marshal(s); err == nil {
			var again credential.State
			if err := json.Unmarshal(text, &again); err != nil {
				t.Fatalf("%s is not read again: %v", text, err)
			}
			if second, err := json.Marshal(again); err != nil || string(second) != string(text) {
				t.Fatalf("%s became %s, %v", text, second, err)
			}
		}
		look(t, s)
	})
}

// look asks what comes next by several clocks, and tries each result of it.
func look(t *testing.T, s credential.State) {
	t.Helper()
	kinds := map[credential.StepKind]bool{
		credential.StepBegin: true, credential.StepItem: true, credential.StepIssue: true, credential.StepStore: true, credential.StepVerify: true,
		credential.StepPromote: true, credential.StepRetire: true, credential.StepResume: true, credential.StepRevoke: true, credential.StepExpire: true,
		credential.StepAbandon: true, credential.StepNotice: true, credential.StepWait: true,
	}
	for _, skew := range []time.Duration{0, time.Hour, -365 * day} {
		v := credential.View{Now: start.Add(70 * day), Skew: skew, MaxSkew: time.Minute, Daemon: "d", ID: "i", Calendar: every{}}
		if len(s.Claims) > 0 {
			v.Work.Claim = s.Claims[0].ID
		}
		step := credential.Next(s, v)
		if !kinds[step.Kind] || step.Reason == "" {
			t.Fatalf("next is %+v", step)
		}
		primary, had := s.Primary()
		had = had && apart(s.Seats) // a seat that is listed twice says nothing certain
		for _, c := range []credential.Command{
			credential.Begin{Reason: step.Reason}, credential.ClaimMint{}, credential.ItemMade{Item: "i9"}, credential.ClaimRevoke{Seat: step.Seat},
			credential.KeyPromoted{Fingerprint: "fp", Version: 3}, credential.KeyInvalidated{Seat: step.Seat, How: credential.HowExpired},
			credential.KeyInvalidated{Seat: primary.SeatID, How: credential.HowRevoked}, credential.GiveUp{}, credential.Tell{Level: step.Level},
			credential.RequestRotation{ID: "q"}, credential.Acknowledge{Consumer: "web"}, credential.Register{Spec: other()},
		} {
			event, err := credential.Decide(s, c, v)
			if err != nil {
				if !refusal(err) {
					t.Fatalf("%T: %v", c, err)
				}
				continue
			}
			for _, claim := range opened(event.Fact) {
				if had && claim.Seat == primary.SeatID && claim.Op != credential.OpCreateItem {
					t.Fatalf("%T opens %+v on the primary", c, claim)
				}
			}
		}
	}
}

// apart reports whether no seat is listed twice, which folding sees to.
func apart(seats []credential.Seat) bool {
	listed := map[credential.SeatID]bool{}
	for _, seat := range seats {
		if listed[seat.SeatID] {
			return false
		}
		listed[seat.SeatID] = true
	}
	return true
}

func opened(fact credential.Fact) []credential.Claim {
	switch f := fact.(type) {
	case credential.Started:
		return []credential.Claim{f.Claim}
	case credential.StepClaimed:
		return []credential.Claim{f.Claim}
	case credential.Retiring:
		return []credential.Claim{f.Claim}
	}
	return nil
}

var wellFormed = regexp.MustCompile(`\A[a-z0-9-]{1,63}/[a-z0-9-]{1,63}\z`)

// FuzzName: a name that is taken is put together from its parts again, and has
// nothing that a subject, a path or a terminal could take for something else.
func FuzzName(f *testing.F) {
	for _, text := range []string{"maps/web", "a/b/c", "/", "a/", "A/b", "a/b\n", "a/*", "_system/signers", "../x", "a/" + strings.Repeat("b", 64), "a//b", "\u0430/b", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := credential.ParseName(text)
		if taken := err == nil; taken != wellFormed.MatchString(text) {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil {
			if n != "" {
				t.Fatalf("%q beside %v", n, err)
			}
			return
		}
		if string(n) != text || n.Namespace()+"/"+n.Base() != text {
			t.Fatalf("%q is %q of %q and %q", text, n, n.Namespace(), n.Base())
		}
	})
}

// FuzzPolicyDuration: a duration in a record is written as it is read.
func FuzzPolicyDuration(f *testing.F) {
	for _, text := range []string{"720h0m0s", "1h", "-1ns", "0", "2562047h47m16.854775807s", "1e3h", "", "1h1h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d, again credential.Duration
		if d.UnmarshalText([]byte(text)) != nil {
			return
		}
		written, err := d.MarshalText()
		if err == nil {
			err = again.UnmarshalText(written)
		}
		if err != nil || !reflect.DeepEqual(d, again) {
			t.Fatalf("%q is %v, %q is %v, %v", text, d, written, again, err)
		}
	})
}
