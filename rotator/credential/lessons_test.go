package credential_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The tests of this file are named after the rows of the list of what went
// wrong elsewhere; each would have caught it here.

// gated is a policy with consumers that must confirm, and a deadline that
// nobody waits for in these tests.
func gated(before string, consumers ...string) func(*credential.Policy) {
	return func(p *credential.Policy) {
		p.Confirm = &credential.Confirm{Consumers: consumers, Before: before, Deadline: credential.Duration(2 * day), Then: credential.ThenHalt}
	}
}

// wants checks what comes next.
func (l *life) wants(t *testing.T, kind credential.StepKind, reason credential.Reason) {
	t.Helper()
	if step := l.next(); step.Kind != kind || step.Reason != reason {
		t.Fatalf("%s, %s (%s); want %s, %s", step.Kind, step.Reason, step.Why, kind, reason)
	}
}

// refuses checks that a command is refused for that reason.
func (l *life) refuses(t *testing.T, c credential.Command, want error) {
	t.Helper()
	if err := l.do(c); !errors.Is(err, want) {
		t.Fatalf("%T: %v, want %v", c, err, want)
	}
}

func TestLesson01TheOldKeyLivesUntilItsConsumersUseTheNewOne(t *testing.T) {
	l := inDrain(gated(credential.BeforeRetire, "web", "batch"))
	l.at(l.state.Rotation.DrainUntil.Add(day))
	l.wants(t, credential.StepWait, credential.ReasonHalted)
	l.refuses(t, credential.ClaimRevoke{Seat: first}, credential.ErrStale)
	l.must(credential.Acknowledge{Consumer: "web", Fingerprint: "fp-2"})
	l.refuses(t, credential.ClaimRevoke{Seat: first}, credential.ErrStale)
	l.must(credential.Acknowledge{Consumer: "batch", Fingerprint: "fp-2"})
	l.wants(t, credential.StepRetire, credential.ReasonDrainOver)
	l.must(credential.ClaimRevoke{Seat: first})
}

func TestLesson03AKeyThatNobodyEverUsedIsRevokedLikeAnyOther(t *testing.T) {
	l := proven().must(credential.Register{Spec: other()}, credential.GiveUp{Why: "changed"})
	l.must(credential.Begin{Reason: credential.ReasonSettings}, credential.ItemMade{Item: "i2"}).issue().promote()
	unused, _ := l.state.Seat(second)
	if unused.Role != credential.RoleOrphan {
		t.Fatalf("the key that was never promoted is %+v", unused)
	}
	l.at(l.state.Rotation.DrainUntil)
	revoked := map[credential.SeatID]bool{}
	for l.state.Rotation != nil {
		step := l.next()
		if step.Kind != credential.StepRetire {
			t.Fatalf("%s, %s (%s) with %+v left; want to retire it", step.Kind, step.Reason, step.Why, l.state.Seats)
		}
		l.must(credential.ClaimRevoke{Seat: step.Seat}, credential.KeyInvalidated{Seat: step.Seat, How: credential.HowRevoked, Version: l.state.Vault.Version + 1})
		revoked[step.Seat] = true
	}
	if !revoked[first] || !revoked[second] {
		t.Errorf("the rotation ended after %v were revoked", revoked)
	}
}

func TestLesson05NoClockThatIsWrongMakesALoop(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute, -365 * day, 365 * day} {
		l := withFirstKey()
		l.at(l.state.Due.Add(-skew)).skewed(skew) // our clock is wrong, the issuer's is right
		begun := 0
		for until := l.now.Add(5 * day); l.now.Before(until); {
			step := l.next()
			switch step.Kind {
			case credential.StepWait:
				l.at(later(step.At, l.now.Add(time.Second)))
				l.work = credential.Work{}
				continue
			case credential.StepBegin:
				begun++
			case credential.StepRetire, credential.StepRevoke, credential.StepExpire:
				t.Fatalf("skew %v: %s of %s (%s)", skew, step.Kind, step.Seat, step.Why)
			}
			l.must(success(l, step))
		}
		if begun > 1 {
			t.Errorf("skew %v: %d rotations in five days of a key that lives 90", skew, begun)
		}
	}
}

