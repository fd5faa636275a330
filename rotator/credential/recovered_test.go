package credential_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// recovered is a recovery with a primary on slot 2 and a key that drains on slot 1.
func recovered(change ...func(*credential.Recovered)) credential.Recovered {
	s := spec()
	expires := start.Add(80 * 24 * time.Hour)
	f := credential.Recovered{
		Spec: s, Settings: s.Item.SettingsHash(), Generation: 7, Version: 21, Mint: 7 + credential.RecoveryGap,
		Revision: 40 + credential.RecoveryGap, Due: s.Policy.DueAt(name, 7, start, expires, every{}),
		Gap: credential.Gap{Reason: "disk lost", Mint: 7, Revision: 40},
		Seats: []credential.Seat{
			{SeatID: credential.SeatID{Item: "i1", Slot: 2}, Role: credential.RolePrimary, Fingerprint: "fp-7", Mint: 7, Expires: expires, Proven: start},
			{SeatID: credential.SeatID{Item: "i1", Slot: 1}, Role: credential.RoleDraining, Fingerprint: "fp-6", Mint: 6, Expires: start.Add(20 * 24 * time.Hour), Proven: start},
		},
	}
	for _, c := range change {
		c(&f)
	}
	return f
}

// recover is a life that goes on after the loss of its record.
func recover(t *testing.T, f credential.Recovered) *life {
	t.Helper()
	l := newLife()
	event, err := credential.DecideRecovery(l.state, f, "ann", l.view())
	if err != nil {
		t.Fatal(err)
	}
	l.apply(event)
	return l
}

func TestARecoveredRecordGoesOnAboveEveryNumber(t *testing.T) {
	l := recover(t, recovered())
	s := l.state
	primary, ok := s.Primary()
	if !ok || primary.Fingerprint != "fp-7" || s.Status != credential.StatusRegistered || s.Vault.Version != 21 || s.Generation != 7 {
		t.Fatalf("recovered as %+v", s)
	}
	if s.Revision != 40+credential.RecoveryGap || s.Mint != 7+credential.RecoveryGap {
		t.Errorf("revision %d, mint %d: not above what was found", s.Revision, s.Mint)
	}
	// nothing is rotated merely because of the recovery
	step := l.next()
	if step.Kind != credential.StepWait || step.Reason != credential.ReasonNotDue {
		t.Errorf("after the recovery: %+v", step)
	}
	l.must(credential.RequestRotation{ID: "r1", Actor: "ann", Now: true})
	if l.state.Revision != 41+credential.RecoveryGap {
		t.Errorf("the next event has the revision %d", l.state.Revision)
	}
}

// TestADrainingKeyOutlivesTheNextRotation: it may be in use still, so the next
// key goes to another item, and the old ones end with that rotation's drain.
func TestADrainingKeyOutlivesTheNextRotation(t *testing.T) {
	l := recover(t, recovered())
	l.must(credential.RequestRotation{ID: "r1", Actor: "ann", Now: true})
	l.must(credential.Begin{Reason: credential.ReasonRequested})
	if r := l.state.Rotation; r.Phase != credential.PhaseItem {
		t.Fatalf("the next key goes over the draining one: %+v", r)
	}
	l.must(credential.ItemMade{Item: "i2"})
	if l.state.Mint != 8+credential.RecoveryGap {
		t.Errorf("the next mint has the number %d", l.state.Mint)
	}
	l.issue().promote()
	l.now = l.state.Rotation.DrainUntil.Add(time.Second)
	for range 2 {
		step := l.next()
		if step.Kind != credential.StepRetire {
			t.Fatalf("after the drain: %+v", step)
		}
		l.must(credential.ClaimRevoke{Seat: step.Seat})
		l.must(credential.KeyInvalidated{Seat: step.Seat, How: credential.HowRevoked, Version: 30, Destroyed: 30})
	}
	if len(l.state.Seats) != 1 || l.state.Rotation != nil {
		t.Errorf("left over: %+v", l.state.Seats)
	}
}

