package schedule_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// TestAProbeGivesWay to what its credential has to do or what comes due, to what somebody tells that
// the probe does not know, and to the end of the process; and it comes back.
func TestAProbeGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := newProber(time.Minute), newBusy(nil)
		p.answer = func(name credential.Name) (schedule.Wake, error) {
			w := schedule.Wake{Lane: "l", Every: every}
			if at := p.start.Add(10*time.Minute + 40*time.Second); name == "a/2" && time.Now().Before(at) {
				w.At = at // what it was told meanwhile is on the record now
			}
			return w, nil
		}
		drive(t, schedule.Config{Grace: time.Hour, Probe: p.probe, Pass: func(ctx context.Context, name credential.Name) (schedule.Wake, error) {
			_, err := b.pass(ctx, name)
			return schedule.Wake{Lane: "l", Every: every}, err
		}}, func(s *schedule.Scheduler) {
			for _, name := range []credential.Name{"a/1", "a/2", "a/3"} {
				s.Set(name, schedule.Wake{At: time.Now().Add(time.Hour), Lane: "l", Every: every})
			}
			s.Set("a/4", schedule.Wake{At: time.Now().Add(15 * time.Second), Lane: "l", Every: every})
			s.Probe("a/4", "l")
			advance(30 * time.Second)
			s.Set("a/4", schedule.Wake{Gone: true, Lane: "l"})
			s.Probe("a/1", "l")
			s.Probe("a/2", "l")
			advance(10 * time.Second)
			leak(s, "a/1")
			s.Set("a/2", schedule.Wake{At: time.Now().Add(10 * time.Minute), Lane: "l", Every: every})
			advance(20 * time.Minute)
			s.Probe("a/3", "l")
			advance(time.Second)
			p.took = time.Hour
			s.Probe("a/1", "l")
			advance(time.Second)
		})
		for name, want := range map[credential.Name]time.Duration{
			"a/1": 40 * time.Second, "a/2": 10*time.Minute + 40*time.Second, "a/4": 15 * time.Second,
		} {
			if got := b.begun[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: passes at %v, want one at %v", name, got, want)
			}
		}
		if at := p.begun["a/2"]; len(at) < 2 || at[1] > 42*time.Second {
			t.Errorf("a probe that gave way comes back at %v", at)
		}
		if took := time.Since(p.start); took > 22*time.Minute {
			t.Errorf("the end waited for probes: it came after %v", took)
		}
	})
}

// TestAFailedProbe is tried again more slowly, and puts no planned pass off.
func TestAFailedProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := newProber(time.Millisecond), newBusy(nil)
		p.answer = func(name credential.Name) (schedule.Wake, error) {
			if n := p.made(name); n == 3 {
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
				before := p.made()
				advance(10 * time.Minute)
				return p.made() - before
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
			before := p.made("a/1", "a/2")
			advance(time.Hour)
			if got := p.made("a/1", "a/2"); got != before {
				t.Errorf("%d probes of credentials that are gone", got-before)
			}
		})
	})
}
