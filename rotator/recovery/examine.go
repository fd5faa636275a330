package recovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// sight is what the issuer says of the items and keys of one credential.
type sight struct {
	now       time.Time
	items     map[string]credential.ItemStatus // those that are there
	errs      map[string]error                 // item → why it could not be described
	primary   answer
	secondary answer
}

// answer is the issuer's to a probe.
type answer struct {
	proof credential.Proof
	err   error
}

// examine asks the issuer about a credential, and judges.
func (r *Recovery) examine(ctx context.Context, f *found) {
	issuer, ok := r.config.Issuers[f.Spec.Issuer]
	if !ok {
		f.settle(VerdictUnchecked, "add it under issuers", "no issuer %q is configured", f.Spec.Issuer)
		return
	}
	s := sight{now: r.config.Now(), items: map[string]credential.ItemStatus{}, errs: map[string]error{}}
	items := append([]string{f.stored.Primary.Seat.Item, f.stored.Secondary.Seat.Item}, f.marked...)
	slices.Sort(items)
	for _, item := range slices.Compact(items) {
		if item == "" {
			continue
		}
		status, err := issuer.Describe(ctx, item)
		if err != nil {
			s.errs[item] = err
			continue
		}
		s.items[item] = status
	}
	probe := func(key credential.Key) answer {
		if key.Secret.Empty() || !seatIsNamed(key.Seat) {
			return answer{}
		}
		proof, err := issuer.Probe(ctx, credential.ProbeRequest{Key: key.Secret, Item: key.Seat.Item, Referrers: f.Spec.Item.Referrers})
		return answer{proof, err}
	}
	s.primary, s.secondary = probe(f.stored.Primary), probe(f.stored.Secondary)
	r.judge(f, s)
}

