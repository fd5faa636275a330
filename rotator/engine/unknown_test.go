package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestALostAnswerAtEveryCall loses the answer of each call in turn. The call
// has acted, or acts a while later; the same daemon goes on and comes to the
// same end.
func TestALostAnswerAtEveryCall(t *testing.T) {
	w := newWorld(t)
	type loss struct {
		route route
		index int
		call  call
		mode  mode
		times int // so many calls of that name in a row
	}
	var losses []loss
	for _, r := range routes() {
		for i, c := range w.calls(t, r) {
			losses = append(losses, loss{r, i, c, lose, 1}, loss{r, i, c, lose, 3}, loss{r, i, c, lag, 1})
		}
	}
	title := func(l loss) string {
		return fmt.Sprintf("%s/%02d %s/%s %d", l.route.name, l.index, l.call, l.mode, l.times)
	}
	side(t, 20, losses, title, func(t *testing.T, l loss) {
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
		defer cancel()
		name := credential.Name(fmt.Sprintf("%s/%d-%d-%d", l.route.name, l.index, l.mode, l.times))
		w.prepare(ctx, t, l.route, name)
		app := l.route.watch(t, w, name)
		lost := false
		deaf := w.tap(t, func(c call) mode {
			if c.what == l.call.what && c.n >= l.call.n && c.n < l.call.n+l.times {
				lost = true
				return l.mode
			}
			return pass
		})
		must(t, drive(ctx, w.engine(t, deaf.ports(), engine.Hooks{}), name, l.route.done()))
		if !lost {
			t.Errorf("no answer was lost in %v", deaf.calls)
		}
		deaf.going.Wait()
		l.route.check(t, w, name)
		app.check(t)
	})
}

// TestAStoreThatComesLateIsNotAdopted: a daemon dies while its first store is on
// its way, the next one dies after it has generated over that key, and then the
// store arrives. The third finds a dead key in Vault, and leaves it.
func TestAStoreThatComesLateIsNotAdopted(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("late/store")
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	w.register(t, name, w.policy(t, lifetime, lead, drain))
	var arrive func()
	first := w.tap(t, func(call) mode { return pass })
	store := first.to.store
	first.to.store = catching{store, func(doc credential.Document, cas uint64) {
		arrive = func() {
			_, err := store.Write(ctx, name, doc, cas)
			must(t, err)
		}
	}}
	second := w.tap(t, func(c call) mode {
		if c.what == "issuer.Issue" {
			return stopAfter
		}
		return pass
	})
	for _, dying := range []*tap{first, second} {
		if err := drive(ctx, w.engine(t, dying.ports(), engine.Hooks{}), name, ended(1)); !errors.Is(err, errStopped) {
			t.Fatalf("the daemon was not stopped: %v", err)
		}
	}
	arrive()
	must(t, drive(ctx, w.engine(t, w.ports(t), engine.Hooks{}), name, ended(1)))
	w.checkEnd(t, name, 1)
	for _, entry := range w.history(t, name) {
		if f, ok := entry.Event.Fact.(credential.Failed); ok {
			t.Errorf("an attempt failed: %s", f.Failure.Message)
		}
	}
}

// catching keeps a write from the store, and its daemon dies there.
type catching struct {
	engine.SecretStore
	caught func(credential.Document, uint64)
}

func (c catching) Write(_ context.Context, _ credential.Name, doc credential.Document, cas uint64) (uint64, error) {
	c.caught(doc, cas)
	panic(stopped{})
}
