package schedule

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Wake is what a pass asks for.
type Wake struct {
	// At is when to look again; zero = not by itself.
	At time.Time
	// Urgency orders a lane: the expiry of the primary key, the earliest
	// first; zero = no key yet, which comes first of all.
	Urgency time.Time
	// Lane is the issuer.
	Lane string
	// Silent is true while the last attempt failed for want of an answer: the
	// credential is looked at again when its issuer answers anybody.
	Silent bool
	// Retry is true after an attempt that failed at the issuer: the lane's budget
	// bounds those. Pressing is true when the key's end is near: no budget holds
	// it up.
	Retry, Pressing bool
	// Emergency is true while a leaked key lives: it goes before everything else
	// in its lane, has a reserved share of it, and waits for no budget and no ramp.
	Emergency bool
	// Mine is true while this process has something in hand that the record does
	// not name: what others say of the credential does not put it off.
	Mine bool
	// Turn says how it is shared with other daemons.
	Turn Turn
}

// Turn is what decides which daemon begins. The zero Turn: no other is waited for.
type Turn struct {
	// Holder is the daemon that is at it; empty = none.
	Holder string
	// Attempts is how many have failed; each moves the turn to the next daemon.
	Attempts int
	// Delay is how long each daemon waits for the one before it.
	Delay time.Duration
	// Patience is how much longer all wait for a holder that lives.
	Patience time.Duration
}

// Config is what a Scheduler needs.
type Config struct {
	// Pass looks at one credential. Inspect asks it to compare the issuer's
	// word with the record first.
	Pass func(ctx context.Context, name credential.Name, inspect bool) (Wake, error)
	// Lanes: issuer → how many passes may run at a time; 0 or missing = 8. A
	// quarter of them, at least one, is kept for emergencies; a lane of one has
	// one more for those.
	Lanes map[string]int
	// Defer says how long after its time this daemon leaves a credential to
	// others; nil = not at all. It is asked when the time has come, with the lock
	// held: it must not call back.
	Defer func(name credential.Name, turn Turn) time.Duration
	// Jumped is told when the clock has jumped: it was set, or the machine slept.
	// nil = nobody. It must not block.
	Jumped func(by time.Duration)
	// Failing is told of each pass that could not read or write the record, and
	// with nil of the first one after it that could; nil = nobody. It is called
	// with the lock held: it must not call back.
	Failing func(err error)
	// Grace is how long running passes may go on after Run was told to stop;
	// zero = 10 s.
	Grace time.Duration
	// Now is the wall clock, with a monotonic reading.
	Now    func() time.Time
	Logger *zap.Logger
}

const (
	defaultLane  = 8
	defaultGrace = 10 * time.Second
	// maxSleep bounds the timer, so that a clock that was set or a machine that
	// slept is noticed at once: timers stand still while a machine sleeps.
	maxSleep = time.Second
	maxRetry = 30 * time.Second
	// urgentRetry is maxRetry for an emergency.
	urgentRetry = time.Second
	// jump is how far the clock must be off after a sleep to have jumped.
	jump = 5 * time.Second
)

// Scheduler is one heap of due times, one timer, and a lane per issuer.
type Scheduler struct {
	config Config
	wake   chan struct{} // one slot: wake-ups merge
	work   sync.WaitGroup

	mu      sync.Mutex
	due     items                     // waiting, by time
	known   map[credential.Name]*item // credential → its item
	lanes   map[string]*lane          // issuer → its lane
	limits  map[string]int            // issuer → passes at a time
	pass    context.Context           // of the passes; nil before Run and after its end
	failing failing
}

// item is one credential.
type item struct {
	name     credential.Name
	lane     *lane
	wake     Wake      // as it was asked for
	at       time.Time // when it is this daemon's turn: wake.At, or later
	deferred bool      // it was another daemon's turn first
	index    int       // in the heap that holds it; -1 = none
	failures int
	queued   bool
	running  bool
	again    bool // woken while it ran
	asked    bool // somebody wants it looked at, whatever the record says
	inspect  bool
	panicked string // the last panic that was logged
}

// New returns a scheduler that knows no credential yet.
func New(c Config) *Scheduler {
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	limits := map[string]int{}
	for name, limit := range c.Lanes {
		limits[name] = limit
	}
	return &Scheduler{
		config: c, wake: make(chan struct{}, 1), limits: limits,
		known: map[credential.Name]*item{}, lanes: map[string]*lane{},
	}
}

// Set plans a credential. One that is running is looked at once more when its
// time has come by then.
func (s *Scheduler) Set(name credential.Name, w Wake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(s.item(name, w.Lane), w)
}

// Look plans a credential for now. Inspect has its issuer asked first.
func (s *Scheduler) Look(name credential.Name, lane string, inspect bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.item(name, lane)
	it.asked, it.inspect = true, it.inspect || inspect
	w := it.wake
	w.At, w.Lane = s.config.Now(), lane
	s.set(it, w)
}

