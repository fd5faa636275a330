package credential_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/rotator/credential"
)

func leak(key string, change ...func(*credential.Compromise)) credential.Command {
	c := credential.Compromise{Actor: "ann", Reason: "in a log", Request: "r", Key: key}
	for _, f := range change {
		f(&c)
	}
	return c
}

func immediately(c *credential.Compromise) { c.Immediately = true }
func overHold(c *credential.Compromise)    { c.OverrideHold = true }

// run follows the core, every effect succeeding, until it waits; it returns the
// steps.
func (l *life) run(t *testing.T) (steps []credential.StepKind) {
	t.Helper()
	for range 50 {
		step := l.next()
		if step.Kind == credential.StepWait {
			return steps
		}
		steps = append(steps, step.Kind)
		l.must(success(l, step))
	}
	t.Fatal("no end")
	return nil
}

// TestTheStepsOfAnEmergency: what is done about a leaked key at once, with no
// drain, gate or window in between, from each state that it can be found in.
func TestTheStepsOfAnEmergency(t *testing.T) {
	const (
		begin, issue, promote = credential.StepBegin, credential.StepIssue, credential.StepPromote
		claim, revoke, item   = credential.StepRetire, credential.StepRevoke, credential.StepItem
		abandon               = credential.StepAbandon
	)
	closed := func(p *credential.Policy) { // neither the window nor a consumer lets anything through
		p.Window = &credential.Window{Start: "every 8760h", Duration: credential.Duration(time.Minute)}
		p.Confirm = &credential.Confirm{Consumers: []string{"web"}, Before: credential.BeforePromote, Deadline: credential.Duration(2 * day), Then: credential.ThenHalt}
	}
	for what, c := range map[string]struct {
		life *life
		leak credential.Command
		want []credential.StepKind
		left []credential.Fingerprint // the first is the primary
	}{
		"the primary, with nothing else there":     {withFirstKey(), leak("primary"), []credential.StepKind{begin, issue, promote, claim, revoke}, []credential.Fingerprint{"fp-2"}},
		"by its fingerprint":                       {withFirstKey(), leak("fp-1"), []credential.StepKind{begin, issue, promote, claim, revoke}, []credential.Fingerprint{"fp-2"}},
		"whatever window and gate say":             {withFirstKey(closed), leak("primary"), []credential.StepKind{begin, issue, promote, claim, revoke}, []credential.Fingerprint{"fp-2"}},
		"a proven candidate takes over":            {proven(), leak("primary"), []credential.StepKind{promote, claim, revoke}, []credential.Fingerprint{"fp-2"}},
		"a draining key takes over":                {inDrain(), leak("primary"), []credential.StepKind{promote, claim, revoke}, []credential.Fingerprint{"fp-1"}},
		"the primary dies first":                   {withFirstKey(), leak("primary", immediately), []credential.StepKind{claim, revoke, begin, issue, promote}, []credential.Fingerprint{"fp-2"}},
		"it dies first, a candidate takes over":    {proven(), leak("primary", immediately), []credential.StepKind{claim, revoke, promote}, []credential.Fingerprint{"fp-2"}},
		"it dies first, a draining one takes over": {inDrain(), leak("primary", immediately), []credential.StepKind{claim, revoke, promote}, []credential.Fingerprint{"fp-1"}},
		"the old key, in its drain":                {inDrain(), leak("secondary"), []credential.StepKind{claim, revoke}, []credential.Fingerprint{"fp-2"}},
		"a candidate is never promoted":            {proven(), leak("fp-2"), []credential.StepKind{abandon, claim, revoke, begin, issue, promote}, []credential.Fingerprint{"fp-3", "fp-1"}},
		"all of them":                              {inDrain(), leak("all"), []credential.StepKind{claim, revoke, begin, issue, promote, claim, revoke}, []credential.Fingerprint{"fp-3"}},
		"all of them first":                        {inDrain(), leak("all", immediately), []credential.StepKind{claim, revoke, claim, revoke, begin, issue, promote}, []credential.Fingerprint{"fp-3"}},
		"a hold that does not count":               {withFirstKey().must(credential.PutHold{Actor: "bob", Reason: "audit"}), leak("primary", overHold), []credential.StepKind{begin, issue, promote, claim, revoke}, []credential.Fingerprint{"fp-2"}},
		"a draining key under a hold is not given up": {
			inDrain().must(credential.PutHold{Actor: "bob", Reason: "audit"}, refusedAt("i1", 1)), leak("primary", overHold),
			[]credential.StepKind{begin, item, issue, promote, claim, revoke}, []credential.Fingerprint{"fp-3", "fp-1"},
		},
		"a draining key that no longer works is given up": {
			inDrain().must(refusedAt("i1", 1)), leak("primary"),
			[]credential.StepKind{begin, issue, promote, claim, revoke}, []credential.Fingerprint{"fp-3"},
		},
	} {
		l := c.life.must(c.leak)
		steps := l.run(t)
		if !equal(steps, c.want) {
			t.Errorf("%s: %v, want %v", what, steps, c.want)
		}
		var left []credential.Fingerprint
		if primary, ok := l.state.Primary(); ok {
			left = append(left, primary.Fingerprint)
		}
		for _, seat := range l.state.Seats {
			if seat.Role != credential.RolePrimary {
				left = append(left, seat.Fingerprint)
			}
		}
		if l.state.Emergency() || !equal(left, c.left) {
			t.Errorf("%s: %v are left, want %v; emergency %v", what, left, c.left, l.state.Emergency())
		}
	}
}

