package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// passes records the passes of a scheduler under fake time.
type passes struct {
	mu    sync.Mutex
	begun map[credential.Name][]time.Duration // since the start
	order []credential.Name
	start time.Time
}

func (p *passes) note(name credential.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun[name] = append(p.begun[name], time.Since(p.start))
	p.order = append(p.order, name)
}

func newPasses() *passes {
	return &passes{begun: map[credential.Name][]time.Duration{}, start: time.Now()}
}

// drive runs a scheduler in a bubble and stops it at the end.
func drive(t *testing.T, c schedule.Config, during func(s *schedule.Scheduler)) {
	t.Helper()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	s := schedule.New(c)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	during(s)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestEachCredentialIsLookedAtWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		drive(t, schedule.Config{Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			s.Set("a/late", schedule.Wake{At: p.start.Add(90 * 24 * time.Hour), Lane: "l"})
			s.Set("a/soon", schedule.Wake{At: p.start.Add(time.Minute), Lane: "l"})
			s.Set("a/never", schedule.Wake{Lane: "l"})
			advance(time.Hour)
			s.Set("a/nearer", schedule.Wake{At: time.Now().Add(time.Second), Lane: "l"}) // wakes the sleeper
			advance(91 * 24 * time.Hour)
		})
		for name, want := range map[credential.Name]time.Duration{
			"a/soon": time.Minute, "a/nearer": time.Hour + time.Second, "a/late": 90 * 24 * time.Hour,
		} {
			if got := p.begun[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s was looked at at %v, want once at %v", name, got, want)
			}
		}
		if len(p.begun["a/never"]) != 0 {
			t.Error("a credential without a due time was looked at")
		}
	})
}

func TestAWakeUpDuringAPassLeadsToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		drive(t, schedule.Config{Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			time.Sleep(10 * time.Second)
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			s.Set("a/b", schedule.Wake{At: time.Now(), Lane: "l"})
			advance(time.Second)
			s.Look("a/b", "l") // while it runs
			s.Look("a/b", "l") // merges with the one before
			advance(time.Minute)
		})
		if got := len(p.order); got != 2 {
			t.Errorf("%d passes, want 2: one that ran, one for both wake-ups", got)
		}
	})
}

func TestOneCredentialRunsOnePassAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		drive(t, schedule.Config{Lanes: map[string]int{"l": 8}, Pass: func(context.Context, credential.Name) (schedule.Wake, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			for range 20 {
				s.Look("a/b", "l")
				advance(300 * time.Millisecond)
			}
			advance(time.Minute)
		})
		if most != 1 {
			t.Errorf("%d passes of one credential at a time", most)
		}
	})
}

func TestASilentIssuerHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		drive(t, schedule.Config{Lanes: map[string]int{"silent": 4, "healthy": 4}, Pass: func(ctx context.Context, name credential.Name) (schedule.Wake, error) {
			if name.Namespace() == "silent" {
				<-ctx.Done() // never answers
				return schedule.Wake{}, ctx.Err()
			}
			p.note(name)
			return schedule.Wake{At: time.Now().Add(20 * time.Second), Lane: "healthy"}, nil
		}}, func(s *schedule.Scheduler) {
			for i := range 50 {
				s.Set(credential.Name(fmt.Sprintf("silent/k%d", i)), schedule.Wake{At: time.Now(), Lane: "silent"})
			}
			for i := range 20 {
				s.Set(credential.Name(fmt.Sprintf("healthy/k%d", i)), schedule.Wake{At: time.Now(), Lane: "healthy"})
			}
			advance(240*time.Second + time.Millisecond)
		})
		for i := range 20 {
			name := credential.Name(fmt.Sprintf("healthy/k%d", i))
			if got := len(p.begun[name]); got != 13 {
				t.Errorf("%s ran %d times in 240 s on a period of 20 s, want 13", name, got)
			}
		}
	})
}

func TestALaneTakesTheMostUrgentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		drive(t, schedule.Config{Lanes: map[string]int{"l": 1}, Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			time.Sleep(time.Second)
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			due := time.Now().Add(time.Second)
			for i, days := range []int{30, 1, 90, 7} {
				s.Set(credential.Name(fmt.Sprintf("a/%d", i)), schedule.Wake{At: due, Lane: "l", Urgency: due.AddDate(0, 0, days)})
			}
			advance(time.Minute)
		})
		want := []credential.Name{"a/1", "a/3", "a/0", "a/2"}
		if fmt.Sprint(p.order) != fmt.Sprint(want) {
			t.Errorf("order %v, want %v", p.order, want)
		}
	})
}

func TestAFailedPassIsTriedAgainMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		drive(t, schedule.Config{Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			if time.Since(p.start) < 5*time.Minute {
				return schedule.Wake{}, errors.New("no record")
			}
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			s.Set("a/b", schedule.Wake{At: time.Now(), Lane: "l"})
			advance(10 * time.Minute)
		})
		at := p.begun["a/b"]
		if n := len(at); n < 10 || n > 20 {
			t.Fatalf("%d passes in five minutes of failure: %v", n, at)
		}
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 250*time.Millisecond || gap > 30*time.Second {
				t.Errorf("pass %d came after %v, want 250 ms to 30 s", i, gap)
			}
		}
		if last := at[len(at)-1]; last < 5*time.Minute {
			t.Errorf("the last pass was at %v: it gave up", last)
		}
	})
}

func TestAnAnswerEndsTheWaitOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		back := p.start.Add(time.Minute)
		drive(t, schedule.Config{Lanes: map[string]int{"l": 1}, Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			if time.Now().Before(back) {
				return schedule.Wake{At: time.Now().Add(time.Hour), Lane: "l", Silent: true}, nil
			}
			return schedule.Wake{Lane: "l"}, nil
		}}, func(s *schedule.Scheduler) {
			for i := range 10 {
				s.Set(credential.Name(fmt.Sprintf("a/%d", i)), schedule.Wake{At: time.Now(), Lane: "l"})
			}
			advance(2 * time.Minute)
			s.Look("a/0", "l") // the issuer is back; somebody hears it
			advance(time.Second)
		})
		for i := range 10 {
			name := credential.Name(fmt.Sprintf("a/%d", i))
			if got := len(p.begun[name]); got != 2 {
				t.Errorf("%s was looked at %d times, want again at once", name, got)
			}
		}
	})
}

func TestStopWaitsForRunningPassesWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finished, cut := false, false
		start := time.Now()
		drive(t, schedule.Config{Grace: 10 * time.Second, Pass: func(ctx context.Context, name credential.Name) (schedule.Wake, error) {
			if name == "a/quick" {
				time.Sleep(5 * time.Second)
				finished = ctx.Err() == nil
				return schedule.Wake{}, nil
			}
			<-ctx.Done()
			cut = true
			return schedule.Wake{}, ctx.Err()
		}}, func(s *schedule.Scheduler) {
			s.Set("a/quick", schedule.Wake{At: time.Now(), Lane: "l"})
			s.Set("a/stuck", schedule.Wake{At: time.Now(), Lane: "l"})
			advance(time.Second)
		})
		if !finished || !cut {
			t.Errorf("finished %v, cut %v; want both", finished, cut)
		}
		if took := time.Since(start); took != 11*time.Second {
			t.Errorf("stopping ended after %v, want the second before it and the grace", took)
		}
	})
}
