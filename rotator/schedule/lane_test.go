package schedule_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// outage is an issuer that is silent until back.
type outage struct {
	*passes
	back    time.Time
	took    time.Duration // of a pass
	running int
	most    []int // passes at a time when each began
}

func (o *outage) pass(_ context.Context, name credential.Name) (schedule.Wake, error) {
	urgency := urgencyOf(name)
	if time.Now().Before(o.back) {
		o.note(name)
		// half an hour of back-off: nobody is to wait it out
		return schedule.Wake{At: time.Now().Add(30 * time.Minute), Lane: "l", Urgency: urgency, Silent: true, Retry: true}, nil
	}
	o.mu.Lock()
	o.running++
	o.most = append(o.most, o.running)
	o.mu.Unlock()
	o.note(name)
	time.Sleep(o.took)
	o.mu.Lock()
	o.running--
	o.mu.Unlock()
	return schedule.Wake{Lane: "l", Urgency: urgency}, nil
}

// urgencyOf: a/7 expires on the seventh day.
func urgencyOf(name credential.Name) time.Time {
	var day int
	_, _ = fmt.Sscanf(string(name), "a/%d", &day)
	return time.Date(2030, 1, day, 0, 0, 0, 0, time.UTC)
}

// TestTheBacklogOfAnIssuerThatIsBackGoesOutByUrgency: all that failed during the
// outage goes out as soon as the issuer is back, the most urgent first, few at a
// time to begin with, never more than the lane holds, and no old back-off or
// retry budget is waited out.
func TestTheBacklogOfAnIssuerThatIsBackGoesOutByUrgency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const backlog, limit = 200, 8
		o := &outage{passes: newPasses(), back: time.Now().Add(10 * time.Minute), took: 100 * time.Millisecond}
		drive(t, schedule.Config{Lanes: map[string]int{"l": limit}, Pass: o.pass}, func(s *schedule.Scheduler) {
			for i := range backlog {
				i = i * 77 % backlog // not in order
				name := credential.Name(fmt.Sprintf("a/%d", i+1))
				s.Set(name, schedule.Wake{At: time.Now().Add(time.Duration(i) * time.Second), Lane: "l", Urgency: urgencyOf(name)})
			}
			advance(10*time.Minute + time.Second)
			o.mu.Lock()
			o.order = nil
			o.mu.Unlock()
			s.Answered("l")
			began := time.Now()
			advance(10 * time.Second)
			o.mu.Lock()
			defer o.mu.Unlock()
			if len(o.order) != backlog {
				t.Fatalf("%d of %d went out within %v of the issuer's return", len(o.order), backlog, time.Since(began))
			}
			// eight at a time may finish in any order among themselves
			for i, name := range o.order {
				want := i + 1
				if got := urgencyOf(name).YearDay(); got < want-limit || got > want+limit {
					t.Errorf("place %d went to number %d", want, got)
				}
			}
			if fmt.Sprint(o.most[:3]) != "[1 1 2]" || slices.Max(o.most) != limit {
				t.Errorf("passes at a time: %v ..., at most %d; want 1, then 2, up to %d", o.most[:8], slices.Max(o.most), limit)
			}
		})
	})
}

// TestRetriesAreBoundedAndFirstAttemptsAreNot: a lane in which much fails gives
// retries a fifth of its first attempts and a floor. What is about to expire is
// never held up.
func TestRetriesAreBoundedAndFirstAttemptsAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const minutes = 10
		p := newPasses()
		fail := func(pressing bool) schedule.Wake { // wants to be tried again each second
			return schedule.Wake{At: time.Now().Add(time.Second), Lane: "l", Retry: true, Pressing: pressing}
		}
		drive(t, schedule.Config{Lanes: map[string]int{"l": 4}, Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			switch name.Namespace() {
			case "failing":
				return fail(false), nil
			case "pressing":
				return fail(true), nil
			}
			return schedule.Wake{At: time.Now().Add(time.Second), Lane: "l"}, nil
		}}, func(s *schedule.Scheduler) {
			for i := range 50 {
				s.Set(credential.Name(fmt.Sprintf("failing/k%d", i)), schedule.Wake{At: time.Now(), Lane: "l"})
			}
			for i := range 10 {
				s.Set(credential.Name(fmt.Sprintf("healthy/k%d", i)), schedule.Wake{At: time.Now(), Lane: "l"})
			}
			s.Set("pressing/k", schedule.Wake{At: time.Now(), Lane: "l"})
			advance(minutes * time.Minute)
		})
		count := map[string]int{}
		for name, at := range p.begun {
			count[name.Namespace()] += len(at)
		}
		if n := count["healthy"]; n < 10*60*minutes-10 {
			t.Errorf("%d passes of the healthy ones, want one each second", n)
		}
		if n := count["pressing"]; n < 60*minutes-2 {
			t.Errorf("%d passes of what is about to expire, want one each second", n)
		}
		first := count["healthy"] + count["pressing"] + 50
		most := first/5 + 60*minutes + 20 // the fifth, the floor, and a burst
		if n := count["failing"] - 50; n > most || n < most/2 {
			t.Errorf("%d retries beside %d first attempts, want at most %d and not much fewer", n, first, most)
		}
	})
}

