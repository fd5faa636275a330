package schedule_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// turns is whose turn it is: credential → how long it is left to others.
type turns struct {
	mu    sync.Mutex
	leave map[credential.Name]time.Duration
}

func (u *turns) set(name credential.Name, d time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.leave[name] = d
}

func (u *turns) of(name credential.Name, _ schedule.Turn) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.leave[name]
}

// TestWhatIsAnothersTurnComesLater: our own at once, another daemon's after its
// delay, and at once when that daemon is gone.
func TestWhatIsAnothersTurnComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		u := &turns{leave: map[credential.Name]time.Duration{"a/theirs": 30 * time.Second, "a/dead": 30 * time.Second}}
		drive(t, schedule.Config{Defer: u.of, Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			due := time.Now().Add(time.Minute)
			for _, name := range []credential.Name{"a/ours", "a/theirs", "a/dead"} {
				s.Set(name, schedule.Wake{At: due, Lane: "l"})
			}
			advance(time.Minute + 10*time.Second)
			u.set("a/dead", 0)
			s.Rebalance()
			advance(time.Minute)
		})
		for name, want := range map[credential.Name]time.Duration{
			"a/ours": time.Minute, "a/theirs": time.Minute + 30*time.Second, "a/dead": time.Minute + 10*time.Second,
		} {
			if got := p.begun[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s was looked at at %v, want once at %v", name, got, want)
			}
		}
	})
}

// TestWhatAnotherDaemonDidIsNotLookedAt: its event comes during the delay, or
// while the credential stands in the queue.
func TestWhatAnotherDaemonDidIsNotLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		u := &turns{leave: map[credential.Name]time.Duration{"a/waits": 30 * time.Second}}
		drive(t, schedule.Config{Lanes: map[string]int{"l": 1}, Defer: u.of, Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			time.Sleep(10 * time.Second)
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			urgent := time.Now()
			for _, name := range []credential.Name{"a/busy", "a/waits", "a/queued", "a/asked"} {
				s.Set(name, schedule.Wake{At: time.Now(), Lane: "l", Urgency: urgent})
				urgent = urgent.Add(time.Hour)
			}
			advance(time.Second)
			s.Look("a/asked", "l")
			for _, name := range []credential.Name{"a/waits", "a/queued", "a/asked"} {
				s.Set(name, schedule.Wake{At: time.Now().Add(time.Hour), Lane: "l"})
			}
			advance(time.Minute)
		})
		if fmt.Sprint(p.order) != "[a/busy a/asked]" {
			t.Errorf("looked at %v, want the one that ran and the one that was asked for", p.order)
		}
	})
}

// TestOurTurnComesBeforeOthers: however urgent what others left, our own backlog
// goes first, or all daemons would meet at the same credential.
func TestOurTurnComesBeforeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		u := &turns{leave: map[credential.Name]time.Duration{"a/theirs": time.Second, "a/gone": time.Second}}
		drive(t, schedule.Config{Lanes: map[string]int{"l": 1}, Defer: u.of, Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			time.Sleep(10 * time.Second)
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			now := time.Now()
			s.Set("a/first", schedule.Wake{At: now, Lane: "l", Urgency: now})
			advance(time.Millisecond)
			s.Set("a/theirs", schedule.Wake{At: now, Lane: "l", Urgency: now})
			s.Set("a/gone", schedule.Wake{At: now, Lane: "l", Urgency: now.Add(time.Minute)})
			s.Set("a/ours", schedule.Wake{At: now, Lane: "l", Urgency: now.Add(2 * time.Hour)})
			s.Set("a/ours-2", schedule.Wake{At: now, Lane: "l", Urgency: now.Add(time.Hour)})
			advance(5 * time.Second)
			u.set("a/gone", 0) // its owner died while it stood in the queue
			s.Rebalance()
			advance(2 * time.Minute)
		})
		if fmt.Sprint(p.order) != "[a/first a/gone a/ours-2 a/ours a/theirs]" {
			t.Errorf("order %v", p.order)
		}
	})
}

// TestWhatIsInHandIsNotPutOff: a pass that settles a key goes on in time, though
// the record, which does not know of it, says "later" and names others.
func TestWhatIsInHandIsNotPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		u := &turns{leave: map[credential.Name]time.Duration{"a/b": 0}}
		drive(t, schedule.Config{Defer: u.of, Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			if len(p.begun[name]) == 1 {
				u.set(name, time.Hour)
				return schedule.Wake{At: time.Now().Add(time.Minute), Lane: "l", Mine: true}, nil
			}
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			s.Set("a/b", schedule.Wake{At: time.Now(), Lane: "l"})
			advance(time.Second)
			s.Set("a/b", schedule.Wake{At: time.Now().Add(24 * time.Hour), Lane: "l"}) // a sweep
			s.Set("a/b", schedule.Wake{Lane: "l"})
			advance(time.Hour)
		})
		if got := p.begun["a/b"]; len(got) != 2 || got[1] != time.Minute {
			t.Errorf("looked at at %v, want at once and after a minute", got)
		}
	})
}
