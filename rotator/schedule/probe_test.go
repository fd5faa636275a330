package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

const every = 5 * time.Minute

// prober records probes; each takes a while.
type prober struct {
	*passes
	took          time.Duration
	running, most int
	answer        func(name credential.Name) (schedule.Wake, error) // nil = as usual
}

func newProber(took time.Duration) *prober { return &prober{passes: newPasses(), took: took} }

func (p *prober) probe(ctx context.Context, name credential.Name) (schedule.Wake, error) {
	p.mu.Lock()
	p.running++
	p.most = max(p.most, p.running)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.running--
		p.mu.Unlock()
	}()
	p.note(name)
	select {
	case <-ctx.Done():
		return schedule.Wake{}, ctx.Err()
	case <-time.After(p.took):
	}
	if p.answer != nil {
		return p.answer(name)
	}
	return schedule.Wake{Lane: "l", Every: every}, nil
}

// noPass is for schedulers that only probe.
func noPass(context.Context, credential.Name) (schedule.Wake, error) {
	return schedule.Wake{Lane: "l", Every: every}, nil
}

// numbered are so many names.
func numbered(n int) []credential.Name {
	names := make([]credential.Name, n)
	for i := range names {
		names[i] = credential.Name(fmt.Sprintf("a/%d", i))
	}
	return names
}

// TestEachPrimaryIsProbedInEachInterval, and after a start they are spread over it.
func TestEachPrimaryIsProbedInEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		p := newProber(time.Millisecond)
		drive(t, schedule.Config{Probe: p.probe, Pass: noPass}, func(s *schedule.Scheduler) {
			for _, name := range numbered(n) {
				s.Set(name, schedule.Wake{Lane: "l", Every: every})
			}
			advance(time.Hour)
			for _, name := range numbered(n) { // a sweep changes nothing
				s.Set(name, schedule.Wake{Lane: "l", Every: every})
			}
			advance(time.Hour)
		})
		minutes := map[int]int{}
		for name, at := range p.begun {
			minutes[int(at[0].Minutes())]++
			for i := 1; i < len(at); i++ {
				if gap := at[i] - at[i-1]; gap < every || gap > every+100*time.Millisecond {
					t.Errorf("%s: %v between two probes", name, gap)
				}
			}
			if len(at) < 23 || len(at) > 24 {
				t.Errorf("%s was probed %d times in two hours", name, len(at))
			}
		}
		if len(p.begun) != n || p.most > 2 {
			t.Errorf("%d of %d were probed, %d at a time", len(p.begun), n, p.most)
		}
		for minute := range 5 {
			if got := minutes[minute]; got < n/5-2 || got > n/5+2 {
				t.Errorf("%d of %d first probes in minute %d: they are not spread", got, n, minute)
			}
		}
	})
}

// TestOneDaemonProbesAndAnotherTakesOver when it is gone.
func TestOneDaemonProbesAndAnotherTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const daemons, n = 3, 30
		gone := make([]bool, daemons) // changed while all are asleep
		owner := func(name credential.Name) int {
			var i int
			_, _ = fmt.Sscanf(string(name), "a/%d", &i)
			for i %= daemons; gone[i]; {
				i = (i + 1) % daemons
			}
			return i
		}
		var probers [daemons]*prober
		ends := make([]func(), daemons)
		for i := range daemons {
			probers[i] = newProber(time.Millisecond)
			s := schedule.New(schedule.Config{Now: time.Now, Logger: zap.NewNop(), Probe: probers[i].probe, Pass: noPass,
				Defer: func(name credential.Name, turn schedule.Turn) time.Duration {
					return turn.Delay * time.Duration((i-owner(name)+daemons)%daemons)
				},
			})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			ends[i] = func() { stop(); <-ended }
			for _, name := range numbered(n) {
				s.Set(name, schedule.Wake{Lane: "l", Every: every})
			}
		}
		advance(time.Hour)
		for i, p := range probers {
			if len(p.begun) != n/daemons {
				t.Errorf("daemon %d probed %d credentials, want its %d", i, len(p.begun), n/daemons)
			}
		}
		ends[0]()
		gone[0] = true
		died := time.Since(probers[0].start)
		advance(time.Hour)
		for _, name := range numbered(n) {
			var at []time.Duration
			for _, p := range probers {
				at = append(at, p.begun[name]...)
			}
			slices.Sort(at)
			for i := 1; i < len(at); i++ {
				gap, least, most := at[i]-at[i-1], every, every+time.Second
				if at[i-1] < died && died < at[i] {
					least, most = 0, most+every // its end may come right after the others looked whose turn it is
				}
				if gap > most || gap < least {
					t.Errorf("%s: %v between two probes, the last at %v", name, gap, at[i])
				}
			}
		}
		ends[1]()
		ends[2]()
	})
}