// TestTheLimitOfALaneChangesWhileItRuns up and down.
func TestTheLimitOfALaneChangesWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{passes: newPasses(), took: time.Second}
		drive(t, schedule.Config{Lanes: map[string]int{"l": 3}, Pass: o.pass}, func(s *schedule.Scheduler) {
			for i := range 60 {
				s.Set(credential.Name(fmt.Sprintf("a/%d", i)), schedule.Wake{At: time.Now(), Lane: "l"})
			}
			for _, limit := range []int{3, 9, 1} {
				s.Limit("l", limit)
				advance(2*time.Second + time.Millisecond) // what ran before has ended
				o.mu.Lock()
				if o.running != limit {
					t.Errorf("%d passes at a time, want %d", o.running, limit)
				}
				o.mu.Unlock()
			}
			load := s.Loads()["l"]
			if load.Limit != 1 || load.Running != 1 || load.Queued == 0 {
				t.Errorf("the lane says %+v", load)
			}
			advance(time.Minute)
		})
		if len(o.order) != 60 {
			t.Errorf("%d of 60 were looked at", len(o.order))
		}
	})
}

// TestAPanicIsAnErrorOfItsPass: it is told once, with the credential and the
// stack; that credential is tried again, and the others go on.
func TestAPanicIsAnErrorOfItsPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		p := newPasses()
		drive(t, schedule.Config{Logger: zap.New(core), Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			if name == "a/bad" && len(p.begun[name]) < 6 {
				panic("nobody expects this")
			}
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			s.Set("a/bad", schedule.Wake{At: time.Now(), Lane: "l"})
			advance(time.Second)
			s.Set("a/good", schedule.Wake{At: time.Now(), Lane: "l"})
			advance(5 * time.Minute)
		})
		if len(p.begun["a/good"]) != 1 || len(p.begun["a/bad"]) != 6 {
			t.Errorf("passes: %d of the good one, %d of the bad one; want 1 and 6", len(p.begun["a/good"]), len(p.begun["a/bad"]))
		}
		told := logs.FilterMessageSnippet("panicked").All()
		if len(told) != 1 {
			t.Fatalf("told %d times, want once", len(told))
		}
		fields := told[0].ContextMap()
		if fields["credential"] != "a/bad" || !strings.Contains(fmt.Sprint(fields["stack"]), "lane_test.go") || !strings.Contains(fmt.Sprint(fields["error"]), "nobody expects") {
			t.Errorf("the line says %v", fields)
		}
	})
}

// TestTheClockJumpsWhileTheTimerSleeps: after the machine has slept, or its clock
// was set, what is due by the new clock is looked at at once, and the rest is
// planned anew.
func TestTheClockJumpsWhileTheTimerSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		var ahead time.Duration // of the wall clock; timers do not know of it
		var jumps []time.Duration
		lock := &p.mu
		now := func() time.Time {
			lock.Lock()
			defer lock.Unlock()
			return time.Now().Round(0).Add(ahead)
		}
		slept := func(d time.Duration) {
			lock.Lock()
			defer lock.Unlock()
			ahead += d
		}
		drive(t, schedule.Config{
			Now: now, Jumped: func(by time.Duration) { jumps = append(jumps, by.Round(time.Minute)) },
			Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
				p.note(name)
				return schedule.Wake{}, nil
			},
		}, func(s *schedule.Scheduler) {
			s.Set("a/night", schedule.Wake{At: now().Add(8 * time.Hour), Lane: "l"})
			s.Set("a/year", schedule.Wake{At: now().Add(300 * 24 * time.Hour), Lane: "l"})
			advance(time.Hour)
			slept(12 * time.Hour)
			advance(time.Minute)
			slept(-24 * time.Hour) // somebody sets it right, and too far
			advance(time.Minute)
		})
		at := p.begun["a/night"]
		if len(at) != 1 || at[0] < time.Hour || at[0] > time.Hour+time.Second {
			t.Errorf("due during the sleep, looked at at %v, want within a second of its end", at)
		}
		if len(p.begun["a/year"]) != 0 {
			t.Error("what is due later was looked at")
		}
		if fmt.Sprint(jumps) != "[12h0m0s -24h0m0s]" {
			t.Errorf("told of jumps by %v", jumps)
		}
	})
}

// TestRetriesThatGoWellAreNoBurden: an issuer that refused for a while, and so was
// never silent, is soon through with what failed, though the budget is spent.
func TestRetriesThatGoWellAreNoBurden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failed = 500
		p := newPasses()
		well := p.start.Add(5 * time.Minute)
		drive(t, schedule.Config{Lanes: map[string]int{"l": 8}, Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			time.Sleep(10 * time.Millisecond)
			if time.Now().Before(well) {
				return schedule.Wake{At: time.Now().Add(time.Second), Lane: "l", Retry: true}, nil
			}
			p.note(name)
			return schedule.Wake{Lane: "l"}, nil
		}}, func(s *schedule.Scheduler) {
			for i := range failed {
				s.Set(credential.Name(fmt.Sprintf("a/k%d", i)), schedule.Wake{At: time.Now(), Lane: "l"})
			}
			advance(5*time.Minute + 20*time.Second)
		})
		if len(p.order) != failed {
			t.Errorf("%d of %d went out within 20 s", len(p.order), failed)
		}
	})
}
