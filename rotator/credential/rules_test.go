package credential_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TestNextInOrder is about the composed list: what wins when several things
// could be said.
func TestNextInOrder(t *testing.T) {
	at := func(l *life, now time.Time) *life { l.now = now; return l }
	expiry := func(l *life) time.Time { p, _ := l.state.Primary(); return p.Expires }
	for what, c := range map[string]struct {
		life   *life
		kind   credential.StepKind
		reason credential.Reason
	}{
		"nobody registered it":              {newLife(), credential.StepWait, credential.ReasonNotRegistered},
		"registered, no key":                {newLife().must(credential.Register{Spec: spec()}), credential.StepBegin, credential.ReasonFirstKey},
		"begun: the item first":             {newLife().must(credential.Register{Spec: spec()}, credential.Begin{Reason: credential.ReasonFirstKey}), credential.StepItem, credential.ReasonInFlight},
		"the item is there":                 {newLife().must(credential.Register{Spec: spec()}, credential.Begin{Reason: credential.ReasonFirstKey}, credential.ItemMade{Item: "i"}), credential.StepIssue, credential.ReasonInFlight},
		"has a key":                         {withFirstKey(), credential.StepWait, credential.ReasonNotDue},
		"an instant before due":             {func() *life { l := withFirstKey(); return at(l, l.state.Due.Add(-1)) }(), credential.StepWait, credential.ReasonNotDue},
		"due":                               {func() *life { l := withFirstKey(); return at(l, l.state.Due) }(), credential.StepBegin, credential.ReasonExpiring},
		"warned before it begins":           {func() *life { l := withFirstKey(); return at(l, expiry(l).Add(-15*day)) }(), credential.StepNotice, credential.ReasonNotice},
		"asked for now":                     {withFirstKey().must(credential.RequestRotation{ID: "r", Now: true}), credential.StepBegin, credential.ReasonRequested},
		"the settings changed":              {withFirstKey().must(credential.Register{Spec: other()}), credential.StepBegin, credential.ReasonSettings},
		"drains":                            {inDrain(), credential.StepWait, credential.ReasonDraining},
		"an instant before it ends":         {func() *life { l := inDrain(); return at(l, l.state.Rotation.DrainUntil.Add(-1)) }(), credential.StepWait, credential.ReasonDraining},
		"the drain is over":                 {func() *life { l := inDrain(); return at(l, l.state.Rotation.DrainUntil) }(), credential.StepRetire, credential.ReasonDrainOver},
		"the settings changed in the drain": {inDrain().must(credential.Register{Spec: other()}), credential.StepBegin, credential.ReasonSettings},
		"held when the drain is over": {func() *life {
			l := inDrain().must(credential.PutHold{Actor: "ann", Reason: "audit"})
			return at(l, l.state.Rotation.DrainUntil)
		}(), credential.StepWait, credential.ReasonHeld},
		"the clock is off when the drain is over": {func() *life {
			l := inDrain()
			l.skew = 6 * time.Minute
			return at(l, l.state.Rotation.DrainUntil.Add(time.Hour))
		}(), credential.StepWait, credential.ReasonSkew},
		"our clock is ahead of the issuer's": {func() *life {
			l := inDrain()
			l.skew = -time.Minute
			return at(l, l.state.Rotation.DrainUntil)
		}(), credential.StepWait, credential.ReasonDraining},
		"the old key expired while held": {func() *life {
			l := inDrain().must(credential.PutHold{Actor: "ann", Reason: "audit"})
			old, _ := l.state.Seat(credential.SeatID{Item: "i1", Slot: 1})
			return at(l, old.Expires)
		}(), credential.StepExpire, credential.ReasonKeyExpired},
		"Vault was changed by hand": {withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultChanged, Version: 9}}), credential.StepWait, credential.ReasonDrift},
		"an operator accepts that":  {withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultChanged, Version: 9}}, credential.RequestRotation{ID: "r"}), credential.StepBegin, credential.ReasonRequested},
		"the primary is refused":    {withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyRefused, Seat: credential.SeatID{Item: "i1", Slot: 1}}}), credential.StepBegin, credential.ReasonRefused},
	} {
		if step := c.life.next(); step.Kind != c.kind || step.Reason != c.reason {
			t.Errorf("%s: %s, %s (%s); want %s, %s", what, step.Kind, step.Reason, step.Why, c.kind, c.reason)
		}
	}
}

