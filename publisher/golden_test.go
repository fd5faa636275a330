package publisher

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/rotator/credential"
)

var update = flag.Bool("update", false, "write the golden files anew; never for a released schema")

// goldenMessage is a stored message as it stands in a golden file.
type goldenMessage struct {
	Subject string            `json:"subject"`
	Headers map[string]string `json:"headers"`
	Data    json.RawMessage   `json:"data"`
}

const (
	day      = 24 * time.Hour
	claimID  = "0b7e2f3c-0000-4000-8000-00000000c1a1"
	rotation = "0b7e2f3c-0000-4000-8000-000000000007"
)

func at(offset time.Duration) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(offset)
}

func goldenSeat() credential.SeatID {
	return credential.SeatID{Item: "9f1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e", Slot: 2}
}

func goldenSpec() credential.Spec {
	return credential.Spec{
		Issuer: "portal",
		Item: credential.ItemSpec{
			Title: "Maps of the web shop", Folder: "keys", Tags: []string{"keyturn"},
			Privileges: []string{"premium:user:basemaps", "premium:user:geocode:temporary"},
			Referrers:  []string{"https://shop.example.com"},
		},
		Policy: credential.Policy{
			Lifetime: credential.Duration(90 * day), RotateBefore: credential.Duration(30 * day),
			Drain: credential.Duration(day), DrainSet: true, Settle: credential.Duration(time.Minute), SettleSet: true,
			Confirm: &credential.Confirm{Consumers: []string{"shop"}, Before: credential.BeforeRetire, Deadline: credential.Duration(day), Then: credential.ThenProceed},
		},
		Labels: map[string]string{"env": "prod", "team": "maps"},
		Owner:  "maps@example.com",
	}
}

func goldenClaim(op credential.Operation) credential.Claim {
	return credential.Claim{
		ID: claimID, Daemon: "keyturn-1", Op: op, Seat: goldenSeat(), Mint: 4,
		Window: credential.Duration(30 * time.Second), Opened: at(0),
	}
}

func goldenRotation() credential.Rotation {
	return credential.Rotation{
		ID: rotation, Reason: credential.ReasonExpiring, Actor: "policy", Started: at(0),
		Phase: credential.PhaseIssue, Target: goldenSeat(), Settings: goldenSpec().Item.SettingsHash(),
	}
}

func goldenState() credential.State {
	r := goldenRotation()
	return credential.State{
		Schema: credential.Schema, Name: "team/maps", Status: credential.StatusRegistered,
		Revision: 17, Spec: goldenSpec(), Generation: 3, Mint: 4, Settings: goldenSpec().Item.SettingsHash(),
		Seats: []credential.Seat{
			{SeatID: goldenSeat().Sibling(), Role: credential.RolePrimary, Fingerprint: "1111222233334444", Mint: 3, Expires: at(30 * day), Proven: at(-60 * day)},
			{SeatID: goldenSeat(), Role: credential.RoleCandidate, Mint: 4},
		},
		Claims:   []credential.Claim{goldenClaim(credential.OpGenerate)},
		Rotation: &r,
		Due:      at(0),
		Vault:    credential.Vault{Version: 7, Destroyed: 6},
	}
}

