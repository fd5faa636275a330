package simulation

import (
	"slices"
	"testing/synctest"
	"time"
)

// happen does what is due beside the daemons' own calls.
func (w *World) happen() {
	now := time.Now()
	slices.SortStableFunc(w.late, func(a, b effect) int { return a.at.Compare(b.at) })
	for len(w.late) > 0 && !w.late[0].at.After(now) {
		e := w.late[0]
		w.late = w.late[1:]
		w.say("late: %s", e.what)
		e.act()
		w.audit.instant()
	}
	for i, d := range w.daemons {
		if d.dead && !d.restart.IsZero() && !d.restart.After(now) {
			w.daemons[i] = w.start(d.number, d.life+1, d.offset)
			w.say("%s starts", w.daemons[i])
			synctest.Wait()
		}
	}
	if w.calm {
		w.again(now)
		w.accept(now)
		w.killOnce(now)
		return
	}
	if !w.nextTrouble.After(now) {
		w.nextTrouble = now.Add(w.between(time.Minute, 8*time.Minute))
		w.trouble()
	}
	if !w.nextPerson.After(now) {
		w.nextPerson = now.Add(w.between(time.Minute, 12*time.Minute))
		w.person()
	}
}

// trouble is a fault that meets more than one call.
func (w *World) trouble() {
	if w.rate == 0 || (!w.outside && w.urgent()) {
		return
	}
	d := w.daemons[w.rng.IntN(len(w.daemons))]
	switch w.rng.IntN(5) {
	case 0:
		if !d.dead {
			w.meet("daemon killed", nil)
			w.kill(d)
		}
	case 1:
		if !d.dead {
			w.stall(d)
		}
	case 2:
		system := []string{"issuer portal", "vault", "record"}[w.rng.IntN(3)]
		length := w.between(0, lead/6)
		if w.outside && w.chance(0.3) {
			w.meet("long outage", nil)
			length = w.between(lead/2, lifetime)
		}
		w.meet("outage", nil)
		w.say("%s is away for %v", system, length)
		w.down[system] = time.Now().Add(length)
	case 3:
		w.meet("clock stepped", nil)
		w.stepped = time.Now()
		to := []time.Duration{0, -10 * time.Minute, 10 * time.Minute, 365 * 24 * time.Hour, -365 * 24 * time.Hour}[w.rng.IntN(5)]
		w.mu.Lock()
		d.offset = to
		w.mu.Unlock()
		w.say("the clock of %s is off by %v", d, to)
	case 4:
		w.meet("portal's clock stepped", nil)
		w.stepped = time.Now()
		w.mu.Lock()
		w.portalOffset = time.Duration(w.rng.IntN(5)-2) * time.Minute
		w.mu.Unlock()
		w.say("the portal's clock is off by %v", w.portalOffset)
	}
}

// kill ends a daemon: its calls are cut, and some of them act all the same.
func (w *World) kill(d *daemon) {
	w.mu.Lock()
	d.dead = true
	var cut, kept []*call
	for _, c := range w.pending {
		if c.daemon == d {
			cut = append(cut, c)
		} else {
			kept = append(kept, c)
		}
	}
	w.pending = kept
	w.mu.Unlock()
	w.say("%s is dead", d)
	if !w.calm {
		d.restart = time.Now().Add(w.between(time.Second, 2*time.Minute))
	}
	for _, c := range cut {
		c.answer <- answer{dead: true}
	}
	for _, name := range w.names {
		d.poke(name)
	}
}

// stall stops a daemon for a while, as if the machine slept. Some of its calls
// were sent before and act meanwhile.
func (w *World) stall(d *daemon) {
	length := w.between(0, 4*window)
	w.meet("daemon stalls", nil)
	w.say("%s stalls for %v", d, length)
	d.stalled = time.Now().Add(length)
	w.mu.Lock()
	var sent []*call
	for _, c := range w.pending {
		if c.daemon == d && c.acted == nil {
			sent = append(sent, c)
		}
	}
	w.mu.Unlock()
	slices.SortFunc(sent, inOrder)
	for _, c := range sent {
		if w.chance(0.5) {
			a := c.do(false)
			c.acted = &a
		}
	}
}

// settleDown ends all that goes wrong: what is away comes back, clocks are set
// right, the dead start again, operators let go.
func (w *World) settleDown() {
	w.calm = true
	w.lastKill = time.Now().Add(quiet / 2)
	w.say("from now on nothing goes wrong")
	clear(w.down)
	w.stepped = time.Now()
	w.mu.Lock()
	w.portalOffset = 0
	for _, d := range w.daemons {
		d.offset, d.stalled = 0, time.Time{}
	}
	w.mu.Unlock()
	for _, d := range w.daemons {
		if d.dead {
			d.restart = time.Now()
		}
	}
	for _, name := range w.names {
		w.letGo(name)
	}
}