// other is a spec with other privileges.
func other() credential.Spec {
	s := spec()
	s.Item.Privileges = []string{"premium:user:places"}
	return s
}

// titled is a spec with another title.
func titled() credential.Spec {
	s := spec()
	s.Item.Title, s.Item.Tags = "another title", []string{"maps"}
	return s
}

func TestASuccessorWaitsForTheClaimToBeOver(t *testing.T) {
	l := withFirstKey()
	l.now = l.state.Due
	l.must(credential.Begin{Reason: credential.ReasonExpiring})
	l.work = credential.Work{} // another daemon, or this one after a restart
	window := l.state.Claims[0].Window.Std()
	began := l.now

	l.now = began.Add(2*window - 1)
	if step := l.next(); step.Kind != credential.StepWait || step.Reason != credential.ReasonClaimOpen || !step.At.Equal(began.Add(2*window)) {
		t.Errorf("an instant before: %s, %s until %v", step.Kind, step.Reason, step.At)
	}
	if err := l.do(credential.ClaimMint{}); !errors.Is(err, credential.ErrClaimed) {
		t.Errorf("an instant before: %v, want ErrClaimed", err)
	}
	l.now = began.Add(2 * window)
	if step := l.next(); step.Kind != credential.StepResume {
		t.Errorf("over: %s, want resume", step.Kind)
	}
	old := l.state.Mint
	l.must(credential.ClaimMint{})
	if l.state.Mint != old+1 || len(l.state.Claims) != 1 || !l.state.Claims[0].Fence {
		t.Errorf("mint %d, claims %+v; want the next mint, one claim, and a fence", l.state.Mint, l.state.Claims)
	}
	// the first holder's late result names a mint that is no more
	late := credential.KeyIssued{Seat: l.state.Rotation.Target, Mint: old, Fingerprint: "late", Expires: l.now.Add(90 * day), Version: 5}
	if err := l.do(late); !errors.Is(err, credential.ErrStale) {
		t.Errorf("a late result: %v, want ErrStale", err)
	}
}

func TestAnUnansweredClaimStaysOpenForItsHolderToo(t *testing.T) {
	for _, answered := range []bool{true, false} {
		l := withFirstKey()
		l.now = l.state.Due
		l.must(credential.Begin{Reason: credential.ReasonExpiring},
			credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassUnknown, Answered: answered})
		if open := len(l.state.Claims) == 1; open == answered {
			t.Errorf("answered %v: the claim is open: %v", answered, open)
		}
		if step := l.next(); (step.Kind == credential.StepResume) != answered {
			t.Errorf("answered %v: %s", answered, step.Kind)
		}
	}
}

func TestThePrimaryIsNeverClaimed(t *testing.T) {
	l := inDrain()
	l.now = l.state.Rotation.DrainUntil
	primary, _ := l.state.Primary()
	for _, c := range []credential.Command{
		credential.ClaimRevoke{Seat: primary.SeatID},
		credential.KeyInvalidated{Seat: primary.SeatID, How: credential.HowRevoked, Version: 9},
		credential.KeyInvalidated{Seat: primary.SeatID, How: credential.HowExpired, Version: 9},
	} {
		if err := l.do(c); !errors.Is(err, credential.ErrStale) {
			t.Errorf("%T on the primary: %v, want ErrStale", c, err)
		}
	}
}