func refusedAt(item string, slot int) credential.Command {
	return credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyRefused, Seat: credential.SeatID{Item: item, Slot: slot}}}
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestWhatStandsInTheWayOfALeakedKeysDeath: what an emergency waits for, and what
// it does not.
func TestWhatStandsInTheWayOfALeakedKeysDeath(t *testing.T) {
	failed := credential.StepFailed{Step: credential.StepRetire, Class: credential.ClassRetryable, Answered: true, Wait: day}
	hold := credential.PutHold{Actor: "bob", Reason: "audit"}
	revoking := func() *life {
		l := inDrain()
		return l.at(l.state.Rotation.DrainUntil).must(credential.ClaimRevoke{Seat: first}).elsewhere()
	}
	for what, c := range map[string]struct {
		life   *life
		kind   credential.StepKind
		reason credential.Reason
	}{
		"a back-off before it was known":           {inDrain().must(failed, leak("fp-1")), credential.StepRetire, credential.ReasonLeaked},
		"clocks that differ":                       {inDrain().skewed(time.Hour).must(leak("fp-1")), credential.StepRetire, credential.ReasonLeaked},
		"a revocation by somebody else":            {revoking().must(leak("fp-1")), credential.StepWait, credential.ReasonClaimOpen},
		"that, if it cannot wait":                  {revoking().after(time.Second).must(leak("fp-1", immediately)), credential.StepRetire, credential.ReasonLeaked},
		"a key being made there":                   {making().elsewhere().must(leak("secondary", immediately)), credential.StepAbandon, credential.ReasonLeaked},
		"a hold that came later":                   {inDrain().must(leak("fp-1"), hold), credential.StepWait, credential.ReasonHeld},
		"a hold that came later and is overridden": {inDrain().must(leak("fp-1", overHold), hold), credential.StepRetire, credential.ReasonLeaked},
		"a freeze that came later":                 {inDrain().must(leak("fp-1"), credential.PutHold{Freeze: true}), credential.StepWait, credential.ReasonHeld},
		"drift that the operator has seen": {
			inDrain().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultChanged, Version: 9}}, leak("fp-1")),
			credential.StepBegin, credential.ReasonLeaked,
		},
	} {
		if step := c.life.next(); step.Kind != c.kind || step.Reason != c.reason {
			t.Errorf("%s: %s, %s (%s), want %s, %s", what, step.Kind, step.Reason, step.Why, c.kind, c.reason)
		}
	}
}

// TestALeakedKeyThatCannotDieStopsNothingElse: the primary is still replaced
// before it expires.
func TestALeakedKeyThatCannotDieStopsNothingElse(t *testing.T) {
	l := withFirstKey().must(credential.RequestRotation{ID: "q", Now: true}, credential.Begin{Reason: credential.ReasonRequested}).after(day).issue().promote().must(leak("fp-1"))
	refused := func() { // by the issuer
		t.Helper()
		step := l.next()
		if step.Kind != credential.StepRetire || step.Seat != first {
			t.Fatalf("%s (%s), want another attempt", step.Kind, step.Why)
		}
		l.must(credential.StepFailed{Step: step.Kind, Seat: step.Seat, Class: credential.ClassDenied, Answered: true, Wait: time.Second})
	}
	for range 3 {
		refused()
		if step := l.next(); step.Kind != credential.StepWait {
			t.Fatalf("%s (%s) at once", step.Kind, step.Why)
		}
		l.after(time.Second)
	}
	primary, _ := l.state.Primary()
	l.at(primary.Expires.Add(-15 * day)).must(credential.Tell{Level: credential.LevelWarn})
	refused()
	if step := l.next(); step.Kind != credential.StepBegin || step.Reason != credential.ReasonExpiring {
		t.Fatalf("%s, %s (%s), want the rotation of the primary", step.Kind, step.Reason, step.Why)
	}
}

