package schedule

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

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
	spread  float64 // where in its interval the next new credential is probed, 0 up to 1
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
	again    bool      // woken while it ran
	asked    bool      // somebody wants it looked at, whatever the record says
	suspect  bool      // which of the lane's heaps of probes holds it
	place    int       // in that heap; -1 = none
	probe    time.Time // when the next one is due
	panicked string    // the last panic that was logged
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

// Look plans a credential for now.
func (s *Scheduler) Look(name credential.Name, lane string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.item(name, lane)
	it.asked = true
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
		it = &item{name: name, index: -1, place: -1, lane: s.lane(laneName)}
		s.known[name] = it
	}
	if it.lane.name != laneName && !it.queued && !it.running {
		s.move(it, laneName)
	}
	return it
}

// move gives an item, which is in no queue, to another lane.
func (s *Scheduler) move(it *item, laneName string) {
	it.unprobe()
	delete(it.lane.silent, it)
	it.lane = s.lane(laneName)
}

// forget drops an item that does not run. The lock is held.
func (s *Scheduler) forget(it *item) {
	switch {
	case it.queued:
		heap.Remove(&it.lane.queue, it.index)
		it.queued = false
	case it.index >= 0:
		heap.Remove(&s.due, it.index)
	}
	it.unprobe()
	delete(it.lane.silent, it)
	delete(s.known, it.name)
}

// set puts an item where its wake says. The lock is held.
func (s *Scheduler) set(it *item, w Wake) {
	if w.Gone && !it.running {
		s.forget(it)
		return
	}
	now := s.config.Now()
	if it.wake.Mine && !it.running && (w.At.IsZero() || w.At.After(it.wake.At)) {
		w.At, w.Mine = it.wake.At, true
	}
	it.wake = w
	s.expect(it)
	switch {
	case it.running:
		if !w.At.IsZero() && !w.At.After(now) {
			it.again = true
			it.lane.giveWay(it)
		}
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
	sleep := maxSleep
	if len(s.due) > 0 {
		sleep = min(sleep, s.due[0].at.Round(0).Sub(now))
	}
	for _, l := range s.lanes {
		sleep = min(sleep, s.probeSoon(l, now))
	}
	return sleep
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