func TestAHoldRefusesTheDestructiveClaim(t *testing.T) {
	l := inDrain().must(credential.PutHold{Actor: "ann", Reason: "audit", Until: start.Add(300 * day)})
	l.now = l.state.Rotation.DrainUntil
	old := credential.SeatID{Item: "i1", Slot: 1}
	if err := l.do(credential.ClaimRevoke{Seat: old}); !errors.Is(err, credential.ErrHeld) {
		t.Errorf("held: %v, want ErrHeld", err)
	}
	l.must(credential.Release{Actor: "ann"}, credential.ClaimRevoke{Seat: old})
	if err := l.do(credential.Release{}); !errors.Is(err, credential.ErrNothing) {
		t.Errorf("released twice: %v, want ErrNothing", err)
	}
}

func TestAHoldLetsIssueAndPromotionThrough(t *testing.T) {
	l := withFirstKey().must(credential.PutHold{Actor: "ann", Reason: "audit"})
	l.now = l.state.Due
	l.must(credential.Begin{Reason: credential.ReasonExpiring}).issue().promote()
	if l.state.Generation != 2 {
		t.Errorf("generation %d, want 2", l.state.Generation)
	}
}

func TestAKeyWithAnOpenRevokeClaimIsNotPromoted(t *testing.T) {
	l := withFirstKey()
	l.now = l.state.Due
	l.must(credential.Begin{Reason: credential.ReasonExpiring}).issue()
	candidate, _ := l.state.Candidate()
	l.apply(credential.Event{ID: "e", At: l.now, Fact: credential.StepClaimed{Claim: credential.Claim{ID: "x", Op: credential.OpRevoke, Seat: candidate.SeatID}}})
	if err := l.do(credential.KeyPromoted{Fingerprint: candidate.Fingerprint, Version: 9}); !errors.Is(err, credential.ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
}

func TestAbsurdDatesAreRefused(t *testing.T) {
	for _, expires := range []time.Time{{}, start, start.Add(-day), start.Add(400 * day)} {
		l := newLife().must(credential.Register{Spec: spec()}, credential.Begin{Reason: credential.ReasonFirstKey}, credential.ItemMade{Item: "i"})
		err := l.do(credential.KeyIssued{Seat: l.state.Rotation.Target, Mint: 1, Fingerprint: "f", Expires: expires, Version: 1})
		if !errors.Is(err, credential.ErrAbsurd) {
			t.Errorf("a key that expires %v: %v, want ErrAbsurd", expires, err)
		}
	}
}

func TestLevelsBeginAtTheirInstants(t *testing.T) {
	l := withFirstKey()
	primary, _ := l.state.Primary()
	for _, c := range []struct {
		before time.Duration
		level  credential.Level
	}{{15 * day, credential.LevelWarn}, {7*day + 12*time.Hour, credential.LevelPage}, {0, credential.LevelExpired}} {
		l.now = primary.Expires.Add(-c.before - 1)
		if step := l.next(); step.Kind == credential.StepNotice {
			t.Errorf("%s is told an instant too soon", c.level)
		}
		l.now = l.now.Add(1)
		step := l.next()
		if step.Kind != credential.StepNotice || step.Level != c.level {
			t.Errorf("%v before expiry: %s %q, want a notice of %s", c.before, step.Kind, step.Level, c.level)
		}
		l.must(credential.Tell{Level: c.level})
		if err := l.do(credential.Tell{Level: c.level}); !errors.Is(err, credential.ErrStale) {
			t.Errorf("%s told twice: %v", c.level, err)
		}
	}
}

func TestTheGateWaitsForItsConsumersButNotBeyondThePageLevel(t *testing.T) {
	gated := func(then string) func(*credential.Policy) {
		return func(p *credential.Policy) {
			p.Confirm = &credential.Confirm{Consumers: []string{"web", "batch"}, Before: credential.BeforePromote, Deadline: credential.Duration(2 * day), Then: then}
		}
	}
	ready := func(then string) *life {
		l := withFirstKey(gated(then))
		l.now = l.state.Due
		return l.must(credential.Begin{Reason: credential.ReasonExpiring}).issue()
	}
	l := ready(credential.ThenProceed)
	candidate, _ := l.state.Candidate()
	if step := l.next(); step.Kind != credential.StepWait || step.Reason != credential.ReasonGate || !step.At.Equal(l.now.Add(2*day)) {
		t.Errorf("nobody confirmed: %s %s until %v", step.Kind, step.Reason, step.At)
	}
	l.must(credential.Acknowledge{Consumer: "web", Fingerprint: candidate.Fingerprint})
	if err := l.do(credential.Acknowledge{Consumer: "web", Fingerprint: candidate.Fingerprint}); !errors.Is(err, credential.ErrNothing) {
		t.Errorf("confirmed twice: %v", err)
	}
	if err := l.do(credential.Acknowledge{Consumer: "batch", Fingerprint: "old"}); !errors.Is(err, credential.ErrStale) {
		t.Errorf("another key confirmed: %v", err)
	}
	if step := l.next(); step.Reason != credential.ReasonGate {
		t.Errorf("one of two confirmed: %s", step.Reason)
	}
	l.must(credential.Acknowledge{Consumer: "batch", Fingerprint: candidate.Fingerprint})
	if step := l.next(); step.Kind != credential.StepPromote {
		t.Errorf("both confirmed: %s, want promote", step.Kind)
	}

	late := ready(credential.ThenProceed)
	late.now = late.now.Add(2 * day)
	if step := late.next(); step.Kind != credential.StepPromote {
		t.Errorf("at the deadline: %s, want promote", step.Kind)
	}
	halted := ready(credential.ThenHalt)
	halted.now = halted.now.Add(3 * day)
	if step := halted.next(); step.Kind != credential.StepWait || step.Reason != credential.ReasonHalted {
		t.Errorf("halted: %s %s", step.Kind, step.Reason)
	}
	primary, _ := halted.state.Primary()
	halted.now = halted.state.Spec.Policy.PageAt(primary.Expires)
	halted.must(credential.Tell{Level: credential.LevelPage})
	if step := halted.next(); step.Kind != credential.StepPromote || step.Reason != credential.ReasonPageLevel {
		t.Errorf("at the page level: %s %s, want promote", step.Kind, step.Reason)
	}
}

func TestBackoffEndsWhenTheIssuerAnswersOrAnOperatorAsks(t *testing.T) {
	failed := func(silent bool) *life {
		l := withFirstKey()
		l.now = l.state.Due
		l.must(credential.Begin{Reason: credential.ReasonExpiring},
			credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassRetryable, Answered: true, Silent: silent, Wait: time.Hour})
		l.now = l.now.Add(time.Minute)
		return l
	}
	for _, silent := range []bool{true, false} {
		l := failed(silent)
		if step := l.next(); step.Reason != credential.ReasonBackoff {
			t.Errorf("silent %v: %s, want back-off", silent, step.Reason)
		}
		view := l.view()
		view.IssuerAnswered = l.now
		if step := credential.Next(l.state, view); (step.Kind == credential.StepResume) != silent {
			t.Errorf("silent %v, answered since: %s %s", silent, step.Kind, step.Reason)
		}
		l.must(credential.RequestRotation{ID: "r", Now: true})
		if step := l.next(); step.Kind != credential.StepResume {
			t.Errorf("asked for now: %s %s, want resume", step.Kind, step.Reason)
		}
		if l.state.Failure.Attempts != 1 {
			t.Errorf("attempts %d", l.state.Failure.Attempts)
		}
	}
}

