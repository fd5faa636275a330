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
}

// Config is what a Scheduler needs.
type Config struct {
	// Pass looks at one credential. Inspect asks it to compare the issuer's
	// word with the record first.
	Pass func(ctx context.Context, name credential.Name, inspect bool) (Wake, error)
	// Lanes: issuer → how many passes may run at a time; 0 or missing = 8.
	Lanes map[string]int
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
	// slept is noticed.
	maxSleep = 15 * time.Second
	maxRetry = 30 * time.Second
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
	pass    context.Context           // of the passes; nil before Run and after its end
	failing failing
}

// item is one credential.
type item struct {
	name     credential.Name
	lane     *lane
	at       time.Time
	urgency  time.Time
	index    int // in the heap that holds it; -1 = none
	failures int
	queued   bool
	running  bool
	again    bool // woken while it ran
	inspect  bool
	silent   bool
}

// New returns a scheduler that knows no credential yet.
func New(c Config) *Scheduler {
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	return &Scheduler{
		config: c, wake: make(chan struct{}, 1),
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
	it.inspect = it.inspect || inspect
	s.set(it, Wake{At: s.config.Now(), Urgency: it.urgency, Lane: lane})
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
	it.urgency = w.Urgency
	switch {
	case it.running:
		it.again = it.again || (!w.At.IsZero() && !w.At.After(s.config.Now()))
		return
	case it.queued:
		heap.Fix(&it.lane.queue, it.index)
		return
	case w.At.IsZero():
		if it.index >= 0 {
			heap.Remove(&s.due, it.index)
		}
		return
	}
	it.at = w.At
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
		timer.Reset(s.dispatch())
		select {
		case <-ctx.Done():
			s.stop(cancel)
			return nil
		case <-timer.C:
		case <-s.wake:
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
		it := heap.Pop(&s.due).(*item)
		it.queued = true
		heap.Push(&it.lane.queue, it)
		s.hire(it.lane)
	}
	if len(s.due) == 0 {
		return maxSleep
	}
	return min(s.due[0].at.Round(0).Sub(now), maxSleep)
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
