package engine_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// shifted is a wall clock that somebody sets. Its monotonic reading goes on as
// if nothing had happened, as that of a real one does.
type shifted struct {
	mu     sync.Mutex
	offset time.Duration
}

func (s *shifted) by(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
}

func (s *shifted) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return setWall(time.Now(), s.offset)
}

// setWall moves the wall time alone, which package time has no way to do: of a
// time with a monotonic reading, bits 30 to 62 of the first word are the
// seconds of the wall clock.
func setWall(t time.Time, by time.Duration) time.Time {
	word := (*uint64)(unsafe.Pointer(&t))
	*word += uint64(int64(by/time.Second)) << 30
	return t
}

func TestSetWallMovesTheWallClockOnly(t *testing.T) {
	now := time.Now()
	for _, by := range []time.Duration{year, -year, 10 * time.Minute, -10 * time.Minute, 0} {
		moved := setWall(now, by)
		if wall, mono := moved.Round(0).Sub(now.Round(0)), moved.Sub(now); wall != by || mono != 0 {
			t.Errorf("set by %v: the wall clock moved by %v, the monotonic one by %v", by, wall, mono)
		}
	}
}

// engineAt is an engine with a clock of its own.
func (w *world) engineAt(t testing.TB, p ports, now func() time.Time) *engine.Engine {
	t.Helper()
	return engine.New(engine.Config{
		Record: p.record, Store: p.store, Issuers: map[string]engine.Issuer{"example": p.issuer},
		Calendar: w.calendar, Installation: "test", Daemon: "d-" + uuid.NewString()[:8],
		Now: now, Logger: zap.NewNop(),
	})
}

const year = 365 * 24 * time.Hour

// clocks are our wall clock and the portal's, both of which can be set.
type clocks struct {
	*world
	ours, theirs *shifted
	met          bool // engines have heard the portal's clock before they begin
}

// newClocks is a world whose portal has a clock of its own.
func newClocks(t testing.TB) *clocks {
	t.Helper()
	c := &clocks{world: newWorld(t), ours: &shifted{}, theirs: &shifted{}}
	portal, err := emulator.New(emulator.Config{Users: map[string]string{user: password}, MinLifetime: time.Second, Now: c.theirs.now})
	must(t, err)
	server := httptest.NewServer(portal.Handler())
	t.Cleanup(func() {
		must(t, portal.Close())
		server.Close()
	})
	c.portal, c.portalURL = portal, server.URL+"/sharing/rest"
	return c
}

// engineOf is an engine whose clock, and whose issuer's, is ours.
func (c *clocks) engineOf(t testing.TB, plan func(call) mode) *engine.Engine {
	t.Helper()
	p := c.tap(t, plan)
	portal := &sentry{Portal: c.issuer(t, func(a *arcgis.Config) { a.Now = c.ours.now }), world: c.world}
	if c.met {
		_, err := portal.Whoami(t.Context())
		must(t, err)
	}
	p.to.issuer = portal
	seen := p.ports()
	seen.issuer = clocked{seen.issuer, portal}
	return c.engineAt(t, seen, c.ours.now)
}

// clocked is a tapped issuer that tells the difference of the clocks.
type clocked struct {
	engine.Issuer
	engine.Clocked
}

func undisturbed(call) mode { return pass }

// long is a policy of keys that no clock of these tests outlives.
func (w *world) long(t testing.TB) credential.Policy {
	t.Helper()
	return w.policy(t, 360*24*time.Hour, time.Minute, drain)
}

// waitsFor is a pass that waits for that reason.
func waitsFor(reason credential.Reason) func(engine.Result) bool {
	return func(r engine.Result) bool { return r.Next.Kind == credential.StepWait && r.Next.Reason == reason }
}

