package credential_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// every is a calendar that reads "every 1h" (from the epoch on) and "never".
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

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const name = credential.Name("maps/web")

// policy is 90 days with a lead of 30 and no settle time.
func policy(change ...func(*credential.Policy)) credential.Policy {
	p := credential.Policy{Lifetime: credential.Duration(90 * 24 * time.Hour), SettleSet: true}
	for _, f := range change {
		f(&p)
	}
	resolved, err := p.Resolve(24*time.Hour, every{}, start)
	if err != nil {
		panic(err)
	}
	return resolved
}

func spec(change ...func(*credential.Policy)) credential.Spec {
	return credential.Spec{
		Issuer: "portal", Policy: policy(change...),
		Item: credential.ItemSpec{Title: "T", Privileges: []string{"premium:user:basemaps"}},
	}
}

// life drives a credential through commands, as a daemon would.
type life struct {
	state  credential.State
	events []credential.Event
	now    time.Time
	skew   time.Duration
	seen   map[string]time.Time // claim id → when it was opened
	work   credential.Work
	serial int
}

func newLife() *life { return &life{now: start, seen: map[string]time.Time{}} }

func (l *life) view() credential.View {
	l.serial++
	v := credential.View{
		Now: l.now, Skew: l.skew, MaxSkew: 5 * time.Minute, Daemon: "d-1", ID: fmt.Sprintf("id-%d", l.serial),
		Seen: map[string]time.Duration{}, Calendar: every{}, Work: l.work,
	}
	for id, at := range l.seen {
		v.Seen[id] = max(0, l.now.Sub(at))
	}
	return v
}

func (l *life) next() credential.Step { return credential.Next(l.named(), l.view()) }

func (l *life) named() credential.State {
	l.state.Name = name
	return l.state
}

// do decides and evolves.
func (l *life) do(c credential.Command) error {
	event, err := credential.Decide(l.named(), c, l.view())
	if err != nil {
		return err
	}
	l.apply(event)
	return nil
}

func (l *life) apply(event credential.Event) {
	l.state = credential.Evolve(l.state, event)
	l.state.Name = name
	l.events = append(l.events, event)
	l.work = credential.Work{}
	var opened *credential.Claim
	switch f := event.Fact.(type) {
	case credential.Started:
		opened = &f.Claim
	case credential.StepClaimed:
		opened = &f.Claim
	case credential.Retiring:
		opened = &f.Claim
	}
	if opened != nil {
		l.seen[opened.ID] = l.now
		l.work.Claim = opened.ID
	}
}

// must is do for what has to succeed.
func (l *life) must(commands ...credential.Command) *life {
	for _, c := range commands {
		if err := l.do(c); err != nil {
			panic(fmt.Sprintf("%T: %v", c, err))
		}
	}
	return l
}

// issue makes, proves and names the key of the open rotation.
func (l *life) issue() *life {
	seat := l.state.Rotation.Target
	return l.must(credential.KeyIssued{
		Seat: seat, Mint: l.state.Mint, Fingerprint: credential.Fingerprint(fmt.Sprintf("fp-%d", l.state.Mint)),
		Expires: l.now.Add(l.state.Spec.Policy.Lifetime.Std()), Version: l.state.Vault.Version + 1,
	})
}

func (l *life) promote() *life {
	candidate, _ := l.state.Candidate()
	return l.must(credential.KeyPromoted{Fingerprint: candidate.Fingerprint, Version: l.state.Vault.Version + 1})
}

// withFirstKey is a credential whose first key is promoted.
func withFirstKey(change ...func(*credential.Policy)) *life {
	l := newLife().must(credential.Register{Spec: spec(change...), Actor: "ann"}, credential.Begin{Reason: credential.ReasonFirstKey}, credential.ItemMade{Item: "i1"})
	return l.issue().promote()
}

// inDrain is one whose second key is promoted, and whose first one drains.
func inDrain(change ...func(*credential.Policy)) *life {
	l := withFirstKey(change...)
	l.now = l.state.Due
	return l.must(credential.Begin{Reason: credential.ReasonExpiring}).issue().promote()
}

// finish ends the open drain: the old keys are revoked.
func (l *life) finish() *life {
	if until := l.state.Rotation.DrainUntil; until.After(l.now) {
		l.now = until
	}
	for _, seat := range l.state.Seats {
		if seat.Role != credential.RolePrimary {
			l.must(credential.ClaimRevoke{Seat: seat.SeatID}, credential.KeyInvalidated{
				Seat: seat.SeatID, How: credential.HowRevoked, Version: l.state.Vault.Version + 1,
			})
		}
	}
	return l
}

// succeeded is one whose second key is on a new item, and alone.
func succeeded() *life {
	l := withFirstKey().must(credential.Register{Spec: other()}, credential.Begin{Reason: credential.ReasonSettings}, credential.ItemMade{Item: "i2"})
	return l.issue().promote().finish()
}

// healed is one whose first key was dead at the issuer and has just been replaced.
func healed() *life {
	l := withFirstKey(func(p *credential.Policy) { p.DrainSet, p.Drain = true, 0 }).must(
		credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyRefused, Seat: credential.SeatID{Item: "i1", Slot: 1}}},
		credential.Begin{Reason: credential.ReasonRefused})
	return l.issue().promote().finish()
}
