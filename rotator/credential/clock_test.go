package credential_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/rotator/credential"
)

// wrong are the clocks of these tests: so much is ours ahead of the true time.
// The issuer's clock is true, and the difference is measured.
func wrong() []time.Duration {
	return []time.Duration{0, 4 * time.Minute, -4 * time.Minute, 10 * time.Minute, -10 * time.Minute, 365 * day, -365 * day}
}

// set sets our clock, so much ahead of where it was. A claim's age is counted
// by the monotonic clock too, so it stays.
func (l *life) set(by time.Duration) *life {
	l.now, l.skew = l.now.Add(by), l.skew-by
	for id, at := range l.seen {
		l.seen[id] = at.Add(by)
	}
	return l
}

func (l *life) issuerNow() time.Time { return l.now.Add(l.skew) }

// TestExpiryIsJudgedByTheIssuersClock: of an old key, of a new one and of the
// primary, to the instant, whatever ours says.
func TestExpiryIsJudgedByTheIssuersClock(t *testing.T) {
	for _, off := range wrong() {
		l := inDrain().must(credential.PutHold{Actor: "ann"})
		old, _ := l.state.Seat(first)
		dies := credential.KeyInvalidated{Seat: first, How: credential.HowExpired, Version: 9}
		l.at(old.Expires.Add(-1)).set(off)
		l.wants(t, credential.StepWait, credential.ReasonHeld)
		l.refuses(t, dies, credential.ErrStale)
		l.after(1)
		l.wants(t, credential.StepExpire, credential.ReasonKeyExpired)
		l.must(dies)

		candidate := proven(gated(credential.BeforePromote, "web"))
		seat, _ := candidate.state.Candidate()
		promotion := credential.KeyPromoted{Fingerprint: seat.Fingerprint, Version: 9}
		candidate.at(seat.Expires).set(off).refuses(t, promotion, credential.ErrStale)
		candidate.after(-1).must(promotion)

		primary := withFirstKey()
		key, _ := primary.state.Primary()
		for _, c := range []struct {
			left  time.Duration
			level credential.Level
		}{{15 * day, credential.LevelWarn}, {7*day + 12*time.Hour, credential.LevelPage}, {0, credential.LevelExpired}} {
			primary.skew = 0
			primary.at(key.Expires.Add(-c.left - 1)).set(off)
			primary.refuses(t, credential.Tell{Level: c.level}, credential.ErrStale)
			if step := primary.next(); step.Kind == credential.StepNotice {
				t.Errorf("clock %v off: %s is told an instant too soon", off, step.Level)
			}
			primary.after(1).must(credential.Tell{Level: c.level})
		}
	}
}

// TestBeyondTheBoundOldKeysStayAndNewOnesAreMade: planned destructive steps
// stop, all else goes on, and what stopped goes on when the clocks agree.
func TestBeyondTheBoundOldKeysStayAndNewOnesAreMade(t *testing.T) {
	const bound = 5 * time.Minute // of the view of these tests
	for _, off := range []time.Duration{bound + 1, -bound - 1, 10 * time.Minute, -10 * time.Minute, 365 * day, -365 * day} {
		l := newLife().set(off)
		l.must(credential.Register{Spec: spec(), Actor: "ann"})
		for l.state.Generation < 1 { // the first key
			l.must(success(l, l.next()))
		}
		l.must(credential.RequestRotation{ID: "r", Actor: "ann", Now: true})
		for l.state.Generation < 2 { // and the second
			l.must(success(l, l.next()))
		}
		l.after(2 * day)
		l.wants(t, credential.StepWait, credential.ReasonSkew)
		l.refuses(t, credential.ClaimRevoke{Seat: first}, credential.ErrStale)
		if step := l.next(); step.At.Sub(l.now) > bound || !step.At.After(l.now) {
			t.Errorf("clock %v off: it looks again in %v", off, step.At.Sub(l.now))
		}
	}
	for _, off := range []time.Duration{bound, -bound, 0} {
		l := inDrain()
		l.at(l.state.Rotation.DrainUntil.Add(bound)).set(off)
		l.wants(t, credential.StepRetire, credential.ReasonDrainOver)
		l.must(credential.ClaimRevoke{Seat: first})
	}
}

// TestAClockThatIsSetInADrainEndsNoDrain: the drain is over when both clocks
// say so; when the clocks agree again it goes on as if nothing had been.
func TestAClockThatIsSetInADrainEndsNoDrain(t *testing.T) {
	for _, off := range wrong() {
		l := inDrain()
		until := l.state.Rotation.DrainUntil
		l.at(until.Add(-time.Minute)).set(off)
		if step := l.next(); step.Kind != credential.StepWait {
			t.Errorf("clock %v off in a drain: %s (%s)", off, step.Kind, step.Why)
		}
		l.refuses(t, credential.ClaimRevoke{Seat: first}, credential.ErrStale)
		l.refuses(t, credential.KeyInvalidated{Seat: first, How: credential.HowExpired, Version: 9}, credential.ErrStale)
		l.set(-off).wants(t, credential.StepWait, credential.ReasonDraining)
		if step := l.next(); !step.At.Equal(until) {
			t.Errorf("clock %v off and right again: waits until %v, want %v", off, step.At, until)
		}
		l.at(until).wants(t, credential.StepRetire, credential.ReasonDrainOver)
	}
}

