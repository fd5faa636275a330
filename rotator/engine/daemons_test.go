package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestDaemonsSideBySide lets several daemons work on the same credentials.
func TestDaemonsSideBySide(t *testing.T) {
	const rotations, credentials = 4, 4
	w := newWorld(t)
	for _, daemons := range []int{2, 3} {
		t.Run(fmt.Sprint(daemons), func(t *testing.T) {
			var names []credential.Name
			for i := range credentials {
				names = append(names, credential.Name(fmt.Sprintf("d%d/c%d", daemons, i)))
			}
			side(t, credentials, names, func(n credential.Name) string { return string(n) }, func(t *testing.T, name credential.Name) {
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()
				w.register(t, name, w.policy(t, lifetime, lead, drain))
				app := w.watch(t, name, drain, 5*time.Millisecond)
				var engines []*engine.Engine
				for range daemons {
					engines = append(engines, w.engine(t, w.ports(t), engine.Hooks{}))
				}
				for generation := range uint64(rotations) {
					if generation > 0 {
						w.rotate(t, name)
					}
					var group sync.WaitGroup
					errs := make([]error, len(engines))
					for i, e := range engines {
						group.Go(func() { errs[i] = drive(ctx, e, name, ended(generation+1)) })
					}
					group.Wait()
					for _, err := range errs {
						must(t, err)
					}
					w.checkEnd(t, name, generation+1)
				}
				app.check(t)
				w.checkOneWinner(t, name, rotations)
			})
		})
	}
}

// checkOneWinner: as many rotations, mints and promotions as were wanted.
func (w *world) checkOneWinner(t testing.TB, name credential.Name, want int) {
	t.Helper()
	count := map[credential.EventType]int{}
	for _, entry := range w.history(t, name) {
		count[entry.Event.Fact.Type()]++
	}
	for _, kind := range []credential.EventType{credential.TypeStarted, credential.TypeIssued, credential.TypePromoted} {
		if count[kind] != want {
			t.Errorf("%s: %d of %s, want %d", name, count[kind], kind, want)
		}
	}
	minted := 0
	for _, item := range w.portal.Snapshot() {
		if item.Title == string(name) {
			minted += item.Slots[0].Generations + item.Slots[1].Generations
		}
	}
	if minted != want {
		t.Errorf("%s: %d keys were generated, want %d", name, minted, want)
	}
}

// TestAPausedDaemonWakes stalls a daemon before a call until another one has
// finished the rotation in its place, and then lets it make that very call.
func TestAPausedDaemonWakes(t *testing.T) {
	w := newWorld(t)
	type stall struct {
		route route
		index int
		call  call
		// early wakes it in the middle of the other's work, not after it
		early bool
	}
	var stalls []stall
	for _, r := range routes() {
		for i, c := range w.calls(t, r) {
			stalls = append(stalls, stall{r, i, c, false}, stall{r, i, c, true})
		}
	}
	title := func(s stall) string { return fmt.Sprintf("%s/%02d %s/%v", s.route.name, s.index, s.call, s.early) }
	side(t, 20, stalls, title, func(t *testing.T, s stall) {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		name := credential.Name(fmt.Sprintf("%s/%d-%v", s.route.name, s.index, s.early))
		w.prepare(ctx, t, s.route, name)
		app := s.route.watch(t, w, name)
		reached, release := make(chan struct{}), make(chan struct{})
		wake := sync.OnceFunc(func() { close(release) })
		defer wake()
		first := w.tap(t, func(c call) mode {
			if c == s.call {
				close(reached)
				<-release
			}
			return pass
		})
		var group sync.WaitGroup
		var slow error
		group.Go(func() { slow = drive(ctx, w.engine(t, first.ports(), engine.Hooks{}), name, s.route.done()) })
		defer group.Wait()
		select {
		case <-reached:
		case <-ctx.Done():
			t.Fatal("the call was not reached")
		}
		// the other one wakes it when it has generated a key, or at the end
		other := w.tap(t, func(c call) mode {
			if s.early && (c.what == "store.Write" || c.what == "issuer.Revoke") {
				wake()
			}
			return pass
		})
		must(t, drive(ctx, w.engine(t, other.ports(), engine.Hooks{}), name, s.route.done()))
		wake()
		group.Wait()
		must(t, slow)
		s.route.check(t, w, name)
		app.check(t)
	})
}

// TestATakeOverThatComesTooLate: a slow daemon proves its key in the moment in
// which another one takes over. The key is ready, and is not generated anew.
func TestATakeOverThatComesTooLate(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("late/take-over")
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	spec := specOf(string(name), w.policy(t, lifetime, lead, drain))
	spec.Policy.Confirm = &credential.Confirm{
		Consumers: []string{"web"}, Before: credential.BeforePromote,
		Deadline: credential.Duration(3 * time.Second), Then: credential.ThenProceed,
	}
	w.command(t, name, credential.Register{Actor: "test", Spec: spec})
	must(t, drive(ctx, w.engine(t, w.ports(t), engine.Hooks{}), name, ended(1)))
	w.rotate(t, name)
	app := w.watch(t, name, drain, 10*time.Millisecond)

	reached, release := make(chan struct{}), make(chan struct{})
	wake := sync.OnceFunc(func() { close(release) })
	defer wake()
	slow := w.tap(t, func(c call) mode {
		if c.what == "store.Write" && c.n == 0 {
			close(reached)
			<-release
		}
		return pass
	})
	ready := func(r engine.Result) bool {
		return r.State.Rotation != nil && r.State.Rotation.Phase == credential.PhaseReady
	}
	done := make(chan error, 1)
	go func() { done <- drive(ctx, w.engine(t, slow.ports(), engine.Hooks{}), name, ready) }()
	<-reached
	taking := w.tap(t, func(c call) mode {
		if c.what == "record.Append "+string(credential.TypeStepClaimed) && c.n == 0 {
			wake()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		return pass
	})
	must(t, drive(ctx, w.engine(t, taking.ports(), engine.Hooks{}), name, ended(2)))
	w.checkEnd(t, name, 2)
	w.checkOneWinner(t, name, 2)
	app.check(t)
}
