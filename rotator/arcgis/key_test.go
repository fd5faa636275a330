package arcgis_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// A rotation that may take 7 calls one after the other: Describe counts as one,
// since its two go at the same time.
func TestRotationTakesSevenCallsInSequence(t *testing.T) {
	b := open(t, emulator.Config{})
	old := credential.SeatID{Item: b.item(), Slot: 1}
	b.issue(old)
	b.calls.take()

	_, err := b.portal.Describe(t.Context(), old.Item)
	must(t, err)
	described := b.calls.take()
	slices.Sort(described)
	minted := b.issue(old.Sibling())
	for range 2 {
		_, err = b.portal.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: old.Item})
		must(t, err)
	}
	must(t, b.portal.Revoke(t.Context(), old))
	got := append(described[1:], b.calls.take()...)
	want := []string{"read-registration", "set-expiry", "generate", "probe", "probe", "revoke", "read-registration"}
	if diff := cmp.Diff(want, got); diff != "" || described[0] != "read-item" {
		t.Error(diff)
	}
}

func TestDescribeAsksBothAtTheSameTime(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	must(t, b.emulated.SetFaults(emulator.Faults{Latency: 300 * time.Millisecond}))
	began := time.Now()
	_, err := b.portal.Describe(t.Context(), item)
	must(t, err)
	if took := time.Since(began); took > 550*time.Millisecond {
		t.Errorf("two round trips: %s", took)
	}
}

func TestDateIsSetBeforeTheKeyIsMade(t *testing.T) {
	b := open(t, emulator.Config{})
	seat := credential.SeatID{Item: b.item(), Slot: 2}
	b.issue(seat.Sibling())
	b.calls.wire()
	minted := b.issue(seat)
	wire := b.calls.wire()
	if len(wire) != 2 || !strings.HasSuffix(wire[0].URL.Path, "/update") || !strings.HasSuffix(wire[1].URL.Path, "/oauth2/token") {
		t.Fatalf("the calls are %v", wire)
	}
	if diff := cmp.Diff([]string{"apiToken2ExpirationDate", "f", "token"}, keysOf(wire[0])); diff != "" {
		t.Errorf("the update touches more than the slot's date: %s", diff)
	}
	want := []string{"apiToken", "client_id", "client_secret", "f", "grant_type", "regenerateApiToken"}
	if diff := cmp.Diff(want, keysOf(wire[1])); diff != "" {
		t.Errorf("generate: %s", diff)
	}
	if d := minted.Expires.Sub(in(month)); d > 2*time.Second || d < -3*time.Second {
		t.Errorf("the key expires %s off", d)
	}
}

func keysOf(r *http.Request) []string {
	var keys []string
	for key := range r.PostForm {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func TestExpiryIsWhatTheIssuerSays(t *testing.T) {
	b := open(t, emulator.Config{Knobs: emulator.Knobs{Rounding: emulator.RoundEndOfDay}})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	minted := b.issue(seat)
	proof, err := b.portal.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: seat.Item})
	must(t, err)
	status, err := b.portal.Describe(t.Context(), seat.Item)
	must(t, err)
	if h, m, s := proof.Expires.Clock(); h != 23 || m != 59 || s != 59 {
		t.Errorf("the proof names %s", proof.Expires)
	}
	if d := proof.Expires.Sub(minted.Expires); d < 0 || d > 3*time.Second {
		t.Errorf("minted %s, proven %s", minted.Expires, proof.Expires)
	}
	if !status.Slot(1).Expires.Equal(proof.Expires) {
		t.Errorf("described %s, proven %s", status.Slot(1).Expires, proof.Expires)
	}
}

// A lost answer is never asked for again: a second generate would kill the key
// that the first one made.
func TestGenerateIsSentOnceWhateverHappens(t *testing.T) {
	for name, rule := range map[string]emulator.Rule{
		"the connection is cut after it acted":  {Kind: emulator.FaultDrop, Act: true},
		"the connection is cut before it acted": {Kind: emulator.FaultDrop},
		"half an answer":                        {Kind: emulator.FaultHalf},
		"garbage":                               {Kind: emulator.FaultGarbage, Act: true},
		"a web page":                            {Kind: emulator.FaultHTML, Act: true},
		"an empty answer":                       {Kind: emulator.FaultEmpty, Act: true},
		"no answer":                             {Kind: emulator.FaultSilence, Act: true},
		"a gateway's timeout":                   {Kind: emulator.FaultHTML, Status: 504, Act: true},
		"an error 500 in the body":              {Kind: emulator.FaultError, Act: true},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %t", name, h2), func(t *testing.T) {
				b := openOn(t, emulator.Config{}, h2, timeout(2*time.Second))
				seat := credential.SeatID{Item: b.item(), Slot: 1}
				rule.Param = "regenerateApiToken"
				b.faults(rule)
				_, err := b.portal.Issue(t.Context(), seat, in(month))
				f := fault(t, err, credential.ClassUnknown)
				silent := rule.Kind == emulator.FaultDrop || rule.Kind == emulator.FaultHalf || rule.Kind == emulator.FaultSilence
				if f.Silent != silent {
					t.Errorf("silent: %t", f.Silent)
				}
				if n := b.emulated.Faults().Rules[0].Matched; n != 1 {
					t.Errorf("sent %d times", n)
				}
			})
		}
	}
}

