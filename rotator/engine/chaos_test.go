package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestDaemonsThatDieAtRandom lets two daemons work on each credential, which
// die, lose answers and leave calls on their way again and again.
func TestDaemonsThatDieAtRandom(t *testing.T) {
	const credentials, rotations = 8, 4
	w := newWorld(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var names []credential.Name
	for i := range credentials {
		names = append(names, credential.Name(fmt.Sprintf("chaos/c%d", i)))
	}
	side(t, credentials, names, func(n credential.Name) string { return string(n) }, func(t *testing.T, name credential.Name) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		w.register(t, name, w.policy(t, lifetime, lead, drain))
		app := w.watch(t, name, drain, 10*time.Millisecond)
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(seed, uint64(len(name))+uint64(name[len(name)-1])))
		chance := func(call) mode {
			mu.Lock()
			defer mu.Unlock()
			if random.IntN(100) >= 12 {
				return pass
			}
			return []mode{stopBefore, stopAfter, late, lose}[random.IntN(4)]
		}
		deaths := 0
		for generation := uint64(1); generation <= rotations; generation++ {
			if generation > 1 {
				w.rotate(t, name)
			}
			var group sync.WaitGroup
			errs := make([]error, 2)
			taps := make([][]*tap, 2)
			for i := range errs {
				group.Go(func() {
					for {
						broken := w.tap(t, chance)
						taps[i] = append(taps[i], broken)
						err := drive(ctx, w.engine(t, broken.ports(), engine.Hooks{}), name, ended(generation))
						if !errors.Is(err, errStopped) {
							errs[i] = err
							return
						}
					}
				})
			}
			group.Wait()
			must(t, errors.Join(errs...))
			for _, list := range taps {
				deaths += len(list) - 1
				for _, broken := range list {
					broken.going.Wait()
				}
			}
			w.checkEnd(t, name, generation)
		}
		t.Logf("%d deaths", deaths)
		app.check(t)
	})
}
