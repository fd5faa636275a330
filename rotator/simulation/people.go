package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// spec is what is declared; a variant has other settings.
func (w *World) spec(name credential.Name, variant int) credential.Spec {
	policy, err := credential.Policy{
		Lifetime: credential.Duration(lifetime), RotateBefore: credential.Duration(lead),
		Drain: credential.Duration(drain), DrainSet: true, Settle: credential.Duration(settle), SettleSet: true,
	}.Resolve(time.Second, never{}, time.Now())
	if err != nil {
		panic(err) // the constants above are wrong
	}
	return credential.Spec{
		Issuer: "portal", Policy: policy,
		Item: credential.ItemSpec{Title: string(name), Privileges: []string{fmt.Sprintf("privilege:%d", variant)}},
	}
}

func (w *World) register(name credential.Name) {
	w.command(name, credential.Register{Spec: w.spec(name, 0), Actor: "ann"})
}

// command sends an operator's command by way of any living daemon. Whoever gets
// no answer sends it again with the same id, as the command line does.
func (w *World) command(name credential.Name, c credential.Command) {
	w.say("operator: %s %T %+v", name, c, c)
	d := w.daemons[w.rng.IntN(len(w.daemons))]
	if d.dead {
		return
	}
	ctx := as(w.unique("operator"))
	go func() {
		defer func() {
			if r := recover(); r != nil {
				if _, expected := r.(died); !expected {
					panic(r)
				}
			}
		}()
		for range 5 {
			if _, err := d.engine.Command(ctx, name, c); err == nil || credential.ClassOf(err) == credential.ClassUnknown {
				return
			}
		}
	}()
}

// unique is a name that the run has not used yet.
func (w *World) unique(what string) string {
	w.people++
	return fmt.Sprintf("%s %d", what, w.people)
}

// person is somebody who does something in the middle.
func (w *World) person() {
	name := w.names[w.rng.IntN(len(w.names))]
	state := w.record.State(name)
	if state.Status != credential.StatusRegistered {
		w.register(name)
		return
	}
	switch n := w.rng.IntN(15); {
	case n == 14:
		w.meet("removed and declared again", nil)
		w.command(name, credential.Remove{Actor: "ann", Reason: "no longer used"})
	case n >= 12:
		spec := w.spec(name, 0)
		spec.Item = w.record.State(name).Spec.Item
		spec.Item.Description = w.unique("words")
		w.command(name, credential.Register{Spec: spec, Actor: "ann"})
	case n >= 10:
		w.leak(name)
	case n < 3:
		id := w.unique("request")
		w.command(name, credential.RequestRotation{ID: id, Actor: "ann", Now: w.chance(0.5)})
	case n < 5:
		hold := credential.PutHold{Actor: "ann", Reason: "audit", Freeze: w.chance(0.2)}
		if w.chance(0.7) {
			hold.Until = time.Now().Add(w.between(0, 20*time.Minute))
		}
		w.command(name, hold)
	case n < 6:
		w.command(name, credential.Release{Actor: "ann", Freeze: w.chance(0.2)})
	case n < 8:
		w.command(name, credential.Register{Spec: w.spec(name, w.rng.IntN(3)), Actor: "ann"})
	case n < 9:
		w.stranger(name, state)
	case w.outside:
		w.byHand(name, state)
	}
}

// leak is an operator who says that keys are in wrong hands.
func (w *World) leak(name credential.Name) {
	keys := []string{credential.KeyPrimary, credential.KeySecondary, credential.KeyAll}
	w.meet("leaked key", nil)
	w.command(name, credential.Compromise{
		Actor: "ann", Reason: "in a log", Request: w.unique("leak"), Key: keys[w.rng.IntN(len(keys))],
		Immediately: w.chance(0.4), OverrideHold: w.chance(0.5),
	})
}

// stranger generates a key by hand in the slot that keyturn does not use.
func (w *World) stranger(name credential.Name, state credential.State) {
	primary, ok := state.Primary()
	if !ok || state.Rotation != nil {
		return
	}
	if _, listed := state.Seat(primary.Sibling()); listed { // a leaked key of ours lives there
		return
	}
	w.portal.mu.Lock()
	defer w.portal.mu.Unlock()
	it := w.portal.items[primary.Item]
	if s := &it.slots[primary.Sibling().Slot-1]; !s.active && !it.deleted {
		w.meet("stranger's key in an idle slot", nil)
		w.say("a stranger generates on %s of %s", primary.Sibling(), name)
		w.portal.generate(s, w.portal.Now().Add(10*lifetime), "stranger")
	}
}