func TestUnansweredUpdateOfTheDateIsUnknownToo(t *testing.T) {
	b := open(t, emulator.Config{})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	b.faults(emulator.Rule{Kind: emulator.FaultDrop, Path: "/update"})
	_, err := b.portal.Issue(t.Context(), seat, in(month))
	if f := fault(t, err, credential.ClassUnknown); !f.Silent {
		t.Error("it was silent")
	}
	if b.emulated.Snapshot()[0].Slots[0].Generations != 0 {
		t.Error("a key was generated")
	}
}

func TestAnAppTokenIsNotTakenForAKey(t *testing.T) {
	for name, answer := range map[string]string{
		"an app token":        `{"access_token":"` + strings.Repeat("a", 180) + `","expires_in":7200}`,
		"a key of slot 2":     `{"access_token":"` + strings.Repeat("a", 180) + `AT2_abcdefgh","expires_in":2592000}`,
		"an empty token":      `{"access_token":"","expires_in":2592000}`,
		"no token":            `{}`,
		"no lifetime":         `{"access_token":"` + strings.Repeat("a", 180) + `AT1_abcdefgh"}`,
		"a negative lifetime": `{"access_token":"` + strings.Repeat("a", 180) + `AT1_abcdefgh","expires_in":-5}`,
		"a far shorter life":  `{"access_token":"` + strings.Repeat("a", 180) + `AT1_abcdefgh","expires_in":7200}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := fake(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, "registeredAppInfo"):
					_, _ = w.Write([]byte(`{"itemId":"i","client_id":"c","client_secret":"s"}`))
				case strings.HasSuffix(r.URL.Path, "token"):
					_, _ = w.Write([]byte(answer))
				case strings.HasSuffix(r.URL.Path, "update"):
					_, _ = w.Write([]byte(`{"success":true,"id":"i"}`))
				default:
					_, _ = w.Write([]byte(`{"id":"i","owner":"` + user + `"}`))
				}
			})
			_, err := p.Issue(t.Context(), credential.SeatID{Item: "i", Slot: 1}, in(month))
			f := fault(t, err, credential.ClassUnknown)
			if strings.Contains(f.Error(), "aaaa") {
				t.Errorf("the token stands in the error: %v", f)
			}
		})
	}
}

func TestRevokeBelievesOnlyTheReadBack(t *testing.T) {
	b := open(t, emulator.Config{Knobs: emulator.Knobs{ActiveLag: time.Hour}})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	must(t, b.emulated.SetKnobs(emulator.Knobs{}))
	b.issue(seat)
	must(t, b.emulated.SetKnobs(emulator.Knobs{ActiveLag: time.Hour, RevokeWrongSecret: emulator.RevokeSuccess}))
	fault(t, b.portal.Revoke(t.Context(), seat), credential.ClassRetryable, "still active")
}

func TestRevokeNamesTheSlotAndNothingElse(t *testing.T) {
	b := open(t, emulator.Config{Knobs: emulator.Knobs{RevokeNoSlot: emulator.RevokeBoth}})
	seat := credential.SeatID{Item: b.item(), Slot: 2}
	b.issue(seat)
	b.calls.wire()
	must(t, b.portal.Revoke(t.Context(), seat))
	if diff := cmp.Diff([]string{"apiToken", "client_id", "client_secret", "f"}, keysOf(b.calls.wire()[0])); diff != "" {
		t.Error(diff)
	}
}

func TestAStaleClientSecretIsReadAnew(t *testing.T) {
	b := open(t, emulator.Config{})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	b.faults(emulator.Rule{Kind: emulator.FaultError, Path: "/oauth2/token", Code: 400, Message: "Invalid client_secret", Count: 1})
	_, err := b.portal.Issue(t.Context(), seat, in(month))
	fault(t, err, credential.ClassRetryable, "Invalid client_secret")
	b.calls.take()
	b.issue(seat)
	if names := b.calls.take(); !slices.Contains(names, "read-registration") {
		t.Errorf("nothing was read: %v", names)
	}
	b.faults(emulator.Rule{Kind: emulator.FaultError, Path: "/oauth2/token", Code: 400, Message: "Invalid client_secret"})
	_, _ = b.portal.Issue(t.Context(), seat, in(month))
	_, err = b.portal.Issue(t.Context(), seat, in(month)) // freshly read, and refused all the same
	fault(t, err, credential.ClassPermanent)
}

func TestSomebodyElsesItemIsReachedUnderItsOwner(t *testing.T) {
	const admin = "chief"
	b := open(t, emulator.Config{Users: map[string]string{user: password, admin: "another password"}, Admins: []string{admin}})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	chief := client(t, b.server.URL+"/sharing/rest", func(c *arcgis.Config) {
		c.Username, c.Password = admin, secret("another password")
	})
	status, err := chief.Describe(t.Context(), seat.Item)
	must(t, err)
	if status.Slot(1).Active {
		t.Errorf("described %+v", status)
	}
	minted, err := chief.Issue(t.Context(), seat, in(month))
	must(t, err)
	if !b.emulated.KeyWorks(minted.Key.Reveal(), "") {
		t.Error("the key does not work")
	}
	must(t, chief.Revoke(t.Context(), seat))
	must(t, chief.Remove(t.Context(), seat.Item, true))
}
