package credential_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

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

// What a rotation was begun for is still wanted after it was abandoned, also
// when the change that ended it is taken back: the next one takes its seats over.
func TestAnAbandonedRotationIsBegunAgain(t *testing.T) {
	l := withFirstKey().must(credential.RequestRotation{ID: "r", Actor: "ann"}, credential.Begin{Reason: credential.ReasonRequested})
	l.issue().must(credential.Register{Spec: other()}, credential.GiveUp{Why: "changed"}, credential.Register{Spec: spec()})
	step := l.next()
	if step.Kind != credential.StepBegin || step.Reason != credential.ReasonRequested {
		t.Fatalf("%s, %s (%s); want to begin again", step.Kind, step.Reason, step.Why)
	}
	// on a new item: the key that was proven and given up drains first
	l.must(credential.Begin{Reason: step.Reason}, credential.ItemMade{Item: "i2"}).issue().promote()
	if seat, ok := l.state.Seat(credential.SeatID{Item: "i1", Slot: 2}); !ok || seat.Role != credential.RoleOrphan {
		t.Errorf("the seat that was given up is %+v, %v", seat, ok)
	}
	if l.state.Again != "" {
		t.Errorf("again is %q after it was begun", l.state.Again)
	}
}

// An issuer that gives far less than was asked must not make a loop: neither
// the due time nor an open drain begins the next rotation at once.
func TestAShortAnswerDoesNotMakeALoop(t *testing.T) {
	short := func(l *life) *life {
		l.must(credential.KeyIssued{
			Seat: l.state.Rotation.Target, Mint: l.state.Mint, Fingerprint: "short", Expires: l.now.Add(time.Hour), Version: l.state.Vault.Version + 1,
		})
		return l.promote()
	}
	l := withFirstKey()
	l.now = l.state.Due
	short(l.must(credential.Begin{Reason: credential.ReasonExpiring}))
	if want := l.now.Add(20 * time.Minute); !l.state.Due.Equal(want) {
		t.Errorf("due %v, want a third of the life: %v", l.state.Due, want)
	}
	for begun := l.now; ; {
		step := l.next()
		if step.Kind == credential.StepNotice {
			l.must(credential.Tell{Level: step.Level})
			continue
		}
		if step.Kind != credential.StepWait {
			if since := l.now.Sub(begun); step.Kind != credential.StepBegin || since < 20*time.Minute {
				t.Errorf("%s, %s after %v", step.Kind, step.Reason, since)
			}
			break
		}
		l.now = step.At
	}
}

func TestAnAbsurdExpiryIsNotBelieved(t *testing.T) {
	l := withFirstKey()
	primary, _ := l.state.Primary()
	far := credential.Found{Finding: credential.Finding{Kind: credential.FindingExpiry, Seat: primary.SeatID}, Expires: l.now.Add(3000 * day)}
	if err := l.do(far); !errors.Is(err, credential.ErrAbsurd) {
		t.Errorf("%v, want ErrAbsurd", err)
	}
}

// A claim to revoke may act at any time, so a seat with one is never promoted,
// whatever was proven before.
func TestASeatWithAnOpenRevokeIsNotPromoted(t *testing.T) {
	l := withFirstKey()
	l.now = l.state.Due
	l.must(credential.Begin{Reason: credential.ReasonExpiring}).issue()
	for i, seat := range l.state.Seats {
		l.state.Seats[i].Claimed = seat.Role == credential.RoleCandidate
	}
	candidate, _ := l.state.Candidate()
	err := l.do(credential.KeyPromoted{Fingerprint: candidate.Fingerprint, Version: 9})
	if !errors.Is(err, credential.ErrStale) {
		t.Errorf("%v, want ErrStale", err)
	}
	if step := l.next(); step.Kind != credential.StepResume {
		t.Errorf("%s, want another mint", step.Kind)
	}
}

// A drain that outlives what the primary has left must not sleep past the
// moment at which the next rotation is due.
func TestADrainWakesWhenThePrimaryNeedsASuccessor(t *testing.T) {
	l := withFirstKey(func(p *credential.Policy) { p.Drain, p.DrainSet = credential.Duration(25*day), true })
	l.now = l.state.Due
	l.must(credential.Begin{Reason: credential.ReasonExpiring}).must(credential.KeyIssued{
		Seat: l.state.Rotation.Target, Mint: l.state.Mint, Fingerprint: "short", Expires: l.now.Add(9 * day), Version: 9,
	}).promote()
	for l.next().Kind == credential.StepNotice {
		l.must(credential.Tell{Level: l.next().Level})
	}
	primary, _ := l.state.Primary()
	step := l.next()
	if step.Kind != credential.StepWait || step.At.After(l.state.Due) || !l.state.Due.Before(primary.Expires) {
		t.Fatalf("%s until %v; due %v, the key ends %v", step.Kind, step.At, l.state.Due, primary.Expires)
	}
	l.now = l.state.Due
	for l.next().Kind == credential.StepNotice {
		l.must(credential.Tell{Level: l.next().Level})
	}
	if step := l.next(); step.Kind != credential.StepBegin {
		t.Errorf("when it is due: %s (%s)", step.Kind, step.Why)
	}
}