// goldenFacts has a fact of every type.
func goldenFacts() []credential.Fact {
	const fingerprint = credential.Fingerprint("5555666677778888")
	spec := goldenSpec()
	seat := goldenSeat()
	return []credential.Fact{
		credential.Registered{Spec: spec},
		credential.Updated{Spec: &spec, Request: &credential.Request{ID: "r-1", Actor: "op@example.com", Reason: "audit", At: at(0), Now: true}, Due: at(day)},
		credential.Held{Hold: credential.Hold{Actor: "op@example.com", Reason: "release freeze", Since: at(0), Until: at(day)}},
		credential.Released{},
		credential.Started{Rotation: goldenRotation(), Claim: goldenClaim(credential.OpGenerate)},
		credential.Failed{Failure: credential.Failure{Step: credential.StepIssue, Class: credential.ClassRetryable, Message: "portal: generate key on slot 2: 503", Attempts: 2, Since: at(0), Last: at(time.Minute), Next: at(3 * time.Minute), Silent: true}, Closed: claimID},
		credential.Abandoned{Why: "settings changed"},
		credential.StepClaimed{Claim: goldenClaim(credential.OpCreateItem), Closed: claimID, Item: seat.Item, NewItem: true},
		credential.Issued{Seat: seat, Mint: 4, Fingerprint: fingerprint, Expires: at(90 * day), Version: 8, Closed: claimID},
		credential.Acknowledged{Consumer: "shop", Fingerprint: fingerprint},
		credential.Promoted{Seat: seat, Fingerprint: fingerprint, Expires: at(90 * day), Version: 9, DrainUntil: at(day), Due: at(60 * day)},
		credential.Retiring{Claim: goldenClaim(credential.OpRevoke), Fingerprint: "1111222233334444"},
		credential.Invalidated{Seat: seat.Sibling(), Fingerprint: "1111222233334444", How: credential.HowRevoked, Version: 10, Destroyed: 10, Closed: claimID},
		credential.Expiring{Level: credential.LevelWarn, Fingerprint: fingerprint, Expires: at(30 * day)},
		credential.Expired{Fingerprint: fingerprint, Expires: at(0)},
		credential.Drifted{Finding: credential.Finding{Kind: credential.FindingKeyRefused, Seat: seat, Detail: "refused throughout a minute", Since: at(0)}, Healed: true, Expires: at(80 * day), DrainUntil: at(2 * day), Outage: credential.Duration(time.Hour)},
		credential.Recovered{Spec: spec, Seats: []credential.Seat{{SeatID: seat, Role: credential.RolePrimary, Fingerprint: fingerprint, Mint: 4, Expires: at(90 * day), Proven: at(0)}, {SeatID: seat.Sibling(), Role: credential.RoleOrphan, Mint: 3, Expires: at(30 * day)}}, Settings: spec.Item.SettingsHash(), Generation: 4, Version: 9, Mint: 1000004, Revision: 1000017, Due: at(60 * day), Gap: credential.Gap{Reason: "the disk of NATS was lost", Mint: 4, Revision: 17, Notes: []string{"slot 1 holds a live key that Vault does not show"}}},
		credential.Compromised{Keys: []credential.LeakedKey{{Seat: seat, Role: credential.RolePrimary, Fingerprint: fingerprint, Expires: at(90 * day)}}, Leak: credential.Leak{Actor: "op@example.com", Reason: "found in a public repository", Request: "r-1", Since: at(0), Immediately: true, OverrideHold: true}},
		credential.Adopted{Spec: spec, Seat: credential.Seat{SeatID: seat, Role: credential.RolePrimary, Fingerprint: fingerprint, Mint: 1, Expires: at(90 * day), Proven: at(0), Told: "0011223344556677"}, Settings: spec.Item.SettingsHash(), Version: 3, Due: at(60 * day)},
		credential.Removing{Removal: credential.Removal{Actor: "op@example.com", Reason: "the shop is closed", Since: at(0), KeepSecret: true, KeepItem: true}},
		credential.Removed{},
		credential.ItemEdited{Item: seat.Item, Description: spec.Item.DescriptionHash(), Closed: claimID},
		credential.ItemDeleted{Item: seat.Item, Closed: claimID},
	}
}

