package arcgis

import (
	"net/http"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// clock is what the answers' Date headers say.
type clock struct {
	mu       sync.Mutex
	skew     time.Duration
	answered time.Time
}

// Skew is the portal's clock less ours by its last answer, and when that came,
// from which credential.SkewAt tells what it is now; ok is false before the first
// answer. A Date header has whole seconds and was
// written at an unknown moment of the call, so a difference that can be
// explained by either is none.
func (p *Portal) Skew() (skew time.Duration, answered time.Time, ok bool) {
	p.clock.mu.Lock()
	defer p.clock.mu.Unlock()
	return p.clock.skew, p.clock.answered, !p.clock.answered.IsZero()
}

// note takes the clock from an answer, and returns the portal's time: the
// header's own, which is at most a second behind, or without one our best guess.
func (c *clock) note(header http.Header, sent, now time.Time) (issuer time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered = now
	sent = now.Add(-now.Sub(sent)) // the wall clock may have been set meanwhile
	said, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return now.Add(c.skew).UTC()
	}
	said = said.UTC()
	switch latest := said.Add(time.Second); {
	case latest.Before(sent):
		c.skew = latest.Sub(sent)
	case said.After(now):
		c.skew = said.Sub(now)
	default:
		c.skew = 0
	}
	return said
}

// issuerNow guesses the portal's time now.
func (p *Portal) issuerNow() time.Time {
	now := p.config.Now()
	if skew, answered, ok := p.Skew(); ok {
		return now.Add(credential.SkewAt(now, skew, answered))
	}
	return now
}
