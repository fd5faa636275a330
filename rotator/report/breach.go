package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// grace is what a step may take beyond its time: a claim and its margin.
func grace(p credential.Policy) time.Duration { return 2 * p.ClaimWindow() }

// ruleChanges begins a stretch of time with other rules for the primary's age:
// the one before is judged by its own.
func (f *Fold) ruleChanges(r *record, e credential.Entry) {
	old, policy := r.before, e.State.Spec.Policy
	primary, _ := old.Primary()
	after, _ := e.State.Primary()
	if old.Spec.Policy.Lifetime == policy.Lifetime && old.Spec.Policy.RotateBefore == policy.RotateBefore &&
		old.Due.Equal(e.State.Due) && primary.Expires.Equal(after.Expires) {
		return
	}
	f.age(r, e.Event.At, e.Head.Sequence)
	r.ruled = e.Event.At
}

// age looks at how long the primary has been one, up to an instant. By is the
// sequence of the event that ended the stretch; 0 = the end of the period.
func (f *Fold) age(r *record, at time.Time, by uint64) {
	k, p := r.primary, r.before.Spec.Policy
	if k == nil {
		return
	}
	limit := later(p.PageAt(k.Expires), r.before.Due).Add(grace(p))
	why := fmt.Sprintf("was still the primary after %s, the page level before its expiry at %s", clock(limit), clock(k.Expires))
	if oldest := k.Promoted.Add(p.Lifetime.Std()); !k.Promoted.IsZero() && oldest.Before(limit) {
		limit = oldest
		why = fmt.Sprintf("was the primary for longer than the %s that a key lives", short(p.Lifetime.Std()))
	}
	from := later(limit, r.ruled)
	if !from.Before(at) {
		return
	}
	f.breach(Breach{
		Kind: KindOverAge, Credential: r.name, Fingerprint: k.Fingerprint, Rotation: k.Rotation, Since: from, Until: at,
		Text: fmt.Sprintf("key %s %s", fingerprint(k.Fingerprint), why), Events: until(k.Events[len(k.Events)-1], by),
	})
}

// drained looks at how long an old key went on living after its promotion ended,
// up to its death or until it took over again.
func (f *Fold) drained(r *record, k *Key, ended time.Time, by uint64) {
	if k.drainEnd.IsZero() {
		return
	}
	p := k.policy
	if ended.IsZero() {
		ended = f.until
	}
	limit := k.drainEnd
	if c := p.Confirm; c != nil && c.Before == credential.BeforeRetire && c.Then == credential.ThenProceed {
		limit = later(limit, k.Replaced.Add(c.Deadline.Std()))
	}
	limit = p.OpenAt(limit, f.calendar).Add(grace(p))
	if !limit.Before(ended) {
		return
	}
	outage := ""
	if k.outage > 0 {
		outage = fmt.Sprintf(" and %s in which Vault could not be read", short(k.outage))
	}
	f.breach(Breach{
		Kind: KindDrain, Credential: r.name, Fingerprint: k.Fingerprint, Rotation: k.Rotation, Since: limit, Until: ended,
		Text: fmt.Sprintf("key %s was replaced by %s at %s and went on living beyond %s, after a drain of %s%s", fingerprint(k.Fingerprint),
			fingerprint(k.ReplacedBy), clock(k.Replaced), clock(limit), short(p.Drain.Std()), outage),
		Events: until(k.Events[0], max(by, k.Events[len(k.Events)-1])),
	})
}

// standing is where a hold of its own stands, or the freeze.
func (r *record) standing(freeze bool) **Breach {
	if freeze {
		return &r.freeze
	}
	return &r.hold
}

func (f *Fold) holdBegins(r *record, e credential.Entry, h credential.Hold, freeze bool) {
	text := "by "
	if freeze {
		text = "by the freeze of "
	}
	if text += h.Actor; h.Until.IsZero() {
		text += ", without an end"
	} else {
		text += ", to end " + clock(h.Until)
	}
	*r.standing(freeze) = &Breach{
		Kind: KindHeld, Credential: e.Name, Since: e.Event.At, Until: h.Until, Actor: h.Actor,
		Reason: h.Reason, Text: OneLine(text + ": " + orUnsaid(h.Reason)), Events: []uint64{e.Head.Sequence},
	}
}

