package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

// every is a calendar that reads "every 1h", from the epoch on.
type every struct{}

func (every) Next(spec string, after time.Time) (time.Time, bool) {
	text, ok := strings.CutPrefix(spec, "every ")
	if !ok {
		return time.Time{}, false
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return time.Time{}, false
	}
	return after.Truncate(d).Add(d), true
}

const (
	name = credential.Name("maps/web")
	day  = 24 * time.Hour
	// step is how long each step of a rotation takes.
	step = time.Minute
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// declare is 90 days with a lead of 30, a drain of 1 and no settle time.
func declare(t *testing.T, change ...func(*credential.Policy)) credential.Register {
	t.Helper()
	p := credential.Policy{Lifetime: credential.Duration(90 * day), SettleSet: true}
	for _, f := range change {
		f(&p)
	}
	resolved, err := p.Resolve(time.Hour, every{}, start)
	if err != nil {
		t.Fatal(err)
	}
	return credential.Register{Actor: "ann", Spec: credential.Spec{
		Issuer: "portal", Policy: resolved, Item: credential.ItemSpec{Title: "T", Privileges: []string{"premium:user:basemaps"}},
	}}
}

// life makes the record of a credential as a daemon would: by Decide and Evolve.
type life struct {
	t       *testing.T
	name    credential.Name
	state   credential.State
	entries []credential.Entry
	now     time.Time
	seen    map[string]time.Time
	work    credential.Work
}

func newLife(t *testing.T) *life {
	return &life{t: t, name: name, now: start, seen: map[string]time.Time{}, state: credential.State{Name: name}}
}

func (l *life) view() credential.View {
	v := credential.View{
		Now: l.now, Daemon: "d-1", ID: fmt.Sprintf("id-%d", len(l.entries)+1), Calendar: every{},
		Work: l.work, Seen: map[string]time.Duration{},
	}
	for id, at := range l.seen {
		v.Seen[id] = l.now.Sub(at)
	}
	return v
}

// do is what a daemon or a person does now; it must succeed.
func (l *life) do(commands ...credential.Command) *life {
	l.t.Helper()
	for _, c := range commands {
		event, err := credential.Decide(l.state, c, l.view())
		if err != nil {
			l.t.Fatalf("%T: %v", c, err)
		}
		l.append(event)
	}
	return l
}

func (l *life) append(event credential.Event) {
	l.state = credential.Evolve(l.state, event)
	l.state.Name = l.name
	sequence := uint64(len(l.entries) + 1)
	l.entries = append(l.entries, credential.Entry{
		Name: l.name, Event: event, State: l.state, Head: credential.Head{Sequence: sequence, Hash: fmt.Sprintf("hash-%d", sequence)},
	})
	l.work = credential.Work{}
	switch f := event.Fact.(type) {
	case credential.Started:
		l.work.Claim = f.Claim.ID
	case credential.StepClaimed:
		l.work.Claim = f.Claim.ID
	case credential.Retiring:
		l.work.Claim = f.Claim.ID
	}
	if l.work.Claim != "" {
		l.seen[l.work.Claim] = l.now
	}
}

func (l *life) wait(d time.Duration) *life {
	l.now = l.now.Add(d)
	return l
}

// until moves to an instant of the life, counted from its start.
func (l *life) until(d time.Duration) *life {
	l.t.Helper()
	if at := start.Add(d); !at.Before(l.now) {
		l.now = at
		return l
	}
	l.t.Fatalf("%s is over already", d)
	return l
}

// issue proves the key of the open rotation, a step later.
func (l *life) issue() *life {
	l.t.Helper()
	return l.wait(step).do(credential.KeyIssued{
		Seat: l.state.Rotation.Target, Mint: l.state.Mint, Fingerprint: credential.Fingerprint(fmt.Sprintf("fp-%d", l.state.Mint)),
		Expires: l.now.Add(l.state.Spec.Policy.Lifetime.Std()), Version: l.state.Vault.Version + 1,
	})
}

// promote promotes it, a step later.
func (l *life) promote() *life {
	l.t.Helper()
	candidate, _ := l.state.Candidate()
	return l.wait(step).do(credential.KeyPromoted{Fingerprint: candidate.Fingerprint, Version: l.state.Vault.Version + 1})
}

// retire revokes what drains, once the drain is over; it takes two steps.
func (l *life) retire() *life {
	l.t.Helper()
	var old credential.SeatID
	for _, seat := range l.state.Seats {
		if seat.Role == credential.RoleDraining {
			old = seat.SeatID
		}
	}
	l.do(credential.ClaimRevoke{Seat: old})
	claim := l.work
	l.wait(step)
	l.work = claim
	return l.do(credential.KeyInvalidated{Seat: old, How: credential.HowRevoked, Version: l.state.Vault.Version + 1})
}

// first makes the first key: promoted two steps after the start.
func (l *life) first(change ...func(*credential.Policy)) *life {
	l.t.Helper()
	l.do(declare(l.t, change...), credential.Begin{Reason: credential.ReasonFirstKey}, credential.ItemMade{Item: "i1"})
	return l.issue().promote()
}

// due moves to when the next rotation begins.
func (l *life) due() *life { l.now = l.state.Due; return l }

// rotate begins a rotation when it is due and promotes its key.
func (l *life) rotate() *life {
	l.t.Helper()
	return l.due().do(credential.Begin{Reason: credential.ReasonExpiring}).issue().promote()
}

// drained moves to the end of the drain.
func (l *life) drained() *life { l.now = l.state.Rotation.DrainUntil; return l }

// report folds the life, for a period counted from its start.
func (l *life) report(since, until time.Duration) report.Report {
	return fold(start.Add(since), start.Add(until), l.entries)
}

func fold(since, until time.Time, entries []credential.Entry) report.Report {
	fold := report.New(since, until, every{})
	for _, e := range entries {
		fold.Mark(e)
	}
	for _, e := range entries {
		fold.Add(e)
	}
	return fold.Report()
}

// at is an instant counted from the start.
func at(d time.Duration) time.Time { return start.Add(d) }
