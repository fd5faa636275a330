package schedule

import (
	"container/heap"
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/logkey"
)

// lane is the queue of one issuer, and its workers.
type lane struct {
	name    string
	limit   int
	workers int
	queue   urgent
	silent  int       // credentials whose last attempt got no answer
	stirred time.Time // when those were last looked at for an answer's sake
}

func (s *Scheduler) lane(name string) *lane {
	l, ok := s.lanes[name]
	if !ok {
		limit := s.config.Lanes[name]
		if limit <= 0 {
			limit = defaultLane
		}
		l = &lane{name: name, limit: limit}
		s.lanes[name] = l
	}
	return l
}

// hire starts a worker if the lane may have another one. The lock is held.
func (s *Scheduler) hire(l *lane) {
	if s.pass == nil || l.workers >= l.limit {
		return
	}
	l.workers++
	s.work.Add(1)
	go s.serve(s.pass, l)
}

// serve runs passes until the lane's queue is empty.
func (s *Scheduler) serve(ctx context.Context, l *lane) {
	defer s.work.Done()
	for {
		s.mu.Lock()
		if s.pass == nil || len(l.queue) == 0 {
			l.workers--
			s.mu.Unlock()
			return
		}
		it := heap.Pop(&l.queue).(*item)
		it.queued, it.running = false, true
		inspect := it.inspect
		it.inspect = false
		s.mu.Unlock()

		wake, err := s.config.Pass(ctx, it.name, inspect)

		s.mu.Lock()
		it.running = false
		if err != nil {
			wake = s.retry(ctx, it, err)
			it.inspect = it.inspect || inspect
		} else {
			it.failures = 0
			s.failing.clear(s.config.Logger)
		}
		s.heard(l, it, wake, err)
		if wake.Lane != "" && wake.Lane != l.name {
			it.lane = s.lane(wake.Lane)
		}
		if it.again {
			it.again = false
			wake.At = s.config.Now()
		}
		s.set(it, wake)
		s.mu.Unlock()
	}
}

// retry plans another pass after one that failed.
func (s *Scheduler) retry(ctx context.Context, it *item, err error) Wake {
	it.failures++
	delay := min(250*time.Millisecond<<min(it.failures, 10), maxRetry)
	if ctx.Err() == nil {
		s.failing.note(s.config.Logger, s.config.Now(), it, delay, err)
	}
	return Wake{At: s.config.Now().Add(delay), Urgency: it.urgency, Lane: it.lane.name}
}

// heard keeps count of who waits for an answer of the issuer. When one pass got
// an answer, the others need not wait out their back-off.
func (s *Scheduler) heard(l *lane, it *item, wake Wake, err error) {
	if err != nil {
		return
	}
	if it.silent != wake.Silent {
		it.silent = wake.Silent
		if wake.Silent {
			l.silent++
		} else {
			l.silent--
		}
	}
	now := s.config.Now()
	if wake.Silent || l.silent <= 0 || now.Sub(l.stirred) < time.Second {
		return
	}
	l.stirred = now
	for _, other := range s.known {
		if other.lane == l && other.silent && other != it {
			s.set(other, Wake{At: now, Urgency: other.urgency, Lane: l.name})
		}
	}
}

// failing logs passes that fail one after the other without a line for each.
type failing struct {
	since, logged time.Time
	passes        int
}

const logEvery = 30 * time.Second

func (f *failing) note(logger *zap.Logger, now time.Time, it *item, delay time.Duration, err error) {
	f.passes++
	if f.since.IsZero() {
		f.since = now
	}
	if now.Sub(f.logged) < logEvery {
		return
	}
	f.logged = now
	logger.Error("the record cannot be read or written; nothing is lost, passes are tried again",
		zap.String(logkey.Credential, string(it.name)), zap.Int(logkey.FailedPasses, f.passes),
		zap.Time(logkey.Since, f.since), zap.Duration(logkey.RetryIn, delay), zap.Error(err))
}

func (f *failing) clear(logger *zap.Logger) {
	if f.passes > 0 {
		logger.Info("the record can be read and written again", zap.Int(logkey.FailedPasses, f.passes), zap.Time(logkey.Since, f.since))
		*f = failing{}
	}
}

// urgent is a heap of items by urgency.
type urgent []*item

func (h urgent) Len() int           { return len(h) }
func (h urgent) Less(i, j int) bool { return h[i].urgency.Before(h[j].urgency) }
func (h urgent) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

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