func TestLesson06OfThreeReplicasOneBeginsAndNoDateIsZero(t *testing.T) {
	l := withFirstKey()
	l.at(l.state.Due)
	seen := l.named() // by all three
	for i := range 3 {
		view := l.view()
		view.Daemon = fmt.Sprintf("d-%d", i)
		event, err := credential.Decide(seen, credential.Begin{Reason: credential.ReasonExpiring}, view)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 { // its append is the first
			l.apply(event)
			continue
		}
		// the append of the others is a conflict: they read, and decide again
		if _, err := credential.Decide(l.named(), credential.Begin{Reason: credential.ReasonExpiring}, view); !errors.Is(err, credential.ErrStale) {
			t.Errorf("daemon %d begins as well: %v, want ErrStale", i, err)
		}
	}
	l.issue().promote()
	if primary, _ := l.state.Primary(); !l.state.Due.After(l.now) || !l.state.Due.Before(primary.Expires) {
		t.Errorf("due %v, between now %v and the expiry %v", l.state.Due, l.now, primary.Expires)
	}
}

func TestLesson07NothingIsPromotedBeforeAllHaveIt(t *testing.T) {
	l := making(gated(credential.BeforePromote, "web", "batch"))
	promotion := credential.KeyPromoted{Fingerprint: "fp-2", Version: 9}
	l.refuses(t, promotion, credential.ErrStale) // not proven, so Vault need not have it
	l.issue()
	l.wants(t, credential.StepWait, credential.ReasonHalted)
	l.must(credential.Acknowledge{Consumer: "web", Fingerprint: "fp-2"})
	if missing := l.state.Missing(); !slices.Equal(missing, []string{"batch"}) {
		t.Errorf("missing are %v, want batch", missing)
	}
	l.wants(t, credential.StepWait, credential.ReasonHalted)
	l.must(credential.Acknowledge{Consumer: "batch", Fingerprint: "fp-2"})
	l.wants(t, credential.StepPromote, credential.ReasonGateOpen)
}

func TestLesson10WhatIsLeftOfAnEarlierAttemptIsNotTakenForThisOne(t *testing.T) {
	l := making()
	old := l.state.Claims[0]
	late := credential.KeyIssued{Seat: second, Mint: l.state.Mint, Fingerprint: "late", Expires: l.now.Add(90 * day), Version: 9}
	l.elsewhere().after(old.Over()).must(credential.ClaimMint{})
	l.work = credential.Work{Claim: old.ID, Minted: true} // the first holder wakes
	l.refuses(t, late, credential.ErrStale)
	l.wants(t, credential.StepWait, credential.ReasonClaimOpen)
	l.elsewhere().issue().promote()
	l.work = credential.Work{Claim: old.ID}
	l.refuses(t, late, credential.ErrStale)
	if primary, _ := l.state.Primary(); primary.Mint != late.Mint+1 || primary.Fingerprint == "late" {
		t.Errorf("the primary is %+v", primary)
	}
}

