package schedule

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Wake is what a pass asks for.
type Wake struct {
	// At is when to look again; zero = not by itself.
	At time.Time
	// Urgency orders a lane: the expiry of the primary key, the earliest
	// first; zero = no key yet, which comes first of all.
	Urgency time.Time
	// Lane is the issuer.
	Lane string
	// Silent is true while the last attempt failed for want of an answer: the
	// credential is looked at again when its issuer answers anybody.
	Silent bool
	// Retry is true after an attempt that failed at the issuer: the lane's budget
	// bounds those. Pressing is true when the key's end is near: no budget holds
	// it up.
	Retry, Pressing bool
	// Emergency is true while a leaked key lives: it goes before everything else
	// in its lane, has a reserved share of it, and waits for no budget and no ramp.
	Emergency bool
	// Mine is true while this process has something in hand that the record does
	// not name: what others say of the credential does not put it off.
	Mine bool
	// Every is how often the primary is probed, from the end of one probe to the next;
	// zero = by nobody's plan.
	Every time.Duration
	// Again is when a probe wants another one, ahead of all that suspect nothing; zero
	// = after Every. Passes leave it alone.
	Again time.Duration
	// Gone is true when nothing is left to do: the credential is forgotten.
	Gone bool
	// Turn says how it is shared with other daemons.
	Turn Turn
}

// Turn is what decides which daemon begins. The zero Turn: no other is waited for.
type Turn struct {
	// Holder is the daemon that is at it; empty = none.
	Holder string
	// Attempts is how many have failed; each moves the turn to the next daemon.
	Attempts int
	// Delay is how long each daemon waits for the one before it.
	Delay time.Duration
	// Patience is how much longer all wait for a holder that lives.
	Patience time.Duration
}

// Config is what a Scheduler needs.
type Config struct {
	// Pass takes one credential as far as it goes.
	Pass func(ctx context.Context, name credential.Name) (Wake, error)
	// Probe compares what issuer and Vault hold with the record, and leaves what
	// follows to a pass; nil = nothing is probed.
	Probe func(ctx context.Context, name credential.Name) (Wake, error)
	// Lanes: issuer → how many passes may run at a time; 0 or missing = 8. A
	// quarter of them, at least one, is kept for emergencies; a lane of one has
	// one more for those.
	Lanes map[string]int
	// Defer says how long after its time this daemon leaves a credential to
	// others; nil = not at all. It is asked when the time has come, with the lock
	// held: it must not call back.
	Defer func(name credential.Name, turn Turn) time.Duration
	// Jumped is told when the clock has jumped: it was set, or the machine slept.
	// nil = nobody. It must not block.
	Jumped func(by time.Duration)
	// Failing is told of each pass that could not read or write the record, and
	// with nil of the first one after it that could; nil = nobody. It is called
	// with the lock held: it must not call back.
	Failing func(err error)
	// Grace is how long running passes may go on after Run was told to stop;
	// zero = 10 s.
	Grace time.Duration
	// Now is the wall clock, with a monotonic reading.
	Now    func() time.Time
	Logger *zap.Logger
}
