package simulation

import (
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Fault is something that goes wrong in a run. Inside says that it is within
// the assumptions i to iii of package credential: (i) no call takes effect later
// than its claim's window and margin, (ii) nobody outside kills a key, (iii)
// outages are shorter than the lead time less a rotation.
type Fault struct {
	Name   string
	Inside bool
}

// Faults lists what can go wrong.
func Faults() []Fault {
	return []Fault{
		{"request lost", true}, {"no answer, not done", true}, {"answer lost", true}, {"slow", true},
		{"acts late", true}, {"refused", true}, {"denied", true}, {"throttled", true}, {"stale read", true},
		{"dies before the call", true}, {"dies after the call", true}, {"dies, the call acts late", true},
		{"daemon stalls", true}, {"daemon killed", true}, {"outage", true}, {"clock stepped", true},
		{"portal's clock stepped", true}, {"wake-up lost", true}, {"stranger's key in an idle slot", true},
		{"acts after window and margin", false}, {"long outage", false}, {"primary revoked by hand", false},
		{"primary generated over by hand", false}, {"secret changed by hand", false}, {"secret deleted by hand", false},
		{"item deleted by hand", false}, {"settings edited by hand", false}, {"removed and declared again", true},
	}
}

// meet counts a fault.
func (w *World) meet(name string, c *call) {
	w.faults[name]++
	if c != nil {
		w.say("%s → %s", c, name)
	} else {
		w.say("%s", name)
	}
}

// reply ends a call: the caller goes on with the answer.
func (w *World) reply(c *call, a answer) {
	w.mu.Lock()
	w.pending = slices.DeleteFunc(w.pending, func(other *call) bool { return other == c })
	if a.err == nil && !a.dead && c.system == "issuer portal" || credential.IsClass(a.err, credential.ClassDenied) || credential.IsClass(a.err, credential.ClassNotFound) {
		c.daemon.answered = stepped(time.Now(), c.daemon.offset)
		c.daemon.skew = w.portalOffset - c.daemon.offset
	}
	w.mu.Unlock()
	c.answer <- a
}

// do makes the call act.
func (c *call) do(stale bool) answer {
	value, err := c.act(stale)
	return answer{value: value, err: err}
}

// pass lets one call through, and decides what becomes of it.
func (w *World) pass(c *call) {
	now := time.Now()
	if c.acted != nil { // its answer was on the way
		if now.After(c.deadline) && w.chance(0.5) { // or it lay in a buffer while the daemon slept
			w.say("%s → answered too late", c)
			w.reply(c, answer{err: c.noAnswer()})
			return
		}
		w.reply(c, *c.acted)
		return
	}
	if now.After(c.deadline) { // the caller has given up before anything was sent
		w.say("%s → given up", c)
		w.reply(c, answer{err: c.noAnswer()})
		return
	}
	if w.down[c.system].After(now) {
		w.away(c)
		return
	}
	if w.troubles(c) && w.fault(c) {
		return
	}
	a := c.do(false)
	w.sayAnswer(c, a)
	w.reply(c, a)
}

func (w *World) sayAnswer(c *call, a answer) {
	if !w.trace {
		return
	}
	if a.err != nil {
		w.say("%s → %v", c, a.err)
		return
	}
	w.say("%s", c)
}

// away is how it looks when the system is not there.
func (w *World) away(c *call) {
	w.say("%s → away", c)
	if w.chance(0.5) {
		w.reply(c, answer{err: c.notSent()})
		return
	}
	c.until = earliest(c.deadline.Add(time.Millisecond), w.down[c.system]) // hangs
}

// troubles reports whether something may go wrong with a call now: near the
// primary's expiry nothing does inside the assumptions, or the troubles would
// add up to more than assumption iii allows.
func (w *World) troubles(c *call) bool {
	if w.calm || !w.chance(w.rate) {
		return false
	}
	return w.outside || !w.urgent()
}

// urgent reports whether a primary nears its expiry.
func (w *World) urgent() bool {
	for _, name := range w.names {
		primary, ok := w.record.State(name).Primary()
		if ok && w.portal.Now().After(primary.Expires.Add(-lead*2/3)) {
			return true
		}
	}
	return false
}

// fault lets something go wrong with a call; false = it does not after all.
func (w *World) fault(c *call) bool {
	switch w.rng.IntN(13) {
	case 0:
		w.meet("request lost", c)
		w.reply(c, answer{err: c.notSent()})
	case 1:
		w.meet("no answer, not done", c)
		w.reply(c, answer{err: c.noAnswer()})
	case 2:
		w.meet("answer lost", c)
		c.do(false)
		w.reply(c, answer{err: c.noAnswer()})
	case 3:
		w.meet("slow", c)
		c.until = time.Now().Add(w.between(0, 20*time.Second))
		if w.chance(0.5) { // what is slow is the answer
			a := c.do(false)
			c.acted = &a
		}
	case 4:
		return w.actsLate(c, "acts late", func() { w.reply(c, answer{err: c.noAnswer()}) })
	case 5:
		w.meet("refused", c)
		w.reply(c, answer{err: c.refused(credential.ClassRetryable, 0)})
	case 6:
		w.meet("denied", c)
		w.reply(c, answer{err: c.refused(credential.ClassDenied, 0)})
	case 7:
		w.meet("throttled", c)
		w.reply(c, answer{err: c.refused(credential.ClassRetryable, w.between(0, 30*time.Second))})
	case 8:
		if c.what != "load" {
			return false
		}
		w.meet("stale read", c)
		w.reply(c, c.do(true))
	case 9:
		w.meet("dies before the call", c)
		w.kill(c.daemon)
	case 10:
		w.meet("dies after the call", c)
		c.do(false)
		w.kill(c.daemon)
	case 11:
		return w.actsLate(c, "dies, the call acts late", func() { w.kill(c.daemon) })
	case 12:
		w.stall(c.daemon)
	}
	return true
}

// actsLate lets a call act after its caller has given up: one that changes the
// issuer before its claim's window and margin are over, or after, which is
// outside assumption i.
func (w *World) actsLate(c *call, name string, meanwhile func()) bool {
	if c.kind == reading {
		return false
	}
	at := time.Now().Add(w.between(0, 3*window))
	if c.kind == issuing {
		over := w.audit.claimOver(c)
		if !over.After(time.Now()) {
			return false
		}
		at = time.Now().Add(time.Duration(w.random() * float64(time.Until(over))))
		if w.outside && w.chance(0.3) {
			w.meet("acts after window and margin", c)
			at = over.Add(w.between(0, 3*window))
		}
	}
	w.meet(name, c)
	w.late = append(w.late, effect{at: at, what: c.String(), act: func() { c.do(false) }})
	meanwhile()
	return true
}