func TestLesson12AnIssuerThatAnswersBadlyDoesNotMakeALoop(t *testing.T) {
	for _, lives := range []time.Duration{time.Minute, time.Hour, 10 * day, 29 * day} {
		l := withFirstKey()
		l.at(l.state.Due)
		begun, until := 0, l.now.Add(20*lives)
		for turns := 0; l.now.Before(until); turns++ {
			if turns > 2000 {
				t.Fatalf("keys that live %v: no end of it: %+v", lives, l.next())
			}
			step := l.next()
			if step.Kind == credential.StepWait {
				l.at(step.At)
				l.work = credential.Work{}
				continue
			}
			if step.Kind == credential.StepBegin {
				begun++
			}
			result := success(l, step)
			if issued, ok := result.(credential.KeyIssued); ok {
				issued.Expires = l.now.Add(lives)
				result = issued
			}
			l.must(result)
		}
		if begun > 61 { // a third of each life, at the least
			t.Errorf("keys that live %v: %d rotations in 20 lives", lives, begun)
		}
	}
	// and an answer that cannot be true is not stored as a key
	for what, change := range map[string]func(*credential.KeyIssued){
		"no key":      func(c *credential.KeyIssued) { c.Fingerprint = "" },
		"dead":        func(c *credential.KeyIssued) { c.Expires = start },
		"not stored":  func(c *credential.KeyIssued) { c.Version = 0 },
		"for ever":    func(c *credential.KeyIssued) { c.Expires = start.Add(10000 * day) },
		"without end": func(c *credential.KeyIssued) { c.Expires = time.Time{} },
	} {
		l := making()
		c := credential.KeyIssued{Seat: second, Mint: l.state.Mint, Fingerprint: "fp", Expires: l.now.Add(90 * day), Version: 9}
		change(&c)
		if err := l.do(c); !errors.Is(err, credential.ErrAbsurd) {
			t.Errorf("%s: %v, want ErrAbsurd", what, err)
		}
	}
}

func TestLesson13OnlyWhoNamesTheNewKeyUsesIt(t *testing.T) {
	l := inDrain(gated(credential.BeforeRetire, "web"))
	l.at(l.state.Rotation.DrainUntil)
	for _, old := range []credential.Fingerprint{"fp-1", ""} { // it has seen Vault, and goes on with the old key
		l.refuses(t, credential.Acknowledge{Consumer: "web", Fingerprint: old}, credential.ErrStale)
	}
	l.refuses(t, credential.Acknowledge{Consumer: "stranger", Fingerprint: "fp-2"}, credential.ErrNotNamed)
	l.wants(t, credential.StepWait, credential.ReasonHalted)
	l.must(credential.Acknowledge{Consumer: "web", Fingerprint: "fp-2"})
	l.wants(t, credential.StepRetire, credential.ReasonDrainOver)
}

func TestLesson15AChangeInTheMiddleIsPlannedAnew(t *testing.T) {
	shorter := spec(func(p *credential.Policy) { p.RotateBefore = credential.Duration(60 * day) })
	due := withFirstKey()
	primary, _ := due.state.Primary()
	due.must(credential.Register{Spec: shorter})
	if latest := primary.Expires.Add(-60 * day); due.state.Due.After(latest) {
		t.Errorf("a longer lead time: due %v, want %v at the latest", due.state.Due, latest)
	}
	making().must(credential.Register{Spec: other()}).elsewhere().wants(t, credential.StepAbandon, credential.ReasonSettings)
	proven().must(credential.Register{Spec: other()}).wants(t, credential.StepAbandon, credential.ReasonSettings)
	inDrain().must(credential.Register{Spec: other()}).wants(t, credential.StepBegin, credential.ReasonSettings)
	proven().must(credential.Register{Spec: spec(gated(credential.BeforePromote, "web"))}).wants(t, credential.StepWait, credential.ReasonHalted)
	// a failure under the old settings does not hold the new ones up for long
	failed := making().must(credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassPermanent, Answered: true, Wait: time.Hour}, credential.Register{Spec: other()})
	failed.after(time.Hour).wants(t, credential.StepAbandon, credential.ReasonSettings)
	failed.must(credential.GiveUp{Why: "changed"})
	failed.wants(t, credential.StepBegin, credential.ReasonSettings)
}

func TestLesson16TheOldKeyDiesAfterTheNewOneIsStoredProvenAndPromoted(t *testing.T) {
	claim := credential.ClaimRevoke{Seat: first}
	l := making()
	l.refuses(t, claim, credential.ErrStale)
	l.refuses(t, credential.KeyPromoted{Fingerprint: "fp-2", Version: 9}, credential.ErrStale)
	unstored := credential.KeyIssued{Seat: second, Mint: l.state.Mint, Fingerprint: "fp-2", Expires: l.now.Add(90 * day)}
	l.refuses(t, unstored, credential.ErrAbsurd)
	l.issue()
	l.refuses(t, claim, credential.ErrStale)
	l.promote()
	l.refuses(t, claim, credential.ErrStale) // before the drain is over
	l.at(l.state.Rotation.DrainUntil).must(claim)
}