// alive: the first key lives at the portal, is on the seat list, and nobody has
// said that it was dead.
func (w *world) alive(t testing.TB, name credential.Name, key credential.Stored) {
	t.Helper()
	if !w.portal.KeyWorks(key.Primary.Secret.Reveal(), "") {
		t.Errorf("%s: the first key is dead", name)
	}
	state, _, err := w.record.Load(t.Context(), name)
	must(t, err)
	if seat, ok := state.Seat(key.Primary.Seat); !ok || seat.Fingerprint != key.Primary.Fingerprint {
		t.Errorf("%s: the first key is judged dead: %+v", name, state.Seats)
	}
	for _, entry := range w.history(t, name) {
		if f, ok := entry.Event.Fact.(credential.Expired); ok {
			t.Errorf("%s: the primary is told to be dead: %+v", name, f)
		}
	}
}

// TestWrongClocksStopTheRevokeAndNothingElse: keys are made and promoted whatever
// the clocks say, the old ones live until they agree, and then they go.
func TestWrongClocksStopTheRevokeAndNothingElse(t *testing.T) {
	c := newClocks(t)
	for _, whose := range []*shifted{c.ours, c.theirs} {
		for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute, year, -year} {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			name := credential.Name(fmt.Sprintf("clocks/%s-%v", map[bool]string{true: "ours", false: "theirs"}[whose == c.ours], off.Abs()))
			if off < 0 {
				name += "-behind"
			}
			whose.by(off)
			e := c.engineOf(t, undisturbed)
			c.register(t, name, c.long(t))
			must(t, drive(ctx, e, name, ended(1)))
			old, err := c.store.Read(ctx, name)
			must(t, err)
			_, err = e.Command(ctx, name, credential.RequestRotation{ID: engine.NewID(), Actor: "test", Now: true})
			must(t, err)
			must(t, drive(ctx, e, name, waitsFor(credential.ReasonSkew)))
			c.alive(t, name, old)
			if state, _, err := c.record.Load(ctx, name); err != nil || state.Generation != 2 || c.destructive(t, name) != 0 {
				t.Errorf("%s: generation %d, %d claims to revoke, %v; want the second key promoted", name, state.Generation, c.destructive(t, name), err)
			}
			whose.by(-off)
			// the emulated portal knows no key that is made later than it is, and one
			// that was made a year ago is dead
			if whose == c.ours || off == -10*time.Minute {
				inspect(ctx, t, e, name) // as the sweep does: it hears the portal's clock
				must(t, drive(ctx, e, name, ended(2)))
				c.checkEnd(t, name, 2)
			}
			cancel()
		}
	}
}

// TestAClockThatIsSetAtEachCall sets ours at each call of a rotation in turn, and
// sets it right again when nothing more is done.
func TestAClockThatIsSetAtEachCall(t *testing.T) {
	w := newWorld(t)
	type jump struct {
		call call
		by   time.Duration
	}
	// these run beside a call of the portal, which then takes a year to our clock:
	// how that is read is the adapter's matter
	beside := []call{{"store.Read", 0}, {"record.Verify", 0}, {"store.Destroy", 0}}
	var jumps []jump
	for _, c := range w.calls(t, routes()[1]) {
		jumps = append(jumps, jump{c, 10 * time.Minute}, jump{c, -10 * time.Minute})
		if !slices.Contains(beside, c) {
			jumps = append(jumps, jump{c, year}, jump{c, -year})
		}
	}
	title := func(j jump) string { return fmt.Sprintf("%s by %v", j.call, j.by) }
	side(t, 20, jumps, title, func(t *testing.T, j jump) {
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
		defer cancel()
		name := credential.Name(fmt.Sprintf("set/c%x", sha256.Sum256([]byte(title(j))))[:20])
		w.register(t, name, w.long(t))
		c := &clocks{world: w, ours: &shifted{}, met: true}
		must(t, drive(ctx, c.engineOf(t, undisturbed), name, ended(1)))
		old, err := w.store.Read(ctx, name)
		must(t, err)
		w.rotate(t, name)
		app := w.watch(t, name, drain, 10*time.Millisecond)
		met := false
		e := c.engineOf(t, func(this call) mode {
			if this == j.call && !met {
				met = true
				c.ours.by(j.by)
			}
			return pass
		})
		settled := func(r engine.Result) bool { return ended(2)(r) || waitsFor(credential.ReasonSkew)(r) }
		must(t, drive(ctx, e, name, settled))
		if state, _, err := w.record.Load(ctx, name); err != nil || state.Rotation != nil {
			w.alive(t, name, old)
		}
		if met {
			c.ours.by(-j.by)
		}
		inspect(ctx, t, e, name)
		must(t, drive(ctx, e, name, ended(2)))
		w.checkEnd(t, name, 2)
		w.checkOneWinnerOrRetries(t, name)
		app.check(t)
	})
}