func TestWhatCompromiseRefuses(t *testing.T) {
	hold := credential.PutHold{Actor: "bob", Reason: "audit"}
	for what, c := range map[string]struct {
		life    *life
		command credential.Command
		want    error
	}{
		"a fingerprint that is nobody's":        {withFirstKey(), leak("fp-9"), credential.ErrNoKey},
		"no key at all":                         {withFirstKey(), leak(""), credential.ErrNoKey},
		"a secondary that is not there":         {withFirstKey(), leak("secondary"), credential.ErrNoKey},
		"all keys where there is none":          {newLife().must(credential.Register{Spec: spec()}), leak("all"), credential.ErrNoKey},
		"an unknown credential":                 {newLife(), leak("all"), credential.ErrUnknown},
		"a held one":                            {withFirstKey().must(hold), leak("primary"), credential.ErrHeld},
		"a frozen one":                          {withFirstKey().must(credential.PutHold{Freeze: true, Reason: "f"}), leak("primary"), credential.ErrHeld},
		"a held one, overridden":                {withFirstKey().must(hold), leak("primary", overHold), nil},
		"what is known":                         {withFirstKey().must(leak("primary")), leak("all"), credential.ErrNothing},
		"what is known, but more urgent":        {withFirstKey().must(leak("primary")), leak("primary", immediately), nil},
		"what is known, over a later hold":      {withFirstKey().must(leak("primary"), hold), leak("primary", overHold), nil},
		"a revocation of a primary that leaked": {withFirstKey().must(leak("primary")), credential.ClaimRevoke{Seat: first}, credential.ErrStale},
		"that, immediately":                     {withFirstKey().must(leak("primary", immediately)), credential.ClaimRevoke{Seat: first}, nil},
		"that, immediately but held since":      {withFirstKey().must(leak("primary", immediately), hold), credential.ClaimRevoke{Seat: first}, credential.ErrHeld},
		"a retry without a failure":             {withFirstKey(), credential.Retry{}, credential.ErrNothing},
		"a hold that is over":                   {withFirstKey(), credential.PutHold{Until: start.Add(-1)}, credential.ErrAbsurd},
		"a thaw of what is only held":           {withFirstKey().must(hold), credential.Release{Freeze: true}, credential.ErrNothing},
		"a release of what is only frozen":      {withFirstKey().must(credential.PutHold{Freeze: true}), credential.Release{}, credential.ErrNothing},
	} {
		if err := c.life.do(c.command); !errors.Is(err, c.want) || (c.want == nil && err != nil) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

// TestAFreezeIsAHoldOfItsOwn: each ends by itself.
func TestAFreezeIsAHoldOfItsOwn(t *testing.T) {
	l := withFirstKey().must(credential.PutHold{Actor: "ann", Reason: "h"}, credential.PutHold{Actor: "bob", Reason: "f", Freeze: true})
	for i, step := range []struct {
		command credential.Command
		held    bool
	}{{credential.Release{}, true}, {credential.Release{Freeze: true}, false}} {
		if l.must(step.command); l.state.Held(l.now) != step.held {
			t.Errorf("step %d: held %v", i, l.state.Held(l.now))
		}
	}
	born := newLife().must(credential.Register{Spec: spec(), Frozen: &credential.Hold{Actor: "bob", Reason: "f"}})
	if !born.state.Held(start) {
		t.Error("a credential that is registered under a freeze is not held")
	}
}

// TestNobodyIsToldOfADrainThatALeakedKeyDoesNotGet.
func TestNobodyIsToldOfADrainThatALeakedKeyDoesNotGet(t *testing.T) {
	for what, c := range map[string]struct {
		life   *life
		drains bool
	}{"the leaked one": {proven().must(leak("fp-1")), false}, "any other": {proven(), true}} {
		c.life.promote()
		f, _ := c.life.events[len(c.life.events)-1].Fact.(credential.Promoted)
		if f.DrainUntil.IsZero() == c.drains {
			t.Errorf("%s is said to work until %s", what, f.DrainUntil)
		}
	}
}

func TestRetrySkipsTheWait(t *testing.T) {
	l := making().must(credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassPermanent, Answered: true, Wait: day})
	if step := l.next(); step.Reason != credential.ReasonBackoff {
		t.Fatalf("%s, %s before", step.Kind, step.Reason)
	}
	if step := l.must(credential.Retry{Actor: "ann"}).next(); step.Kind != credential.StepResume || l.state.Failure.Attempts != 1 {
		t.Errorf("%s, %s (%s), failure %+v", step.Kind, step.Reason, step.Why, l.state.Failure)
	}
}

// TestAHoldSaysWhatItComesTooLateFor.
func TestAHoldSaysWhatItComesTooLateFor(t *testing.T) {
	l := inDrain()
	if late := l.must(credential.PutHold{}, credential.Release{}).state.TooLate(); len(late) != 0 {
		t.Errorf("too late for %v", late)
	}
	l.at(l.state.Rotation.DrainUntil).must(credential.ClaimRevoke{Seat: first}, credential.PutHold{Actor: "ann"})
	if late := l.state.TooLate(); len(late) != 1 || late[0].Seat != first {
		t.Errorf("too late for %v, want the old key", late)
	}
}

// TestEveryEmergencyEnds: from any state that can be reached, if what is called
// for then works, the leaked keys are dead and applications have one that is not,
// within the time that open claims take to be over.
func TestEveryEmergencyEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife().must(credential.Register{Spec: spec(), Actor: "ann"})
		for range rapid.IntRange(1, 60).Draw(t, "actions") {
			l.now = l.now.Add(rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour, 5 * day}).Draw(t, "later"))
			_ = l.do(wish(t, l))
		}
		change := func(c *credential.Compromise) { c.Immediately, c.OverrideHold = rapid.Bool().Draw(t, "now"), true }
		if err := l.do(leak(rapid.SampledFrom([]string{"primary", "secondary", "all"}).Draw(t, "key"), change)); err != nil {
			return // there is none
		}
		_, _ = l.do(credential.Release{}), l.do(credential.Release{Freeze: true}) // an earlier leak may not go over a hold
		l.work = credential.Work{}                                                // another daemon goes on
		deadline := l.now.Add(10 * time.Minute)
		for range 200 {
			_, has := l.state.Primary()
			if !l.state.Emergency() && (has || l.state.Status == credential.StatusRemoved) {
				return
			}
			step := l.next()
			if step.Kind != credential.StepWait {
				if err := l.do(success(l, step)); err != nil {
					t.Fatalf("%s (%s): %v\nseats %+v\nrotation %+v\nclaims %+v\nremoving %+v", step.Kind, step.Reason, err, l.state.Seats, l.state.Rotation, l.state.Claims, l.state.Removing)
				}
				continue
			}
			if step.At.IsZero() || step.At.After(deadline) {
				t.Fatalf("waits until %s (%s: %s)\nseats %+v\nrotation %+v\nclaims %+v", step.At, step.Reason, step.Why, l.state.Seats, l.state.Rotation, l.state.Claims)
			}
			l.now = later(step.At, l.now)
		}
		t.Fatalf("no end: %+v", l.next())
	})
}

