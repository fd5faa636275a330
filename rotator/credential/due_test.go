package credential_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

const day = 24 * time.Hour

func TestPolicyDefaults(t *testing.T) {
	for _, c := range []struct {
		lifetime, lead, drain, settle time.Duration
	}{
		{365 * day, 30 * day, day, time.Minute},     // the lead is capped at 30 days
		{90 * day, 30 * day, day, time.Minute},      // a third
		{3 * day, day, 12 * time.Hour, time.Minute}, // the drain is half the lead
		{day, 8 * time.Hour, 4 * time.Hour, time.Minute},
	} {
		p, err := credential.Policy{Lifetime: credential.Duration(c.lifetime)}.Resolve(day, every{}, start)
		if err != nil || p.RotateBefore.Std() != c.lead || p.Drain.Std() != c.drain || p.Settle.Std() != c.settle {
			t.Errorf("%v: lead %v, drain %v, settle %v, %v; want %v, %v, %v", c.lifetime, p.RotateBefore, p.Drain, p.Settle, err, c.lead, c.drain, c.settle)
		}
		again, err := p.Resolve(day, every{}, start)
		if err != nil || again != p {
			t.Errorf("%v: resolving twice changes it: %+v, %v", c.lifetime, again, err)
		}
	}
}

func TestImpossiblePoliciesAreRefused(t *testing.T) {
	d := func(x time.Duration) credential.Duration { return credential.Duration(x) }
	for what, c := range map[string]struct {
		p     credential.Policy
		field string // "" = possible
	}{
		"no lifetime":                      {credential.Policy{}, "lifetime"},
		"longer than a year":               {credential.Policy{Lifetime: d(365*day + 1)}, "lifetime"},
		"a year":                           {credential.Policy{Lifetime: d(365 * day)}, ""},
		"below the issuer's minimum":       {credential.Policy{Lifetime: d(day - 1)}, "lifetime"},
		"the issuer's minimum":             {credential.Policy{Lifetime: d(day)}, ""},
		"a lead as long as the life":       {credential.Policy{Lifetime: d(2 * day), RotateBefore: d(2 * day)}, "rotate_before"},
		"a negative lead":                  {credential.Policy{Lifetime: d(2 * day), RotateBefore: -1}, "rotate_before"},
		"a drain longer than the lead":     {credential.Policy{Lifetime: d(90 * day), Drain: d(30*day + 1), DrainSet: true}, "drain"},
		"a drain as long as the lead":      {credential.Policy{Lifetime: d(90 * day), Drain: d(30 * day), DrainSet: true}, ""},
		"a negative drain":                 {credential.Policy{Lifetime: d(90 * day), Drain: -1, DrainSet: true}, "drain"},
		"a settle time that eats the lead": {credential.Policy{Lifetime: d(90 * day), Settle: d(8 * day), SettleSet: true}, "settle"},
		"a schedule too rare":              {credential.Policy{Lifetime: d(2 * day), Schedule: "every 48h"}, "schedule"},
		"a schedule that never fires":      {credential.Policy{Lifetime: d(2 * day), Schedule: "never"}, "schedule"},
		"a schedule often enough":          {credential.Policy{Lifetime: d(2 * day), Schedule: "every 24h"}, ""},
		"a window that never opens":        {credential.Policy{Lifetime: d(2 * day), Window: &credential.Window{Start: "never", Duration: d(time.Hour)}}, "window.start"},
		"a window without a duration":      {credential.Policy{Lifetime: d(2 * day), Window: &credential.Window{Start: "every 24h"}}, "window.duration"},
		"a gate without consumers":         {credential.Policy{Lifetime: d(2 * day), Confirm: &credential.Confirm{Before: "promote", Then: "halt", Deadline: d(time.Hour)}}, "confirm.consumers"},
		"a gate before nothing":            {credential.Policy{Lifetime: d(2 * day), Confirm: &credential.Confirm{Consumers: []string{"a"}, Then: "halt", Deadline: d(time.Hour)}}, "confirm.before"},
		"a gate that outlives the lead":    {credential.Policy{Lifetime: d(3 * day), Confirm: &credential.Confirm{Consumers: []string{"a"}, Before: "retire", Then: "halt", Deadline: d(2 * day)}}, "confirm.deadline"},
	} {
		_, err := c.p.Resolve(day, every{}, start)
		var impossible *credential.PolicyError
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%s: refused: %v", what, err)
		case c.field != "" && (!errors.As(err, &impossible) || impossible.Field != c.field || impossible.Reason == ""):
			t.Errorf("%s: got %v, want a refusal of %s", what, err, c.field)
		}
	}
}

