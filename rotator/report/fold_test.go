package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

// lived is what a test says of a key.
type lived struct {
	Number         uint64
	Fingerprint    credential.Fingerprint
	By, Why        string // By: the actor, and the id of the request
	Replaces, Next credential.Fingerprint
	Lived, Primary string
	End            report.End
	Events         []uint64
}

func keys(r report.Report) (list []lived) {
	for _, k := range r.Keys {
		list = append(list, lived{k.Number, k.Fingerprint, strings.TrimSpace(k.Actor + " " + k.Request), k.Why, k.Replaces, k.ReplacedBy, k.Lived, k.Primary, k.End, k.Events})
	}
	return list
}

func TestKeysThatLived(t *testing.T) {
	const (
		firstKey = "there is no key yet"
		expiring = "the lead time before expiry has begun"
	)
	// two rotations without a fault, told below by the numbers of their events:
	// 1 registered, 2 started, 3 claimed, 4 issued, 5 promoted;
	// 6 started, 7 issued, 8 promoted, 9 retiring, 10 invalidated; 11 … 15 the same
	steady := func(l *life) { l.first().rotate().drained().retire().rotate().drained().retire() }
	for _, c := range []struct {
		what         string
		live         func(*life)
		since, until time.Duration
		want         []lived
	}{
		{"before its first event there is none", steady, -day, 0, nil},
		{"one lives from its proof on", steady, 0, 10 * day, []lived{
			{1, "fp-1", "policy", firstKey, "", "", "239h59m", "239h58m", "", []uint64{2, 3, 4, 5}},
		}},
		{"the old and the new one live while the old one drains", steady, 50 * day, 70 * day, []lived{
			{1, "fp-1", "policy", firstKey, "", "fp-2", "1415h44m5s", "1391h42m5s", report.EndRevoked, []uint64{2, 3, 4, 5, 8, 10}},
			{2, "fp-2", "policy", expiring, "fp-1", "", "288h16m55s", "288h15m55s", "", []uint64{6, 7, 8}},
		}},
		{"one that died before the time is left out", steady, 60 * day, 61 * day, []lived{
			{2, "fp-2", "policy", expiring, "fp-1", "", "72h16m55s", "72h15m55s", "", []uint64{6, 7, 8}},
		}},
		{"a request names who asked, and why", func(l *life) {
			l.first().wait(day).do(credential.RequestRotation{ID: "r-1", Actor: "oncall", Reason: "it was in a chat", Now: true},
				credential.Begin{Reason: credential.ReasonRequested}).issue()
		}, 0, 2 * day, []lived{
			{1, "fp-1", "policy", firstKey, "", "", "47h59m", "47h58m", "", []uint64{2, 3, 4, 5}},
			{2, "fp-2", "oncall r-1", "oncall asked for it: it was in a chat", "", "", "23h57m", "", "", []uint64{7, 8}},
		}},
		{"one that died at the very beginning did not live in the time", func(l *life) {
			l.first(hours())
			second(l).drained().retire()
		}, 9*time.Hour + 3*time.Minute, 10 * time.Hour, []lived{
			{2, "fp-2", "policy", expiring, "fp-1", "", "1h59m", "1h58m", "", []uint64{6, 7, 8}},
		}},
		{"the issuer may name another expiry", func(l *life) {
			l.first().until(day).do(credential.Found{
				Finding: credential.Finding{Kind: credential.FindingExpiry, Seat: credential.SeatID{Item: "i1", Slot: 1}}, Expires: at(10 * day),
			})
		}, 0, 20 * day, []lived{
			{1, "fp-1", "policy", firstKey, "", "", "239h59m", "239h58m", report.EndExpired, []uint64{2, 3, 4, 5, 6}},
		}},
		{"a request is that of its own rotation only", func(l *life) {
			l.first(hours()).until(time.Hour).do(credential.RequestRotation{ID: "r-1", Actor: "oncall", Now: true}, credential.Begin{Reason: credential.ReasonRequested})
			l.issue().promote().drained().retire().rotate()
		}, 9 * time.Hour, 24 * time.Hour, []lived{
			{2, "fp-2", "oncall r-1", "oncall asked for it: no reason was given", "fp-1", "fp-3", "12h", "7h39m54s", report.EndExpired, []uint64{7, 8, 9, 14}},
			{3, "fp-3", "policy", expiring, "fp-2", "", "12h", "11h59m", report.EndExpired, []uint64{12, 13, 14}},
		}},
		{"a claim under which nothing was generated begins no key", func(l *life) {
			l.do(declare(l.t), credential.Begin{Reason: credential.ReasonFirstKey}, credential.ItemMade{Item: "i1"},
				credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassRetryable, Message: "busy", Answered: true})
		}, 0, day, nil},
		{"one that may have been generated lives until the next one is proven on its slot", func(l *life) {
			l.do(declare(l.t), credential.Begin{Reason: credential.ReasonFirstKey}, credential.ItemMade{Item: "i1"},
				credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassUnknown, Message: "cut"})
			l.wait(time.Hour).do(credential.ClaimMint{}).issue()
		}, 0, day, []lived{
			{1, "", "policy", firstKey, "", "", "1h1m", "", report.EndOverwritten, []uint64{2, 3, 6}},
			{2, "fp-2", "policy", firstKey, "", "", "22h59m", "", "", []uint64{2, 5, 6}},
		}},
		{"one that passes its expiry is dead, also where no event says so", func(l *life) { l.first() }, 80 * day, 100 * day, []lived{
			{1, "fp-1", "policy", firstKey, "", "", "90d", "2159h59m", report.EndExpired, []uint64{2, 3, 4, 5}},
		}},
		{"one that expired while it drained lived until its expiry, not until the event", func(l *life) {
			l.first().rotate().until(91 * day).do(credential.KeyInvalidated{
				Seat: credential.SeatID{Item: "i1", Slot: 1}, How: credential.HowExpired, Version: 9,
			})
		}, 80 * day, 92 * day, []lived{
			{1, "fp-1", "policy", firstKey, "", "fp-2", "90d", "1391h42m5s", report.EndExpired, []uint64{2, 3, 4, 5, 8, 9}},
			{2, "fp-2", "policy", expiring, "fp-1", "", "816h16m55s", "816h15m55s", "", []uint64{6, 7, 8}},
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			l := newLife(t)
			c.live(l)
			if diff := cmp.Diff(c.want, keys(l.report(c.since, c.until))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRecoveredKeys: a record that begins anew knows its keys by what was found.
func TestRecoveredKeys(t *testing.T) {
	l := newLife(t)
	event, err := credential.DecideRecovery(l.state, credential.Recovered{
		Spec: declare(t).Spec, Version: 7, Mint: 1_000_003, Revision: 1_000_005, Due: at(60 * day),
		Gap: credential.Gap{Reason: "the disk was lost", Mint: 3, Revision: 5},
		Seats: []credential.Seat{
			{SeatID: credential.SeatID{Item: "i1", Slot: 1}, Role: credential.RolePrimary, Fingerprint: "fp-3", Mint: 3, Proven: start, Expires: at(90 * day)},
			{SeatID: credential.SeatID{Item: "i1", Slot: 2}, Role: credential.RoleOrphan, Mint: 2},
		},
	}, "oncall", l.view())
	if err != nil {
		t.Fatal(err)
	}
	l.append(event)
	got := l.report(0, 85*day)
	const why = "found by a recovery; what it was made for is not known"
	want := []lived{
		{2, "", "oncall", why, "", "", "85d", "", "", []uint64{1}},
		{3, "fp-3", "oncall", why, "", "", "85d", "", "", []uint64{1}},
	}
	if diff := cmp.Diff(want, keys(got)); diff != "" {
		t.Error(diff)
	}
	if len(got.Breaches) != 1 || got.Breaches[0].Kind != report.KindOverAge {
		t.Errorf("past the page level of 82d12h: %+v", got.Breaches)
	}
	if len(got.Changes) != 1 || got.Changes[0].Actor != "oncall" {
		t.Errorf("changes: %+v", got.Changes)
	}
}

// TestAWrongClockCutsNothingOff: the period ends with the last event that has an
// earlier time, and what a clock did meanwhile is told.
func TestAWrongClockCutsNothingOff(t *testing.T) {
	l := newLife(t).first()
	l.now = l.state.Due
	l.do(credential.Begin{Reason: credential.ReasonExpiring}).issue().promote()
	promotion := &l.entries[len(l.entries)-1].Event
	promotion.At = promotion.At.AddDate(1, 0, 0) // a year ahead
	l.drained().retire()
	r := fold(start, at(80*day), l.entries)
	if len(r.Keys) != 2 || r.Keys[0].End != report.EndRevoked || !r.Keys[1].Promoted.Equal(promotion.At) || r.Read.Events != 10 {
		t.Errorf("keys %+v, read %+v", r.Keys, r.Read)
	}
	if r.Read.Backwards != 1 || len(r.Breaches) != 0 {
		t.Errorf("%d events go backwards; breaches %+v", r.Read.Backwards, r.Breaches)
	}
	var out strings.Builder
	if err := r.Markdown(&out); err != nil || !strings.Contains(out.String(), "**A clock was wrong:** 1 events") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestCountsAndChanges(t *testing.T) {
	l := newLife(t).first().rotate().drained().retire()
	l.do(credential.PutHold{Actor: "bob", Reason: "change freeze"}, credential.Release{Actor: "bob"})
	l.do(credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultChanged, Detail: "written by somebody else", Version: 4}})
	l.do(credential.Found{Healed: true, Finding: credential.Finding{Kind: credential.FindingVaultChanged, Version: 4}})
	r := l.report(50*day, 60*day)
	want := report.Counts{Credentials: 1, Keys: 2, Issued: 1, Promoted: 1, Died: 1, Breaches: map[report.Kind]int{report.KindHeld: 1}}
	if diff := cmp.Diff(want, r.Counts); diff != "" {
		t.Error(diff)
	}
	if r.Read.Events != 14 || r.Read.InPeriod != 9 {
		t.Errorf("read %+v", r.Read)
	}
	var changes []string
	for _, c := range r.Changes {
		changes = append(changes, fmt.Sprintf("%d %s %s", c.Sequence, c.Actor, c.Type))
	}
	if diff := cmp.Diff([]string{
		"11 bob io.keyturn.credential.held", "12 bob io.keyturn.credential.released", "13 policy io.keyturn.drift.detected",
	}, changes); diff != "" {
		t.Error(diff)
	}
}

// TestManyEventsAreNotKept: ten thousand failed attempts are one line.
func TestManyEventsAreNotKept(t *testing.T) {
	l := newLife(t).first().due().do(credential.Begin{Reason: credential.ReasonExpiring})
	for range 10_000 {
		event, err := credential.Decide(l.state, credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassDenied, Message: "no"}, l.view())
		if err != nil {
			t.Fatal(err)
		}
		l.append(event)
		l.wait(time.Second)
	}
	r := l.report(0, 90*day)
	failed := 0
	for _, b := range r.Breaches {
		if b.Kind == report.KindFailed {
			failed++
			if b.Attempts != 10_000 || b.Classes[credential.ClassDenied] != 10_000 || len(b.Events) != 2 {
				t.Errorf("%+v", b)
			}
		}
	}
	if failed != 1 || len(r.Keys) != 2 || len(r.Keys[0].Events) > 10 {
		t.Errorf("%d lines of failures, keys %+v", failed, r.Keys)
	}
}

// TestManyCredentials: each is folded by itself, however their events lie.
func TestManyCredentials(t *testing.T) {
	l := newLife(t).first().rotate().drained().retire()
	alone := l.report(0, 90*day)
	var entries []credential.Entry
	for _, e := range l.entries {
		for _, n := range []credential.Name{"b/two", "a/one"} {
			e.Name = n
			entries = append(entries, e)
		}
	}
	both := fold(start, at(90*day), entries)
	if len(both.Keys) != 4 || both.Counts.Credentials != 2 {
		t.Fatalf("%d keys", len(both.Keys))
	}
	for i, k := range both.Keys {
		if want := []credential.Name{"a/one", "a/one", "b/two", "b/two"}[i]; k.Credential != want {
			t.Errorf("key %d is of %s", i, k.Credential)
		}
		ignore := cmpopts.IgnoreFields(report.Key{}, "Credential")
		if diff := cmp.Diff(alone.Keys[i%2], k, ignore, cmpopts.IgnoreUnexported(report.Key{})); diff != "" {
			t.Error(diff)
		}
	}
}
