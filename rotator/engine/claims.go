package engine

import (
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// sightings remembers when this daemon first saw each open claim, and the last
// failure.
type sightings struct {
	mu   sync.Mutex
	seen map[credential.Name]map[string]time.Time // credential → id → first sight
}

// see notes the claims and the failure of a state, and forgets those that are gone.
func (s *sightings) see(name credential.Name, state credential.State, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	failures := state.Failures()
	if len(state.Claims) == 0 && len(failures) == 0 {
		delete(s.seen, name)
		return
	}
	before := s.seen[name]
	seen := make(map[string]time.Time, len(state.Claims)+1)
	note := func(id string) {
		first, ok := before[id]
		if !ok {
			first = now
		}
		seen[id] = first
	}
	for _, claim := range state.Claims {
		note(claim.ID)
	}
	for _, failure := range failures {
		note(failure.ID())
	}
	s.seen[name] = seen
}

// ages tells how long ago each claim was first seen: a successor counts by the
// clock that ran less. A wall clock that was set back to before that counts anew
// from now: waiting until it has caught up could take for ever.
func (s *sightings) ages(name credential.Name, now time.Time) map[string]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	ages := make(map[string]time.Duration, len(s.seen[name]))
	for id, first := range s.seen[name] {
		ran, wall := now.Sub(first), now.Round(0).Sub(first.Round(0))
		if wall < 0 {
			s.seen[name][id], ran = now, 0
		}
		ages[id] = max(0, min(ran, wall))
	}
	return ages
}

// See notes the claims of a state that came by the record's watch, so that a
// take-over counts from then.
func (e *Engine) See(name credential.Name, state credential.State) {
	e.claims.see(name, state, e.config.Now())
}