// TestAnOrphanIsGeneratedOverWithAFence: it is on the list, so the claim says so.
func TestAnOrphanIsGeneratedOverWithAFence(t *testing.T) {
	l := recover(t, recovered(func(f *credential.Recovered) {
		f.Seats[1] = credential.Seat{SeatID: f.Seats[1].SeatID, Role: credential.RoleOrphan}
	}))
	l.must(credential.RequestRotation{ID: "r1", Actor: "ann", Now: true})
	l.must(credential.Begin{Reason: credential.ReasonRequested})
	if claim := l.state.Claims[0]; claim.Op != credential.OpGenerate || !claim.Fence || claim.Seat != (credential.SeatID{Item: "i1", Slot: 1}) {
		t.Errorf("claim %+v", claim)
	}
}

func TestARecoveryRefusesWhatCannotBe(t *testing.T) {
	for what, change := range map[string]func(*credential.Recovered){
		"no primary":           func(f *credential.Recovered) { f.Seats = f.Seats[1:] },
		"two primaries":        func(f *credential.Recovered) { f.Seats[1].Role = credential.RolePrimary },
		"an unproven primary":  func(f *credential.Recovered) { f.Seats[0].Proven = time.Time{} },
		"no fingerprint":       func(f *credential.Recovered) { f.Seats[0].Fingerprint = "" },
		"no expiry":            func(f *credential.Recovered) { f.Seats[0].Expires = time.Time{} },
		"an expired primary":   func(f *credential.Recovered) { f.Seats[0].Expires = start },
		"an endless key":       func(f *credential.Recovered) { f.Seats[1].Expires = start.AddDate(900, 0, 0) },
		"a candidate":          func(f *credential.Recovered) { f.Seats[1].Role = credential.RoleCandidate },
		"no such role":         func(f *credential.Recovered) { f.Seats[1].Role = "spare" },
		"no item":              func(f *credential.Recovered) { f.Seats[1].Item = "" },
		"slot 3":               func(f *credential.Recovered) { f.Seats[1].Slot = 3 },
		"one seat twice":       func(f *credential.Recovered) { f.Seats[1].SeatID = f.Seats[0].SeatID },
		"a mint used again":    func(f *credential.Recovered) { f.Mint = f.Gap.Mint },
		"a mint nobody found":  func(f *credential.Recovered) { f.Seats[1].Mint = f.Gap.Mint + 1 },
		"a revision used":      func(f *credential.Recovered) { f.Revision = f.Gap.Revision },
		"no version in Vault":  func(f *credential.Recovered) { f.Version = 0 },
		"no plan for the next": func(f *credential.Recovered) { f.Due = time.Time{} },
	} {
		l := newLife()
		if _, err := credential.DecideRecovery(l.state, recovered(change), "ann", l.view()); !errors.Is(err, credential.ErrAbsurd) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestOnlyAnEmptyRecordIsRecovered: neither the guard nor the fold lets a second
// one replace what is known.
func TestOnlyAnEmptyRecordIsRecovered(t *testing.T) {
	l := withFirstKey()
	if _, err := credential.DecideRecovery(l.state, recovered(), "ann", l.view()); !errors.Is(err, credential.ErrNothing) {
		t.Errorf("decided: %v", err)
	}
	before := l.state
	after := credential.Evolve(before, credential.Event{ID: "x", At: start, Fact: recovered()})
	before.Revision++
	if a, b := encoded(t, before), encoded(t, after); a != b {
		t.Errorf("folded over a record that is not empty:\n%s\n%s", a, b)
	}
}

func TestARecoveryComesBackFromItsJSON(t *testing.T) {
	data, err := json.Marshal(recovered())
	if err != nil {
		t.Fatal(err)
	}
	back, err := credential.DecodeFact(credential.TypeRecovered, data)
	if err != nil || encoded(t, back) != string(data) {
		t.Errorf("%v: %+v", err, back)
	}
}

func encoded(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