func TestDueIsSpreadTheSameWayEachTime(t *testing.T) {
	p := policy()
	expires := start.Add(90 * day)
	latest, earliest := expires.Add(-30*day), expires.Add(-33*day)
	distinct := map[time.Time]bool{}
	for i := range 1000 {
		n := credential.Name(fmt.Sprintf("maps/k%d", i))
		due := p.DueAt(n, 7, start, expires, every{})
		if due != p.DueAt(n, 7, start, expires, every{}) {
			t.Fatalf("%s: two answers to one question", n)
		}
		if due.Before(earliest) || due.After(latest) || !due.Equal(due.Truncate(time.Second)) {
			t.Fatalf("%s: due %v, want whole seconds of %v to %v", n, due, earliest, latest)
		}
		distinct[due] = true
	}
	if len(distinct) < 990 {
		t.Errorf("only %d instants for 1,000 names", len(distinct))
	}
	if p.DueAt(name, 1, start, expires, every{}).Equal(p.DueAt(name, 2, start, expires, every{})) {
		t.Error("the generation does not move the spread")
	}
}

func TestAScheduleDecidesTheDueTime(t *testing.T) {
	p := policy(func(p *credential.Policy) { p.Schedule = "every 720h" })
	if lead := p.RotateBefore.Std(); lead != 60*day {
		t.Fatalf("lead %v, want the life of 90 days less the gap of 30", lead)
	}
	promoted := start
	due := p.DueAt(name, 1, promoted, promoted.Add(90*day), every{})
	if want := promoted.Truncate(720 * time.Hour).Add(720 * time.Hour); !due.Equal(want) {
		t.Errorf("due %v, want the next firing %v", due, want)
	}
}

func TestAWindowMovesPlannedStepsUnlessTheKeyWouldExpire(t *testing.T) {
	daily := func(p *credential.Policy) {
		p.Window = &credential.Window{Start: "every 24h", Duration: credential.Duration(time.Hour)}
	}
	l := withFirstKey(daily)
	l.now = l.state.Due.Truncate(day).Add(5 * time.Hour) // closed, and due or nearly so
	if l.now.Before(l.state.Due) {
		l.now = l.now.Add(day)
	}
	step := l.next()
	if step.Kind != credential.StepWait || !step.At.Equal(l.now.Truncate(day).Add(day)) {
		t.Errorf("closed: %s until %v, want to wait for the next opening", step.Kind, step.At)
	}
	l.now = step.At.Add(time.Hour - 1)
	if step := l.next(); step.Kind != credential.StepBegin {
		t.Errorf("in the last instant of the window: %s (%s), want begin", step.Kind, step.Reason)
	}
	l.now = step.At.Add(time.Hour)
	if step := l.next(); step.Kind != credential.StepWait {
		t.Errorf("when it has just closed: %s, want to wait", step.Kind)
	}
	// a window once a year must not let the key expire
	rare := withFirstKey(func(p *credential.Policy) {
		p.Window = &credential.Window{Start: "every 8760h", Duration: credential.Duration(time.Hour)}
	})
	primary, _ := rare.state.Primary()
	rare.now = rare.state.Spec.Policy.WarnAt(primary.Expires)
	rare.must(credential.Tell{Level: credential.LevelWarn})
	if step := rare.next(); step.Kind != credential.StepBegin {
		t.Errorf("at the warning level: %s (%s), want begin though the window is closed", step.Kind, step.Reason)
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		90 * day: "90d", 24 * time.Hour: "24h", 90 * time.Second: "1m30s", time.Hour: "1h", 20 * time.Minute: "20m", 0: "0s", 1500 * time.Millisecond: "1.5s", 10 * time.Second: "10s",
	} {
		if got := credential.Short(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
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
