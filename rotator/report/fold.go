package report

import (
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// clocksDiffer is what the clocks of daemons may differ by without being called
// wrong.
const clocksDiffer = time.Minute

// Fold makes the Report of a period from events: all of them go to Mark first,
// and then all of them to Add.
type Fold struct {
	since, until time.Time
	calendar     credential.Calendar
	ends         map[credential.Name]uint64 // credential -> sequence of its last event of the period
	records      map[credential.Name]*record
	report       Report
}

// New returns the fold of a period: since is in it, until is not; both UTC. The
// calendar answers when the windows of policies open.
func New(since, until time.Time, calendar credential.Calendar) *Fold {
	return &Fold{
		since: since, until: until, calendar: calendar,
		ends: map[credential.Name]uint64{}, records: map[credential.Name]*record{},
	}
}

// Mark finds where the period ends in the record of each credential: with the
// last event that has an earlier time. One before it may have a later time, by a
// clock that was wrong.
func (f *Fold) Mark(e credential.Entry) {
	if e.Event.At.Before(f.until) {
		f.ends[e.Name] = max(f.ends[e.Name], e.Head.Sequence)
	}
}

// record is what is remembered of one credential.
type record struct {
	name   credential.Name
	before credential.State // after the last event
	at     time.Time        // of that event
	alive  []*Key           // those that may be alive
	// primary is one of them; nil = none yet, or it died as one.
	primary *Key
	died    credential.Fingerprint // the last primary that died as one
	// ruled is since when policy, due time and expiry of the primary are what
	// they are.
	ruled time.Time
	// asked is the request that the open rotation began with, began its event.
	asked  *credential.Request
	began  uint64
	hold   *Breach // that stands
	freeze *Breach // that stands
	failed *Breach // attempts that nothing good followed yet
}

// Add takes the next event. Those of one credential come in the order of its
// record, from its first one on. Those after the end that Mark found are left out.
func (f *Fold) Add(e credential.Entry) {
	if e.Head.Sequence > f.ends[e.Name] {
		return
	}
	r := f.records[e.Name]
	if r == nil {
		r = &record{name: e.Name}
		f.records[e.Name] = r
	}
	f.report.Read.Events++
	if e.Head.Sequence > f.report.Read.Sequence {
		f.report.Read.Sequence, f.report.Read.Hash = e.Head.Sequence, e.Head.Hash
	}
	if e.Event.At.Before(r.at.Add(-clocksDiffer)) {
		f.report.Read.Backwards++
	}
	if !e.Event.At.Before(f.since) && e.Event.At.Before(f.until) {
		f.report.Read.InPeriod++
		if isChange(e.Event) {
			f.report.Changes = append(f.report.Changes, Change{
				At: e.Event.At, Credential: e.Name, Type: e.Event.Fact.Type(), Actor: e.Event.Actor,
				Request: e.Event.Request, Sequence: e.Head.Sequence, Text: Sentence(r.before, e),
			})
		}
	}
	f.fold(r, e)
	r.before, r.at = e.State, e.Event.At
}

// isChange reports whether a person caused an event, or somebody outside.
func isChange(e credential.Event) bool {
	switch fact := e.Fact.(type) {
	case credential.Registered, credential.Adopted, credential.Removing, credential.Recovered, credential.Updated, credential.Held, credential.Released, credential.Compromised:
		return true
	case credential.Drifted:
		return !fact.Healed && fact.Finding.Kind != credential.FindingVaultOutage
	}
	return false
}

// fold is a switch over the facts. What a fact says of keys stands in keys.go,
// what it says of breaches in breach.go.
func (f *Fold) fold(r *record, e credential.Entry) {
	switch fact := e.Event.Fact.(type) {
	case credential.Registered:
		r.ruled = e.Event.At
		if fact.Frozen != nil {
			f.holdBegins(r, e, *fact.Frozen, true)
		}
	case credential.Adopted:
		if fact.Frozen != nil {
			f.holdBegins(r, e, *fact.Frozen, true)
		}
		f.taken(r, e, []credential.Seat{fact.Seat}, "adopted; who made it and what for is not known")
	case credential.Removed:
		f.removed(r, e)
	case credential.Recovered:
		f.taken(r, e, fact.Seats, "found by a recovery; what it was made for is not known")
	case credential.Updated:
		if fact.Spec != nil {
			f.ruleChanges(r, e)
		}
	case credential.Held:
		f.holdEnds(r.standing(fact.Freeze), e)
		f.holdBegins(r, e, fact.Hold, fact.Freeze)
	case credential.Released:
		f.holdEnds(r.standing(fact.Freeze), e)
	case credential.Compromised:
		f.leaked(r, e, fact)
	case credential.Started:
		r.asked, r.began = nil, e.Head.Sequence
		if fact.Rotation.Reason == credential.ReasonRequested {
			r.asked = r.before.Requested
		}
		f.claimed(r, e, fact.Claim)
	case credential.StepClaimed:
		f.claimed(r, e, fact.Claim)
	case credential.Failed:
		f.attemptFailed(r, e, fact)
		if fact.Unused {
			r.alive = slices.DeleteFunc(r.alive, func(k *Key) bool { return k.claim == fact.Closed })
		}
	case credential.Issued:
		f.issued(r, e, fact)
	case credential.Promoted:
		f.promoted(r, e, fact)
	case credential.Retiring:
		f.retiring(r, e, fact.Claim.Seat)
	case credential.Invalidated:
		f.retiring(r, e, fact.Seat)
		f.invalidated(r, e, fact)
	case credential.Drifted:
		f.drifted(r, e, fact)
	}
	if r.failed != nil && e.State.Failure == nil {
		f.failureEnds(r, e)
	}
}

// Report ends the fold. It is called once.
func (f *Fold) Report() Report {
	for _, r := range f.records {
		f.end(r)
	}
	out := f.report
	out.Since, out.Until = f.since, f.until
	out.Counts = f.count()
	slices.SortFunc(out.Keys, byNumber)
	slices.SortFunc(out.Breaches, byKind)
	if out.Read.Unreadable == nil {
		out.Read.Unreadable = []Unreadable{}
	}
	if out.Breaches == nil {
		out.Breaches = []Breach{}
	}
	if out.Keys == nil {
		out.Keys = []Key{}
	}
	if out.Changes == nil {
		out.Changes = []Change{}
	}
	return out
}

// end looks at what stands at the end of the period.
func (f *Fold) end(r *record) {
	f.age(r, f.until, 0)
	for _, hold := range []*Breach{r.hold, r.freeze} {
		if hold != nil {
			f.breach(*hold)
		}
	}
	if r.failed != nil {
		f.breach(*r.failed)
	}
	for _, k := range r.alive {
		if ended := expiredBy(k, f.until); ended {
			k.Died, k.End = k.Expires, EndExpired
		}
		f.drained(r, k, k.Died, 0)
		f.keep(k)
	}
}
