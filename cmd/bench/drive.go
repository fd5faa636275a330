package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// runner is one daemon of a drive: an engine, and how it shares the work.
type runner struct {
	engine *engine.Engine
	// leave is how long it leaves a credential to others; nil = not at all.
	leave func(name credential.Name, turn schedule.Turn) time.Duration
}

// drive runs a scheduler until every credential has that generation and no open
// rotation, and tells how long it took.
func (w *world) drive(ctx context.Context, names []credential.Name, generation uint64) (time.Duration, error) {
	return driveAll(ctx, names, generation, inFlight, nil, runner{engine: w.engine})
}

// driveAll does the same with several daemons, each with so many passes at a
// time. First, if given, hears each credential as a pass on it begins.
func driveAll(ctx context.Context, names []credential.Name, generation uint64, limit int, first func(credential.Name), runners ...runner) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var left atomic.Int64
	left.Store(int64(len(names)))
	done := make(chan struct{})
	var finished sync.Map
	began := time.Now()
	running, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	for _, r := range runners {
		scheduler := schedule.New(schedule.Config{
			Lanes: map[string]int{"bench": limit}, Now: time.Now, Logger: zap.NewNop(), Defer: r.leave,
			Pass: func(ctx context.Context, name credential.Name) (schedule.Wake, error) {
				if first != nil {
					first(name)
				}
				result, err := r.engine.Pass(ctx, name)
				if err != nil {
					return schedule.Wake{}, err
				}
				if result.State.Generation >= generation && result.State.Rotation == nil && !result.State.Emergency() {
					if _, again := finished.LoadOrStore(name, true); !again && left.Add(-1) == 0 {
						close(done)
					}
					return schedule.Wake{Lane: "bench"}, nil
				}
				return wakeOf(result.State, result.Next.At), nil
			},
		})
		for _, name := range names {
			state, err := r.engine.Look(ctx, name)
			if err != nil {
				return 0, err
			}
			scheduler.Set(name, wakeOf(state, began))
		}
		group.Go(func() { _ = scheduler.Run(running) })
	}
	began = time.Now() // all are due
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("%d of %d rotations did not end: %w", left.Load(), len(names), ctx.Err())
	}
	took := time.Since(began)
	stop()
	group.Wait()
	return took, err
}

func wakeOf(s credential.State, at time.Time) schedule.Wake {
	w := schedule.Wake{At: at, Lane: "bench", Turn: schedule.Turn{Delay: time.Second}, Emergency: s.Emergency()}
	if primary, ok := s.Primary(); ok {
		w.Urgency = primary.Expires
	}
	return w
}
