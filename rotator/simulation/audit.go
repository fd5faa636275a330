package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// audit knows what was promised and checks it after every step, from what the
// ports saw, not from what the engine believes.
type audit struct {
	world      *World
	violations []string
	rotations  int
	claims     map[string]*claimed          // claim id → what is known of it
	named      map[credential.SeatID]string // seat → fingerprint of the live key that an event has named
	primary    map[credential.Name]credential.SeatID
	promoted   map[credential.Name]time.Time // when the last promotion was appended
	refusal    map[credential.Name]time.Time // since when Vault's primary does not work
	shown      map[credential.Name]shown
	left       map[credential.SeatID]time.Time // when Vault stopped showing a seat as the primary
	killed     map[credential.Fingerprint]bool // keys that an operator had die immediately
	hurried    map[credential.Name]time.Time   // until when a key may fail that took over in an emergency
	heals      map[credential.Name]heal
}

// heal is what must follow when a primary was killed: by when the record names
// it, and by when Vault's primary works again.
type heal struct{ killed, named, healed time.Time }

// shown is the key that Vault shows as primary, and where it lives.
type shown struct {
	key  credential.Fingerprint
	seat credential.SeatID
}

type claimed struct {
	credential.Claim
	name credential.Name
	at   time.Time // when it was appended
	used bool      // a generate acted under it
}

func newAudit(w *World) audit {
	return audit{
		world: w, claims: map[string]*claimed{}, named: map[credential.SeatID]string{},
		primary: map[credential.Name]credential.SeatID{}, promoted: map[credential.Name]time.Time{}, refusal: map[credential.Name]time.Time{},
		shown: map[credential.Name]shown{}, left: map[credential.SeatID]time.Time{}, killed: map[credential.Fingerprint]bool{}, hurried: map[credential.Name]time.Time{}, heals: map[credential.Name]heal{},
	}
}

func (a *audit) violate(format string, args ...any) {
	violation := fmt.Sprintf(format, args...)
	a.violations = append(a.violations, violation)
	a.world.say("VIOLATION %s", violation)
}

// appended looks at an event that was just committed, and tells the daemons.
func (w *World) appended(d *daemon, name credential.Name, before credential.State, event credential.Event, after credential.State) {
	w.say("  record %s: %s by %s, revision %d %s", name, short(event.Fact), d, after.Revision, detail(event.Fact))
	w.audit.event(name, before, event, after)
	for _, other := range w.daemons {
		if other == d || other.dead {
			continue
		}
		if !w.calm && w.chance(w.rate/2) {
			w.meet("wake-up lost", nil)
			continue
		}
		other.poke(name)
	}
}

func (a *audit) event(name credential.Name, before credential.State, event credential.Event, after credential.State) {
	replayed := credential.Evolve(before, event)
	replayed.Name = name
	one, _ := json.Marshal(replayed)
	two, _ := json.Marshal(after)
	if string(one) != string(two) {
		a.violate("I6 %s: the event does not lead to the state that it carries:\n%s\n%s", name, one, two)
	}
	if body := text(event, after); strings.Contains(body, "SECRET-") {
		a.violate("I5 %s: a secret in %s", name, short(event.Fact))
	}
	switch f := event.Fact.(type) {
	case credential.Started:
		if before.Rotation != nil && before.Rotation.Phase != credential.PhaseDrain {
			a.violate("I4 %s: a second rotation beside %s", name, before.Rotation.ID)
		}
		a.opened(name, before, event, f.Claim)
	case credential.StepClaimed:
		a.opened(name, before, event, f.Claim)
	case credential.Retiring:
		a.opened(name, before, event, f.Claim)
	case credential.Removing:
		delete(a.primary, name)
		delete(a.heals, name)
	case credential.Issued:
		a.named[f.Seat] = string(f.Fingerprint)
	case credential.Promoted:
		a.rotations++
		if _, had := before.Primary(); had || a.world.portal.Now().Add(lead/4).Before(f.Expires) { // a first key may be late for nearly its whole life
			a.primary[name] = f.Seat
		}
		a.promoted[name] = time.Now()
		seat, _ := before.Seat(f.Seat)
		switch {
		case seat.Role == credential.RoleDraining && before.Killed != (credential.SeatID{}): // it takes over again, however little time it has left
			a.hurried[name] = time.Now().Add(lifetime)
		case before.Killed != (credential.SeatID{}):
			a.hurried[name] = time.Now().Add(settle)
		default:
			delete(a.hurried, name)
		}
		if seat.Proven.IsZero() || seat.Claimed {
			a.violate("I3 %s: %s was promoted without proof or with an open revoke", name, f.Seat)
		} else if seat.Leak != nil {
			a.violate("I3 %s: the leaked key on %s was promoted", name, f.Seat)
		}
	case credential.Compromised:
		for _, k := range f.Keys {
			a.killed[k.Fingerprint] = a.killed[k.Fingerprint] || (f.Leak.Immediately && k.Fingerprint != "")
		}
	case credential.Invalidated:
		if live, ok := a.world.portal.live(name)[f.Seat]; ok && live.by == "" && !a.world.outside && live.expires.After(a.world.portal.Now().Add(3*time.Minute)) { // its clock may be set back by two
			a.violate("I3 %s: the record calls the key on %s dead, but it lives", name, f.Seat)
		}
		delete(a.named, f.Seat)
	}
}

