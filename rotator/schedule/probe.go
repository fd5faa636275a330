package schedule

import (
	"container/heap"
	"context"
	"math"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	// golden is the part of the interval between the first probes of two credentials
	// that became known one after the other: any number of them is spread evenly.
	golden = 0.6180339887498949
	// probePause is when a probe is tried again at the latest whose credential is at
	// work just now.
	probePause = time.Second
)

// Probe has a credential probed as soon as the lane has nothing more urgent to do,
// by the daemon whose turn it is.
func (s *Scheduler) Probe(name credential.Name, lane string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.item(name, lane)
	it.probeAt(s.config.Now(), true)
	s.poke()
}

// probers is how many probes may run: a quarter of the lane, at least one.
func (l *lane) probers() int { return max(1, l.limit/4) }

// soonest is the next one of the lane; nil = none. What is suspected and due goes
// first.
func (l *lane) soonest(now time.Time) *item {
	var first *item
	for _, h := range []probes{l.suspects, l.probes} {
		if len(h) > 0 && (first == nil || (first.probe.After(now) && h[0].probe.Before(first.probe))) {
			first = h[0]
		}
	}
	return first
}

// late is how long the most overdue probe has waited.
func (l *lane) late(now time.Time) time.Duration {
	late := time.Duration(0)
	for _, h := range []probes{l.suspects, l.probes} {
		if len(h) > 0 {
			late = max(late, now.Sub(h[0].probe))
		}
	}
	return late
}

// giveWay ends the probe of a credential that has something to do.
func (l *lane) giveWay(it *item) {
	if cancel, ok := l.probing[it]; ok {
		cancel()
	}
}

// admitsProbe reports whether a probe may run beside so many workers: where no pass
// wants to, and in a part of the lane only.
func (s *Scheduler) admitsProbe(l *lane, workers int) bool {
	return s.config.Probe != nil && !l.away && workers < l.room() &&
		l.planned < l.plannable() && len(l.probing) < l.probers() && s.ready(l) != nil
}

// ready is the next one that is due and this daemon's. The others come back after
// their interval: whose turn it is is asked anew then. The lock is held.
func (s *Scheduler) ready(l *lane) *item {
	now := s.config.Now().Round(0)
	for {
		it := l.soonest(now)
		switch {
		case it == nil || it.probe.After(now):
			return nil
		case it.queued || it.running:
			it.probeAt(now.Add(min(probePause, max(it.wake.Every/8, probePause/100))), it.suspect)
		case s.config.Defer == nil || s.config.Defer(it.name, Turn{Delay: 1}) == 0:
			return it
		case it.wake.Every > 0:
			it.probeAt(now.Add(it.wake.Every), false)
		default:
			it.unprobe()
		}
	}
}

// nextProbe takes one that may run. The lock is held.
func (s *Scheduler) nextProbe(l *lane) *item {
	if s.pass == nil || !s.admitsProbe(l, l.workers-1) {
		return nil
	}
	it := s.ready(l)
	it.unprobe()
	s.poke() // for the one behind it
	return it
}

// probeSoon has a worker probe what is due, and says how long there is nothing.
func (s *Scheduler) probeSoon(l *lane, now time.Time) time.Duration {
	if s.admitsProbe(l, l.workers) {
		s.hire(l)
		return maxSleep // it pokes
	}
	if it := l.soonest(now); it != nil && it.probe.After(now) {
		return it.probe.Sub(now)
	}
	return maxSleep // what is due waits for the lane
}

// probe runs one probe. The lock is held before and after it. The next one counts
// from its end, so that probes that take long come more rarely and never pile up.
func (s *Scheduler) probe(ctx context.Context, l *lane, it *item) {
	probing, cancel := context.WithCancel(ctx)
	defer cancel()
	if it.index >= 0 {
		heap.Remove(&s.due, it.index)
	}
	it.running = true
	l.planned++
	l.probing[it] = cancel
	s.mu.Unlock()

	wake, err := look(probing, it.name, s.config.Probe)

	s.mu.Lock()
	it.running = false
	l.planned--
	delete(l.probing, it)
	next, suspect := wake.Every, wake.Again > 0
	switch {
	case err == nil:
		it.failures = 0
		s.failing.clear(s.config)
		l.open = min(l.limit, 2*l.open)
		if suspect {
			next = wake.Again
		}
	case probing.Err() != nil && ctx.Err() == nil: // it gave way
		wake, next = it.wake, it.wake.Every
	default:
		wake, next = it.wake, s.retry(ctx, it, err)
	}
	if next > 0 && !wake.Gone {
		it.probeAt(s.config.Now().Add(next), suspect)
	}
	s.ended(it, wake)
}

// expect keeps the next probe within the interval from now: of a credential that is
// new here, when the interval became shorter, and after the clock was set.
func (s *Scheduler) expect(it *item) {
	every, now := it.wake.Every, s.config.Now()
	switch {
	case every <= 0:
		if it.place >= 0 && !it.suspect {
			it.unprobe()
		}
	case it.place < 0 && it.running: // the end of its probe says when
	case it.place < 0 || it.probe.After(now.Add(every)):
		s.spread = math.Mod(s.spread+golden, 1)
		it.probeAt(now.Add(time.Duration(s.spread*float64(every))), false)
		if it.lane.probes[0] == it {
			s.poke()
		}
	}
}

// probeAt plans the next probe of an item.
func (it *item) probeAt(at time.Time, suspect bool) {
	it.unprobe()
	it.probe, it.suspect = at.Round(0), suspect
	heap.Push(it.heap(), it)
}

// unprobe takes an item out of its heap of probes.
func (it *item) unprobe() {
	if it.place >= 0 {
		heap.Remove(it.heap(), it.place)
	}
}

func (it *item) heap() *probes {
	if it.suspect {
		return &it.lane.suspects
	}
	return &it.lane.probes
}

// probes is a heap of items by when they are probed.
type probes []*item

func (h probes) Len() int           { return len(h) }
func (h probes) Less(i, j int) bool { return h[i].probe.Before(h[j].probe) }
func (h probes) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].place, h[j].place = i, j }

// Push implements heap.Interface.
func (h *probes) Push(x any) {
	it := x.(*item)
	it.place = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *probes) Pop() any {
	last := len(*h) - 1
	it := (*h)[last]
	(*h)[last], it.place = nil, -1
	*h = (*h)[:last]
	return it
}
