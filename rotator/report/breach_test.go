package report_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

// told is what a test says of a breach; times count from the start of the life.
type told struct {
	Kind         report.Kind
	Since, Until time.Duration // an Until of 0: not ended
	Lasted       string
	Fingerprint  credential.Fingerprint
	Text         string
	Events       []uint64
}

func breaches(r report.Report) (list []told) {
	for _, b := range r.Breaches {
		one := told{b.Kind, b.Since.Sub(start), 0, b.Lasted, b.Fingerprint, b.Text, b.Events}
		if !b.Until.IsZero() {
			one.Until = b.Until.Sub(start)
		}
		list = append(list, one)
	}
	return list
}

// hours is a short policy: 12 h, a lead of 4 h, a drain of 1 h. Page level at 11 h,
// grace 1 minute.
func hours(change ...func(*credential.Policy)) func(*credential.Policy) {
	return func(p *credential.Policy) {
		p.Lifetime, p.RotateBefore = credential.Duration(12*time.Hour), credential.Duration(4*time.Hour)
		p.Drain, p.DrainSet = credential.Duration(time.Hour), true
		for _, f := range change {
			f(p)
		}
	}
}

// confirm names consumers.
func confirm(before, then string) func(*credential.Policy) {
	return hours(func(p *credential.Policy) {
		p.Confirm = &credential.Confirm{
			Consumers: []string{"shop", "site"}, Before: before, Then: then, Deadline: credential.Duration(2 * time.Hour),
		}
	})
}

// second begins a rotation at 8 h and promotes its key at 8h2m; the drain is over at 9h2m.
func second(l *life) *life {
	return l.until(8 * time.Hour).do(credential.Begin{Reason: credential.ReasonExpiring}).issue().promote()
}