// checkOneWinnerOrRetries: one rotation beside the first, with as many mints as
// attempts that the jump cost.
func (w *world) checkOneWinnerOrRetries(t testing.TB, name credential.Name) {
	t.Helper()
	count := map[credential.EventType]int{}
	for _, entry := range w.history(t, name) {
		count[entry.Event.Fact.Type()]++
	}
	if count[credential.TypeStarted] != 2 || count[credential.TypePromoted] != 2 || count[credential.TypeFailed] > 3 {
		t.Errorf("%s: a storm: %v", name, count)
	}
}

// TestAClockThatIsSetShortensNoClaimOfAnother: a successor counts by the clock
// that ran less.
func TestAClockThatIsSetShortensNoClaimOfAnother(t *testing.T) {
	for _, by := range []time.Duration{10 * time.Minute, year, -year} {
		c := newClocks(t)
		const name = credential.Name("claims/another")
		c.register(t, name, c.long(t)) // a claim and its margin last for 15 s
		dying := c.engineOf(t, func(call call) mode {
			if call.what == "issuer.EnsureItem" {
				return stopBefore
			}
			return pass
		})
		if err := drive(t.Context(), dying, name, ended(1)); !errors.Is(err, errStopped) {
			t.Fatalf("the daemon was not stopped: %v", err)
		}
		e := c.engineOf(t, undisturbed)
		for range 2 {
			result, err := e.Pass(t.Context(), name)
			must(t, err)
			if !waitsFor(credential.ReasonClaimOpen)(result) {
				t.Errorf("clock set by %v: %s, %s (%s)", by, result.Next.Kind, result.Next.Reason, result.Next.Why)
			}
			c.ours.by(by)
		}
	}
}

// TestAClockThatIsSetBackLengthensNoWindow: the holder counts by the clock that
// ran further.
func TestAClockThatIsSetBackLengthensNoWindow(t *testing.T) {
	for _, by := range []time.Duration{-10 * time.Minute, -year} {
		c := newClocks(t)
		const name = credential.Name("claims/own")
		c.register(t, name, c.policy(t, 360*24*time.Hour, lead, drain))
		claims := 0
		e := c.engineOf(t, func(call call) mode {
			switch {
			case strings.HasPrefix(call.what, "record.Append"):
				claims++
			case call.what == "issuer.Describe" && call.n == 0:
				c.ours.by(by)
				<-time.After(lead / 8) // the window, in which nothing happens
			case call.what == "issuer.Issue" && claims < 3: // the item's claim, this one, and the failure
				t.Errorf("clock set by %v: %s is made after the window", by, call)
			}
			return pass
		})
		must(t, drive(t.Context(), e, name, ended(1)))
	}
}

// A daemon that starts with a clock a year ahead, before its issuer has
// answered it anything: nothing is due, and nobody is dead.
func TestADaemonThatStartsWithAWrongClock(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("clock/start")
	w.register(t, name, w.long(t))
	must(t, drive(t.Context(), w.engine(t, w.ports(t), engine.Hooks{}), name, ended(1)))
	c := &clocks{world: w, ours: &shifted{}}
	c.ours.by(year)
	e := c.engineOf(t, undisturbed)
	result, err := e.Pass(t.Context(), name)
	must(t, err)
	t.Logf("%+v", result.Next)
	for _, entry := range w.history(t, name)[5:] {
		t.Errorf("%s %+v", entry.Event.Fact.Type(), entry.Event.Fact)
	}
}
