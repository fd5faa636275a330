package schedule

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// lane is the queue of one issuer, and its workers.
type lane struct {
	name    string
	workers int
	planned int // how many of them run a pass that is no emergency's
	limit   int // of the workers
	open    int // how many planned passes may run; below the limit just after an outage
	queue   urgent
	budget  *budget
	silent  map[*item]struct{} // those whose last attempt got no answer
	stirred time.Time          // when those were last looked at for an answer's sake

	away             bool // the issuer does not answer: nothing is probed
	suspects, probes probes
	probing          map[*item]context.CancelFunc
}

// Load is how much there is in a lane.
type Load struct {
	Queued, Running, Limit int
	// Silent is how many wait for the issuer to answer anybody.
	Silent int
	// Late is how long the most overdue probe has waited.
	Late time.Duration
}

// reserve is what emergencies have beyond the limit of planned work, so that one
// begins at once: a quarter of it, at least one.
func (l *lane) reserve() int { return max(1, l.limit/4) }

// plannable is how many planned passes may run now.
func (l *lane) plannable() int { return min(l.limit, l.open) }

// room is how many passes may run.
func (l *lane) room() int { return l.limit + l.reserve() }

// admits reports whether the first in the queue may run beside so many workers.
// Neither the ramp after an outage nor planned work holds an emergency up.
func (l *lane) admits(workers int) bool {
	if len(l.queue) == 0 || workers >= l.room() {
		return false
	}
	return l.queue[0].wake.Emergency || l.planned < l.plannable()
}

func (s *Scheduler) lane(name string) *lane {
	l, ok := s.lanes[name]
	if !ok {
		l = &lane{name: name, budget: newBudget(), silent: map[*item]struct{}{}, probing: map[*item]context.CancelFunc{}}
		l.limit = limitOf(s.limits[name])
		l.open = l.limit
		s.lanes[name] = l
	}
	return l
}

func limitOf(limit int) int {
	if limit <= 0 {
		return defaultLane
	}
	return limit
}

// Limit changes how many planned passes of a lane may run at a time; emergencies
// have a quarter more. 0 = 8. Those that run are not stopped.
func (s *Scheduler) Limit(laneName string, limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits[laneName] = limit
	l, ok := s.lanes[laneName]
	if !ok {
		return
	}
	ramping := l.open < l.limit
	l.limit = limitOf(limit)
	if !ramping {
		l.open = l.limit
	}
	s.hireAll(l)
}

// Loads tells how much there is in each lane.
func (s *Scheduler) Loads() map[string]Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	loads, now := make(map[string]Load, len(s.lanes)), s.config.Now()
	for name, l := range s.lanes {
		loads[name] = Load{Queued: len(l.queue), Running: l.workers, Limit: l.limit, Silent: len(l.silent), Late: l.late(now)}
	}
	return loads
}

// Away says that a lane's issuer does not answer: nothing is probed until Answered.
func (s *Scheduler) Away(laneName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lane(laneName).away = true
}

// Answered says that a lane's issuer is back after an outage: its backlog goes
// out at once, the most urgent first, by one worker to begin with and twice as
// many after each answer.
func (s *Scheduler) Answered(laneName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lane(laneName)
	l.open, l.away = 1, false
	s.stir(l, false)
	s.poke()
}

// hire starts a worker if the lane may have another one. The lock is held.
func (s *Scheduler) hire(l *lane) {
	if s.pass == nil || (!l.admits(l.workers) && !s.admitsProbe(l, l.workers)) {
		return
	}
	l.workers++
	s.work.Add(1)
	go s.serve(s.pass, l)
}

// hireAll starts workers for what is queued.
func (s *Scheduler) hireAll(l *lane) {
	for range len(l.queue) {
		if !l.admits(l.workers) {
			return
		}
		s.hire(l)
	}
}

// serve runs passes, and probes when there is none, until the lane admits no other.
func (s *Scheduler) serve(ctx context.Context, l *lane) {
	defer s.work.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if it, retry := s.next(l); it != nil {
			s.run(ctx, l, it, retry)
		} else if it := s.nextProbe(l); it != nil {
			s.probe(ctx, l, it)
		} else {
			l.workers--
			return
		}
	}
}

// run runs one pass. The lock is held before and after it.
func (s *Scheduler) run(ctx context.Context, l *lane, it *item, retry bool) {
	planned := 1
	if it.wake.Emergency {
		planned = 0
	}
	l.planned += planned
	it.running, it.asked = true, false
	s.mu.Unlock()

	wake, err := look(ctx, it.name, s.config.Pass)

	s.mu.Lock()
	it.running = false
	l.planned -= planned
	if err != nil {
		wake = it.wake
		wake.At, wake.Lane = s.config.Now().Add(s.retry(ctx, it, err)), it.lane.name
	} else {
		it.failures = 0
		if retry && !wake.Retry {
			l.budget.refund()
		}
		s.failing.clear(s.config)
		s.heard(l, it, wake)
	}
	it.wake = Wake{} // what this process had in hand is told anew
	s.ended(it, wake)
}

