package credential_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/rotator/credential"
)

// pass does what the core says until it says wait, as a daemon whose calls all
// succeed, and returns until when to wait. A daemon that turns in circles, or
// that is refused what it was told to do, fails the test.
func (l *life) pass(t *rapid.T) time.Time {
	for range 40 {
		view := l.view()
		step := credential.Next(l.named(), view)
		if step.Kind == credential.StepWait {
			l.work = credential.Work{}
			return step.At
		}
		command := success(l, step)
		event, err := credential.Decide(l.named(), command, view)
		if err != nil {
			t.Fatalf("%s (%s: %s) led to %T, refused: %v\nseats %+v\nrotation %+v", step.Kind, step.Reason, step.Why, command, err, l.state.Seats, l.state.Rotation)
		}
		l.apply(event)
	}
	t.Fatalf("no end: %+v", l.next())
	return time.Time{}
}

// success is the result of a step that went well.
func success(l *life, step credential.Step) credential.Command {
	version := l.state.Vault.Version + 1
	switch step.Kind {
	case credential.StepBegin:
		return credential.Begin{Reason: step.Reason}
	case credential.StepItem:
		return credential.ItemMade{Item: fmt.Sprintf("i%d", l.serial)}
	case credential.StepIssue, credential.StepStore, credential.StepVerify:
		return credential.KeyIssued{
			Seat: l.state.Rotation.Target, Mint: l.state.Mint, Version: version,
			Fingerprint: credential.Fingerprint(fmt.Sprintf("fp-%d", l.state.Mint)),
			Expires:     l.now.Add(l.skew).Add(l.state.Spec.Policy.Lifetime.Std()),
		}
	case credential.StepPromote:
		candidate, _ := l.state.Seat(step.Seat)
		return credential.KeyPromoted{Fingerprint: candidate.Fingerprint, Version: version}
	case credential.StepRetire:
		return credential.ClaimRevoke{Seat: step.Seat}
	case credential.StepRevoke:
		if primary, _ := l.state.Primary(); primary.SeatID == step.Seat || l.state.Removing != nil { // an emergency, which needs no Vault
			return credential.KeyInvalidated{Seat: step.Seat, How: credential.HowRevoked, Version: l.state.Vault.Version}
		}
		return credential.KeyInvalidated{Seat: step.Seat, How: credential.HowRevoked, Version: version, Destroyed: version}
	case credential.StepExpire:
		how := credential.HowExpired
		if seat, _ := l.state.Seat(step.Seat); seat.Replaced {
			how = credential.HowReplaced
		}
		return credential.KeyInvalidated{Seat: step.Seat, How: how, Version: version, Destroyed: version}
	case credential.StepAmend:
		return credential.ClaimItem{Op: credential.OpEditItem, Item: step.Seat.Item}
	case credential.StepEdit:
		return credential.ItemAmended{Item: step.Seat.Item, Description: l.state.Spec.Item.DescriptionHash()}
	case credential.StepDiscard:
		return credential.ClaimItem{Op: credential.OpDeleteItem, Item: step.Seat.Item}
	case credential.StepDelete:
		return credential.ItemGone{Item: step.Seat.Item}
	case credential.StepRemove:
		return credential.KeysGone{}
	case credential.StepAbandon:
		return credential.GiveUp{Why: step.Why}
	case credential.StepNotice:
		return credential.Tell{Level: step.Level}
	case credential.StepResume:
		return credential.ClaimMint{}
	case credential.StepWait, credential.StepConfirm, credential.StepDrain:
	}
	panic("no result for " + step.Kind)
}

// anyPolicy is a policy that can be kept.
func anyPolicy(t *rapid.T) credential.Policy {
	hours := func(least, most int, what string) credential.Duration {
		return credential.Duration(time.Duration(rapid.IntRange(least, most).Draw(t, what)) * time.Hour)
	}
	for {
		p := credential.Policy{Lifetime: hours(48, 4000, "lifetime"), SettleSet: true}
		if rapid.Bool().Draw(t, "scheduled") {
			p.Schedule = fmt.Sprintf("every %dh", rapid.IntRange(1, 1000).Draw(t, "gap"))
		} else if rapid.Bool().Draw(t, "own lead") {
			p.RotateBefore = hours(8, 3000, "lead")
		}
		if rapid.Bool().Draw(t, "own drain") {
			p.DrainSet, p.Drain = true, hours(0, 2000, "drain")
		}
		if rapid.Bool().Draw(t, "window") {
			p.Window = &credential.Window{Start: fmt.Sprintf("every %dh", rapid.IntRange(2, 9000).Draw(t, "opens")), Duration: hours(1, 20, "open")}
		}
		if rapid.Bool().Draw(t, "gate") {
			p.Confirm = &credential.Confirm{
				Consumers: []string{"web"}, Deadline: hours(1, 1000, "deadline"),
				Before: rapid.SampledFrom([]string{credential.BeforePromote, credential.BeforeRetire}).Draw(t, "before"),
				Then:   rapid.SampledFrom([]string{credential.ThenProceed, credential.ThenHalt}).Draw(t, "then"),
			}
		}
		if resolved, err := p.Resolve(24*time.Hour, every{}, start); err == nil {
			return resolved
		}
	}
}

