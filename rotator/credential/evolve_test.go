package credential_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// facts is one of each type, with every field set, as daemons write it.
func facts() []credential.Fact {
	s := spec()
	claim := credential.Claim{
		ID: "c", Daemon: "d-1", Op: credential.OpGenerate, Seat: second, Mint: 3, Fence: true,
		Window: credential.Duration(30 * time.Second), Opened: start, Supersedes: []string{"b"},
	}
	rotation := credential.Rotation{
		ID: "r", Reason: credential.ReasonExpiring, Actor: "policy", Started: start, Phase: credential.PhaseIssue, Target: second,
		NewItem: true, Settings: "0123", Ready: start, Promoted: start, DrainUntil: start, Acknowledged: []string{"web"},
		Outage: credential.Duration(time.Minute), OutageEnd: start,
	}
	request := credential.Request{ID: "q", Actor: "ann", Reason: "why", At: start, Now: true}
	failure := credential.Failure{
		Step: credential.StepIssue, Class: credential.ClassUnknown, Message: "m", Attempts: 2,
		Since: start, Last: start, Next: start.Add(time.Minute), Silent: true,
	}
	finding := credential.Finding{Kind: credential.FindingExpiry, Seat: first, Detail: "d", Since: start, Version: 4}
	return []credential.Fact{
		credential.Registered{Spec: s}, credential.Updated{Spec: &s, Request: &request, Due: start},
		credential.Held{Hold: credential.Hold{Actor: "ann", Reason: "r", Since: start, Until: start.Add(day)}}, credential.Released{},
		credential.Started{Rotation: rotation, Claim: claim}, credential.Failed{Failure: failure, Closed: "c"}, credential.Abandoned{Why: "w"},
		credential.StepClaimed{Claim: claim, Closed: "b", Item: "i2", NewItem: true},
		credential.Issued{Seat: second, Mint: 3, Fingerprint: "fp", Expires: start, Version: 5, Closed: "c"},
		credential.Acknowledged{Consumer: "web", Fingerprint: "fp"},
		credential.Promoted{Seat: second, Fingerprint: "fp", Expires: start, Version: 6, DrainUntil: start, Due: start},
		credential.Retiring{Claim: claim, Fingerprint: "fp"},
		credential.Invalidated{Seat: first, Fingerprint: "fp", How: credential.HowRevoked, Version: 7, Destroyed: 7, Closed: "c"},
		credential.Expiring{Level: credential.LevelPage, Fingerprint: "fp", Expires: start}, credential.Expired{Fingerprint: "fp", Expires: start},
		credential.Drifted{Finding: finding, Healed: true, Expires: start, DrainUntil: start, Outage: credential.Duration(time.Hour)},
	}
}

func TestEachFactSurvivesItsEncoding(t *testing.T) {
	types := map[credential.EventType]bool{}
	for _, fact := range facts() {
		types[fact.Type()] = true
		text, err := json.Marshal(fact)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := credential.DecodeFact(fact.Type(), text)
		if err != nil || !reflect.DeepEqual(decoded, fact) {
			t.Errorf("%s: %s became %+v, %v", fact.Type(), text, decoded, err)
		}
		if _, err := credential.DecodeFact(fact.Type(), []byte("{")); err == nil {
			t.Errorf("%s: half a fact is read", fact.Type())
		}
	}
	if len(types) != 16 {
		t.Errorf("%d types, want 16: is a new one missing here?", len(types))
	}
	if _, err := credential.DecodeFact("io.keyturn.key.eaten", []byte("{}")); err == nil {
		t.Error("an unknown type is read")
	}
}

