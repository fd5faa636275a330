package main

import (
	"context"
	"sync"
	"time"
)

// stalls measures how long this machine did not let the run have a processor. A
// machine that stands still breaks the assumptions by itself: the table says for
// how long it did.
type stalls struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	longest time.Duration
	at      time.Time
}

func watchStalls() *stalls {
	ctx, cancel := context.WithCancel(context.Background())
	s := &stalls{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		const every = 20 * time.Millisecond
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now := time.Now()
			s.note(now.Sub(last)-every, now)
			last = now
		}
	}()
	return s
}

func (s *stalls) note(d time.Duration, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d > s.longest {
		s.longest, s.at = d, at
	}
}

func (s *stalls) stop() {
	s.cancel()
	<-s.done
}

// worst is the longest one so far, and when it ended.
func (s *stalls) worst() (time.Duration, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.longest, s.at
}