// ended plans what follows a pass or a probe.
func (s *Scheduler) ended(it *item, wake Wake) {
	if wake.Lane != "" && wake.Lane != it.lane.name {
		s.move(it, wake.Lane)
	}
	if it.again {
		it.again = false
		wake.At, wake.Gone = s.config.Now(), false
	}
	s.set(it, wake)
}

// next takes the most urgent item that the budget lets go, and tells whether it
// is taken off the budget. The lock is held.
func (s *Scheduler) next(l *lane) (it *item, retry bool) {
	for s.pass != nil && l.admits(l.workers-1) {
		it := heap.Pop(&l.queue).(*item)
		it.queued = false
		now := s.config.Now()
		if it.wake.Emergency {
			return it, false
		}
		if it.asked || !it.wake.Retry || it.wake.Pressing {
			l.budget.earn()
			return it, false
		}
		if l.budget.spend(now) {
			return it, true
		}
		s.put(it, now.Add(budgetPause), it.deferred)
	}
	return nil, false
}

// look runs one pass or probe; a panic is an error of this one and of no other.
func look(ctx context.Context, name credential.Name, f func(context.Context, credential.Name) (Wake, error)) (wake Wake, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{fmt.Sprint(r), string(debug.Stack())}
		}
	}()
	return f(ctx, name)
}

// panicError is a pass that panicked.
type panicError struct{ value, stack string }

func (p *panicError) Error() string { return "the pass panicked: " + p.value }

// retry notes a failure and says after how long another try is due.
func (s *Scheduler) retry(ctx context.Context, it *item, err error) time.Duration {
	it.failures++
	delay := min(250*time.Millisecond<<min(it.failures, 10), maxRetry)
	if it.wake.Emergency {
		delay = min(delay, urgentRetry)
	}
	var panicked *panicError
	switch {
	case errors.As(err, &panicked):
		if panicked.value != it.panicked { // once, with its stack
			it.panicked = panicked.value
			s.config.Logger.Error("a pass panicked, which is a bug; this credential is tried again, the others go on",
				zap.String(logkey.Credential, string(it.name)), zap.Duration(logkey.RetryIn, delay),
				zap.Error(err), zap.String(logkey.Stack, panicked.stack))
		}
	case ctx.Err() == nil:
		s.failing.note(s.config, it, delay, err)
	}
	return delay
}

// heard keeps count of who waits for an answer of the issuer. When one pass got
// an answer, the others need not wait out their back-off.
func (s *Scheduler) heard(l *lane, it *item, wake Wake) {
	if wake.Silent {
		l.silent[it] = struct{}{}
		return
	}
	delete(l.silent, it)
	if l.open < l.limit {
		l.open = min(l.limit, 2*l.open)
		s.hireAll(l)
	}
	if len(l.silent) > 0 && s.config.Now().Sub(l.stirred) >= time.Second {
		s.stir(l, true)
	}
}

// stir looks at once at those that wait for an answer. They are retries, unless
// the issuer was away as a whole. The lock is held.
func (s *Scheduler) stir(l *lane, retry bool) {
	now := s.config.Now()
	l.stirred = now
	for it := range l.silent {
		delete(l.silent, it)
		if it.lane != l {
			continue
		}
		w := it.wake
		w.At, w.Retry, w.Lane = now, w.Retry && retry, l.name
		s.set(it, w)
	}
}

// failing logs passes that fail one after the other without a line for each.
type failing struct {
	since, logged time.Time
	passes        int
}

const logEvery = 30 * time.Second

func (f *failing) note(c Config, it *item, delay time.Duration, err error) {
	now := c.Now()
	f.passes++
	if f.since.IsZero() {
		f.since = now
	}
	if c.Failing != nil {
		c.Failing(err)
	}
	if now.Sub(f.logged) < logEvery {
		return
	}
	f.logged = now
	c.Logger.Error("the record cannot be read or written; nothing is lost, passes are tried again",
		zap.String(logkey.Credential, string(it.name)), zap.Int(logkey.FailedPasses, f.passes),
		zap.Time(logkey.Since, f.since), zap.Duration(logkey.RetryIn, delay), zap.Error(err))
}

func (f *failing) clear(c Config) {
	if f.passes > 0 {
		c.Logger.Info("the record can be read and written again", zap.Int(logkey.FailedPasses, f.passes), zap.Time(logkey.Since, f.since))
		*f = failing{}
		if c.Failing != nil {
			c.Failing(nil)
		}
	}
}

// urgent is a heap of items: emergencies first, of those and of the rest what is
// this daemon's turn, and then by urgency. What others were to begin first comes
// later, or all would meet at its head.
type urgent []*item

func (h urgent) Len() int { return len(h) }
func (h urgent) Less(i, j int) bool {
	if h[i].wake.Emergency != h[j].wake.Emergency {
		return h[i].wake.Emergency
	}
	if h[i].deferred != h[j].deferred {
		return h[j].deferred
	}
	return h[i].wake.Urgency.Before(h[j].wake.Urgency)
}
func (h urgent) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

// Push implements heap.Interface.
func (h *urgent) Push(x any) {
	it := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *urgent) Pop() any {
	last := len(*h) - 1
	it := (*h)[last]
	(*h)[last], it.index = nil, -1
	*h = (*h)[:last]
	return it
}
