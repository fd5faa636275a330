package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// claimed begins the life of a key: from here on it may be there.
func (f *Fold) claimed(r *record, e credential.Entry, c credential.Claim) {
	if c.Op != credential.OpGenerate {
		return
	}
	k := &Key{
		Credential: r.name, Number: c.Mint, Seat: c.Seat, Claimed: e.Event.At, claim: c.ID,
		Actor: e.Event.Actor, Events: []uint64{e.Head.Sequence},
	}
	if rotation := e.State.Rotation; rotation != nil {
		k.Rotation, k.Reason, k.Actor, k.Why = rotation.ID, rotation.Reason, rotation.Actor, OneLine(Why(rotation.Reason, r.asked))
	}
	if r.asked != nil {
		k.Request = r.asked.ID
	}
	if r.began != e.Head.Sequence {
		k.Events = []uint64{r.began, e.Head.Sequence}
	}
	r.alive = append(r.alive, k)
}

// find returns the key on a seat that was proven last, else the one that was
// claimed last.
func (r *record) find(seat credential.SeatID) *Key {
	var found *Key
	for _, k := range r.alive {
		if k.Seat == seat && (found == nil || !k.Issued.IsZero() || found.Issued.IsZero()) {
			found = k
		}
	}
	return found
}

func (f *Fold) issued(r *record, e credential.Entry, fact credential.Issued) {
	i := slices.IndexFunc(r.alive, func(k *Key) bool { return k.Number == fact.Mint && k.Seat == fact.Seat })
	if i < 0 {
		return // the core lets no key be proven that was not claimed
	}
	issued := r.alive[i]
	issued.Fingerprint, issued.Expires, issued.Issued = fact.Fingerprint, fact.Expires, e.Event.At
	issued.Events = append(issued.Events, e.Head.Sequence)
	f.die(r, e, EndOverwritten, e.Event.At, func(k *Key) bool { return k.Seat == fact.Seat && k != issued })
}

func (f *Fold) promoted(r *record, e credential.Entry, fact credential.Promoted) {
	k := r.find(fact.Seat)
	if k == nil {
		return // the core lets no key be promoted that was not proven
	}
	f.age(r, e.Event.At, e.Head.Sequence)
	old := r.primary
	r.primary, r.ruled = k, e.Event.At
	f.drained(r, k, e.Event.At, e.Head.Sequence)
	if k.Again = !k.Promoted.IsZero(); k.Again {
		k.served += max(0, k.Replaced.Sub(k.Promoted)) // clocks may be wrong
	}
	k.Promoted, k.Replaced, k.ReplacedBy, k.drainEnd = e.Event.At, time.Time{}, "", time.Time{}
	k.Events = append(k.Events, e.Head.Sequence)
	if old == nil {
		k.Replaces = r.died
		return
	}
	k.Replaces, old.ReplacedBy = old.Fingerprint, k.Fingerprint
	old.Replaced, old.drainEnd, old.policy = e.Event.At, fact.DrainUntil, r.before.Spec.Policy
	old.Events = append(old.Events, e.Head.Sequence)
	f.confirmed(r, e, credential.BeforePromote, k)
}

// retiring looks once at who had confirmed when the end of an old key began.
func (f *Fold) retiring(r *record, e credential.Entry, seat credential.SeatID) {
	k := r.find(seat)
	if k == nil || k.Replaced.IsZero() || k.asked {
		return
	}
	k.asked = true
	f.confirmed(r, e, credential.BeforeRetire, k)
}

func (f *Fold) invalidated(r *record, e credential.Entry, fact credential.Invalidated) {
	end := EndRevoked
	if fact.How == credential.HowExpired {
		end = EndExpired
	}
	seat, _ := r.before.Seat(fact.Seat)
	f.die(r, e, end, deathOf(fact, seat.Expires, e.Event.At), func(k *Key) bool { return k.Seat == fact.Seat })
}

// leaked notes that keys are in wrong hands, from the first word of it on.
func (f *Fold) leaked(r *record, e credential.Entry, fact credential.Compromised) {
	for _, named := range fact.Keys {
		k := r.find(named.Seat)
		if k == nil || k.leak != nil || named.Gone {
			continue
		}
		k.Leaked = e.Event.At
		k.Events = append(k.Events, e.Head.Sequence)
		how := "its replacement was to come first"
		if fact.Leak.Immediately {
			how = "it was to die before its replacement was there"
		}
		k.leak = &Breach{
			Kind: KindLeaked, Credential: r.name, Fingerprint: k.Fingerprint, Rotation: k.Rotation, Since: e.Event.At,
			Actor: fact.Leak.Actor, Reason: fact.Leak.Reason, Events: []uint64{e.Head.Sequence},
			Text: OneLine(fmt.Sprintf("key %s was in wrong hands, as %s said: %s; %s", fingerprint(k.Fingerprint), fact.Leak.Actor, orUnsaid(fact.Leak.Reason), how)),
		}
	}
}

