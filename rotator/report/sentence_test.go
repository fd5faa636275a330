package report_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

// told is the whole record in words.
func (l *life) told() (lines []string) {
	teller := report.NewTeller()
	for _, e := range l.entries {
		lines = append(lines, teller.Tell(e))
	}
	return lines
}

// TestALifeInWords: every fact of a life with most that can happen.
func TestALifeInWords(t *testing.T) {
	const h, m = time.Hour, time.Minute
	l := newLife(t)
	l.do(declare(t, hours()), credential.Begin{Reason: credential.ReasonFirstKey}, credential.ItemMade{Item: "i1"}).issue().promote()
	l.until(h).do(credential.PutHold{Actor: "bob", Reason: "audit", Until: at(9 * h)}).until(3 * h).do(credential.Release{Actor: "ann"})
	l.do(credential.PutHold{Actor: "bob"}, credential.Release{Actor: "bob"})
	l.do(declare(t, confirm(credential.BeforePromote, credential.ThenProceed)))
	l.do(credential.RequestRotation{ID: "r-1", Actor: "oncall", Reason: "it was in a chat", Now: true}, credential.Begin{Reason: credential.ReasonRequested})
	l.wait(m).do(credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassUnknown, Message: "cut", Wait: m})
	l.wait(m).do(credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassUnknown, Message: "cut", Wait: m})
	l.wait(m).do(credential.ClaimMint{}).issue().do(credential.Acknowledge{Consumer: "shop", Fingerprint: "fp-3"}).promote()
	l.wait(m).do(credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultOutage, Since: l.now.Add(-m)}, Outage: m})
	l.drained().retire()
	l.do(credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultChanged, Detail: "version 4", Version: 4}})
	l.do(credential.Found{Healed: true, Finding: credential.Finding{Kind: credential.FindingVaultChanged, Detail: "version 4", Version: 4}})
	l.do(credential.Begin{Reason: credential.ReasonExpiring}, credential.GiveUp{Why: "the declared settings changed"})
	l.until(14*h + 30*m).do(credential.Tell{Level: credential.LevelPage}).until(16 * h).do(credential.Tell{Level: credential.LevelExpired})
	if diff := cmp.Diff([]string{
		"registered at issuer portal: a key lives 12h and is replaced 4h before its expiry, the old one works 1h longer",
		"rotation id-2 begins: there is no key yet; the new key goes to a new item",
		"item i1 is made; key number 1 follows on it",
		"new key fp-1 is in Vault and proven (slot 1 of item i1, expires 2026-03-02T00:01:00Z)",
		"key fp-1 is the primary",
		"held until 2026-03-01T21:00:00Z: audit",
		"released: the hold by bob (audit) stood for 2h",
		"held until it is released: no reason was given",
		"released: the hold by bob (no reason was given) stood for 0s",
		"what is declared was changed: consumers none -> shop+site before promote within 2h, then proceed",
		"a rotation was asked for: it was in a chat; to begin at once",
		"rotation id-12 begins: oncall asked for it: it was in a chat; the new key goes to slot 2 of item i1 and will replace fp-1",
		"attempt 1 to generate the key failed (outcome-unknown): cut; to be tried again 2026-03-01T15:02:00Z",
		"attempt 2 to generate the key failed (outcome-unknown): cut; to be tried again 2026-03-01T15:03:00Z; failing for 1m",
		"d-1 claims the right to generate key number 3 on slot 2 of item i1, since an earlier claim ended without a result",
		"new key fp-3 is in Vault and proven (slot 2 of item i1, expires 2026-03-02T03:04:00Z)",
		"shop uses key fp-3",
		"key fp-3 is the primary and replaces fp-1, which is 3h4m old and works until 2026-03-01T16:05:00Z",
		"Vault could not be read for 1m, which does not count as drained: the old key works until 2026-03-01T16:06:00Z",
		"old key fp-1, 4h5m old, is being invalidated",
		"key fp-1 is dead (revoked); it lived for 4h6m",
		"drift: somebody else wrote the secret in Vault: version 4",
		"it is no longer so that somebody else wrote the secret in Vault: version 4",
		"rotation id-24 begins: the lead time before expiry has begun; the new key goes to slot 1 of item i1 and will replace fp-3",
		"rotation abandoned: the declared settings changed; its key (not proven) is never used",
		"the primary key fp-3 expires 2026-03-02T03:04:00Z, in 34m (level page)",
		"the primary key fp-3 has EXPIRED, at 2026-03-02T03:04:00Z",
	}, l.told()); diff != "" {
		t.Error(diff)
	}
}