// opened looks at a claim.
func (a *audit) opened(name credential.Name, before credential.State, event credential.Event, c credential.Claim) {
	seat, ok := before.Seat(c.Seat)
	leak := credential.Leak{}
	if ok && seat.Leak != nil && c.Op == credential.OpRevoke {
		leak = *seat.Leak
	}
	if ok && seat.Role == credential.RolePrimary && !leak.Immediately && before.Removing == nil {
		a.violate("I2 %s: a claim to %s on the primary %s", name, c.Op, c.Seat)
	}
	at := time.Now().Add(10 * time.Second)
	if seat.Leak != nil { // an emergency goes on though clocks differ, so the portal's may end a hold for it
		at = latest(at, at.Add(a.world.portalOffset))
	}
	if fingerprint := a.named[c.Seat]; before.Held(at) && c.Op != credential.OpCreateItem && fingerprint != "" && !leak.OverrideHold {
		a.violate("I7 %s: a claim to %s on %s, which holds %s, under a hold", name, c.Op, c.Seat, fingerprint)
	}
	if c.Op == credential.OpDeleteItem && before.Held(at) {
		a.violate("I7 %s: a claim to delete item %s under a hold", name, c.Seat.Item)
	}
	for _, other := range a.claims {
		common := other.Seat.Slot == c.Seat.Slot || other.Seat.Slot == 0 || c.Seat.Slot == 0 // slot 0 covers an item
		if other.name == name && other.Seat.Item == c.Seat.Item && common && !closed(before, other.ID, c) {
			beside := leak.Immediately && other.Op == credential.OpRevoke // both kill the same key
			if over := other.at.Add(2 * window); time.Now().Before(over) && !beside {
				a.violate("I4 %s: a claim to %s on %s while that of %s runs until %v", name, c.Op, c.Seat, other.Daemon, over.Sub(a.world.began))
			}
		}
	}
	a.claims[c.ID] = &claimed{Claim: c, name: name, at: time.Now()}
}

// closed reports whether an earlier claim was closed by its holder, not merely
// superseded.
func closed(before credential.State, id string, by credential.Claim) bool {
	for _, c := range before.Claims {
		if c.ID == id {
			return c.Daemon == by.Daemon && len(by.Supersedes) == 0
		}
	}
	return true
}

// of is the newest claim of a daemon on a seat.
func (a *audit) of(d *daemon, op credential.Operation, seat credential.SeatID) *claimed {
	var newest *claimed
	for _, c := range a.claims {
		if c.Daemon == d.String() && c.Op == op && (c.Seat == seat || op == credential.OpCreateItem) && (newest == nil || c.at.After(newest.at)) {
			newest = c
		}
	}
	return newest
}

// claimOver is when a call's claim and its margin are over.
func (a *audit) claimOver(c *call) time.Time {
	var over time.Time
	for _, claim := range a.claims {
		if claim.Daemon == c.daemon.String() && claim.name == c.name {
			over = latest(over, claim.at.Add(2*window))
		}
	}
	return over
}

