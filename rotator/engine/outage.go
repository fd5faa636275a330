package engine

import (
	"sync"
	"time"
)

// outages remembers when the secret store could not be reached: time that does
// not count as drained, since applications could not fetch the new key.
type outages struct {
	mu     sync.Mutex
	since  time.Time // zero = reachable
	closed []interval
}

type interval struct{ from, to time.Time }

// maxOutages bounds the memory; older ones have been accounted for long ago.
const maxOutages = 64

// StoreReachable tells the engine whether the secret store could be reached at
// that time. Every call of the store counts, and so does a health check.
func (e *Engine) StoreReachable(ok bool, at time.Time) { e.outage.note(ok, at) }

func (o *outages) note(ok bool, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !ok && o.since.IsZero():
		o.since = at
	case ok && !o.since.IsZero():
		o.closed = append(o.closed, interval{o.since, at})
		if len(o.closed) > maxOutages {
			o.closed = o.closed[1:]
		}
		o.since = time.Time{}
	}
}

// within adds up the outages between two instants, and tells the end of the last.
// From is of some wall clock, to is now on ours; in between what ran here counts,
// whatever the wall clock was set to meanwhile.
func (o *outages) within(from, to time.Time) (total time.Duration, end time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	from = to.Add(-to.Round(0).Sub(from.Round(0)))
	for _, i := range o.closed {
		begin, stop := i.from, i.to
		if begin.Before(from) {
			begin = from
		}
		if stop.After(to) {
			stop = to
		}
		if stop.After(begin) {
			total += stop.Sub(begin)
			end = to.Round(0).Add(-to.Sub(stop))
		}
	}
	return total, end
}