// TestProbesComeLast: none begins while a planned pass is queued, and then they
// take a quarter of the lane, at least one worker; emergencies keep their reserve.
func TestProbesComeLast(t *testing.T) {
	for limit, quarter := range map[int]int{1: 1, 2: 1, 8: 2, 16: 4} {
		synctest.Test(t, func(t *testing.T) {
			p, b := newProber(10*time.Second), newBusy(map[string]time.Duration{"planned": 10 * time.Second, "a": time.Second})
			drive(t, schedule.Config{Lanes: map[string]int{"l": limit}, Probe: p.probe, Pass: b.pass, Grace: time.Hour}, func(s *schedule.Scheduler) {
				for _, name := range numbered(3 * limit) {
					s.Set(name, schedule.Wake{Lane: "l", Every: time.Second})
				}
				plan(s, 3*limit)
				advance(19 * time.Second)
				if p.most != 0 {
					t.Errorf("a lane of %d: %d probes beside planned passes that wait", limit, p.most)
				}
				advance(12 * time.Second)
				if p.running != quarter || p.most != quarter {
					t.Errorf("a lane of %d runs %d probes, want %d", limit, p.running, quarter)
				}
				plan(s, 3*limit)
				leak(s, "a/leaked")
				advance(100 * time.Millisecond)
				if got := b.now(); got != fmt.Sprintf("%d planned, 1 emergencies", limit-quarter) {
					t.Errorf("a lane of %d runs %s beside its probes", limit, got)
				}
				advance(10 * time.Second)
				if got := b.now(); got != fmt.Sprintf("%d planned, 0 emergencies", limit) || p.running != 0 {
					t.Errorf("a lane of %d runs %s and %d probes; what is planned comes first", limit, got, p.running)
				}
			})
		})
	}
}

// TestASlowIssuerStretchesTheInterval: what cannot be kept is not piled up, and
// everybody gets its share.
func TestASlowIssuerStretchesTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, workers = 1000, 2
		p := newProber(2 * time.Second) // 1000 s for all
		drive(t, schedule.Config{Lanes: map[string]int{"l": 4 * workers}, Probe: p.probe, Pass: noPass}, func(s *schedule.Scheduler) {
			for _, name := range numbered(n) {
				s.Set(name, schedule.Wake{Lane: "l", Every: every})
			}
			advance(4 * 1000 * time.Second)
			if late := s.Loads()["l"].Late; late < 600*time.Second || late > 720*time.Second {
				t.Errorf("the most overdue probe is %v late, want about 1000 s less the interval", late)
			}
			if lag := s.Lag(); lag != 0 {
				t.Errorf("planned passes lag by %v", lag)
			}
		})
		fewest, most := n, 0
		for _, at := range p.begun {
			fewest, most = min(fewest, len(at)), max(most, len(at))
		}
		if len(p.begun) != n || fewest < 3 || most > 5 || p.most != workers {
			t.Errorf("%d of %d were probed, %d to %d times, %d at a time", len(p.begun), n, fewest, most, p.most)
		}
	})
}

// TestASuspicionIsLookedAtSooner, however many other probes are overdue.
func TestASuspicionIsLookedAtSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const again = 10 * time.Second
		p := newProber(time.Second)
		p.answer = func(name credential.Name) (schedule.Wake, error) {
			w := schedule.Wake{Lane: "l", Every: every}
			if name == "a/7" && len(p.begun[name]) < 4 {
				w.Again = again
			}
			return w, nil
		}
		drive(t, schedule.Config{Lanes: map[string]int{"l": 1}, Probe: p.probe, Pass: noPass}, func(s *schedule.Scheduler) {
			for _, name := range numbered(2000) {
				s.Set(name, schedule.Wake{Lane: "l", Every: every})
			}
			advance(2000 * time.Second)
			s.Probe("a/7", "l") // a sweep has found that a list differs
			advance(5 * time.Second)
		})
		at := p.begun["a/7"]
		if len(at) != 5 || at[4] > 2002*time.Second {
			t.Fatalf("probed at %v, want four times with suspicions, and when asked", at)
		}
		for i := 1; i < 4; i++ {
			if gap := at[i] - at[i-1]; gap < again+p.took || gap > again+2*p.took {
				t.Errorf("%v between probes of what is suspected, want %v", gap, again)
			}
		}
	})
}