func TestBreaches(t *testing.T) {
	const h, m, s = time.Hour, time.Minute, time.Second
	issueFails := func(class credential.Class, message string) credential.StepFailed {
		return credential.StepFailed{Step: credential.StepIssue, Class: class, Message: message, Wait: m}
	}
	hold := credential.PutHold{Actor: "bob", Reason: "audit"}
	for _, c := range []struct {
		what         string
		live         func(*life)
		since, until time.Duration
		want         []told
	}{
		{"a rotation in time has none", func(l *life) { second(l.first(hours())).drained().retire() }, 0, 10 * h, nil},

		// older than policy: the first key expires at 12h1m
		{"a primary of 11h2m is no breach", func(l *life) { l.first(hours()) }, 0, 11*h + 2*m, nil},
		{"a primary beyond the page level and the grace is one", func(l *life) { l.first(hours()) }, 0, 11*h + 2*m + s, []told{
			{report.KindOverAge, 11*h + 2*m, 0, "1s", "fp-1", "key fp-1 was still the primary after 2026-03-01T23:02:00Z, the page level before its expiry at 2026-03-02T00:01:00Z", []uint64{5}},
		}},
		{"it ends with the promotion of the next key", func(l *life) {
			l.first(hours()).until(11 * h).do(credential.Begin{Reason: credential.ReasonExpiring}).issue().wait(4 * m).promote()
		}, 0, 11*h + 30*m, []told{
			{report.KindOverAge, 11*h + 2*m, 11*h + 6*m, "4m", "fp-1", "key fp-1 was still the primary after 2026-03-01T23:02:00Z, the page level before its expiry at 2026-03-02T00:01:00Z", []uint64{5, 8}},
		}},
		{"it is not in the report of a later time", func(l *life) {
			l.first(hours()).until(11 * h).do(credential.Begin{Reason: credential.ReasonExpiring}).issue().wait(4 * m).promote()
		}, 11*h + 6*m, 11*h + 30*m, nil},
		{"a shorter lifetime makes an old key a breach from then on", func(l *life) {
			l.first(hours()).until(6 * h).do(declare(l.t, hours(func(p *credential.Policy) {
				p.Lifetime, p.RotateBefore = credential.Duration(5*h), credential.Duration(2*h)
			})))
		}, 0, 7 * h, []told{
			{report.KindOverAge, 6 * h, 0, "1h", "fp-1", "key fp-1 was the primary for longer than the 5h that a key lives", []uint64{5}},
		}},
		{"a longer lifetime ends it", func(l *life) {
			l.first(hours()).until(11*h + 10*m).do(declare(l.t, hours(func(p *credential.Policy) {
				p.Lifetime, p.RotateBefore = credential.Duration(24*h), credential.Duration(1*h)
			})))
		}, 0, 11*h + 20*m, []told{
			{report.KindOverAge, 11*h + 2*m, 11*h + 10*m, "8m", "fp-1", "key fp-1 was still the primary after 2026-03-01T23:02:00Z, the page level before its expiry at 2026-03-02T00:01:00Z", []uint64{5, 6}},
		}},

		// drained too long: the drain is over at 9h2m
		{"an old key that dies within the grace is no breach", func(l *life) { second(l.first(hours())).drained().retire() }, 0, 10 * h, nil},
		{"one that dies later is", func(l *life) { second(l.first(hours())).drained().wait(10 * m).retire() }, 0, 10 * h, []told{
			{report.KindDrain, 9*h + 3*m, 9*h + 13*m, "10m", "fp-1", "key fp-1 was replaced by fp-2 at 2026-03-01T20:02:00Z and went on living beyond 2026-03-01T21:03:00Z, after a drain of 1h", []uint64{2, 10}},
		}},
		{"one that still lives is", func(l *life) { second(l.first(hours())) }, 0, 10 * h, []told{
			{report.KindDrain, 9*h + 3*m, 0, "57m", "fp-1", "key fp-1 was replaced by fp-2 at 2026-03-01T20:02:00Z and went on living beyond 2026-03-01T21:03:00Z, after a drain of 1h", []uint64{2, 8}},
		}},
		{"time without Vault does not count", func(l *life) {
			second(l.first(hours())).wait(30 * m).do(credential.Found{
				Finding: credential.Finding{Kind: credential.FindingVaultOutage, Since: at(8*h + 10*m)}, Outage: 20 * m,
			}).drained().wait(m).retire()
		}, 0, 10 * h, []told{
			{report.KindDrain, 9*h + 23*m, 9*h + 24*m, "1m", "fp-1", "key fp-1 was replaced by fp-2 at 2026-03-01T20:02:00Z and went on living beyond 2026-03-01T21:23:00Z, after a drain of 1h and 20m in which Vault could not be read", []uint64{2, 11}},
		}},
		{"a window that is shut makes the limit later", func(l *life) {
			second(l.first(hours(func(p *credential.Policy) {
				p.Window = &credential.Window{Start: "every 2h", Duration: credential.Duration(30 * m)}
			}))) // open at 20:00 and again at 22:00
		}, 0, 10*h + 2*m, []told{
			{report.KindDrain, 10*h + m, 0, "1m", "fp-1", "key fp-1 was replaced by fp-2 at 2026-03-01T20:02:00Z and went on living beyond 2026-03-01T22:01:00Z, after a drain of 1h", []uint64{2, 8}},
		}},
		{"so does the deadline of consumers that are then passed over", func(l *life) {
			second(l.first(confirm(credential.BeforeRetire, credential.ThenProceed)))
		}, 0, 10*h + 4*m, []told{
			{report.KindDrain, 10*h + 3*m, 0, "1m", "fp-1", "key fp-1 was replaced by fp-2 at 2026-03-01T20:02:00Z and went on living beyond 2026-03-01T22:03:00Z, after a drain of 1h", []uint64{2, 8}},
		}},
		{"consumers that halt do not", func(l *life) {
			second(l.first(confirm(credential.BeforeRetire, credential.ThenHalt)))
		}, 0, 9*h + 4*m, []told{
			{report.KindDrain, 9*h + 3*m, 0, "1m", "fp-1", "key fp-1 was replaced by fp-2 at 2026-03-01T20:02:00Z and went on living beyond 2026-03-01T21:03:00Z, after a drain of 1h", []uint64{2, 8}},
		}},

		// held
		{"a hold without an end stands until it is released", func(l *life) {
			l.first(hours()).until(h).do(hold).until(3 * h).do(credential.Release{Actor: "ann"})
		}, 2 * h, 4 * h, []told{{report.KindHeld, h, 3 * h, "2h", "", "by bob, without an end: audit; ended by ann", []uint64{6, 7}}}},
		{"it is not in the report of the time after", func(l *life) {
			l.first(hours()).until(h).do(hold).until(3 * h).do(credential.Release{Actor: "ann"})
		}, 3 * h, 4 * h, nil},
		{"one that nobody released stands", func(l *life) { l.first(hours()).until(h).do(hold) }, 2 * h, 4 * h, []told{
			{report.KindHeld, h, 0, "3h", "", "by bob, without an end: audit", []uint64{6}},
		}},
		{"one with an end is over then", func(l *life) {
			l.first(hours()).until(h).do(credential.PutHold{Actor: "bob", Reason: "audit", Until: at(2 * h)})
		}, 0, 4 * h, []told{{report.KindHeld, h, 2 * h, "1h", "", "by bob, to end 2026-03-01T14:00:00Z: audit", []uint64{6}}}},
		{"one that is released after its end was over at its end", func(l *life) {
			l.first(hours()).until(h).do(credential.PutHold{Actor: "bob", Reason: "audit", Until: at(2 * h)}).until(3 * h).do(credential.Release{Actor: "ann"})
		}, 0, 4 * h, []told{{report.KindHeld, h, 2 * h, "1h", "", "by bob, to end 2026-03-01T14:00:00Z: audit", []uint64{6, 7}}}},
		{"another hold ends it", func(l *life) {
			l.first(hours()).until(h).do(hold).until(2 * h).do(credential.PutHold{Actor: "cyd"})
		}, 0, 4 * h, []told{
			{report.KindHeld, h, 2 * h, "1h", "", "by bob, without an end: audit; ended by cyd", []uint64{6, 7}},
			{report.KindHeld, 2 * h, 0, "2h", "", "by cyd, without an end: no reason was given", []uint64{7}},
		}},

		// failed
		{"attempts that failed are one breach until it goes on", func(l *life) {
			l.first(hours()).until(8 * h).do(credential.Begin{Reason: credential.ReasonExpiring})
			l.wait(m).do(issueFails(credential.ClassDenied, "no")).wait(m).do(issueFails(credential.ClassRetryable, "busy")).wait(m).do(issueFails(credential.ClassDenied, "no\nway"))
			l.issue()
		}, 0, 9 * h, []told{{report.KindFailed, 8*h + m, 8*h + 4*m, "3m", "", "3 attempts failed (denied x2, retryable x1), the last to generate the key: no way", []uint64{7, 10}}}},
		{"and stand where nothing good followed", func(l *life) {
			l.first(hours()).until(8 * h).do(credential.Begin{Reason: credential.ReasonExpiring}).wait(m).do(issueFails(credential.ClassUnknown, "cut"))
		}, 0, 9 * h, []told{{report.KindFailed, 8*h + m, 0, "59m", "", "1 attempt failed (outcome-unknown x1), the last to generate the key: cut", []uint64{7, 7}}}},

		// never acknowledged
		{"a promotion without the word of all", func(l *life) {
			l.first(confirm(credential.BeforePromote, credential.ThenProceed)).until(8 * h).do(credential.Begin{Reason: credential.ReasonExpiring}).issue()
			l.do(credential.Acknowledge{Consumer: "shop", Fingerprint: "fp-2"}).promote()
		}, 0, 9 * h, []told{{report.KindUnconfirmed, 8*h + 2*m, 8*h + 2*m, "", "fp-2", "key fp-2 was promoted without the word of site", []uint64{9}}}},
		{"a promotion with the word of all", func(l *life) {
			l.first(confirm(credential.BeforePromote, credential.ThenProceed)).until(8 * h).do(credential.Begin{Reason: credential.ReasonExpiring}).issue()
			l.do(credential.Acknowledge{Consumer: "shop", Fingerprint: "fp-2"}, credential.Acknowledge{Consumer: "site", Fingerprint: "fp-2"}).promote()
		}, 0, 9 * h, nil},
		{"a retirement without the word of anybody is told once, though it ends in two events", func(l *life) {
			second(l.first(confirm(credential.BeforeRetire, credential.ThenProceed))).until(10*h + 2*m).retire()
		}, 0, 11 * h, []told{{report.KindUnconfirmed, 10*h + 2*m, 10*h + 2*m, "", "fp-1", "key fp-1 was retired without the word of shop, site", []uint64{9}}}},
		{"a retirement with the word of all", func(l *life) {
			second(l.first(confirm(credential.BeforeRetire, credential.ThenHalt)))
			l.do(credential.Acknowledge{Consumer: "shop", Fingerprint: "fp-2"}, credential.Acknowledge{Consumer: "site", Fingerprint: "fp-2"}).drained().retire()
		}, 0, 10 * h, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			l := newLife(t)
			c.live(l)
			if diff := cmp.Diff(c.want, breaches(l.report(c.since, c.until))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