// die ends keys.
func (f *Fold) die(r *record, e credential.Entry, end End, at time.Time, which func(*Key) bool) {
	r.alive = slices.DeleteFunc(r.alive, func(k *Key) bool {
		if !which(k) {
			return false
		}
		k.Died, k.End = at, end
		k.Events = append(k.Events, e.Head.Sequence)
		if k == r.primary { // killed in an emergency, before there was another
			f.age(r, e.Event.At, e.Head.Sequence)
			r.primary, r.died = nil, k.Fingerprint
		}
		f.drained(r, k, k.Died, e.Head.Sequence)
		f.keep(k)
		return true
	})
}

// taken begins with keys of which the record does not know how they came to be, so
// that their promotion is not known either.
func (f *Fold) taken(r *record, e credential.Entry, seats []credential.Seat, why string) {
	r.ruled = e.Event.At
	for _, seat := range seats {
		k := &Key{
			Credential: r.name, Fingerprint: seat.Fingerprint, Number: seat.Mint, Seat: seat.SeatID,
			Issued: seat.Proven, Claimed: e.Event.At, Expires: seat.Expires, Actor: e.Event.Actor,
			Why: why, Events: []uint64{e.Head.Sequence},
		}
		if seat.Role == credential.RolePrimary {
			r.primary = k
		}
		r.alive = append(r.alive, k)
	}
}

// removed ends a life: a later one under the name begins with nothing of it.
func (f *Fold) removed(r *record, e credential.Entry) {
	f.holdEnds(r.standing(false), e)
	r.primary, r.died, r.asked = nil, "", nil
}

func (f *Fold) drifted(r *record, e credential.Entry, fact credential.Drifted) {
	switch {
	case fact.Finding.Kind == credential.FindingVaultOutage:
		for _, k := range r.alive {
			if !k.drainEnd.IsZero() {
				k.drainEnd, k.outage = fact.DrainUntil, k.outage+fact.Outage.Std()
				k.Events = append(k.Events, e.Head.Sequence)
			}
		}
	case fact.Finding.Kind == credential.FindingUnknownKey && !fact.Healed:
		// a key of somebody else: ours was not generated
		r.alive = slices.DeleteFunc(r.alive, func(k *Key) bool { return k.Seat == fact.Finding.Seat && k.Issued.IsZero() })
	case !fact.Expires.IsZero():
		f.ruleChanges(r, e)
		if k := r.find(fact.Finding.Seat); k != nil {
			k.Expires = fact.Expires
			k.Events = append(k.Events, e.Head.Sequence)
		}
	}
}

// expiredBy reports whether a key has ended by itself before an instant.
func expiredBy(k *Key, at time.Time) bool { return !k.Expires.IsZero() && !k.Expires.After(at) }

// keep puts a key into the report if it lived in the period.
func (f *Fold) keep(k *Key) {
	if k.leak != nil {
		k.leak.Until = k.Died
		k.leak.Events = until(k.leak.Events[0], k.Events[len(k.Events)-1])
		f.breach(*k.leak)
	}
	if !k.Died.IsZero() && !k.Died.After(f.since) {
		return
	}
	end := k.Died
	if end.IsZero() {
		end = f.until
	}
	born := k.Issued
	if born.IsZero() {
		born = k.Claimed
	}
	k.Lived = short(max(0, end.Sub(born)))
	if !k.Promoted.IsZero() {
		if !k.Replaced.IsZero() {
			end = k.Replaced
		}
		k.Primary = short(k.served + max(0, end.Sub(k.Promoted)))
	}
	f.report.Keys = append(f.report.Keys, *k)
}

func (f *Fold) count() Counts {
	in := func(t time.Time) int {
		if t.IsZero() || t.Before(f.since) || !t.Before(f.until) {
			return 0
		}
		return 1
	}
	c := Counts{Keys: len(f.report.Keys), Breaches: map[Kind]int{}}
	for _, r := range f.records {
		if r.before.Status == credential.StatusRegistered {
			c.Credentials++
		}
	}
	for _, k := range f.report.Keys {
		c.Issued += in(k.Issued)
		c.Promoted += in(k.Promoted)
		c.Died += in(k.Died)
	}
	for _, b := range f.report.Breaches {
		c.Breaches[b.Kind]++
	}
	return c
}

func byNumber(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Credential, b.Credential), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Seat.String(), b.Seat.String()))
}
