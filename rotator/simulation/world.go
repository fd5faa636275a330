package simulation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The measures of a run. The lead is far longer than a claim, as in the field,
// so that what goes wrong stays within assumption iii.
const (
	lifetime = 40 * time.Minute
	lead     = 20 * time.Minute
	drain    = 2 * time.Minute
	settle   = 6 * time.Second
	window   = 30 * time.Second // of a claim: min(30 s, lead / 8)

	troubled = 70 * time.Minute // time in which things go wrong
	quiet    = 45 * time.Minute // time after it, longer than a key lives
	maxSteps = 40_000

	sweepEvery = 10 * time.Minute
	grace      = 5 * time.Minute // how old an item must be that nobody names
)

// World is one run.
type World struct {
	seed   uint64
	rng    *rand.Rand
	began  time.Time
	names  []credential.Name
	record *Record
	store  *Store
	portal *Portal

	inspects bool // the daemons look at the portal now and then, as sweeps do
	outside  bool // faults outside the assumptions are allowed
	rate     float64
	calm     bool // nothing goes wrong any more

	daemons      []*daemon // the newest life of each
	lives        []*daemon // all of them
	arrived      chan struct{}
	late         []effect
	down         map[string]time.Time // system → away until then
	portalOffset time.Duration
	stepped      time.Time // when a clock was last set
	lastKill     time.Time // when somebody kills a primary once more, all else being well
	nextPerson   time.Time
	nextRevival  time.Time // when somebody declares again what was removed
	people       int
	nextTrouble  time.Time
	audit        audit

	mu      sync.Mutex // guards what daemons touch while they run
	pending []*call
	serials map[string]int

	steps  int
	faults map[string]int // name of a Fault → how often
	told   []string
	trace  bool
}

// effect is a call that acts after its caller has given up.
type effect struct {
	at   time.Time
	what string
	act  func()
}

// Result is what a run shows.
type Result struct {
	Seed       uint64
	Outside    bool
	Violations []string
	Trace      []string
	Faults     map[string]int
	Rotations  int
	Steps      int
	// Record is what the daemons left.
	Record *Record
}

// Run runs one seed; it must be called in a testing/synctest bubble of its own.
// With trace, Result tells every step.
func Run(seed uint64, trace bool) Result {
	w := &World{
		seed: seed, rng: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)), began: time.Now(), trace: trace, //nolint:gosec // a seed, no secret
		record: NewRecord(), store: NewStore(), arrived: make(chan struct{}, 1), serials: map[string]int{},
		down: map[string]time.Time{}, faults: map[string]int{}, inspects: true,
	}
	w.portal = NewPortal(func() time.Time { return time.Now().Add(w.portalOffset) })
	w.portal.Ripen = func() time.Duration { return time.Duration(w.random() * float64(settle/2)) }
	w.portal.Fresh = func() bool { return w.random() < 0.5 }
	w.outside = w.chance(0.25)
	w.rate = []float64{0, 0.02, 0.05, 0.1, 0.2}[w.rng.IntN(5)]
	for i := range 1 + w.rng.IntN(2) {
		w.names = append(w.names, credential.Name(fmt.Sprintf("sim/key%d", i+1)))
	}
	w.audit = newAudit(w)
	w.say("seed %d: %d credentials, faults at %g, outside the assumptions: %v", seed, len(w.names), w.rate, w.outside)
	for i := range 1 + w.rng.IntN(3) {
		w.daemons = append(w.daemons, w.start(i+1, 1, w.between(-5*time.Second, 5*time.Second)))
	}
	for _, name := range w.names {
		w.register(name)
	}
	w.nextPerson, w.nextTrouble = w.began.Add(5*time.Minute), w.began.Add(2*time.Minute)
	w.until(w.began.Add(troubled))
	w.settleDown()
	w.until(time.Now().Add(quiet))
	w.audit.end()
	w.stop()
	return Result{
		Seed: seed, Outside: w.outside, Violations: w.audit.violations, Trace: w.told, Faults: w.faults,
		Rotations: w.audit.rotations, Steps: w.steps, Record: w.record,
	}
}

// until runs the world to an instant.
func (w *World) until(end time.Time) {
	for time.Now().Before(end) && w.steps < maxSteps && len(w.audit.violations) == 0 {
		synctest.Wait()
		w.happen()
		c := w.pick()
		if c == nil {
			w.idle(end)
			continue
		}
		w.steps++
		time.Sleep(w.between(0, 40*time.Millisecond))
		synctest.Wait()
		w.pass(c)
		synctest.Wait()
		w.audit.instant()
	}
	if w.steps >= maxSteps {
		w.violate("no end after %d steps: something turns in circles", w.steps)
	}
}

// pick chooses a call that may be let through; nil = none.
func (w *World) pick() *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	var ready []*call
	for _, c := range w.pending {
		if !c.until.After(now) && !c.daemon.stalled.After(now) {
			ready = append(ready, c)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	slices.SortFunc(ready, inOrder)
	return ready[w.rng.IntN(len(ready))]
}

// inOrder is the one order of calls that wait: goroutines that ran side by side
// arrive in any.
func inOrder(a, b *call) int {
	return cmp.Or(cmp.Compare(a.key(), b.key()), cmp.Compare(a.serial, b.serial))
}

// idle lets time go by until something can happen.
func (w *World) idle(end time.Time) {
	next := end
	if !w.calm {
		next = earliest(end, w.nextPerson, w.nextTrouble)
	} else {
		if w.outside {
			next = earliest(next, w.nextPerson, w.lastKill)
		}
		if w.removed() {
			next = earliest(next, w.nextRevival)
		}
	}
	for _, e := range w.late {
		next = earliest(next, e.at)
	}
	w.mu.Lock()
	for _, c := range w.pending {
		next = earliest(next, latest(c.until, c.daemon.stalled))
	}
	w.mu.Unlock()
	for _, d := range w.daemons {
		next = earliest(next, d.restart)
	}
	select {
	case <-w.arrived: // an old one costs a turn
		return
	default:
	}
	timer := time.NewTimer(max(time.Until(next), time.Millisecond))
	defer timer.Stop()
	select {
	case <-w.arrived:
	case <-timer.C:
	}
	synctest.Wait()
	w.audit.instant()
}

// earliest of the instants that are set.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stop ends every goroutine of the run.
func (w *World) stop() {
	for _, d := range w.daemons {
		w.kill(d)
	}
	for range 100 {
		synctest.Wait()
		done := true
		for _, d := range w.lives {
			done = done && len(d.ended) == len(w.names)
			for _, name := range w.names {
				d.poke(name)
			}
		}
		if done {
			return
		}
		time.Sleep(time.Minute)
	}
}

// random is from 0 up to 1; daemons use it too.
func (w *World) random() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.Float64()
}

func (w *World) chance(p float64) bool { return w.random() < p }

func (w *World) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.random()*float64(to-from))
}

// owner is whose item it is.
func (w *World) owner(item string) credential.Name {
	w.portal.mu.Lock()
	defer w.portal.mu.Unlock()
	if it, ok := w.portal.items[item]; ok {
		return it.marker.Name
	}
	return w.names[0]
}

func (w *World) policy(name credential.Name) credential.Policy {
	return w.record.State(name).Spec.Policy
}

// say tells a step in the trace.
func (w *World) say(format string, args ...any) {
	if w.trace {
		w.told = append(w.told, fmt.Sprintf("%9s  ", time.Since(w.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
	}
}

func (w *World) violate(format string, args ...any) { w.audit.violate(format, args...) }
