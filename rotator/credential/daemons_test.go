package credential_test

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/rotator/credential"
)

// fleet is several daemons at one record. Each has its own clock, its own first
// sight of the claims, its own pass, and results that come late.
type fleet struct {
	record  *life
	daemons []*daemon
}

type daemon struct {
	name   string
	offset time.Duration
	seen   map[string]time.Time
	work   credential.Work
	late   []credential.Command
}

func (f *fleet) view(d *daemon) credential.View {
	l := f.record
	l.seen, l.work = maps.Clone(d.seen), d.work
	v := l.view()
	v.Daemon, v.Now, v.Skew = d.name, l.now.Add(d.offset).In(time.FixedZone(d.name, 3600)), l.skew-d.offset
	return v
}

// apply commits an event, which ends the pass of every other daemon whose claim
// it closed, and which all daemons see sooner or later.
func (f *fleet) apply(d *daemon, event credential.Event) {
	f.record.apply(event)
	opened := f.record.work.Claim
	d.work = credential.Work{Claim: opened}
	if opened != "" {
		d.seen[opened] = f.record.now
	}
}

var offset = regexp.MustCompile(`T\d\d:\d\d:\d\d(\.\d+)?[+-]`)

// TestDaemonsWithTheirOwnClocksKeepTheInvariants: any policy, any order, any
// view; after each event the record folds to the state and no invariant broke.
func TestDaemonsWithTheirOwnClocksKeepTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		declared := spec()
		declared.Policy = anyPolicy(t)
		f := &fleet{record: newLife().must(credential.Register{Spec: declared, Actor: "ann"})}
		for i := range 3 {
			f.daemons = append(f.daemons, &daemon{
				name: fmt.Sprintf("d-%d", i), seen: map[string]time.Time{},
				offset: rapid.SampledFrom([]time.Duration{0, time.Second, -time.Minute, 10 * time.Minute}).Draw(t, "offset"),
			})
		}
		for range rapid.IntRange(1, 60).Draw(t, "actions") {
			f.act(t)
		}
	})
}

func (f *fleet) act(t *rapid.T) {
	l := f.record
	l.now = l.now.Add(rapid.SampledFrom([]time.Duration{0, 0, time.Second, time.Minute, time.Hour, 5 * day}).Draw(t, "later"))
	l.skew = rapid.SampledFrom([]time.Duration{0, 0, time.Minute, -time.Minute}).Draw(t, "skew")
	d := rapid.SampledFrom(f.daemons).Draw(t, "daemon")
	if rapid.IntRange(0, 19).Draw(t, "restarts") == 0 {
		d.seen, d.work = map[string]time.Time{}, credential.Work{}
	}
	for _, claim := range l.state.Claims {
		if _, ok := d.seen[claim.ID]; !ok {
			d.seen[claim.ID] = l.now
		}
	}
	view := f.view(d)
	step := credential.Next(l.named(), view)
	var command credential.Command
	switch who := rapid.IntRange(0, 9).Draw(t, "who"); {
	case who == 0:
		command = wish(t, l)
	case who == 1 && len(d.late) > 0:
		command = rapid.SampledFrom(d.late).Draw(t, "late")
	case step.Kind == credential.StepWait:
		return
	default:
		command = success(l, step)
		if who == 2 {
			d.late = append(d.late, command)
			return
		}
		// progress: what the core asked for is not refused in the same view
		if _, err := credential.Decide(l.named(), command, view); err != nil {
			t.Fatalf("%s (%s) led to %T, refused: %v", step.Kind, step.Reason, command, err)
		}
	}
	before := l.named()
	event, err := credential.Decide(before, command, view)
	if err != nil {
		if event.Fact != nil || !refusal(err) {
			t.Fatalf("%T: %v with %+v", command, err, event)
		}
		return
	}
	f.apply(d, event)
	check(t, before, event, l.state, view)
	checkEnd(t, before, event, l.state, view)
	replayed := credential.State{}
	for _, event := range l.events {
		fact, err := credential.DecodeFact(event.Fact.Type(), []byte(encode(t, event.Fact)))
		if err != nil {
			t.Fatal(err)
		}
		event.Fact = fact
		replayed = credential.Evolve(replayed, event)
	}
	replayed.Name = name
	if a, b := encode(t, replayed), encode(t, l.state); a != b {
		t.Fatalf("the replay differs:\n%s\n%s", a, b)
	} else if local := offset.FindString(b + encode(t, event.Fact)); local != "" {
		t.Fatalf("%s: an instant is not in UTC: %s", event.Fact.Type(), local)
	}
}

func refusal(err error) bool {
	for _, known := range []error{credential.ErrNothing, credential.ErrStale, credential.ErrHeld, credential.ErrClaimed, credential.ErrUnknown, credential.ErrAbsurd, credential.ErrNotNamed, credential.ErrNoKey} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// checkEnd: a rotation ends when only the primary is left, and only then or by
// being abandoned; what is promoted is proven, alive and unclaimed; the primary
// changes by a promotion only.
func checkEnd(t *rapid.T, before credential.State, event credential.Event, after credential.State, view credential.View) {
	was, had := before.Primary()
	is, has := after.Primary()
	alone := has && len(after.Seats) == 1
	if after.Rotation != nil && after.Rotation.Phase == credential.PhaseDrain && alone {
		t.Fatalf("only the primary is left, and the rotation is open")
	}
	promoted, ok := event.Fact.(credential.Promoted)
	if _, adopted := event.Fact.(credential.Adopted); had && has && was.SeatID != is.SeatID && !ok && !adopted {
		t.Fatalf("%s moved the primary from %s to %s", event.Fact.Type(), was.SeatID, is.SeatID)
	}
	if ok {
		seat, listed := before.Seat(promoted.Seat)
		if !listed || seat.Proven.IsZero() || seat.Claimed || !view.IssuerNow().Before(seat.Expires) || seat.Fingerprint != promoted.Fingerprint {
			t.Fatalf("promoted %+v", seat)
		}
	}
	if invalidated, ok := event.Fact.(credential.Invalidated); ok && invalidated.Seat == was.SeatID && before.Removing == nil && (was.Leak == nil || !was.Leak.Immediately) {
		t.Fatalf("the primary was ended")
	}
	for _, seat := range after.Seats {
		if seat.Role == credential.RoleCandidate && (after.Rotation == nil || after.Rotation.Phase == credential.PhaseDrain || after.Rotation.Target != seat.SeatID) {
			t.Fatalf("a candidate on %s without its rotation", seat.SeatID)
		}
		if seat.Mint > after.Mint {
			t.Fatalf("mint %d on %s, the counter is at %d", seat.Mint, seat.SeatID, after.Mint)
		}
	}
}