// Lag is how long the most overdue credential has waited for its turn.
func (s *Scheduler) Lag() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, lag := s.config.Now(), time.Duration(0)
	if len(s.due) > 0 {
		lag = max(lag, now.Sub(s.due[0].at))
	}
	for _, l := range s.lanes {
		for _, it := range l.queue {
			lag = max(lag, now.Sub(it.at))
		}
	}
	return lag
}

// Len is how many credentials are known.
func (s *Scheduler) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.known)
}

// Rebalance asks anew whose turn it is, after a daemon came or went.
func (s *Scheduler) Rebalance() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.due {
		if it.deferred {
			it.at, it.deferred = it.wake.At, false
		}
	}
	heap.Init(&s.due)
	for _, l := range s.lanes {
		for _, it := range l.queue {
			it.deferred = s.deferral(it) > 0
		}
		heap.Init(&l.queue)
	}
	s.poke()
}

func (s *Scheduler) item(name credential.Name, laneName string) *item {
	it, ok := s.known[name]
	if !ok {
		it = &item{name: name, index: -1}
		s.known[name] = it
	}
	if it.lane == nil || (it.lane.name != laneName && !it.queued && !it.running) {
		it.lane = s.lane(laneName)
	}
	return it
}

// set puts an item where its wake says. The lock is held.
func (s *Scheduler) set(it *item, w Wake) {
	now := s.config.Now()
	if it.wake.Mine && !it.running && (w.At.IsZero() || w.At.After(it.wake.At)) {
		w.At, w.Mine = it.wake.At, true
	}
	it.wake = w
	switch {
	case it.running:
		it.again = it.again || (!w.At.IsZero() && !w.At.After(now))
		return
	case it.queued:
		if it.asked || (!w.At.IsZero() && !w.At.After(now)) {
			heap.Fix(&it.lane.queue, it.index)
			s.hire(it.lane) // it may have become an emergency
			return
		}
		heap.Remove(&it.lane.queue, it.index) // somebody else was first
		it.queued = false
	}
	if w.At.IsZero() {
		if it.index >= 0 {
			heap.Remove(&s.due, it.index)
		}
		return
	}
	s.put(it, w.At, false)
}

// put has an item wait until an instant. The lock is held.
func (s *Scheduler) put(it *item, at time.Time, deferred bool) {
	it.at, it.deferred = at, deferred
	if it.index >= 0 {
		heap.Fix(&s.due, it.index)
	} else {
		heap.Push(&s.due, it)
	}
	if s.due[0] == it {
		s.poke()
	}
}

func (s *Scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run dispatches until ctx ends, then lets running passes finish within the
// grace, and returns nil.
func (s *Scheduler) Run(ctx context.Context) error {
	pass, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.mu.Lock()
	s.pass = pass
	s.mu.Unlock()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		began := s.config.Now().Round(0)
		sleep := s.dispatch()
		timer.Reset(sleep)
		select {
		case <-ctx.Done():
			s.stop(cancel)
			return nil
		case <-timer.C:
		case <-s.wake:
		}
		// the wall clock less what a timer can have slept
		by := s.config.Now().Round(0).Sub(began)
		if (by < -jump || by > sleep+jump) && s.config.Jumped != nil {
			s.config.Jumped(by)
		}
	}
}

// stop lets no new pass begin and waits for the running ones.
func (s *Scheduler) stop(cancel context.CancelFunc) {
	s.mu.Lock()
	s.pass = nil
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	grace := time.NewTimer(s.config.Grace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
		cancel()
		<-done
	}
}

// dispatch moves what is due to its lane and says how long to sleep.
func (s *Scheduler) dispatch() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now().Round(0) // wall time: it goes on while a machine sleeps
	for len(s.due) > 0 && !s.due[0].at.Round(0).After(now) {
		it := s.due[0]
		if wait := s.deferral(it); wait > 0 {
			it.deferred = true
			if at := it.wake.At.Add(wait); at.Round(0).After(now) {
				it.at = at
				heap.Fix(&s.due, 0)
				continue
			}
		} else {
			it.deferred = false
		}
		heap.Pop(&s.due)
		it.queued = true
		heap.Push(&it.lane.queue, it)
		s.hire(it.lane)
	}
	if len(s.due) == 0 {
		return maxSleep
	}
	return min(s.due[0].at.Round(0).Sub(now), maxSleep)
}

// deferral is how long an item is left to other daemons. The lock is held.
func (s *Scheduler) deferral(it *item) time.Duration {
	if s.config.Defer == nil || it.wake.Mine {
		return 0
	}
	return s.config.Defer(it.name, it.wake.Turn)
}

// items is a heap of items by due time.
type items []*item

func (h items) Len() int           { return len(h) }
func (h items) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h items) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

// Push implements heap.Interface.
func (h *items) Push(x any) {
	it := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *items) Pop() any {
	last := len(*h) - 1
	it := (*h)[last]
	(*h)[last], it.index = nil, -1
	*h = (*h)[:last]
	return it
}
