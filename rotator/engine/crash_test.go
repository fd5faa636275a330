package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

const (
	lifetime = 5 * time.Minute
	lead     = 4 * time.Second
	drain    = 400 * time.Millisecond
)

// route is a rotation that something happens to.
type route struct {
	name       string
	generation uint64 // at its end
	begin      credential.Command
	// drain is how long an application may hold on to a key: none to a leaked one.
	drain   time.Duration
	expires bool // only its end: the old key drains, and ends by itself
	// declare, if set, changes what is declared; removes ends the credential.
	declare func(*credential.Spec)
	removes bool
}

// done is the end of a route.
func (r route) done() func(engine.Result) bool {
	if r.removes {
		return func(r engine.Result) bool {
			return r.State.Status == credential.StatusRemoved && len(r.State.Old) == 0
		}
	}
	return ended(r.generation)
}

func (r route) check(t testing.TB, w *world, name credential.Name) {
	t.Helper()
	if r.removes {
		w.checkGone(t, name)
		return
	}
	w.checkEnd(t, name, r.generation)
}

func routes() []route {
	return []route{
		{name: "first-key", generation: 1, drain: drain},
		{name: "rotation", generation: 2, drain: drain, begin: credential.RequestRotation{ID: "r", Actor: "test", Now: true}},
		{name: "expiry", generation: 2, drain: drain, expires: true, begin: credential.RequestRotation{ID: "r", Actor: "test", Now: true}},
		{name: "leaked", generation: 2, begin: credential.Compromise{Actor: "test", Reason: "a test", Key: credential.KeyPrimary}},
		{name: "succession", generation: 2, drain: drain, declare: func(s *credential.Spec) { s.Item.Privileges = append(s.Item.Privileges, "premium:user:places") }},
		{name: "retitle", generation: 1, drain: drain, declare: func(s *credential.Spec) {
			s.Item.Tags, s.Item.Folder, s.Item.Description = []string{"maps"}, "keys of the shop", "for the map"
		}},
		{name: "removal", removes: true, begin: credential.Remove{Actor: "test", Reason: "a test"}},
		{name: "killed", generation: 2, begin: credential.Compromise{Actor: "test", Reason: "a test", Key: credential.KeyPrimary, Immediately: true}},
	}
}

// watch starts an application beside the route, which may take its key away on
// purpose.
func (r route) watch(t testing.TB, w *world, name credential.Name) *app {
	a := w.watch(t, name, r.drain, 10*time.Millisecond)
	c, leaked := r.begin.(credential.Compromise)
	a.excused = r.removes || (leaked && c.Immediately)
	return a
}

// prepare registers a credential and takes it to where the route begins.
func (w *world) prepare(ctx context.Context, t testing.TB, r route, name credential.Name) {
	t.Helper()
	policy := w.policy(t, lifetime, lead, drain)
	if r.expires {
		w.register(t, name, w.policy(t, 6*time.Second, 3*time.Second, drain))
	} else {
		w.register(t, name, policy)
	}
	if r.begin == nil && r.declare == nil {
		return
	}
	e := w.engine(t, w.ports(t), engine.Hooks{})
	must(t, drive(ctx, e, name, ended(1)))
	if r.expires {
		w.register(t, name, policy)
		w.command(t, name, credential.PutHold{Actor: "test", Reason: "so that nobody revokes the old key"})
	}
	if r.declare != nil {
		spec := specOf(string(name), policy)
		r.declare(&spec)
		w.command(t, name, credential.Register{Actor: "test", Spec: spec})
		return
	}
	w.command(t, name, r.begin)
	if r.expires {
		must(t, drive(ctx, e, name, func(r engine.Result) bool { return r.State.Generation == 2 && held(r) }))
	}
}

// tap puts a tap before the ports.
func (w *world) tap(t testing.TB, plan func(call) mode) *tap {
	p := &tap{to: w.ports(t), window: lead / 8, plan: plan}
	t.Cleanup(p.going.Wait)
	return p
}

// calls lists the port calls of an undisturbed route. How often the record is
// loaded while nothing happens is a matter of time, so two loads stand for all.
func (w *world) calls(t testing.TB, r route) []call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name := credential.Name("dry/" + r.name)
	w.prepare(ctx, t, r, name)
	dry := w.tap(t, func(call) mode { return pass })
	must(t, drive(ctx, w.engine(t, dry.ports(), engine.Hooks{}), name, r.done()))
	r.check(t, w, name)
	return slices.DeleteFunc(dry.calls, func(c call) bool { return c.what == "record.Load" && c.n > 1 })
}

// side runs the cases side by side, so many at a time.
func side[C any](t *testing.T, limit int, cases []C, title func(C) string, run func(*testing.T, C)) {
	t.Helper()
	var group sync.WaitGroup
	slots := make(chan struct{}, limit)
	for _, c := range cases {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			t.Run(title(c), func(t *testing.T) { run(t, c) })
		})
	}
	group.Wait()
}

// TestAStopAtEveryCall stops a daemon at each of its calls in turn: before the
// call, after it, or while the call is still on its way. Another daemon takes
// the credential to the same end every time, and no application notices.
func TestAStopAtEveryCall(t *testing.T) {
	w := newWorld(t)
	type stop struct {
		route route
		index int
		call  call
		mode  mode
	}
	var stops []stop
	for _, r := range routes() {
		for i, c := range w.calls(t, r) {
			for _, m := range []mode{stopBefore, stopAfter, late} {
				stops = append(stops, stop{r, i, c, m})
			}
		}
	}
	title := func(s stop) string { return fmt.Sprintf("%s/%02d %s/%s", s.route.name, s.index, s.call, s.mode) }
	side(t, 20, stops, title, func(t *testing.T, s stop) {
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
		defer cancel()
		name := credential.Name(fmt.Sprintf("%s/%d-%d", s.route.name, s.index, s.mode))
		w.prepare(ctx, t, s.route, name)
		app := s.route.watch(t, w, name)
		broken := w.tap(t, func(c call) mode {
			if c == s.call {
				return s.mode
			}
			return pass
		})
		err := drive(ctx, w.engine(t, broken.ports(), engine.Hooks{}), name, s.route.done())
		if !errors.Is(err, errStopped) {
			t.Fatalf("the daemon was not stopped: %v\n%v", err, broken.calls)
		}
		must(t, drive(ctx, w.engine(t, w.ports(t), engine.Hooks{}), name, s.route.done()))
		broken.going.Wait()
		s.route.check(t, w, name)
		app.check(t)
	})
}
