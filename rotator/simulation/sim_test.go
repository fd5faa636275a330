package simulation_test

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/rotator/simulation"
)

var (
	seeds = flag.Uint64("seeds", defaultSeeds, "how many seeds TestSeeds runs")
	from  = flag.Uint64("from", 1, "the first of them")
	seed  = flag.Uint64("seed", 0, "run this seed alone and print its trace")
)

func run(t *testing.T, seed uint64, trace bool) (result simulation.Result) {
	synctest.Test(t, func(*testing.T) { result = simulation.Run(seed, trace) })
	return result
}

// TestSeeds runs many lives; each that breaks a promise prints its trace, and
// `go test ./rotator/simulation -run TestSeeds -seed N` runs it again.
func TestSeeds(t *testing.T) {
	if *seed != 0 {
		result := run(t, *seed, true)
		t.Log("\n" + strings.Join(result.Trace, "\n"))
		for _, violation := range result.Violations {
			t.Errorf("seed %d: %s", *seed, violation)
		}
		return
	}
	began := time.Now()
	var next, failed atomic.Uint64
	var mu sync.Mutex
	faults, rotations, steps, outside := map[string]int{}, 0, 0, 0
	next.Store(*from)
	workers := runtime.GOMAXPROCS(0)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				seed := next.Add(1) - 1
				if seed >= *from+*seeds || failed.Load() >= 3 {
					return
				}
				result := run(t, seed, false)
				mu.Lock()
				rotations, steps = rotations+result.Rotations, steps+result.Steps
				if result.Outside {
					outside++
				}
				for name, n := range result.Faults {
					faults[name] += n
				}
				mu.Unlock()
				if len(result.Violations) > 0 && failed.Add(1) <= 3 {
					again := run(t, seed, true)
					t.Errorf("seed %d: %s\n%s", seed, strings.Join(result.Violations, "\n"), strings.Join(tail(again.Trace, 120), "\n"))
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d seeds, %d of them outside the assumptions, %d rotations, %d steps in %v", *seeds, outside, rotations, steps, time.Since(began).Round(time.Second))
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		t.Logf("%8d  %s", faults[name], name)
	}
	if t.Failed() {
		return
	}
	for _, fault := range simulation.Faults() {
		if faults[fault.Name] == 0 && *seeds >= 500 {
			t.Errorf("the fault %q never happened", fault.Name)
		}
	}
}

func tail(lines []string, n int) []string {
	if len(lines) <= n {
		return lines
	}
	return append([]string{fmt.Sprintf("… %d lines before", len(lines)-n)}, lines[len(lines)-n:]...)
}

// A seed gives the same run every time: that is what a trace is worth.
func TestASeedRunsTheSameEveryTime(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		one, two := run(t, seed, true), run(t, seed, true)
		if !slices.Equal(one.Trace, two.Trace) {
			for i := range one.Trace {
				if i >= len(two.Trace) || one.Trace[i] != two.Trace[i] {
					t.Fatalf("seed %d differs at line %d:\n%s\n%s", seed, i, one.Trace[i], two.Trace[min(i, len(two.Trace)-1)])
				}
			}
		}
	}
}