// TestAClockThatIsSetInARotationMovesNoClaim: neither its holder nor a
// successor takes a claim for over because a clock was set.
func TestAClockThatIsSetInARotationMovesNoClaim(t *testing.T) {
	for _, off := range wrong() {
		l := making().elsewhere().after(10 * time.Second).set(off)
		l.wantsUnlessNotice(t, credential.StepWait, credential.ReasonClaimOpen)
		l.refuses(t, credential.ClaimMint{}, credential.ErrClaimed)
		l.after(50*time.Second).wantsUnlessNotice(t, credential.StepResume, credential.ReasonTakeOver)
		l.must(credential.ClaimMint{})
	}
}

// wantsUnlessNotice is wants: with a clock that agrees no notice is due.
func (l *life) wantsUnlessNotice(t *testing.T, kind credential.StepKind, reason credential.Reason) {
	t.Helper()
	if step := l.next(); step.Kind == credential.StepNotice {
		t.Fatalf("%s is told of a key that lives for %v", step.Level, l.state.Seats[0].Expires.Sub(l.issuerNow()))
	}
	l.wants(t, kind, reason)
}

// TestClocksThatAreSetAtAnyTime: by ten minutes and back, of ours or of the
// issuer's, between any two passes: no primary expires, no key dies while the
// clocks differ too much, and nothing rotates more often than it must.
func TestClocksThatAreSetAtAnyTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		declared := spec()
		declared.Policy = anyPolicy(t)
		l := newLife().must(credential.Register{Spec: declared, Actor: "ann"})
		begun := l.now
		for range rapid.IntRange(1, 60).Draw(t, "wakes") {
			events := len(l.events)
			at := l.pass(t)
			checkClocks(t, l, l.events[events:])
			if primary, ok := l.state.Primary(); !ok || !l.issuerNow().Before(primary.Expires) {
				t.Fatalf("no key that works: %+v, rotation %+v", l.state.Seats, l.state.Rotation)
			}
			if at.IsZero() || !at.After(l.now) {
				t.Fatalf("waits until %v at %v", at, l.now)
			}
			l.now = at
			switch by := rapid.SampledFrom([]time.Duration{0, 0, 10 * time.Minute, -10 * time.Minute}).Draw(t, "set"); {
			case rapid.Bool().Draw(t, "issuer's"):
				l.skew = by // against a clock that is right
			case l.skew == 0:
				l.set(by)
			default:
				l.set(l.skew) // set right again
			}
		}
		// at least the lifetime less the lead and its spread lies between two, or the schedule's gap
		if p := l.state.Spec.Policy; p.Schedule == "" {
			least := p.Lifetime.Std() - p.RotateBefore.Std() - p.RotateBefore.Std()/10 - time.Hour
			if most := 2 + int64(l.now.Sub(begun)/max(least, time.Hour)); int64(l.state.Generation) > most {
				t.Fatalf("generation %d after %v", l.state.Generation, l.now.Sub(begun))
			}
		}
	})
}

// checkClocks looks at what was appended at one instant.
func checkClocks(t *rapid.T, l *life, events []credential.Event) {
	expires := map[credential.Fingerprint]time.Time{}
	for _, event := range l.events {
		if f, ok := event.Fact.(credential.Issued); ok {
			expires[f.Fingerprint] = f.Expires
		}
	}
	for _, event := range events {
		switch f := event.Fact.(type) {
		case credential.Retiring:
			if l.skew.Abs() > 5*time.Minute {
				t.Fatalf("a claim to revoke while the clocks differ by %v", l.skew)
			}
		case credential.Expired:
			t.Fatalf("the primary is told to be dead: %+v", f)
		case credential.Invalidated:
			if f.How == credential.HowExpired && l.issuerNow().Before(expires[f.Fingerprint]) {
				t.Fatalf("judged dead at %v by the issuer's clock: %+v, expires %v", l.issuerNow(), f, expires[f.Fingerprint])
			}
		}
	}
}

// TestANewKeysDateIsCheckedAgainstTheIssuersClock: what is absurd to one clock
// may be right by the other's, which is the one that counts.
func TestANewKeysDateIsCheckedAgainstTheIssuersClock(t *testing.T) {
	for _, off := range wrong() {
		for left, want := range map[time.Duration]error{
			-1: credential.ErrAbsurd, 0: credential.ErrAbsurd, 1: nil, 90 * day: nil, 366 * day: nil, 366*day + 1: credential.ErrAbsurd,
		} {
			l := making().set(off)
			c := credential.KeyIssued{Seat: second, Mint: l.state.Mint, Fingerprint: credential.Fingerprint(fmt.Sprint(left)), Expires: l.issuerNow().Add(left), Version: 9}
			if err := l.do(c); !errors.Is(err, want) || (want == nil && err != nil) {
				t.Errorf("clock %v off, a key for %v: %v, want %v", off, left, err, want)
			}
		}
	}
}
