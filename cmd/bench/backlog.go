package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/peers"
	"github.com/keyturn/keyturn/rotator/schedule"
)

const backlogTrip = 50 * time.Millisecond

// prepare makes credentials with a first key each, and asks for a rotation of
// every one. No two expire in the same second.
func (w *world) prepare(ctx context.Context, n int) ([]credential.Name, error) {
	names := make([]credential.Name, n)
	for i := range names {
		names[i] = credential.Name(fmt.Sprintf("bench/key-%d", i))
	}
	err := parallel(ctx, names, func(name credential.Name) error {
		spec, err := w.spec(name)
		if err != nil {
			return err
		}
		// a shuffled lifetime: the order of the names is not that of the expiries
		spec.Policy.Lifetime += credential.Duration(time.Duration(slices.Index(names, name)*7919%n) * time.Second)
		_, err = w.engine.Command(ctx, name, credential.Register{Spec: spec, Actor: "bench"})
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := w.drive(ctx, names, 1); err != nil {
		return nil, err
	}
	return names, w.ask(ctx, names)
}

func (w *world) ask(ctx context.Context, names []credential.Name) error {
	return parallel(ctx, names, func(name credential.Name) error {
		_, err := w.engine.Command(ctx, name, credential.RequestRotation{ID: engine.NewID(), Actor: "bench", Now: true})
		return err
	})
}

// backlog measures many keys that are due in the same second, and then many that
// leaked.
func backlog(ctx context.Context, n int) ([]row, error) {
	w, err := newWorld(ctx, backlogTrip)
	if err != nil {
		return nil, err
	}
	defer w.close()
	names, err := w.prepare(ctx, n)
	if err != nil {
		return nil, err
	}
	byUrgency := slices.Clone(names)
	expiry := map[credential.Name]time.Time{}
	for _, name := range names {
		state, err := w.engine.Look(ctx, name)
		if err != nil {
			return nil, err
		}
		primary, _ := state.Primary()
		expiry[name] = primary.Expires
	}
	slices.SortStableFunc(byUrgency, func(a, b credential.Name) int { return expiry[a].Compare(expiry[b]) })
	var mu sync.Mutex
	var begun []credential.Name
	seen := map[credential.Name]bool{}
	w.calls.Store(0)
	took, err := driveAll(ctx, names, 2, inFlight, func(name credential.Name) {
		mu.Lock()
		defer mu.Unlock()
		if !seen[name] {
			seen[name] = true
			begun = append(begun, name)
		}
	}, runner{engine: w.engine})
	if err != nil {
		return nil, err
	}
	rank := map[credential.Name]int{}
	for i, name := range byUrgency {
		rank[name] = i
	}
	worst := 0
	for i, name := range begun {
		worst = max(worst, max(rank[name]-i, i-rank[name]))
	}
	rate := float64(n) / took.Seconds()
	each := time.Duration(w.calls.Load() / int64(n))
	ceiling := inFlight / each.Seconds()
	rows := []row{
		{
			fmt.Sprintf("%d keys due at once, portal round trip %s: rotations/s", n, backlogTrip), fmt.Sprintf("%.0f", rate),
			fmt.Sprintf("%.0f = 64 / %s of calls in sequence", ceiling, each.Round(time.Millisecond)), rate / ceiling, ">= 0.85",
		},
		{"  begun out of the order of urgency by at most", fmt.Sprintf("%d places", worst), "64 in flight", 0, "<= 64"},
	}
	probed, err := w.probes(ctx, names)
	if err != nil {
		return nil, err
	}
	leaked, err := w.bulk(ctx, names, 3)
	return append(append(rows, probed...), leaked...), err
}

// fleetLane is how many passes each daemon of a fleet may run: together they
// stay below what the two cores can do.
const fleetLane = 12

// fleet compares three daemons with one, each with its own lane.
func fleet(ctx context.Context, n int) ([]row, error) {
	w, err := newWorld(ctx, backlogTrip)
	if err != nil {
		return nil, err
	}
	defer w.close()
	names, err := w.prepare(ctx, n)
	if err != nil {
		return nil, err
	}
	alone, err := driveAll(ctx, names, 2, fleetLane, nil, runner{engine: w.engine})
	if err != nil {
		return nil, err
	}
	if err := w.ask(ctx, names); err != nil {
		return nil, err
	}
	ids := []string{"bench-1", "bench-2", "bench-3"}
	var runners []runner
	for _, id := range ids {
		record, err := publisher.Open(ctx, publisher.Config{JetStream: w.js, Signer: w.signer, Installation: "bench"})
		if err != nil {
			return nil, err
		}
		of := peers.NewFleet(id, ids...)
		runners = append(runners, runner{
			engine: engine.New(engine.Config{
				Record: record, Store: w.store, Issuers: map[string]engine.Issuer{"bench": w.issuer},
				Calendar: w.calendar, Installation: "bench", Daemon: id, Now: time.Now, Logger: zap.NewNop(),
			}),
			leave: func(name credential.Name, turn schedule.Turn) time.Duration {
				return time.Duration(of.Ahead(name, turn.Holder, turn.Attempts)) * time.Minute
			},
		})
	}
	together, err := driveAll(ctx, names, 3, fleetLane, nil, runners...)
	if err != nil {
		return nil, err
	}
	one, three := float64(n)/alone.Seconds(), float64(n)/together.Seconds()
	return []row{{
		fmt.Sprintf("three daemons, %d in flight each, portal round trip %s: rotations/s", fleetLane, backlogTrip), fmt.Sprintf("%.0f", three),
		fmt.Sprintf("%.0f by one of them alone", one), three / one, ">= 2.00",
	}}, nil
}