// TestNoKeyExpiresUnderAFaithfulDaemon: holds, gates, windows, changes of
// policy and settings, requests and claims left open may delay a rotation, but
// never let the primary expire, and never make a daemon turn in circles.
func TestNoKeyExpiresUnderAFaithfulDaemon(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		specs := [2]credential.Spec{spec(), other()}
		p := anyPolicy(t)
		specs[0].Policy, specs[1].Policy = p, p
		l := newLife().must(credential.Register{Spec: specs[0], Actor: "ann"})
		l.skew = rapid.SampledFrom([]time.Duration{0, time.Minute, -time.Minute}).Draw(t, "skew")
		for range rapid.IntRange(1, 60).Draw(t, "wakes") {
			at := l.pass(t)
			if primary, ok := l.state.Primary(); !ok || !l.now.Add(l.skew).Before(primary.Expires) {
				t.Fatalf("no key that works: %+v, rotation %+v", l.state.Seats, l.state.Rotation)
			}
			step := l.next()
			moment := step.Reason == credential.ReasonDrift && !step.At.IsZero() && !step.At.After(l.state.Healed.Add(4*p.ProbeInterval()))
			if refusedPrimary(l.state) && step.Reason != credential.ReasonClaimOpen && step.Reason != credential.ReasonBackoff && !moment {
				t.Fatalf("the refused primary stays: %s (%s), %+v, rotation %+v", step.Kind, step.Reason, l.state.Seats, l.state.Rotation)
			}
			if at.IsZero() {
				t.Fatal("nothing would ever wake this credential")
			}
			if !at.After(l.now) {
				t.Fatalf("waits until %v, which is past: it is %v", at, l.now)
			}
			if early := l.now.Add(time.Duration(rapid.Int64Range(0, int64(at.Sub(l.now))).Draw(t, "early"))); rapid.Bool().Draw(t, "interrupted") {
				at = early
			}
			l.now = at
			disturb(t, l, specs)
		}
	})
}

func refusedPrimary(s credential.State) bool {
	primary, _ := s.Primary()
	return slices.ContainsFunc(s.Drift, func(d credential.Finding) bool {
		return d.Kind == credential.FindingKeyRefused && d.Seat == primary.SeatID
	})
}

// disturb is what may happen between two passes.
func disturb(t *rapid.T, l *life, specs [2]credential.Spec) {
	primary, _ := l.state.Primary()
	l.skew = rapid.SampledFrom([]time.Duration{l.skew, l.skew, l.skew, 0, 10 * time.Minute}).Draw(t, "skew")
	command := rapid.SampledFrom([]credential.Command{
		nil, nil, nil, nil, nil,
		credential.PutHold{Actor: "ann", Reason: "audit"},
		credential.PutHold{Actor: "ann", Reason: "audit", Until: l.now.Add(100 * time.Hour)},
		credential.Release{Actor: "ann"},
		credential.RequestRotation{ID: fmt.Sprint(l.serial), Actor: "ann"},
		credential.RequestRotation{ID: fmt.Sprint(l.serial), Actor: "ann", Now: true},
		credential.Register{Spec: specs[0]}, credential.Register{Spec: specs[1]},
		credential.Acknowledge{Consumer: "web", Fingerprint: credential.Fingerprint(fmt.Sprintf("fp-%d", l.state.Mint))},
		credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassRetryable, Answered: true, Wait: l.state.Spec.Policy.RotateBefore.Std() / 16},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyRefused, Seat: primary.SeatID}},
		credential.Begin{Reason: credential.ReasonExpiring}, // a daemon that dies right after its claim
	}).Draw(t, "meanwhile")
	if command == nil {
		return
	}
	if _, dies := command.(credential.Begin); dies {
		if step := l.next(); step.Kind != credential.StepBegin {
			return
		} else {
			command = credential.Begin{Reason: step.Reason}
		}
	}
	err := l.do(command)
	l.work = credential.Work{}
	if err != nil && !errors.Is(err, credential.ErrNothing) && !errors.Is(err, credential.ErrStale) && !errors.Is(err, credential.ErrNotNamed) {
		t.Fatalf("%T: %v", command, err)
	}
}
