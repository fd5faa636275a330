package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

// leak says that the primary is in wrong hands.
func leak(immediately bool) credential.Compromise {
	return credential.Compromise{Actor: "bob", Reason: "in a log", Request: "r-1", Key: credential.KeyPrimary, Immediately: immediately}
}

// kill revokes a seat; it takes a step.
func (l *life) kill(seat credential.SeatID) *life {
	l.t.Helper()
	l.do(credential.ClaimRevoke{Seat: seat})
	claim := l.work
	l.wait(step)
	l.work = claim
	return l.do(credential.KeyInvalidated{Seat: seat, How: credential.HowRevoked, Version: l.state.Vault.Version + 1})
}

// TestAnOldKeyThatTakesOverAgain: it is the primary since then, its drain before
// that was too long, and the leaked one lived until it was revoked.
func TestAnOldKeyThatTakesOverAgain(t *testing.T) {
	const h, m = time.Hour, time.Minute
	l := second(newLife(t).first(hours())).drained().wait(11 * m) // its drain was over at 9h2m
	leaked, _ := l.state.Primary()
	l.do(leak(false)).wait(m).do(credential.KeyPromoted{Fingerprint: "fp-1", Version: l.state.Vault.Version + 1}).wait(m).kill(leaked.SeatID)
	r := l.report(0, 10*h)
	if diff := cmp.Diff([]told{
		{report.KindLeaked, 9*h + 13*m, 9*h + 16*m, "3m", "fp-2", "key fp-2 was in wrong hands, as bob said: in a log; its replacement was to come first", []uint64{9, 12}},
		{report.KindDrain, 9*h + 3*m, 9*h + 14*m, "11m", "fp-1", "key fp-1 was replaced by fp-2 at 2026-03-01T20:02:00Z and went on living beyond 2026-03-01T21:03:00Z, after a drain of 1h", []uint64{2, 10}},
	}, breaches(r)); diff != "" {
		t.Error(diff)
	}
	var page strings.Builder
	if err := r.Markdown(&page); err != nil || strings.Count(page.String(), " | 2026-03-01T21:14:00Z again | ") != 1 {
		t.Errorf("%v:\n%s", err, page.String())
	}
	if text := report.Sentence(l.entries[8].State, l.entries[9]); text != "key fp-1 is the primary and replaces fp-2, which is 1h13m old and dies now" {
		t.Error(text)
	}
	if diff := cmp.Diff([]lived{
		{1, "fp-1", "policy", "there is no key yet", "fp-2", "", "9h59m", "8h46m", "", []uint64{2, 3, 4, 5, 8, 10}},
		{2, "fp-2", "policy", "the lead time before expiry has begun", "fp-1", "fp-1", "1h15m", "1h12m", report.EndRevoked, []uint64{6, 7, 8, 9, 10, 12}},
	}, keys(r)); diff != "" {
		t.Error(diff)
	}
}

// TestAKeyThatDiesBeforeItsReplacementIsThere leaves a time without any, and the
// next one says what it replaces.
func TestAKeyThatDiesBeforeItsReplacementIsThere(t *testing.T) {
	const h, m = time.Hour, time.Minute
	l := newLife(t).first(hours()).until(2 * h)
	leaked, _ := l.state.Primary()
	l.do(leak(true)).kill(leaked.SeatID).do(credential.Begin{Reason: credential.ReasonLeaked}).issue().promote()
	r := l.report(0, 4*h)
	if diff := cmp.Diff([]told{
		{report.KindLeaked, 2 * h, 2*h + m, "1m", "fp-1", "key fp-1 was in wrong hands, as bob said: in a log; it was to die before its replacement was there", []uint64{6, 8}},
	}, breaches(r)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]lived{
		{1, "fp-1", "policy", "there is no key yet", "", "", "2h", "1h59m", report.EndRevoked, []uint64{2, 3, 4, 5, 6, 8}},
		{2, "fp-2", "policy", "the primary key leaked", "fp-1", "", "1h58m", "1h57m", "", []uint64{9, 10, 11}},
	}, keys(r)); diff != "" {
		t.Error(diff)
	}
}

// TestAFreezeIsNotTakenForAHold of the credential's own.
func TestAFreezeIsNotTakenForAHold(t *testing.T) {
	const h = time.Hour
	l := newLife(t).first(hours()).until(h).do(credential.PutHold{Actor: "bob", Reason: "incident", Freeze: true})
	l.until(2 * h).do(credential.Release{Actor: "ann", Freeze: true})
	if diff := cmp.Diff([]told{
		{report.KindHeld, h, 2 * h, "1h", "", "by the freeze of bob, without an end: incident; ended by ann", []uint64{6, 7}},
	}, breaches(l.report(0, 3*h))); diff != "" {
		t.Error(diff)
	}
	var words []string
	for i, e := range l.entries[5:] {
		words = append(words, report.Sentence(l.entries[4+i].State, e))
	}
	if diff := cmp.Diff([]string{"frozen, with all others, until that is thawed: incident", "thawed: the freeze by bob (incident) stood for 1h"}, words); diff != "" {
		t.Error(diff)
	}
}