// byHand kills or changes what applications use: outside assumption ii.
func (w *World) byHand(name credential.Name, state credential.State) {
	primary, ok := state.Primary()
	if !ok {
		return
	}
	w.portal.mu.Lock()
	it := w.portal.items[primary.Item]
	w.portal.mu.Unlock()
	s := &it.slots[primary.Slot-1]
	stored := w.store.Latest(name)
	switch w.rng.IntN(6) {
	case 5:
		w.meet("settings edited by hand", nil)
		w.portal.mu.Lock()
		it.spec.Privileges = []string{"privilege:by-hand"}
		it.slots = [2]slot{}
		w.portal.mu.Unlock()
	case 0:
		w.meet("primary revoked by hand", nil)
		s.active, s.key = false, ""
	case 1:
		w.meet("primary generated over by hand", nil)
		w.portal.mu.Lock()
		w.portal.generate(s, w.portal.Now().Add(lifetime), "stranger")
		w.portal.mu.Unlock()
	case 2:
		w.meet("secret changed by hand", nil)
		key := credential.NewSecret("SECRET-BY-HAND")
		w.store.Put(name, &credential.Document{Primary: credential.Key{Secret: key, Fingerprint: key.Fingerprint()}, Secondary: stored.Secondary})
	case 3:
		w.meet("secret deleted by hand", nil)
		w.store.Put(name, nil)
	case 4:
		w.meet("item deleted by hand", nil)
		w.portal.Delete(primary.Item)
	}
}

// removed reports whether a credential is on its way out, or waits to be declared
// again.
func (w *World) removed() bool {
	return slices.ContainsFunc(w.names, func(name credential.Name) bool {
		state := w.record.State(name)
		return state.Status == credential.StatusRemoved || state.Removing != nil
	})
}

// again declares what was removed, once nothing goes wrong any more. An item that a
// stranger uses is kept.
func (w *World) again(now time.Time) {
	if w.nextRevival.After(now) {
		return
	}
	w.nextRevival = now.Add(time.Minute)
	for _, name := range w.names {
		state := w.record.State(name)
		inUse := slices.ContainsFunc(state.Drift, func(d credential.Finding) bool { return d.Kind == credential.FindingItemInUse })
		switch {
		case state.Status == credential.StatusRemoved:
			w.register(name)
		case state.Removing != nil && inUse && !state.Removing.KeepItem:
			w.command(name, credential.Remove{Actor: "ann", Reason: "a stranger uses the item", KeepItem: true})
		}
	}
}

// accept is an operator who looks at findings that wait for one, now and then.
func (w *World) accept(now time.Time) {
	if !w.outside || w.nextPerson.After(now) {
		return
	}
	w.nextPerson = now.Add(2 * time.Minute)
	for _, name := range w.names {
		for _, d := range w.record.State(name).Drift {
			if d.Kind == credential.FindingVaultChanged || d.Kind == credential.FindingVaultMissing {
				w.command(name, credential.RequestRotation{ID: w.unique("accept"), Actor: "ann", Now: true})
				break
			}
		}
	}
}

// killOnce kills a primary at the portal while nothing else goes wrong: that is
// named within a probe interval, and healed within a claim after it.
func (w *World) killOnce(now time.Time) {
	if !w.outside || w.lastKill.IsZero() || w.lastKill.After(now) {
		return
	}
	w.lastKill = time.Time{}
	name := w.names[0]
	state := w.record.State(name)
	primary, ok := state.Primary()
	if !ok || len(state.Drift) > 0 || w.store.Latest(name).Primary.Fingerprint != primary.Fingerprint {
		return // it is being healed already
	}
	if w.chance(0.5) {
		w.meet("primary revoked by hand", nil)
		_ = w.portal.Revoke(context.Background(), primary.SeatID)
	} else {
		w.meet("item deleted by hand", nil)
		w.portal.Delete(primary.Item)
	}
	probe := state.Spec.Policy.ProbeInterval() + 75*time.Second // the loops wake each minute
	w.audit.heals[name] = heal{killed: now, named: now.Add(probe), healed: now.Add(probe + 2*window + 2*settle + 15*time.Second)}
}

// letGo ends what operators keep a credential waiting with, and declares it if
// nobody's command got through.
func (w *World) letGo(name credential.Name) {
	d := w.daemons[0]
	for _, other := range w.daemons {
		if !other.dead {
			d = other
		}
	}
	if d.dead {
		d.restart = time.Now()
		w.happen()
		d = w.daemons[d.number-1]
	}
	commands := []credential.Command{credential.Register{Spec: w.spec(name, 0), Actor: "ann"}, credential.Release{Actor: "ann"}, credential.Release{Actor: "ann", Freeze: true}}
	ctx := as("operator")
	go func() {
		defer func() { _ = recover() }()
		for _, c := range commands {
			_, _ = d.engine.Command(ctx, name, c)
		}
	}()
}
