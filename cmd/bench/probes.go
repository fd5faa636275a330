package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// probeInterval is the default of daemon.probe_interval.
const probeInterval = 5 * time.Minute

// probes measures one probe of each credential, as fast as the portal lets it: what
// it takes of this process, in which NATS and the portal run too.
func (w *world) probes(ctx context.Context, names []credential.Name) ([]row, error) {
	running, stop := context.WithTimeout(ctx, 10*time.Minute)
	defer stop()
	var left atomic.Int64
	left.Store(int64(len(names)))
	var failed atomic.Pointer[error]
	done := make(chan struct{})
	scheduler := schedule.New(schedule.Config{
		Lanes: map[string]int{"bench": 4 * inFlight}, Now: time.Now, Logger: zap.NewNop(), // a quarter is for probes
		Pass: func(context.Context, credential.Name) (schedule.Wake, error) {
			return schedule.Wake{Lane: "bench"}, nil
		},
		Probe: func(ctx context.Context, name credential.Name) (schedule.Wake, error) {
			again, err := w.engine.Inspect(ctx, name)
			if err == nil && again > 0 {
				err = fmt.Errorf("%s is suspected", name)
			}
			if err != nil {
				failed.Store(&err)
			}
			if left.Add(-1) == 0 {
				close(done)
			}
			return schedule.Wake{Lane: "bench", Every: probeInterval}, nil
		},
	})
	for _, name := range names {
		scheduler.Probe(name, "bench")
	}
	used, began := processorTime(), time.Now()
	ended := make(chan error, 1)
	go func() { ended <- scheduler.Run(running) }()
	select {
	case <-done:
	case <-running.Done():
		return nil, fmt.Errorf("%d of %d probes did not end: %w", left.Load(), len(names), running.Err())
	}
	took, cost := time.Since(began), processorTime()-used
	stop()
	if err := <-ended; err != nil {
		return nil, err
	}
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	each := cost / time.Duration(len(names))
	return []row{{
		fmt.Sprintf("a probe of each of %d credentials, portal round trip %s, %d at a time", len(names), backlogTrip, inFlight),
		fmt.Sprintf("%.1f s", took.Seconds()), "-", 0, fmt.Sprintf("<= %s", probeInterval),
	}, {
		fmt.Sprintf("  processor for each, NATS and portal in the same process; every %s for all", probeInterval),
		fmt.Sprintf("%s; %.1f %% of a core", each.Round(10*time.Microsecond), 100*cost.Seconds()/probeInterval.Seconds()), "-", 0, "-",
	}}, nil
}
