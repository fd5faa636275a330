package engine_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestALostAnswerAtEveryCall loses the answer of each call in turn. The call
// has acted; the same daemon goes on and comes to the same end.
func TestALostAnswerAtEveryCall(t *testing.T) {
	w := newWorld(t)
	type loss struct {
		route route
		index int
		call  call
		times int // so many calls of that name in a row
	}
	var losses []loss
	for _, r := range routes() {
		for i, c := range w.calls(t, r) {
			losses = append(losses, loss{r, i, c, 1}, loss{r, i, c, 3})
		}
	}
	title := func(l loss) string { return fmt.Sprintf("%s/%02d %s/%d", l.route.name, l.index, l.call, l.times) }
	side(t, 20, losses, title, func(t *testing.T, l loss) {
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
		defer cancel()
		name := credential.Name(fmt.Sprintf("%s/%d-%d", l.route.name, l.index, l.times))
		w.prepare(ctx, t, l.route, name)
		app := w.watch(t, name, drain, 10*time.Millisecond)
		lost := false
		deaf := w.tap(t, func(c call) mode {
			if c.what == l.call.what && c.n >= l.call.n && c.n < l.call.n+l.times {
				lost = true
				return lose
			}
			return pass
		})
		must(t, drive(ctx, w.engine(t, deaf.ports(), engine.Hooks{}), name, ended(l.route.generation)))
		if !lost {
			t.Errorf("no answer was lost in %v", deaf.calls)
		}
		w.checkEnd(t, name, l.route.generation)
		app.check(t)
	})
}