func TestAnUnknownKeySendsTheRotationToANewItem(t *testing.T) {
	l := withFirstKey()
	l.now = l.state.Due
	l.must(credential.Begin{Reason: credential.ReasonExpiring})
	idle := l.state.Rotation.Target
	l.must(credential.Found{Finding: credential.Finding{Kind: credential.FindingUnknownKey, Seat: idle}})
	if _, listed := l.state.Seat(idle); listed {
		t.Error("somebody else's key is on our seat list: it would be revoked")
	}
	if step := l.next(); step.Kind != credential.StepResume {
		t.Fatalf("%s %s, want to resume with a claim for an item", step.Kind, step.Reason)
	}
	l.must(credential.ClaimMint{})
	if c := l.state.Claims[len(l.state.Claims)-1]; c.Op != credential.OpCreateItem || l.state.Rotation.Phase != credential.PhaseItem {
		t.Errorf("claim %+v in phase %s", c, l.state.Rotation.Phase)
	}
}

func TestASettingsChangeAbandonsWhatIsNotPromoted(t *testing.T) {
	l := withFirstKey()
	l.now = l.state.Due
	l.must(credential.Begin{Reason: credential.ReasonExpiring}).issue().must(credential.Register{Spec: other()})
	if step := l.next(); step.Kind != credential.StepAbandon {
		t.Fatalf("%s, want abandon", step.Kind)
	}
	l.must(credential.GiveUp{Why: "settings"})
	orphan, _ := l.state.Seat(credential.SeatID{Item: "i1", Slot: 2})
	if orphan.Role != credential.RoleOrphan || l.state.Rotation != nil {
		t.Fatalf("seat %+v, rotation %v", orphan, l.state.Rotation)
	}
	// the succession takes the orphan over, and ends when only its own key is left
	l.must(credential.Begin{Reason: credential.ReasonSettings}, credential.ItemMade{Item: "i2"}).issue().promote()
	for range 2 {
		l.now = l.now.Add(5 * day)
		step := l.next()
		if step.Kind != credential.StepRetire {
			t.Fatalf("%s %s, want retire", step.Kind, step.Reason)
		}
		l.must(credential.ClaimRevoke{Seat: step.Seat}, credential.KeyInvalidated{Seat: step.Seat, How: credential.HowRevoked, Version: l.state.Vault.Version + 1})
	}
	if l.state.Rotation != nil || len(l.state.Seats) != 1 {
		t.Errorf("rotation %v, seats %v", l.state.Rotation, l.state.Seats)
	}
}

