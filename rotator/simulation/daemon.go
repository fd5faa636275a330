package simulation

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// daemon is one process: an engine, a clock, and a loop for each credential.
type daemon struct {
	world  *World
	number int // which of the daemons
	life   int // how often it was started
	engine *engine.Engine
	wake   map[credential.Name]chan struct{}

	dead    bool
	stalled time.Time     // it does not run until then
	offset  time.Duration // its wall clock less the simulation's
	skew    time.Duration // the portal's clock less its own, by the last answer
	// answered is when the portal last answered.
	answered time.Time
	restart  time.Time // of a dead one
	ended    chan struct{}
}

func (d *daemon) String() string { return fmt.Sprintf("d%d.%d", d.number, d.life) }

// now is the daemon's clock: a wall clock that may be set, and a monotonic one
// that cannot.
func (d *daemon) now() time.Time {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	return stepped(time.Now(), d.offset)
}

// stepped is an instant of a clock whose wall reading was moved, and whose
// monotonic one goes on: package time has no way to make one, and a bubble's
// clock has no monotonic reading at all.
func stepped(t time.Time, by time.Duration) time.Time {
	const since1885 = 2_682_288_000 // seconds from there to the Unix epoch
	wall := t.Add(by)
	layout := (*struct {
		wall uint64 // 1 bit: has a monotonic reading, 33 bits: seconds since 1885, 30 bits: nanoseconds
		ext  int64  // the monotonic reading
		loc  *time.Location
	})(unsafe.Pointer(&wall)) //nolint:gosec // the layout of time.Time, proven by TestSteppedClock
	layout.wall = 1<<63 | uint64(wall.Unix()+since1885)<<30 | uint64(wall.Nanosecond()) //nolint:gosec // within 33 and 30 bits
	layout.ext = t.UnixNano()
	return wall
}

// start begins the life of a daemon, in the place of an earlier one.
func (w *World) start(number, life int, offset time.Duration) *daemon {
	d := &daemon{
		world: w, number: number, life: life, offset: offset,
		ended: make(chan struct{}, len(w.names)), wake: map[credential.Name]chan struct{}{},
	}
	w.lives = append(w.lives, d)
	serial := 0
	d.engine = engine.New(engine.Config{
		Record: recordPort{d}, Store: storePort{d}, Issuers: map[string]engine.Issuer{"portal": issuerPort{d}},
		Calendar: never{}, Installation: "simulation", Daemon: d.String(), Now: d.now, Logger: zap.NewNop(),
		Random: w.random,
		NewID: func() string {
			w.mu.Lock()
			defer w.mu.Unlock()
			serial++
			return fmt.Sprintf("%s-%d", d, serial)
		},
	})
	for _, name := range w.names {
		d.wake[name] = make(chan struct{}, 1)
		go d.run(name, d.wake[name])
	}
	return d
}

// run is the loop over one credential, as the scheduler would do it.
func (d *daemon) run(name credential.Name, wake <-chan struct{}) {
	ended := d.ended
	defer func() { ended <- struct{}{} }()
	defer func() {
		if r := recover(); r != nil {
			if _, expected := r.(died); !expected {
				d.world.violate("%s %s: the engine panicked: %v", d, name, r)
			}
		}
	}()
	var inspected, swept time.Time
	for failures := 0; ; {
		if policy := d.world.policy(name); policy.Lifetime > 0 && d.world.inspects && time.Since(inspected) >= policy.ProbeInterval() {
			inspected = time.Now()
			if again, _ := d.engine.Inspect(context.Background(), name); again > 0 { // a suspicion
				inspected = inspected.Add(again - policy.ProbeInterval())
			}
		}
		if d.world.inspects && time.Since(swept) >= sweepEvery {
			swept = time.Now()
			_, _, _ = d.engine.Strays(context.Background(), "portal", []credential.Name{name}, nil, grace)
		}
		result, err := d.engine.Pass(context.Background(), name)
		pause := min(250*time.Millisecond<<min(failures, 6), 15*time.Second)
		failures++
		if err == nil {
			failures, pause = 0, time.Minute
			if at := result.Next.At; !at.IsZero() {
				pause = min(pause, max(at.Sub(d.now().Round(0)), time.Millisecond))
			}
			if policy := d.world.policy(name); policy.Lifetime > 0 { // a suspicion is looked at again soon
				pause = min(pause, max(policy.ProbeInterval()-time.Since(inspected), time.Second))
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-wake:
			timer.Stop()
		}
		if d.isDead() {
			return
		}
	}
}

func (d *daemon) isDead() bool {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	return d.dead
}

// poke wakes the loop of a credential.
func (d *daemon) poke(name credential.Name) {
	select {
	case d.wake[name] <- struct{}{}:
	default:
	}
}

// never is a calendar without runs.
type never struct{}

func (never) Next(string, time.Time) (time.Time, bool) { return time.Time{}, false }