// TestNothingIsProbedWhileTheIssuerIsAway.
func TestNothingIsProbedWhileTheIssuerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProber(time.Millisecond)
		drive(t, schedule.Config{Lanes: map[string]int{"l": 16}, Probe: p.probe, Pass: noPass}, func(s *schedule.Scheduler) {
			for _, name := range numbered(100) {
				s.Set(name, schedule.Wake{Lane: "l", Every: every})
			}
			advance(every)
			before := len(p.order)
			s.Away("l")
			advance(time.Hour)
			if got := len(p.order); got != before {
				t.Errorf("%d probes of an issuer that is away", got-before)
			}
			p.most, p.took = 0, time.Second
			s.Answered("l")
			advance(time.Minute)
			if got := len(p.order); got != before+100 || p.most != 4 {
				t.Errorf("%d probes in the minute after it was back, %d at a time", got-before, p.most)
			}
		})
	})
}

// TestAProbeGivesWay to what its credential has to do, and comes back.
func TestAProbeGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := newProber(time.Minute), newBusy(nil)
		drive(t, schedule.Config{Probe: p.probe, Pass: func(ctx context.Context, name credential.Name) (schedule.Wake, error) {
			_, err := b.pass(ctx, name)
			return schedule.Wake{Lane: "l", Every: every}, err
		}}, func(s *schedule.Scheduler) {
			due := time.Now().Add(time.Hour)
			s.Set("a/1", schedule.Wake{At: due, Lane: "l", Every: every})
			s.Probe("a/1", "l")
			advance(10 * time.Second)
			leak(s, "a/1")
			advance(time.Second)
		})
		if got := b.begun["a/1"]; len(got) != 1 || got[0] != 10*time.Second {
			t.Errorf("an emergency during its own probe began at %v", got)
		}
	})
}

// TestAFailedProbe is tried again more slowly, and puts no planned pass off.
func TestAFailedProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := newProber(time.Millisecond), newBusy(nil)
		p.answer = func(name credential.Name) (schedule.Wake, error) {
			if n := len(p.begun[name]); n == 3 {
				panic("nobody expects this")
			} else if n < 8 {
				return schedule.Wake{}, errors.New("no record")
			}
			return schedule.Wake{Lane: "l", Every: every, At: p.start.Add(time.Hour)}, nil
		}
		drive(t, schedule.Config{Probe: p.probe, Pass: b.pass}, func(s *schedule.Scheduler) {
			s.Set("a/1", schedule.Wake{At: time.Now().Add(time.Hour), Lane: "l", Every: every})
			s.Probe("a/1", "l")
			advance(time.Hour + time.Second)
		})
		at := p.begun["a/1"]
		for i := 1; i < 8; i++ {
			if gap := at[i] - at[i-1]; gap < 250*time.Millisecond || gap > 31*time.Second {
				t.Errorf("try %d came after %v", i, gap)
			}
		}
		if got := b.begun["a/1"]; len(got) != 1 || got[0] != time.Hour {
			t.Errorf("the planned pass began at %v, want after an hour", got)
		}
		if len(at) < 18 || len(at) > 20 {
			t.Errorf("%d probes in an hour", len(at))
		}
	})
}

// TestTheIntervalChanges: shorter at once, and to nothing; and what is gone is
// forgotten, whatever it was at.
func TestTheIntervalChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, interval := newProber(time.Millisecond), 24*time.Hour
		p.answer = func(credential.Name) (schedule.Wake, error) { return schedule.Wake{Lane: "l", Every: interval}, nil }
		drive(t, schedule.Config{Probe: p.probe, Pass: func(ctx context.Context, name credential.Name) (schedule.Wake, error) {
			time.Sleep(time.Second)
			return schedule.Wake{Gone: true}, nil
		}}, func(s *schedule.Scheduler) {
			set := func(to time.Duration) int {
				interval = to
				for _, name := range numbered(100) {
					s.Set(name, schedule.Wake{Lane: "l", Every: to, At: time.Now().Add(24 * time.Hour)})
				}
				before := len(p.order)
				advance(10 * time.Minute)
				return len(p.order) - before
			}
			for _, c := range []struct {
				to          time.Duration
				least, most int
			}{{24 * time.Hour, 0, 2}, {time.Minute, 900, 1000}, {0, 0, 0}, {time.Minute, 900, 1000}} {
				if got := set(c.to); got < c.least || got > c.most {
					t.Errorf("interval %v: %d probes in ten minutes, want %d to %d", c.to, got, c.least, c.most)
				}
			}
			s.Look("a/1", "l")
			advance(500 * time.Millisecond)
			s.Set("a/1", schedule.Wake{Gone: true, Lane: "l"}) // while it runs
			s.Set("a/2", schedule.Wake{Gone: true, Lane: "l"})
			advance(time.Second)
			if got := s.Len(); got != 98 {
				t.Errorf("%d credentials are known, want 98", got)
			}
			before := len(p.begun["a/1"]) + len(p.begun["a/2"])
			advance(time.Hour)
			if got := len(p.begun["a/1"]) + len(p.begun["a/2"]); got != before {
				t.Errorf("%d probes of credentials that are gone", got-before)
			}
		})
	})
}