// TestALeakedCandidateIsNotPromoted, though a daemon had begun to before it knew.
func TestALeakedCandidateIsNotPromoted(t *testing.T) {
	l := proven().must(leak("fp-2"))
	if err := l.do(credential.KeyPromoted{Fingerprint: "fp-2", Version: 9}); !errors.Is(err, credential.ErrStale) {
		t.Errorf("promoted: %v", err)
	}
}

// TestWhatWasKilledOutsideIsOnRecordEvenWhenItIsGone: who did it and why is told,
// and the key that lives on its seat now is not touched.
func TestWhatWasKilledOutsideIsOnRecordEvenWhenItIsGone(t *testing.T) {
	l := withFirstKey()
	before := l.named()
	gone := credential.LeakedKey{Seat: first, Fingerprint: "fp-0"}
	l.must(leak("fp-0", func(c *credential.Compromise) { c.Gone, c.Outside = &gone, l.now.Add(-time.Hour) }))
	f, _ := l.events[len(l.events)-1].Fact.(credential.Compromised)
	if len(f.Keys) != 1 || !f.Keys[0].Gone || f.Keys[0].Fingerprint != "fp-0" || !f.Outside.Equal(l.now.Add(-time.Hour)) {
		t.Errorf("the event is %+v", f)
	}
	if l.state.Emergency() || len(l.state.Seats) != 1 || l.state.Seats[0].Leak != nil || l.state.Revision != before.Revision+1 {
		t.Errorf("the state is %+v", l.state)
	}
}
