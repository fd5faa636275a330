package main

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// recovery measures the way from the stream to a schedule that knows every
// credential. The events are encoded, chained and signed like any other; only
// their loading is left to the server's default sync.
func recovery(ctx context.Context, n int) ([]row, error) {
	w := &world{calendar: &schedule.Calendar{}, lax: true}
	defer w.close()
	for _, part := range []func(context.Context) error{w.openDir, w.openNATS} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	names := make([]credential.Name, n)
	for i := range names {
		names[i] = credential.Name(fmt.Sprintf("bench/key-%d", i))
	}
	if err := parallel(ctx, names, func(name credential.Name) error { return w.appendPromoted(ctx, name) }); err != nil {
		return nil, err
	}
	planner := engine.New(engine.Config{
		Record: w.record, Calendar: w.calendar, Daemon: "bench", Now: time.Now, Logger: zap.NewNop(),
	})
	var took time.Duration
	var heap, idle float64
	for range 2 { // the first warms the server's blocks up, as a start after a crash would not: both count
		before := liveHeap()
		scheduler := schedule.New(schedule.Config{Now: time.Now, Logger: zap.NewNop()})
		began := time.Now()
		if err := w.record.Recover(ctx, func(e credential.Entry) error {
			next := planner.Plan(e.Name, e.State)
			scheduler.Set(e.Name, schedule.Wake{At: next.At, Lane: e.State.Spec.Issuer, Every: probeInterval})
			return nil
		}); err != nil {
			return nil, err
		}
		took = max(took, time.Since(began))
		if scheduler.Len() != n {
			return nil, fmt.Errorf("recovered %d of %d credentials", scheduler.Len(), n)
		}
		heap = float64(liveHeap()-before) / float64(n)
		idle = idleCost(ctx, scheduler)
	}
	target := fmt.Sprintf("<= %.0f s", max(2, 20*float64(n)/1_000_000))
	return []row{
		{fmt.Sprintf("recovery of %d credentials (slower of 2)", n), fmt.Sprintf("%.2f s", took.Seconds()), "-", 0, target},
		{"  heap for each", fmt.Sprintf("%.0f bytes", heap), "-", 0, "<= 1024"},
		{fmt.Sprintf("  idle for %s without probes, NATS in the same process", idleTime), fmt.Sprintf("%.2f %% of a core", 100*idle), "-", 0, "< 1 %"},
	}, nil
}

const idleTime = 10 * time.Second

// idleCost runs a scheduler with nothing due and no probes, and tells what part of a core this
// process used.
func idleCost(ctx context.Context, scheduler *schedule.Scheduler) float64 {
	ctx, cancel := context.WithTimeout(ctx, idleTime)
	defer cancel()
	used, began := processorTime(), time.Now()
	_ = scheduler.Run(ctx) // it returns nil when ctx ends
	return float64(processorTime()-used) / float64(time.Since(began))
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// appendPromoted appends the promotion of a first key, with the state that the
// events before it lead to.
func (w *world) appendPromoted(ctx context.Context, name credential.Name) error {
	life, err := w.firstKey(name)
	if err != nil {
		return err
	}
	last := life[len(life)-1]
	_, err = w.record.Append(ctx, name, credential.Head{}, last.Event, last.State)
	return err
}

// firstKey is the life of a credential up to the promotion of its first key.
func (w *world) firstKey(name credential.Name) ([]credential.Entry, error) {
	spec, err := w.spec(name)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	item := fmt.Sprintf("%032x", len(name)*7919)
	state := credential.State{}
	var life []credential.Entry
	for _, fact := range []credential.Fact{
		credential.Registered{Spec: spec},
		credential.Started{
			Rotation: credential.Rotation{ID: engine.NewID(), Reason: credential.ReasonFirstKey, Actor: "policy", Started: now, Phase: credential.PhaseIssue, Settings: spec.Item.SettingsHash()},
			Claim:    credential.Claim{ID: engine.NewID(), Daemon: "d-bench", Op: credential.OpGenerate, Seat: credential.SeatID{Item: item, Slot: 1}, Mint: 1, Opened: now},
		},
		credential.Issued{Seat: credential.SeatID{Item: item, Slot: 1}, Mint: 1, Fingerprint: "0123456789abcdef", Expires: now.Add(90 * 24 * time.Hour), Version: 1},
		credential.Promoted{Seat: credential.SeatID{Item: item, Slot: 1}, Fingerprint: "0123456789abcdef", Expires: now.Add(90 * 24 * time.Hour), Version: 2, Due: now.Add(60 * 24 * time.Hour)},
	} {
		event := credential.Event{ID: engine.NewID(), At: now, Actor: "policy", Daemon: "d-bench", Fact: fact}
		state = credential.Evolve(state, event)
		state.Name = name
		life = append(life, credential.Entry{Name: name, Event: event, State: state})
	}
	return life, nil
}
