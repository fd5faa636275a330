package engine

import (
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// sightings remembers when this daemon first saw each open claim.
type sightings struct {
	mu   sync.Mutex
	seen map[credential.Name]map[string]time.Time // credential → claim id → first sight
}

// see notes the claims of a state, and forgets those that are gone.
func (s *sightings) see(name credential.Name, state credential.State, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(state.Claims) == 0 {
		delete(s.seen, name)
		return
	}
	before := s.seen[name]
	seen := make(map[string]time.Time, len(state.Claims))
	for _, claim := range state.Claims {
		first, ok := before[claim.ID]
		if !ok {
			first = now
		}
		seen[claim.ID] = first
	}
	s.seen[name] = seen
}

// ages tells how long ago each claim was first seen: a successor counts by the
// clock that ran less, and a clock that ran backwards counts as nothing.
func (s *sightings) ages(name credential.Name, now time.Time) map[string]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	ages := make(map[string]time.Duration, len(s.seen[name]))
	for id, first := range s.seen[name] {
		ages[id] = max(0, min(now.Sub(first), now.Round(0).Sub(first.Round(0))))
	}
	return ages
}

// See notes the claims of a state that came by the record's watch, so that a
// take-over counts from then.
func (e *Engine) See(name credential.Name, state credential.State) {
	e.claims.see(name, state, e.config.Now())
}
