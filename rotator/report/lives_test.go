package report_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
	"github.com/keyturn/keyturn/rotator/simulation"
)

// TestTheReportAgreesWithTheState: whatever happens to daemons, clocks and
// systems, the keys that the report says are alive are those of the seat list,
// each promotion is one key's, and every event has a sentence.
func TestTheReportAgreesWithTheState(t *testing.T) {
	died, overwritten, unproven := 0, 0, 0
	for seed := range uint64(50) {
		var run simulation.Result
		synctest.Test(t, func(*testing.T) { run = simulation.Run(seed+1, false) })
		for _, name := range []credential.Name{"sim/key1", "sim/key2"} {
			entries := run.Record.Entries(name)
			if len(entries) == 0 {
				continue
			}
			end := entries[0].Event.At
			for _, e := range entries {
				if e.Event.At.After(end) { // clocks jump, too
					end = e.Event.At
				}
			}
			teller := report.NewTeller()
			for _, e := range entries {
				if teller.Tell(e) == string(e.Event.Fact.Type()) {
					t.Fatalf("seed %d: no words for %s", seed+1, e.Event.Fact.Type())
				}
			}
			r, state := fold(time.Time{}, end.AddDate(1, 0, 0), entries), entries[len(entries)-1].State
			want := map[credential.SeatID]credential.Fingerprint{}
			for _, seat := range state.Seats {
				want[seat.SeatID] = seat.Fingerprint
			}
			// a year later all have expired: End tells those that no event called dead
			got, promoted := map[credential.SeatID]credential.Fingerprint{}, uint64(0)
			last := entries[len(entries)-1].Head.Sequence
			for _, k := range r.Keys {
				if !slices.IsSorted(k.Events) || k.Events[len(k.Events)-1] > last {
					t.Errorf("seed %d: key %d of %s: events %v", seed+1, k.Number, name, k.Events)
				}
				if !k.Promoted.IsZero() {
					promoted++
				}
				if k.Again {
					promoted++
				}
				switch {
				case alive(k, entries):
					if got[k.Seat] == "" {
						got[k.Seat] = k.Fingerprint
					}
				case k.End == report.EndOverwritten:
					overwritten++
				default:
					died++
				}
				if k.Fingerprint == "" {
					unproven++
				}
			}
			generations, times := state.Generation, map[credential.Fingerprint]int{}
			for i, e := range entries {
				switch f := e.Event.Fact.(type) {
				case credential.Removed: // a life that has ended
					generations += entries[i-1].State.Generation
				case credential.Promoted: // once, and once again: more is not told
					if times[f.Fingerprint]++; times[f.Fingerprint] > 2 {
						generations--
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" || promoted != generations {
				t.Errorf("seed %d: %s: %d promoted of %d: %s", seed+1, name, promoted, generations, diff)
			}
		}
	}
	if died < 200 || overwritten < 20 || unproven < 20 {
		t.Errorf("%d died, %d overwritten, %d never proven: too little happened", died, overwritten, unproven)
	}
}

// alive reports whether no event says that a key is dead: its last one is then
// of another kind, or of another seat.
func alive(k report.Key, entries []credential.Entry) bool {
	if k.Died.IsZero() {
		return true
	}
	i, _ := slices.BinarySearchFunc(entries, k.Events[len(k.Events)-1], func(e credential.Entry, sequence uint64) int {
		return int(e.Head.Sequence) - int(sequence)
	})
	switch f := entries[i].Event.Fact.(type) {
	case credential.Invalidated:
		return f.Seat != k.Seat
	case credential.Issued:
		return f.Seat != k.Seat || f.Mint == k.Number
	}
	return true
}