// holdEnds ends a hold that stands, or that has ended by itself.
func (f *Fold) holdEnds(at **Breach, e credential.Entry) {
	if *at == nil {
		return
	}
	b := **at
	if b.Until.IsZero() || b.Until.After(e.Event.At) {
		b.Until = e.Event.At
		b.Text += fmt.Sprintf("; ended by %s", OneLine(e.Event.Actor))
	}
	b.Events = append(b.Events, e.Head.Sequence)
	f.breach(b)
	*at = nil
}

func (f *Fold) attemptFailed(r *record, e credential.Entry, fact credential.Failed) {
	if r.failed == nil {
		r.failed = &Breach{
			Kind: KindFailed, Credential: r.name, Since: e.Event.At,
			Classes: map[credential.Class]int{}, Events: []uint64{e.Head.Sequence, e.Head.Sequence},
		}
	}
	b := r.failed
	if rotation := e.State.Rotation; rotation != nil {
		b.Rotation = rotation.ID
	}
	b.Attempts++
	b.Classes[fact.Failure.Class]++
	b.Events[1] = e.Head.Sequence
	attempts := "1 attempt"
	if b.Attempts > 1 {
		attempts = fmt.Sprintf("%d attempts", b.Attempts)
	}
	b.Text = OneLine(fmt.Sprintf("%s failed (%s), the last to %s: %s",
		attempts, classWords(b.Classes), stepWords(fact.Failure.Step), fact.Failure.Message))
}

// failureEnds is called with the event that shows that it went on.
func (f *Fold) failureEnds(r *record, e credential.Entry) {
	r.failed.Until, r.failed.Events[1] = e.Event.At, e.Head.Sequence
	f.breach(*r.failed)
	r.failed = nil
}

func classWords(classes map[credential.Class]int) string {
	var parts []string
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		parts = append(parts, fmt.Sprintf("%s x%d", class, classes[class]))
	}
	return strings.Join(parts, ", ")
}

// confirmed looks at whether each named consumer had given its word before a key
// was promoted, or an old one began to be retired.
func (f *Fold) confirmed(r *record, e credential.Entry, before string, k *Key) {
	c, missing := r.before.Spec.Policy.Confirm, r.before.Missing()
	if c == nil || c.Before != before || len(missing) == 0 {
		return
	}
	did := "was promoted"
	if before == credential.BeforeRetire {
		did = "was retired"
	}
	f.breach(Breach{
		Kind: KindUnconfirmed, Credential: r.name, Fingerprint: k.Fingerprint, Rotation: r.before.Rotation.ID,
		Since: e.Event.At, Until: e.Event.At, Missing: missing, Events: []uint64{e.Head.Sequence},
		Text: fmt.Sprintf("key %s %s without the word of %s", fingerprint(k.Fingerprint), did, strings.Join(missing, ", ")),
	})
}

// breach puts one into the report if it falls into the period.
func (f *Fold) breach(b Breach) {
	if !b.Since.Before(f.until) {
		return
	}
	instant := b.Since.Equal(b.Until)
	if !b.Until.IsZero() && (b.Until.Before(f.since) || (b.Until.Equal(f.since) && !instant)) {
		return
	}
	end := b.Until
	if end.IsZero() || !end.Before(f.until) {
		end, b.Until = f.until, time.Time{}
	}
	if !instant {
		b.Lasted = short(end.Sub(b.Since))
	}
	f.report.Breaches = append(f.report.Breaches, b)
}

func byKind(a, b Breach) int {
	kinds := []Kind{KindLeaked, KindOverAge, KindDrain, KindHeld, KindFailed, KindUnconfirmed}
	return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)),
		cmp.Compare(a.Credential, b.Credential), a.Since.Compare(b.Since), cmp.Compare(a.Events[0], b.Events[0]))
}

// until is the span of two sequences; a second one of 0 is none.
func until(first, last uint64) []uint64 {
	if last == 0 || last == first {
		return []uint64{first}
	}
	return []uint64{first, last}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