// goldenSigner signs the same way each time.
func goldenSigner(t testing.TB) *Signer {
	t.Helper()
	seed, err := nkeys.EncodeSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(credential.NewSecret(string(seed)))
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func goldenEvent(i int, fact credential.Fact) credential.Event {
	return credential.Event{
		ID:    "5d1f0a52-0000-4000-8000-0000000000" + string("0123456789abcdef"[i/16]) + string("0123456789abcdef"[i%16]),
		At:    at(time.Duration(i)*time.Minute + 123456789),
		Actor: "policy", Daemon: "keyturn-1", Request: "r-1", Fact: fact,
	}
}

// goldenHead is what the event follows; the first one follows nothing.
func goldenHead(i int) credential.Head {
	if i == 0 {
		return credential.Head{}
	}
	return credential.Head{Sequence: uint64(40 + i), Hash: strings.Repeat("ab", 32)}
}

func TestGolden(t *testing.T) {
	signer := goldenSigner(t)
	for i, fact := range goldenFacts() {
		kind := string(fact.Type())
		t.Run(kind, func(t *testing.T) {
			event, state := goldenEvent(i, fact), goldenState()
			msg, head, err := encode(state.Name, "keyturn/golden", goldenHead(i), event, state, signer)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "golden", kind+".json")
			got := marshalGolden(t, msg)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the event is not what was released (-want +got):\n%s", diff)
			}
			// what stands in the file, not what was just encoded
			stored := unmarshalGolden(t, want)
			entry, err := decode(stored.Subject, 99, stored.Header, stored.Data)
			if err != nil {
				t.Fatalf("decode: %v", err)
			}
			head.Sequence = 99
			if diff := cmp.Diff(credential.Entry{Name: state.Name, Head: head, Event: event, State: state}, entry); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			if !signed(entry.Head) {
				t.Error("the signature is not that of the content")
			}
			if _, err := cloudEvent(stored); err != nil {
				t.Errorf("CloudEvents SDK: %v", err)
			}
		})
	}
}

// TestGoldenIsComplete fails when a type of event has no golden file.
func TestGoldenIsComplete(t *testing.T) {
	have := map[credential.EventType]bool{}
	for _, fact := range goldenFacts() {
		have[fact.Type()] = true
	}
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	if err != nil || len(files) != len(have) {
		t.Errorf("%d golden files for %d types (%v)", len(files), len(have), err)
	}
	for _, kind := range declaredTypes(t) {
		if !have[kind] {
			t.Errorf("%s has no golden file", kind)
		}
	}
}

func marshalGolden(t *testing.T, msg *nats.Msg) []byte {
	t.Helper()
	g := goldenMessage{Subject: msg.Subject, Headers: map[string]string{}, Data: msg.Data}
	for name, values := range msg.Header {
		g.Headers[name] = strings.Join(values, "\n")
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(g); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unmarshalGolden(t testing.TB, text []byte) *nats.Msg {
	t.Helper()
	var g goldenMessage
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer // the file is indented, the message is not
	if err := json.Compact(&data, g.Data); err != nil {
		t.Fatal(err)
	}
	msg := &nats.Msg{Subject: g.Subject, Header: nats.Header{}, Data: data.Bytes()}
	for name, value := range g.Headers {
		msg.Header[name] = []string{value}
	}
	return msg
}

// TestDigestIsAsDocumented recomputes hash and signature from a golden file with
// nothing but what doc.go says.
func TestDigestIsAsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "golden", string(credential.TypeIssued)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	msg := unmarshalGolden(t, text)
	hashed := "keyturn-record-1\n" + msg.Subject + "\n"
	for _, name := range slices.Sorted(maps.Keys(msg.Header)) {
		if strings.HasPrefix(name, "ce-") && name != "ce-keyturnsignature" {
			hashed += name + ":" + msg.Header[name][0] + "\n"
		}
	}
	hashed += "\n" + string(msg.Data)
	sum := sha(hashed)
	signature, err := base64.RawURLEncoding.DecodeString(msg.Header["ce-keyturnsignature"][0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := nkeys.FromPublicKey(msg.Header["ce-keyturnsigner"][0])
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Verify(sum, signature); err != nil {
		t.Errorf("the documented hash is not what was signed: %v", err)
	}
}