// TestTextOfPeopleStaysInItsLine: a reason can forge no second line, move no
// cursor and turn no writing around.
func TestTextOfPeopleStaysInItsLine(t *testing.T) {
	l := newLife(t).first().do(credential.PutHold{Actor: "bob", Reason: "x\n2026-03-01  released (by ann)\x1b[2K\u202e\u2028\r\t"})
	lines := l.told()
	line := lines[len(lines)-1]
	if strings.ContainsAny(line, "\n\r\t\x1b\u202e\u2028") || !strings.Contains(line, "released (by ann)") {
		t.Errorf("%q", line)
	}
}

// TestEveryTypeHasWords goes by the golden files, one for each type that there is.
func TestEveryTypeHasWords(t *testing.T) {
	files, err := filepath.Glob("../../publisher/testdata/golden/*.json")
	if err != nil || len(files) < 17 {
		t.Fatalf("%d golden files: %v", len(files), err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var golden struct {
			Headers map[string]string
			Data    struct{ Fact json.RawMessage }
		}
		if err := json.Unmarshal(text, &golden); err != nil {
			t.Fatal(err)
		}
		fact, err := credential.DecodeFact(credential.EventType(golden.Headers["ce-type"]), golden.Data.Fact)
		if err != nil {
			t.Fatal(err)
		}
		if words := report.Sentence(credential.State{}, credential.Entry{Event: credential.Event{At: start, Fact: fact}}); words == string(fact.Type()) {
			t.Errorf("%s has no words", words)
		}
	}
}

func TestWhatIsNotKnownIsLeftOut(t *testing.T) {
	l := newLife(t).first().rotate().drained().retire()
	for _, e := range l.entries {
		if text := report.Sentence(credential.State{}, e); text == "" || strings.Contains(text, "0001-01-01") || strings.Contains(text, "%!") {
			t.Errorf("%s: %q", e.Event.Fact.Type(), text)
		}
	}
	last := l.entries[len(l.entries)-1]
	if diff := cmp.Diff("key fp-1 is dead (revoked)", report.Sentence(credential.State{}, last)); diff != "" {
		t.Error(diff)
	}
}

// TestWhatIsDeclaredInWords: a change says what changed.
func TestWhatIsDeclaredInWords(t *testing.T) {
	for want, change := range map[string]func(*credential.Spec){
		"issuer portal -> other":    func(s *credential.Spec) { s.Issuer = "other" },
		"lifetime 90d -> 60d":       func(s *credential.Spec) { s.Policy.Lifetime = credential.Duration(60 * day) },
		"lead time 30d -> 10d":      func(s *credential.Spec) { s.Policy.RotateBefore = credential.Duration(10 * day) },
		"drain 24h -> 0s":           func(s *credential.Spec) { s.Policy.Drain = 0 },
		"settle time 0s -> 5s":      func(s *credential.Spec) { s.Policy.Settle = credential.Duration(5 * time.Second) },
		"schedule none -> every 1h": func(s *credential.Spec) { s.Policy.Schedule = "every 1h" },
		`window none -> "every 1h" for 5m`: func(s *credential.Spec) {
			s.Policy.Window = &credential.Window{Start: "every 1h", Duration: credential.Duration(5 * time.Minute)}
		},
		"privileges premium:user:basemaps -> a+b":      func(s *credential.Spec) { s.Item.Privileges = []string{"b", "a"} },
		"items none -> x":                              func(s *credential.Spec) { s.Item.Items = []string{"x"} },
		"referrers none -> https://example.com":        func(s *credential.Spec) { s.Item.Referrers = []string{"https://example.com"} },
		"personal privileges not allowed -> allowed":   func(s *credential.Spec) { s.Item.Personal = true },
		"unlisted privileges not allowed -> allowed":   func(s *credential.Spec) { s.Item.AllowUnlisted = true },
		"owner none -> maps team":                      func(s *credential.Spec) { s.Owner = "maps team" },
		"title, folder, description, tags or labels":   func(s *credential.Spec) { s.Item.Title = "U" },
		"issuer portal -> other, owner none -> a team": func(s *credential.Spec) { s.Issuer, s.Owner = "other", "a team" },
	} {
		l := newLife(t).first()
		spec := l.state.Spec
		change(&spec)
		lines := l.do(credential.Register{Spec: spec, Actor: "ann"}).told()
		if diff := cmp.Diff("what is declared was changed: "+want, lines[len(lines)-1]); diff != "" {
			t.Error(diff)
		}
	}
}

// TestLessUsualFacts tells what TestALifeInWords does not come upon.
func TestLessUsualFacts(t *testing.T) {
	seat := credential.SeatID{Item: "i1", Slot: 2}
	before := credential.State{
		Status: credential.StatusRegistered, Rotation: &credential.Rotation{ID: "r-old"},
		Seats: []credential.Seat{{SeatID: seat, Role: credential.RoleOrphan, Fingerprint: "fp-9", Proven: start}},
	}
	for want, fact := range map[string]credential.Fact{
		"recovered after the stream was lost (the disk died); events up to 5 are known, the count goes on at 105; slot 2 is unknown": credential.Recovered{
			Revision: 105, Gap: credential.Gap{Reason: "the disk died", Revision: 5, Notes: []string{"slot 2 is unknown"}}},
		"rotation r-new begins: the issuer no longer accepts the primary key; the new key goes to slot 2 of item i1; it takes over what rotation r-old had not finished": credential.Started{
			Rotation: credential.Rotation{ID: "r-new", Reason: credential.ReasonRefused, Target: seat}},
		"rotation r-new begins: the declared privileges, items or referrers changed; the new key goes to a new item; it takes over what rotation r-old had not finished": credential.Started{
			Rotation: credential.Rotation{ID: "r-new", Reason: credential.ReasonSettings, NewItem: true}},
		"rotation r-new begins: the schedule says so; the new key goes to slot 2 of item i1; it takes over what rotation r-old had not finished": credential.Started{
			Rotation: credential.Rotation{ID: "r-new", Reason: credential.ReasonSchedule, Target: seat}},
		"key fp-9, which nobody used, is being invalidated": credential.Retiring{Claim: credential.Claim{Seat: seat}, Fingerprint: "fp-9"},
		"d-1 claims the right to make an item":              credential.StepClaimed{Claim: credential.Claim{Op: credential.OpCreateItem}},
		"d-1 claims the right to revoke the key on slot 2 of item i1": credential.StepClaimed{
			Claim: credential.Claim{Op: credential.OpRevoke, Seat: seat}},
		"a rotation was asked for: no reason was given; what somebody else left in Vault (version 4) is accepted": credential.Updated{
			Request: &credential.Request{Vault: new(uint64(4))}},
		"drift: the issuer names another expiry (slot 2 of item i1); the issuer names 2026-03-01T12:00:00Z as the expiry": credential.Drifted{
			Finding: credential.Finding{Kind: credential.FindingExpiry, Seat: seat}, Expires: start},
		"drift: a key that is not ours works in the free slot (slot 2 of item i1)": credential.Drifted{
			Finding: credential.Finding{Kind: credential.FindingUnknownKey, Seat: seat}},
		"drift: the secret in Vault is gone":             credential.Drifted{Finding: credential.Finding{Kind: credential.FindingVaultMissing}},
		"drift: the issuer refuses the primary key: 498": credential.Drifted{Finding: credential.Finding{Kind: credential.FindingKeyRefused, Detail: "498"}},
		"drift: the item is gone at the issuer":          credential.Drifted{Finding: credential.Finding{Kind: credential.FindingItemMissing}},
	} {
		e := credential.Entry{Name: name, Event: credential.Event{At: start, Daemon: "d-1", Fact: fact}}
		if diff := cmp.Diff(want, report.Sentence(before, e)); diff != "" {
			t.Error(diff)
		}
	}
}
