package control

import (
	"sync"
	"time"
)

// Stats are what NATS micro's statistics say of an endpoint beside the framework's
// own figures, which know of requests but not of how they ended: a handler returns
// before its request is carried out.
type Stats struct {
	// Answered is how many were carried out, or had nothing to change.
	Answered uint64 `json:"answered"`
	// Refused is how many were refused, by code.
	Refused map[string]uint64 `json:"refused,omitempty"`
	// Average is the mean time from the arrival to the answer, in nanoseconds.
	Average time.Duration `json:"average_time"`

	took time.Duration
}

// statistics are those of all endpoints of this process.
type statistics struct {
	mu sync.Mutex
	of map[string]*Stats // endpoint →
}

// note counts one that ended with a code; empty = answered.
func (s *statistics) note(endpoint, code string, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats, ok := s.of[endpoint]
	if !ok {
		stats = &Stats{Refused: map[string]uint64{}}
		s.of[endpoint] = stats
	}
	if code == "" {
		stats.Answered++
	} else {
		stats.Refused[code]++
	}
	stats.took += took
}

// read returns a copy.
func (s *statistics) read(endpoint string) Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats, ok := s.of[endpoint]
	if !ok {
		return Stats{}
	}
	out := Stats{Answered: stats.Answered, Refused: map[string]uint64{}}
	n := out.Answered
	for code, count := range stats.Refused {
		out.Refused[code] = count
		n += count
	}
	out.Average = stats.took / time.Duration(n)
	return out
}
