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

// The tests of this file are named after the rows of the list of what went
// wrong elsewhere; each would have caught it here.

// TestLesson11AStandInPlansEverythingFromTheRecord: a scheduler that knows
// nothing learns of all that is due, and of what comes later, by one sweep.
func TestLesson11AStandInPlansEverythingFromTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		const credentials = 100
		drive(t, schedule.Config{Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			due := func(i int) time.Duration { return time.Duration(i-credentials/2) * time.Minute } // half of it was missed
			sweeper := &schedule.Sweeper{
				Recover: func(_ context.Context, each func(credential.Entry) error) error {
					for i := range credentials {
						if err := each(credential.Entry{Name: credential.Name(fmt.Sprintf("a/k%d", i)), State: credential.State{Revision: uint64(i)}}); err != nil {
							return err
						}
					}
					return nil
				},
				Plan: func(e credential.Entry) schedule.Wake {
					return schedule.Wake{At: p.start.Add(due(int(e.State.Revision))), Lane: "l"}
				},
				Scheduler: s, Now: time.Now, Logger: zap.NewNop(),
			}
			if err := sweeper.Sweep(t.Context()); err != nil {
				t.Error(err)
			}
			advance(2 * credentials * time.Minute)
			for i := range credentials {
				name := credential.Name(fmt.Sprintf("a/k%d", i))
				if got, want := p.begun[name], max(0, due(i)); len(got) != 1 || got[0] != want {
					t.Errorf("%s was looked at at %v, want once at %v", name, got, want)
				}
			}
		})
	})
}

// TestLesson11ASchedulerThatDoesNotKeepUpSaysHowFarItIsBehind: the figure that
// an alarm is set on grows while nothing runs.
func TestLesson11ASchedulerThatDoesNotKeepUpSaysHowFarItIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		drive(t, schedule.Config{Lanes: map[string]int{"l": 1}, Pass: func(context.Context, credential.Name) (schedule.Wake, error) {
			<-release
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			if lag := s.Lag(); lag != 0 {
				t.Errorf("with nothing to do it is %v behind", lag)
			}
			s.Set("a/stuck", schedule.Wake{At: time.Now(), Lane: "l"})
			s.Set("a/waits", schedule.Wake{At: time.Now().Add(time.Minute), Lane: "l"})
			advance(10 * time.Minute)
			if lag := s.Lag(); lag != 9*time.Minute {
				t.Errorf("it is %v behind, want 9m", lag)
			}
			close(release)
			advance(time.Second)
			if lag := s.Lag(); lag != 0 {
				t.Errorf("after it has caught up it is %v behind", lag)
			}
		})
	})
	synctest.Test(t, func(t *testing.T) {
		stopped := schedule.New(schedule.Config{Now: time.Now, Logger: zap.NewNop()})
		stopped.Set("a/b", schedule.Wake{At: time.Now(), Lane: "l"})
		advance(time.Hour)
		if lag := stopped.Lag(); lag != time.Hour {
			t.Errorf("one that does not run is %v behind, want 1h", lag)
		}
	})
}

// wall is a wall clock that somebody sets, or that goes on while the machine sleeps.
type wall struct {
	mu     sync.Mutex
	offset time.Duration
}

func (w *wall) by(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

func (w *wall) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Round(0).Add(w.offset)
}

// TestLesson15AfterAMachineSleptWhatIsDueRunsAtOnce: the timer did not run
// meanwhile, so it must not be slept on for long.
func TestLesson15AfterAMachineSleptWhatIsDueRunsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &wall{}
		ran := make(chan time.Time, 1)
		s := schedule.New(schedule.Config{Now: clock.now, Logger: zap.NewNop(), Pass: func(context.Context, credential.Name) (schedule.Wake, error) {
			ran <- time.Now()
			return schedule.Wake{}, nil
		}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		s.Set("a/b", schedule.Wake{At: clock.now().Add(8 * time.Hour), Lane: "l"})
		advance(91 * time.Minute)
		clock.by(30 * 24 * time.Hour)
		woke := time.Now()
		if took := (<-ran).Sub(woke); took > 15*time.Second {
			t.Errorf("it ran %v after the machine woke", took)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// batch runs healthy credentials on a period beside bad ones, and checks that
// each healthy one is on time each time.
func batch(t *testing.T, bad int, badLane string, misbehave func(ctx context.Context) error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		const healthy, period, rounds = 20, 20 * time.Second, 12
		p := newPasses()
		drive(t, schedule.Config{Lanes: map[string]int{"l": 4, "silent": 4}, Pass: func(ctx context.Context, name credential.Name) (schedule.Wake, error) {
			if name.Namespace() == "bad" {
				return schedule.Wake{}, misbehave(ctx)
			}
			p.note(name)
			return schedule.Wake{At: time.Now().Add(period), Lane: "l"}, nil
		}}, func(s *schedule.Scheduler) {
			for i := range bad {
				s.Set(credential.Name(fmt.Sprintf("bad/k%d", i)), schedule.Wake{At: time.Now(), Lane: badLane})
			}
			for i := range healthy {
				s.Set(credential.Name(fmt.Sprintf("good/k%d", i)), schedule.Wake{At: time.Now(), Lane: "l", Urgency: time.Now().Add(time.Hour)})
			}
			advance(rounds*period + time.Millisecond)
		})
		for i := range healthy {
			name := credential.Name(fmt.Sprintf("good/k%d", i))
			for round, at := range p.begun[name] {
				if want := time.Duration(round) * period; at != want {
					t.Errorf("%s: round %d came at %v, want %v", name, round, at, want)
				}
			}
			if got := len(p.begun[name]); got != rounds+1 {
				t.Errorf("%s ran %d times, want %d", name, got, rounds+1)
			}
		}
	})
}

func TestLesson17ASilentIssuerHasItsOwnLane(t *testing.T) {
	batch(t, 50, "silent", func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
}

func TestTrapAbortTheBatch(t *testing.T) {
	batch(t, 3, "l", func(context.Context) error { return errors.New("this one is bad") })
	batch(t, 3, "l", func(context.Context) error { panic("this one is worse") })
}