// A claim over a named key may end without a call. The key may live, so a hold
// that comes then still protects it: the next key goes to a new item.
func TestHoldProtectsAKeyThatAnEarlierClaimDidNotKill(t *testing.T) {
	l := withFirstKey()
	l.now = l.state.Due
	l.must(credential.Begin{Reason: credential.ReasonExpiring}).issue()           // the candidate is named …
	l.must(credential.Register{Spec: other()}, credential.GiveUp{Why: "changed"}) // … given up …
	for i := range l.state.Seats[1:] {
		l.state.Seats[1+i].Proven = time.Time{} // (never shown to anybody)
	}
	l.must(credential.Register{Spec: spec()}, credential.Begin{Reason: credential.ReasonExpiring}) // … and generated over
	second := credential.SeatID{Item: "i1", Slot: 2}
	if seat, _ := l.state.Seat(second); seat.Over != "fp-2" || seat.Fingerprint != "" {
		t.Fatalf("the seat is %+v, want one over fp-2", seat)
	}
	l.must(credential.PutHold{Actor: "ann", Reason: "audit"})
	l.work = credential.Work{} // the holder died before its call
	l.now = l.now.Add(2 * l.state.Claims[0].Window.Std())
	if step := l.next(); step.Kind != credential.StepResume {
		t.Fatalf("%s (%s), want resume", step.Kind, step.Why)
	}
	l.must(credential.ClaimMint{})
	claim := l.state.Claims[len(l.state.Claims)-1]
	if claim.Op != credential.OpCreateItem || l.state.Rotation.Phase != credential.PhaseItem {
		t.Errorf("the claim is to %s on %s, want a new item", claim.Op, claim.Seat)
	}
	if seat, ok := l.state.Seat(second); !ok || seat.Role != credential.RoleOrphan || seat.Over != "fp-2" {
		t.Errorf("the old seat is %+v, want an orphan that keeps the name", seat)
	}
	l.must(credential.ItemMade{Item: "i2"}).issue().promote()
	l.now = l.state.Rotation.DrainUntil
	if err := l.do(credential.ClaimRevoke{Seat: second}); !errors.Is(err, credential.ErrHeld) {
		t.Errorf("a revoke of the orphan under the hold: %v, want ErrHeld", err)
	}
}
