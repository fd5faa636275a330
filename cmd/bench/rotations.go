package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// rotations measures full rotations with that round trip of the portal.
func rotations(ctx context.Context, n, rounds int, roundTrip time.Duration) ([]row, error) {
	w, err := newWorld(ctx, roundTrip)
	if err != nil {
		return nil, err
	}
	defer w.close()
	names := make([]credential.Name, n)
	for i := range names {
		names[i] = credential.Name(fmt.Sprintf("bench/key-%d", i))
	}
	if err := parallel(ctx, names, func(name credential.Name) error {
		spec, err := w.spec(name)
		if err != nil {
			return err
		}
		_, err = w.engine.Command(ctx, name, credential.Register{Spec: spec, Actor: "bench"})
		return err
	}); err != nil {
		return nil, err
	}
	if _, err := w.drive(ctx, names, 1); err != nil { // the first keys
		return nil, err
	}
	bare, err := newBare(ctx, w)
	if err != nil {
		return nil, err
	}
	defer bare.close()

	var ours, theirs, vaultOnly []float64
	var portalCalls, vaultCalls int64
	for round := range rounds {
		if err := parallel(ctx, names, func(name credential.Name) error {
			_, err := w.engine.Command(ctx, name, credential.RequestRotation{ID: engine.NewID(), Actor: "bench", Now: true})
			return err
		}); err != nil {
			return nil, err
		}
		portalBefore, vaultBefore := w.portalCalls(), w.vaultOps.Load()
		took, err := w.drive(ctx, names, uint64(round+2))
		if err != nil {
			return nil, err
		}
		ours = append(ours, float64(n)/took.Seconds())
		portalCalls, vaultCalls = w.portalCalls()-portalBefore, w.vaultOps.Load()-vaultBefore

		took, err = timed(func() error { return bare.sequence(ctx, n) })
		if err != nil {
			return nil, err
		}
		theirs = append(theirs, float64(n)/took.Seconds())
		if roundTrip == 0 {
			took, err = timed(func() error { return bare.vaultOnly(ctx, n) })
			if err != nil {
				return nil, err
			}
			vaultOnly = append(vaultOnly, float64(n)/took.Seconds())
		}
	}
	calls := fmt.Sprintf("%.1f portal and %.1f Vault calls each", float64(portalCalls)/float64(n), float64(vaultCalls)/float64(n))
	if roundTrip == 0 {
		return []row{
			{"rotations/s, 64 in flight (" + calls + ")", spread(ours), spread(theirs) + " the same calls by bare clients", median(ours) / median(theirs), ">= 0.70"},
			{"  against Vault alone", spread(ours), spread(vaultOnly) + " 3 CAS writes and 1 destroy", median(ours) / median(vaultOnly), "-"},
		}, nil
	}
	ceiling := inFlight / (portalSequence * roundTrip.Seconds())
	return []row{
		{fmt.Sprintf("rotations/s, portal round trip %s (%s)", roundTrip, calls), spread(ours), fmt.Sprintf("%.0f = 64 / %d calls in sequence / %s", ceiling, portalSequence, roundTrip), median(ours) / ceiling, ">= 0.85, >= 150/s"},
		{"  the same calls by bare clients", spread(theirs), fmt.Sprintf("%.0f", ceiling), median(theirs) / ceiling, "-"},
	}, nil
}

// portalSequence is how many calls of a rotation follow one another: describe (its
// two calls run together), expiry, generate, probe, probe, revoke, read back.
const portalSequence = 7

func (w *world) portalCalls() (total int64) {
	for _, n := range w.portal.Calls() {
		total += int64(n)
	}
	return total
}

// parallel runs f for each name, inFlight at a time.
func parallel[T any](ctx context.Context, list []T, f func(T) error) error {
	queue := make(chan T)
	failed := make(chan error, inFlight)
	var workers sync.WaitGroup
	for range inFlight {
		workers.Go(func() {
			for item := range queue {
				if err := f(item); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for _, item := range list {
		if ctx.Err() != nil {
			break
		}
		queue <- item
	}
	close(queue)
	workers.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// spread is median and range.
func spread(values []float64) string {
	return fmt.Sprintf("%.0f (%.0f-%.0f)", median(values), slices.Min(values), slices.Max(values))
}