// judge makes the fact of a credential, or says why there is none. It asks
// nobody.
func (r *Recovery) judge(f *found, s sight) {
	primary, ok := f.judgePrimary(s)
	if !ok {
		return
	}
	seats := []credential.Seat{primary}
	if f.unmarked != nil {
		f.note("the items with our marker could not be listed, so no live slot that Vault does not explain counts as ours: %v", f.unmarked)
	}
	other, listed, ok := f.judgeSecondary(s)
	if !ok {
		return
	}
	if listed {
		seats = append(seats, other)
	}
	if seats, ok = f.judgeRest(s, seats); !ok {
		return
	}
	spec := f.Spec
	generation := max(f.stored.Primary.Mint, 1) // never below the lost one: each promotion was of a mint
	gap := credential.Gap{
		Reason: r.config.Reason, Mint: max(f.stored.Primary.Mint, f.stored.Secondary.Mint), Revision: f.stored.Revision,
		Notes: f.line.Notes,
	}
	f.line.Fact = &credential.Recovered{
		Spec: spec, Settings: spec.Item.SettingsHash(), Seats: seats, Generation: generation, Version: f.stored.Version,
		Mint: gap.Mint + credential.RecoveryGap, Revision: gap.Revision + credential.RecoveryGap, Gap: gap,
		Due: spec.Policy.DueAt(f.Name, generation, s.now, primary.Expires, r.config.Calendar).UTC(),
	}
	if _, err := r.decide(f.line.Fact, s.now); err != nil {
		f.line.Fact = nil
		f.settle(VerdictConflict, tryReplace, "%v", err)
		return
	}
	f.settle(VerdictRecover, "", "key %s on %s is accepted until %s; the next rotation is due %s",
		primary.Fingerprint, primary.SeatID, stamp(primary.Expires), stamp(f.line.Fact.Due))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (f *found) note(format string, args ...any) {
	f.line.Notes = append(f.line.Notes, fmt.Sprintf(format, args...))
}

// judgePrimary demands that item, slot and key are all confirmed.
func (f *found) judgePrimary(s sight) (credential.Seat, bool) {
	key := f.stored.Primary
	status, there := s.items[key.Seat.Item]
	switch err := s.errs[key.Seat.Item]; {
	case credential.IsClass(err, credential.ClassNotFound):
		f.settle(VerdictItemGone, "check the declared issuer; "+tryReplace, "item %s of the primary key is gone at issuer %s", key.Seat.Item, f.Spec.Issuer)
		return credential.Seat{}, false
	case err != nil:
		f.settle(VerdictUnchecked, tryAgain, "%v", err)
		return credential.Seat{}, false
	case !there:
		f.settle(VerdictUnchecked, tryAgain, "item %s was not described", key.Seat.Item)
		return credential.Seat{}, false
	}
	switch err := s.primary.err; {
	case credential.IsClass(err, credential.ClassDenied):
		f.settle(VerdictRefused, tryReplace, "the issuer refuses the primary key %s: %v", key.Fingerprint, err)
		return credential.Seat{}, false
	case credential.IsClass(err, credential.ClassPermanent):
		f.settle(VerdictConflict, tryReplace, "the primary key %s is not one of item %s: %v", key.Fingerprint, key.Seat.Item, err)
		return credential.Seat{}, false
	case err != nil:
		f.settle(VerdictUnchecked, tryAgain, "%v", err)
		return credential.Seat{}, false
	}
	slot := status.Slot(key.Seat.Slot)
	if !slot.Active {
		f.settle(VerdictConflict, "run keyturn recover again in a minute; if it stays so: "+tryReplace,
			"the issuer accepts the primary key %s, but calls slot %d of item %s inactive: the seat in Vault is not its own", key.Fingerprint, key.Seat.Slot, key.Seat.Item)
		return credential.Seat{}, false
	}
	return seatOf(key, credential.RolePrimary, slot, s.primary.proof, s.now), true
}

// judgeSecondary says what becomes of Vault's other key. ok is false when the
// credential is settled.
func (f *found) judgeSecondary(s sight) (seat credential.Seat, listed, ok bool) {
	key := f.stored.Secondary
	if key.Secret.Empty() {
		return credential.Seat{}, false, true
	}
	if !seatIsNamed(key.Seat) {
		f.note("Vault does not name the seat of its secondary key %s: left out", key.Fingerprint)
		return credential.Seat{}, false, true
	}
	if key.Seat == f.stored.Primary.Seat {
		f.settle(VerdictConflict, tryReplace, "Vault names seat %s for both of its keys", key.Seat)
		return credential.Seat{}, false, false
	}
	status := s.items[key.Seat.Item]
	switch err := s.errs[key.Seat.Item]; {
	case credential.IsClass(err, credential.ClassNotFound):
		f.note("item %s of the secondary key %s is gone: left out", key.Seat.Item, key.Fingerprint)
		return credential.Seat{}, false, true
	case err != nil:
		f.settle(VerdictUnchecked, tryAgain, "%v", err)
		return credential.Seat{}, false, false
	}
	slot := status.Slot(key.Seat.Slot)
	switch err := s.secondary.err; {
	case err == nil && key.Mint < f.stored.Primary.Mint:
		f.note("the older key %s on %s still works: the next rotation invalidates it (keyturn rotate %s), or it ends by itself", key.Fingerprint, key.Seat, f.Name)
		return seatOf(key, credential.RoleDraining, slot, s.secondary.proof, s.now), true, true
	case err == nil:
		f.note("key %s on %s works and was never promoted: the next rotation replaces it", key.Fingerprint, key.Seat)
		return seatOf(key, credential.RoleOrphan, slot, s.secondary.proof, s.now), true, true
	case credential.IsClass(err, credential.ClassPermanent):
		f.note("the secondary key %s is not one of item %s: left out", key.Fingerprint, key.Seat.Item)
		return credential.Seat{}, false, true
	case !credential.IsClass(err, credential.ClassDenied):
		f.settle(VerdictUnchecked, tryAgain, "%v", err)
		return credential.Seat{}, false, false
	case alive(slot, status, s.now) && slices.Contains(f.marked, key.Seat.Item):
		f.note("the secondary key %s is refused, but its seat %s is active: the next rotation takes it for ours", key.Fingerprint, key.Seat)
		return credential.Seat{SeatID: key.Seat, Role: credential.RoleOrphan, Over: key.Fingerprint, Mint: key.Mint, Expires: slot.Expires.UTC()}, true, true
	}
	return credential.Seat{}, false, true
}

// judgeRest looks for live slots that Vault does not explain.
func (f *found) judgeRest(s sight, seats []credential.Seat) ([]credential.Seat, bool) {
	for _, item := range f.marked {
		err := s.errs[item]
		if gone := credential.IsClass(err, credential.ClassNotFound) || credential.IsClass(err, credential.ClassPermanent); err != nil && !gone {
			f.settle(VerdictUnchecked, tryAgain, "%v", err)
			return nil, false
		}
	}
	var items []string
	for item := range s.items {
		items = append(items, item)
	}
	slices.Sort(items)
	for _, item := range items {
		status := s.items[item]
		for n := 1; n <= 2; n++ {
			id := credential.SeatID{Item: item, Slot: n}
			slot := status.Slot(n)
			known := slices.ContainsFunc(seats, func(seat credential.Seat) bool { return seat.SeatID == id })
			switch {
			case known || !alive(slot, status, s.now):
			case slices.Contains(f.marked, item):
				f.note("slot %d of item %s, which is ours, holds a live key that Vault does not show: the next rotation replaces or invalidates it", n, item)
				seats = append(seats, credential.Seat{SeatID: id, Role: credential.RoleOrphan, Expires: slot.Expires.UTC()})
			default:
				f.note("slot %d of item %s holds a live key that is not known to be ours: it is left alone, and the next key goes to a new item", n, item)
			}
		}
	}
	return seats, true
}

// alive reports whether a slot may hold a key that works.
func alive(slot credential.SlotStatus, status credential.ItemStatus, now time.Time) bool {
	clock := status.Clock
	if clock.IsZero() {
		clock = now
	}
	return slot.Active && (slot.Expires.IsZero() || clock.Before(slot.Expires))
}

// seatOf is the entry of a key that was accepted just now.
func seatOf(key credential.Key, role credential.Role, slot credential.SlotStatus, proof credential.Proof, now time.Time) credential.Seat {
	expires := proof.Expires
	for _, other := range []time.Time{slot.Expires, key.Expires} {
		expires = cmp.Or(expires, other)
	}
	return credential.Seat{
		SeatID: key.Seat, Role: role, Fingerprint: key.Fingerprint, Mint: key.Mint,
		Expires: expires.UTC(), Proven: now.UTC(),
	}
}
