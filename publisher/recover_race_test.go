package publisher

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestRecoverMissesNobodyWhileOthersAppend: a credential that is appended to
// just before the reader exists is there all the same.
func TestRecoverMissesNobodyWhileOthersAppend(t *testing.T) {
	record := oneNode(t).open(t)
	const n = 8
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	registered := make(chan error, n)
	for i := range n {
		writers.Go(func() {
			name := credential.Name(fmt.Sprintf("race/k%d", i))
			var head credential.Head
			var err error
			for revision := uint64(1); ; revision++ {
				head, err = record.Append(ctx, name, head, recordtest.Event(credential.Released{}), recordtest.State(name, revision))
				if revision == 1 {
					registered <- err
				}
				if err != nil {
					return
				}
			}
		})
	}
	defer writers.Wait()
	defer stop()
	for range n {
		if err := <-registered; err != nil {
			t.Fatal(err)
		}
	}
	for round := range 100 {
		seen := map[credential.Name]bool{}
		if err := record.Recover(t.Context(), func(e credential.Entry) error {
			seen[e.Name] = true
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(seen) != n {
			t.Fatalf("round %d: %d of %d credentials: %v", round, len(seen), n, seen)
		}
	}
}