// destroys looks at a call that kills the key on a seat, as it acts.
func (w *World) destroys(d *daemon, name credential.Name, what string, seat credential.SeatID) {
	a := &w.audit
	w.say("  portal %s: %s on %s by %s", name, what, seat, d)
	defer delete(a.named, seat)
	op := credential.OpGenerate
	if what == "revoke" {
		op = credential.OpRevoke
	}
	claim := a.of(d, op, seat)
	switch {
	case w.outside:
		return
	case claim == nil:
		a.violate("I2 %s: %s on %s without a claim", name, what, seat)
		return
	case op == credential.OpGenerate && claim.used:
		a.violate("I2 %s: a second generate under one claim on %s", name, seat)
	}
	claim.used = true
	state := w.record.State(name)
	s, listed := state.Seat(seat)
	wanted := state.Removing != nil || a.killed[w.store.Latest(name).Primary.Fingerprint] || (op == credential.OpRevoke && listed && s.Leak != nil && s.Leak.Immediately)
	if listed && s.Role == credential.RolePrimary && !wanted {
		a.violate("I2 %s: %s on %s, which is the primary", name, what, seat)
	}
	stored := w.store.Latest(name)
	if stored.Primary.Seat == seat && !stored.Primary.Secret.Empty() && !wanted {
		a.violate("I1 %s: %s on %s, which Vault shows as the primary", name, what, seat)
	}
	if live, alive := w.portal.live(name)[seat]; alive && live.by != "" && op == credential.OpGenerate && !claim.Fence { // with one, it may be an earlier mint of ours
		a.violate("%s: %s on %s kills a stranger's key", name, what, seat)
	}
	if op == credential.OpRevoke && listed && s.Role == credential.RoleDraining && s.Leak == nil && state.Removing == nil {
		if since := time.Since(a.left[seat]); since < drain-10*time.Second && w.clocksRight(a.left[seat]) {
			a.violate("I3 %s: the old key on %s dies %v after Vault shows another one, before the drain is over", name, seat, since)
		}
	}
}

// deletes looks at a call that deletes an item, as it acts.
func (w *World) deletes(d *daemon, name credential.Name, item string) {
	a := &w.audit
	w.say("  portal %s: remove %s by %s", name, item, d)
	state, stored := w.record.State(name), w.store.Latest(name)
	switch claim := a.of(d, credential.OpDeleteItem, credential.SeatID{Item: item}); {
	case w.outside:
	case claim == nil:
		a.violate("I2 %s: item %s is deleted without a claim", name, item)
	case state.Uses(item) && time.Now().Before(claim.at.Add(2*window)):
		a.violate("I2 %s: item %s is deleted, and a key may live on it", name, item)
	case stored.Primary.Seat.Item == item && !stored.Primary.Secret.Empty() && state.Status == credential.StatusRegistered && state.Removing == nil:
		a.violate("I1 %s: item %s is deleted, and Vault shows a key of it", name, item)
	}
}

// items: nothing is left at the portal but what the record names.
func (a *audit) items(name credential.Name, state credential.State) {
	p := a.world.portal
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range p.order {
		it := p.items[id]
		_, old := state.OldItem(id)
		open := state.Rotation != nil && it.marker.Rotation == state.Rotation.ID // its making was not answered yet
		if it.marker.Name == name && !it.deleted && !old && !open && !slices.Contains(state.Kept, id) && !state.Uses(id) && p.Now().Sub(it.created) > 3*sweepEvery {
			a.violate("end %s: item %s is left, and nobody names it", name, id)
		}
	}
}

// clocksRight reports whether every clock has been right since an instant: a
// drain is measured by them.
func (w *World) clocksRight(since time.Time) bool {
	right := w.portalOffset == 0 && w.stepped.Before(since)
	for _, d := range w.daemons {
		right = right && d.offset.Abs() <= 5*time.Second
	}
	return right
}

// instant checks I1: what Vault shows as primary works now.
func (a *audit) instant() {
	for _, name := range a.world.names {
		stored := a.world.store.Latest(name)
		if key := stored.Primary.Fingerprint; key != a.shown[name].key {
			a.left[a.shown[name].seat] = time.Now()
			a.shown[name] = shown{key, stored.Primary.Seat}
		}
		if _, ok := a.primary[name]; !ok || a.excused(name, stored) || a.world.portal.Accepts(stored.Primary.Secret) {
			delete(a.refusal, name)
			continue
		}
		if _, before := a.refusal[name]; !before {
			a.refusal[name] = time.Now()
		}
		a.healing(name)
		if !a.world.outside {
			a.violate("I1 %s: Vault's primary (version %d, mint %d on %s) does not work", name, stored.Version, stored.Primary.Mint, stored.Primary.Seat)
		}
	}
}

// excused reports whether an operator put up with applications having no key.
func (a *audit) excused(name credential.Name, stored credential.Stored) bool {
	if state := a.world.record.State(name); state.Removing != nil || state.Status == credential.StatusRemoved {
		return true
	}
	return a.killed[stored.Primary.Fingerprint] || time.Now().Before(a.hurried[name]) ||
		a.world.record.State(name).Killed != (credential.SeatID{})
}

