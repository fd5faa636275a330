package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// kind is what a call can do.
type kind int

const (
	reading kind = iota
	storing      // changes the record or the store, by check-and-set
	issuing      // changes the issuer, under a claim
)

// call is a call of a port that waits at the gate.
type call struct {
	daemon   *daemon
	name     credential.Name
	system   string
	what     string
	kind     kind
	role     string // who asks, beside the daemon's own loop
	serial   int
	deadline time.Time
	act      func(stale bool) (any, error)
	answer   chan answer

	until time.Time // it is held at the gate until then
	acted *answer   // it has acted, and the answer is on its way
}

// answer is what the caller gets.
type answer struct {
	value any
	err   error
	dead  bool // the daemon has died: the caller ends
}

// died is the panic by which a daemon's goroutine ends.
type died struct{}

// patience is how long a caller waits where no claim's window is shorter.
const patience = 15 * time.Second

// ask stops at the gate and returns what the seed makes of the call.
func ask[T any](ctx context.Context, d *daemon, name credential.Name, system, what string, kind kind, act func(stale bool) (T, error)) (T, error) {
	w := d.world
	var none T
	deadline := time.Now().Add(patience)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	c := &call{
		daemon: d, name: name, system: system, what: what, kind: kind, deadline: deadline, answer: make(chan answer, 1),
		act: func(stale bool) (any, error) { return act(stale) }, role: role(ctx),
	}
	w.mu.Lock()
	if d.dead {
		w.mu.Unlock()
		panic(died{})
	}
	c.serial = w.nextSerial(c)
	w.pending = append(w.pending, c)
	w.mu.Unlock()
	select {
	case w.arrived <- struct{}{}:
	default:
	}
	a := <-c.answer
	switch {
	case a.dead:
		panic(died{})
	case a.err != nil:
		return none, a.err
	}
	value, ok := a.value.(T)
	if !ok {
		return none, nil
	}
	return value, nil
}

// nextSerial numbers equal calls, so that waiting ones have one order whatever
// goroutine came first.
func (w *World) nextSerial(c *call) int {
	key := c.key()
	w.serials[key]++
	return w.serials[key]
}

func (c *call) key() string {
	return fmt.Sprintf("%02d %s %s %s %s", c.daemon.number, c.name, c.role, c.system, c.what)
}

type roleKey struct{}

// as is the context of somebody other than the daemon's own loop.
func as(who string) context.Context { return context.WithValue(context.Background(), roleKey{}, who) }

func role(ctx context.Context) string {
	who, _ := ctx.Value(roleKey{}).(string)
	return who
}

func (c *call) String() string { return fmt.Sprintf("%s %s: %s", c.daemon, c.name, c.what) }

// noAnswer is the fault of a call whose outcome its caller cannot know.
func (c *call) noAnswer() error {
	class := credential.ClassRetryable
	if c.kind != reading {
		class = credential.ClassUnknown
	}
	return &credential.Fault{Class: class, System: c.system, Op: c.what, Silent: true, Err: context.DeadlineExceeded}
}

// notSent is the fault of a call that never left.
func (c *call) notSent() error {
	return &credential.Fault{Class: credential.ClassRetryable, System: c.system, Op: c.what, Silent: true}
}

// refused is a clear no.
func (c *call) refused(class credential.Class, after time.Duration) error {
	return &credential.Fault{Class: class, System: c.system, Op: c.what, RetryAfter: after}
}