// TestWhatEachFactChanges starts from a state and looks at what must differ;
// the revision counts every event.
func TestWhatEachFactChanges(t *testing.T) {
	none := func(credential.State) bool { return true }
	p, m, d := proven(), making(), inDrain()
	old := func(s credential.State) credential.Seat { seat, _ := s.Seat(first); return seat }
	revoke := credential.Claim{ID: "x", Op: credential.OpRevoke, Seat: first, Supersedes: []string{m.state.Claims[0].ID}}
	told := withFirstKey().at(start.Add(83 * day)).must(credential.Tell{Level: credential.LevelPage})
	shorter := spec(func(p *credential.Policy) { p.RotateBefore = credential.Duration(5 * day) })
	for what, c := range map[string]struct {
		life *life
		fact credential.Fact
		want func(credential.State) bool
	}{
		"a registration": {newLife(), credential.Registered{Spec: spec()}, func(s credential.State) bool {
			return s.Status == credential.StatusRegistered && s.Schema == credential.Schema && s.Spec.Equal(spec())
		}},
		"a request": {withFirstKey(), credential.Updated{Request: &credential.Request{ID: "q"}}, func(s credential.State) bool {
			return s.Requested.ID == "q" && s.Spec.Equal(spec())
		}},
		"a request accepts what was written by hand": {
			withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultChanged, Version: 9}}),
			credential.Updated{Request: &credential.Request{ID: "q"}},
			func(s credential.State) bool {
				return len(s.Drift) == 0 && s.Vault.Version == 9 && s.Vault.Accepted == 9
			},
		},
		"a hold":  {withFirstKey(), credential.Held{Hold: credential.Hold{Actor: "ann"}}, func(s credential.State) bool { return s.Held(start) && s.Hold.Actor == "ann" }},
		"its end": {withFirstKey().must(credential.PutHold{}), credential.Released{}, func(s credential.State) bool { return s.Hold == nil }},
		"a failure, answered": {m, credential.Failed{Failure: credential.Failure{Attempts: 1}, Closed: m.state.Claims[0].ID}, func(s credential.State) bool {
			return s.Failure.Attempts == 1 && len(s.Claims) == 0 && s.Rotation != nil
		}},
		"a failure, unclear": {m, credential.Failed{Failure: credential.Failure{Attempts: 1}}, func(s credential.State) bool { return len(s.Claims) == 1 }},
		"an abandonment": {p, credential.Abandoned{}, func(s credential.State) bool {
			c, _ := s.Seat(second)
			return s.Rotation == nil && c.Role == credential.RoleOrphan
		}},
		"another mint": {m, credential.StepClaimed{Claim: credential.Claim{ID: "x", Op: credential.OpGenerate, Seat: second, Mint: 3}, Closed: m.state.Claims[0].ID}, func(s credential.State) bool {
			c, _ := s.Candidate()
			return s.Mint == 3 && c.Mint == 3 && len(s.Claims) == 1 && len(s.Seats) == 2
		}},
		"a claim for an item": {m, credential.StepClaimed{Claim: credential.Claim{ID: "x", Op: credential.OpCreateItem}, NewItem: true}, func(s credential.State) bool {
			return s.Rotation.Phase == credential.PhaseItem && s.Rotation.Target.Item == "" && len(s.Claims) == 2
		}},
		"a claim over another": {m, credential.Retiring{Claim: revoke}, func(s credential.State) bool { return len(s.Claims) == 1 && s.Claims[0].ID == "x" && old(s).Claimed }},
		"an issue": {m, credential.Issued{Seat: second, Mint: 2, Fingerprint: "fp", Expires: start.Add(day), Version: 5, Closed: m.state.Claims[0].ID}, func(s credential.State) bool {
			c, _ := s.Candidate()
			return c.Fingerprint == "fp" && c.Proven.Equal(m.now) && s.Rotation.Phase == credential.PhaseReady && s.Vault.Version == 5 && len(s.Claims) == 0
		}},
		"a promotion": {p, credential.Promoted{Seat: second, Fingerprint: "fp-2", Expires: start.Add(200 * day), Version: 8, DrainUntil: start.Add(day), Due: start.Add(9 * day)}, func(s credential.State) bool {
			now, _ := s.Primary()
			return now.SeatID == second && old(s).Role == credential.RoleDraining && s.Generation == 2 && s.Due.Equal(start.Add(9*day)) && s.Rotation.Phase == credential.PhaseDrain && s.Vault.Version == 8
		}},
		"a confirmation": {p, credential.Acknowledged{Consumer: "web"}, func(s credential.State) bool { return len(s.Rotation.Acknowledged) == 1 }},
		"the end of the old": {d, credential.Invalidated{Seat: first, Version: 9, Destroyed: 8}, func(s credential.State) bool {
			return s.Rotation == nil && len(s.Seats) == 1 && s.Vault.Version == 9 && s.Vault.Destroyed == 8
		}},
		"a warning": {withFirstKey(), credential.Expiring{Level: credential.LevelWarn}, func(s credential.State) bool { return s.Notice == credential.LevelWarn }},
		"an expiry": {withFirstKey(), credential.Expired{}, func(s credential.State) bool { return s.Notice == credential.LevelExpired }},
		"an outage of Vault": {d, credential.Drifted{Finding: credential.Finding{Kind: credential.FindingVaultOutage, Since: start}, DrainUntil: start.Add(500 * day), Outage: credential.Duration(time.Hour)}, func(s credential.State) bool {
			return s.Rotation.DrainUntil.Equal(start.Add(500*day)) && s.Rotation.OutageEnd.Equal(start.Add(time.Hour)) && len(s.Drift) == 0
		}},
		"an earlier expiry": {withFirstKey(), credential.Drifted{Finding: credential.Finding{Kind: credential.FindingExpiry, Seat: first}, Expires: start.Add(31 * day)}, func(s credential.State) bool {
			return old(s).Expires.Equal(start.Add(31*day)) && s.Due.Equal(start.Add(day))
		}},
		"a later expiry":        {told, credential.Drifted{Finding: credential.Finding{Kind: credential.FindingExpiry, Seat: first}, Expires: start.Add(300 * day)}, func(s credential.State) bool { return s.Due.Equal(told.state.Due) && s.Notice == credential.LevelNone }},
		"a shorter lead time":   {told, credential.Updated{Spec: &shorter}, func(s credential.State) bool { return s.Notice == credential.LevelNone }},
		"a finding":             {withFirstKey(), credential.Drifted{Finding: credential.Finding{Kind: credential.FindingItemMissing}}, func(s credential.State) bool { return len(s.Drift) == 1 }},
		"its healing":           {withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingItemMissing}}), credential.Drifted{Finding: credential.Finding{Kind: credential.FindingItemMissing}, Healed: true}, func(s credential.State) bool { return len(s.Drift) == 0 }},
		"a stranger's key":      {m, credential.Drifted{Finding: credential.Finding{Kind: credential.FindingUnknownKey, Seat: second}}, func(s credential.State) bool { return len(s.Seats) == 1 && len(s.Claims) == 0 && s.Rotation.NewItem }},
		"a fact nobody can use": {withFirstKey(), nil, none},
	} {
		before, _ := json.Marshal(c.life.state)
		after := credential.Evolve(c.life.state, credential.Event{ID: "e", At: c.life.now, Fact: c.fact})
		if !c.want(after) || after.Revision != c.life.state.Revision+1 {
			t.Errorf("%s: %+v", what, after)
		}
		if untouched, _ := json.Marshal(c.life.state); string(untouched) != string(before) {
			t.Errorf("%s changed the state that it started from", what)
		}
	}
}

func TestAHoldStandsUntilItsInstant(t *testing.T) {
	s := credential.State{Hold: &credential.Hold{Until: start}}
	if !s.Held(start.Add(-1)) || s.Held(start) || (credential.State{}).Held(start) {
		t.Error("a hold stands before its end, not at it")
	}
	if !(credential.State{Hold: &credential.Hold{}}).Held(start.AddDate(100, 0, 0)) {
		t.Error("a hold without an end ended")
	}
}

func TestTheInstantsOfAnEventAreInUTC(t *testing.T) {
	zone := time.FixedZone("elsewhere", 7200)
	l := withFirstKey()
	l.now = l.now.In(zone)
	l.must(credential.PutHold{Until: start.In(zone).Add(day)})
	if e := l.events[len(l.events)-1]; e.At.Location() != time.UTC || l.state.Hold.Until.Location() != time.UTC || l.state.Hold.Since.Location() != time.UTC {
		t.Errorf("at %v, hold %+v", e.At, l.state.Hold)
	}
}