// healing checks the bounds of a heal while a primary does not work.
func (a *audit) healing(name credential.Name) {
	h, killed := a.heals[name]
	now := time.Now()
	if !killed || now.Before(h.named) {
		return
	}
	told := false
	for _, entry := range a.world.record.Entries(name) {
		_, drift := entry.Event.Fact.(credential.Drifted)
		told = told || (drift && !entry.Event.At.Before(h.killed.Add(-10*time.Second)))
	}
	switch {
	case !told:
		a.violate("heal %s: nobody says that the primary was killed %v ago", name, now.Sub(h.killed))
	case now.After(h.healed):
		a.violate("heal %s: the primary that was killed %v ago is not replaced", name, now.Sub(h.killed))
	}
	delete(a.heals, name) // or it would be said again
	if told && now.Before(h.healed) {
		a.heals[name] = h
	}
}

// end demands that every credential has come to rest.
func (a *audit) end() {
	if len(a.violations) > 0 {
		return
	}
	w := a.world
	for _, name := range w.names {
		state := w.record.State(name)
		primary, ok := state.Primary()
		stored := w.store.Latest(name)
		switch {
		case !ok:
			a.violate("end %s: no primary; status %q, rotation %+v, failure %+v, drift %+v", name, state.Status, state.Rotation, state.Failure, state.Drift)
			continue
		case state.Emergency() && !w.portal.gone(state.Leaked()):
			a.violate("end %s: leaked keys live: %+v; failure %+v", name, state.Leaked(), state.Failure)
		case !w.portal.Accepts(stored.Primary.Secret):
			a.violate("end %s: Vault's primary does not work; drift %+v, failure %+v", name, state.Drift, state.Failure)
		case stored.Primary.Fingerprint != primary.Fingerprint && !promoting(state, stored):
			a.violate("end %s: Vault shows %s, the record %s; drift %+v", name, stored.Primary.Fingerprint, primary.Fingerprint, state.Drift)
		}
		if since := time.Since(a.promoted[name]); since > quiet {
			a.violate("end %s: no rotation in the %v in which nothing went wrong; rotation %+v, failure %+v, drift %+v", name, quiet, state.Rotation, state.Failure, state.Drift)
		}
		for seat, live := range w.portal.live(name) {
			if _, listed := state.Seat(seat); !listed && live.by == "" {
				a.violate("end %s: a key lives on %s that nobody knows", name, seat)
			}
		}
		a.items(name, state)
		if state.Rotation == nil && len(state.Seats) > 1 {
			a.violate("end %s: seats are left over: %+v", name, state.Seats)
		}
	}
}

// promoting reports whether the run ended between a promotion in Vault and its event.
func promoting(s credential.State, stored credential.Stored) bool {
	candidate, ok := s.Candidate()
	return ok && candidate.Fingerprint == stored.Primary.Fingerprint && s.Rotation.Phase == credential.PhaseReady
}

// short names a fact.
func short(f credential.Fact) string {
	return strings.TrimPrefix(string(f.Type()), "io.keyturn.")
}

func detail(f credential.Fact) string {
	switch f := f.(type) {
	case credential.Started:
		return fmt.Sprintf("(%s, to %s on %s, mint %d)", f.Rotation.Reason, f.Claim.Op, f.Claim.Seat, f.Claim.Mint)
	case credential.StepClaimed:
		return fmt.Sprintf("(to %s on %s, mint %d, supersedes %v)", f.Claim.Op, f.Claim.Seat, f.Claim.Mint, f.Claim.Supersedes)
	case credential.Retiring:
		return fmt.Sprintf("(%s)", f.Claim.Seat)
	case credential.Failed:
		return fmt.Sprintf("(%s at %s, attempt %d, closes %q)", f.Failure.Class, f.Failure.Step, f.Failure.Attempts, f.Closed)
	case credential.Issued:
		return fmt.Sprintf("(mint %d on %s)", f.Mint, f.Seat)
	case credential.Promoted:
		return fmt.Sprintf("(%s)", f.Seat)
	case credential.Invalidated:
		return fmt.Sprintf("(%s %s)", f.Seat, f.How)
	case credential.Compromised:
		return fmt.Sprintf("(%d keys, immediately: %v, over a hold: %v)", len(f.Keys), f.Leak.Immediately, f.Leak.OverrideHold)
	case credential.Drifted:
		return fmt.Sprintf("(%s on %s: %s)", f.Finding.Kind, f.Finding.Seat, f.Finding.Detail)
	}
	return ""
}
