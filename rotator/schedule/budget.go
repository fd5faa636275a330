package schedule

import (
	"time"

	"golang.org/x/time/rate"
)

// The budget of retries that fail again: at most a fifth of the first attempts,
// and a floor, so that a lane of few credentials still gets on. One that goes
// well gives back two, so that what failed goes out soon once it can.
const (
	retryShare  = 0.2
	maxCredit   = 50
	retryFloor  = rate.Limit(1) // a second
	retryBurst  = 10
	budgetPause = time.Second // until a retry that was not let go asks again
)

// budget bounds the retries of a lane, so that many that fail do not take the
// issuer's time from those that would not.
type budget struct {
	credit float64
	floor  *rate.Limiter
}

func newBudget() *budget { return &budget{floor: rate.NewLimiter(retryFloor, retryBurst)} }

// earn is told of a first attempt.
func (b *budget) earn() { b.credit = min(b.credit+retryShare, maxCredit) }

// refund is told of a retry that went well.
func (b *budget) refund() { b.credit = min(b.credit+2, maxCredit) }

// spend takes a retry off the budget and reports whether there was one left.
func (b *budget) spend(now time.Time) bool {
	if b.credit >= 1 {
		b.credit--
		return true
	}
	return b.floor.AllowN(now, 1)
}