// The traps.

func TestTrapFixedSmallJitterThePlanIsSpreadOverATenthOfTheLead(t *testing.T) {
	for _, lead := range []time.Duration{8 * time.Hour, 7 * day, 60 * day} {
		p := policy(func(p *credential.Policy) { p.RotateBefore = credential.Duration(lead) })
		expires := start.Add(90 * day)
		earliest, latest := expires, start
		for i := range 500 {
			due := p.DueAt(credential.Name(fmt.Sprintf("maps/k%d", i)), 1, start, expires, every{})
			if due.Before(earliest) {
				earliest = due
			}
			latest = later(latest, due)
		}
		if spread := latest.Sub(earliest); spread < lead/10*9/10 || spread > lead/10 {
			t.Errorf("lead %v: 500 keys are spread over %v, want about a tenth", lead, spread)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestTrapBackoffThatOutlivesRecovery(t *testing.T) {
	l := making().must(credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassRetryable, Answered: true, Silent: true, Wait: time.Hour})
	l.after(time.Minute).wants(t, credential.StepWait, credential.ReasonBackoff)
	view := l.view()
	view.IssuerAnswered = l.now // it answered another credential
	if step := credential.Next(l.named(), view); step.Kind != credential.StepResume {
		t.Errorf("the issuer answers again: %s, %s; want to go on", step.Kind, step.Reason)
	}
}

func TestTrapPassedWithZeroConsumers(t *testing.T) {
	for _, before := range []string{credential.BeforePromote, credential.BeforeRetire} {
		for _, then := range []string{credential.ThenHalt, credential.ThenProceed} {
			for _, nobody := range [][]string{nil, {}} {
				p := credential.Policy{Lifetime: credential.Duration(90 * day), Confirm: &credential.Confirm{
					Consumers: nobody, Before: before, Then: then, Deadline: credential.Duration(day),
				}}
				_, err := p.Resolve(day, every{}, start)
				var impossible *credential.PolicyError
				if !errors.As(err, &impossible) || impossible.Field != "confirm.consumers" {
					t.Errorf("a gate before %s that names nobody: %v", before, err)
				}
			}
		}
	}
}

// A zero time would read as long past, so that a key is due or dead at once:
// nothing that is decided writes one.
func TestTrapAZeroTimeIsNeverPlannedOrStored(t *testing.T) {
	making().refuses(t, credential.KeyIssued{Seat: second, Mint: 2, Fingerprint: "fp", Version: 9}, credential.ErrAbsurd)
	for what, change := range map[string]func(*credential.Policy){
		"by expiry":                 func(*credential.Policy) {},
		"by a schedule":             func(p *credential.Policy) { p.Schedule = "every 720h" },
		"by a schedule that passes": func(p *credential.Policy) { p.Schedule = "every 1h" },
		"in a window":               func(p *credential.Policy) { p.Window = &credential.Window{Start: "every 24h", Duration: 1} },
	} {
		l := inDrain(change)
		primary, _ := l.state.Primary()
		if l.state.Due.IsZero() || !l.state.Due.After(l.now) || primary.Expires.IsZero() || l.state.Rotation.DrainUntil.IsZero() {
			t.Errorf("%s: due %v, expires %v, drains until %v at %v", what, l.state.Due, primary.Expires, l.state.Rotation.DrainUntil, l.now)
		}
		due := l.state.Due
		unsaid := credential.Found{Finding: credential.Finding{Kind: credential.FindingExpiry, Seat: primary.SeatID}}
		if err := l.do(unsaid); err == nil {
			if seat, _ := l.state.Primary(); !seat.Expires.Equal(primary.Expires) || !l.state.Due.Equal(due) {
				t.Errorf("%s: an issuer that names no date moved the expiry to %v, due to %v", what, seat.Expires, l.state.Due)
			}
		}
	}
}
