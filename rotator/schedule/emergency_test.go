package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// leak plans an emergency for now; a/7 expires on the seventh day.
func leak(s *schedule.Scheduler, name credential.Name) {
	s.Set(name, schedule.Wake{At: time.Now(), Lane: "l", Urgency: urgencyOf(name), Emergency: true})
}

// busy is a lane whose passes take a while; it counts them by namespace.
type busy struct {
	*passes
	took    map[string]time.Duration // by namespace
	running map[string]int
}

func newBusy(took map[string]time.Duration) *busy {
	return &busy{passes: newPasses(), took: took, running: map[string]int{}}
}

func (b *busy) pass(_ context.Context, name credential.Name) (schedule.Wake, error) {
	b.note(name)
	b.add(name.Namespace(), 1)
	time.Sleep(b.took[name.Namespace()])
	b.add(name.Namespace(), -1)
	return schedule.Wake{Lane: "l"}, nil
}

func (b *busy) add(namespace string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running[namespace] += n
}

// now tells how many passes run, planned ones and emergencies.
func (b *busy) now() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%d planned, %d emergencies", b.running["planned"], b.running["a"])
}

// plan plans so many planned passes for now.
func plan(s *schedule.Scheduler, n int) {
	for i := range n {
		s.Set(credential.Name(fmt.Sprintf("planned/%d", i)), schedule.Wake{At: time.Now(), Lane: "l"})
	}
}

// TestEmergenciesGoBeforeAllElse: however urgent the planned work, and though an
// emergency was another daemon's to begin first. Our own emergencies go before
// those of others, the earliest expiry first.
func TestEmergenciesGoBeforeAllElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBusy(map[string]time.Duration{"a": 10 * time.Second, "planned": 10 * time.Second})
		u := &turns{leave: map[credential.Name]time.Duration{"a/3": time.Second}}
		drive(t, schedule.Config{Lanes: map[string]int{"l": 1}, Defer: u.of, Pass: b.pass}, func(s *schedule.Scheduler) {
			leak(s, "a/1")
			leak(s, "a/2")
			advance(time.Second) // both slots are taken
			plan(s, 1)           // no key yet: the most urgent of what is planned
			for _, name := range []credential.Name{"a/9", "a/3", "a/5"} {
				leak(s, name)
			}
			advance(5 * time.Second)
			if got := b.now(); got != "0 planned, 2 emergencies" {
				t.Errorf("a lane of one runs %s, want its reserve and itself full", got)
			}
			advance(time.Minute)
		})
		slices.Sort(b.order[:2]) // two at a time may begin in any order between them
		slices.Sort(b.order[2:4])
		if got := fmt.Sprint(b.order); got != "[a/1 a/2 a/5 a/9 a/3 planned/0]" {
			t.Errorf("order %v", got)
		}
	})
}

// TestALaneKeepsAReserveForEmergencies: a quarter of the lane more, at least one,
// and that is there at once.
func TestALaneKeepsAReserveForEmergencies(t *testing.T) {
	for limit, want := range map[int]struct{ planned, reserve int }{1: {1, 1}, 2: {2, 1}, 3: {3, 1}, 8: {8, 2}, 16: {16, 4}, 17: {17, 4}} {
		synctest.Test(t, func(t *testing.T) {
			b := newBusy(map[string]time.Duration{"a": time.Hour, "planned": time.Hour})
			drive(t, schedule.Config{Lanes: map[string]int{"l": limit}, Pass: b.pass, Grace: 2 * time.Hour}, func(s *schedule.Scheduler) {
				plan(s, 40)
				advance(time.Minute)
				if got := b.now(); got != fmt.Sprintf("%d planned, 0 emergencies", want.planned) {
					t.Errorf("a lane of %d full of planned work runs %s, want %d planned", limit, got, want.planned)
				}
				leaked := time.Since(b.start)
				for i := range 40 {
					leak(s, credential.Name(fmt.Sprintf("a/%d", i)))
				}
				advance(time.Minute)
				if got := b.now(); got != fmt.Sprintf("%d planned, %d emergencies", want.planned, want.reserve) {
					t.Errorf("then a lane of %d runs %s, want %d emergencies", limit, got, want.reserve)
				}
				for name, at := range b.begun {
					if name.Namespace() == "a" && at[0] != leaked {
						t.Errorf("a lane of %d began an emergency at %v, want at once, at %v", limit, at[0], leaked)
					}
				}
			})
		})
	}
}

// TestWhatIsQueuedAndLeaksBeginsAtOnce: it stood in the queue of a full lane
// when it became an emergency.
func TestWhatIsQueuedAndLeaksBeginsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBusy(map[string]time.Duration{"a": time.Second, "planned": time.Hour})
		drive(t, schedule.Config{Lanes: map[string]int{"l": 4}, Pass: b.pass, Grace: 2 * time.Hour}, func(s *schedule.Scheduler) {
			plan(s, 40)
			s.Set("a/1", schedule.Wake{At: time.Now(), Lane: "l", Urgency: urgencyOf("a/1")})
			advance(time.Minute)
			leak(s, "a/1")
			advance(time.Second)
		})
		if got := b.begun["a/1"]; len(got) != 1 || got[0] != time.Minute {
			t.Errorf("it began at %v, want when it leaked, at 1m", got)
		}
	})
}

// TestEmergenciesFillTheWholeLane: ten thousand at once take all of it as soon as
// what is planned ends, and no planned pass begins before the last of them; then
// the plan goes on. The most urgent come first.
func TestEmergenciesFillTheWholeLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bulk, limit, room = 10_000, 16, 20
		took := 50 * time.Millisecond
		b := newBusy(map[string]time.Duration{"a": took, "planned": time.Second})
		drive(t, schedule.Config{Lanes: map[string]int{"l": limit}, Pass: b.pass}, func(s *schedule.Scheduler) {
			plan(s, 100)
			advance(time.Millisecond)
			leaked := time.Now().Add(time.Millisecond) // all at once
			for i := range bulk {
				name := credential.Name(fmt.Sprintf("a/%d", i*7919%bulk)) // not in order
				s.Set(name, schedule.Wake{At: leaked, Lane: "l", Urgency: urgencyOf(name), Emergency: true})
			}
			advance(1100 * time.Millisecond)
			if got := b.now(); got != "0 planned, 20 emergencies" {
				t.Errorf("after the planned passes have ended it runs %s", got)
			}
			ideal := bulk / room * took
			advance(ideal)
			emergencies := 0
			for i, name := range b.order {
				if name.Namespace() != "a" {
					if i >= limit && emergencies < bulk {
						t.Errorf("place %d of the lane went to %s", i, name)
						break
					}
					continue
				}
				if off := urgencyOf(name).Sub(urgencyOf("a/0")).Hours()/24 - float64(emergencies); off < -room || off > room {
					t.Errorf("place %d of the emergencies went to %s", emergencies, name)
				}
				emergencies++
			}
			if emergencies != bulk {
				t.Errorf("%d of %d emergencies began within %v of what the lane allows", emergencies, bulk, time.Second)
			}
			if got := b.now(); got != "16 planned, 0 emergencies" {
				t.Errorf("after the last one it runs %s", got)
			}
			advance(time.Minute)
		})
		if len(b.order) != bulk+100 {
			t.Errorf("%d passes, want %d", len(b.order), bulk+100)
		}
	})
}

// TestNoBudgetHoldsAnEmergencyUp: neither when it wants to be tried again while
// the lane's retries are spent, nor when an answer to somebody else wakes it.
func TestNoBudgetHoldsAnEmergencyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const emergencies, minutes = 20, 5
		p := newPasses()
		drive(t, schedule.Config{Lanes: map[string]int{"l": 4}, Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			switch name.Namespace() {
			case "a":
				return schedule.Wake{At: time.Now().Add(time.Second), Lane: "l", Retry: true, Emergency: true}, nil
			case "silent":
				p.mu.Lock()
				defer p.mu.Unlock()
				return schedule.Wake{At: time.Now().Add(time.Hour), Lane: "l", Retry: true, Emergency: true, Silent: len(p.begun[name]) == 1}, nil
			}
			return schedule.Wake{At: time.Now().Add(time.Second), Lane: "l", Retry: true}, nil
		}}, func(s *schedule.Scheduler) {
			for i := range 50 {
				s.Set(credential.Name(fmt.Sprintf("failing/k%d", i)), schedule.Wake{At: time.Now(), Lane: "l"})
			}
			advance(time.Minute) // the budget is spent
			for i := range emergencies {
				leak(s, credential.Name(fmt.Sprintf("a/%d", i)))
				leak(s, credential.Name(fmt.Sprintf("silent/%d", i)))
			}
			advance(minutes * time.Minute)
		})
		for i := range emergencies {
			if n := len(p.begun[credential.Name(fmt.Sprintf("a/%d", i))]); n < 60*minutes {
				t.Errorf("%d passes of emergency %d, want one each second", n, i)
			}
			if at := p.begun[credential.Name(fmt.Sprintf("silent/%d", i))]; len(at) != 2 || at[1] > time.Minute+2*time.Second {
				t.Errorf("silent emergency %d was looked at at %v, want again when the issuer answered others", i, at)
			}
		}
	})
}

// TestNoRampHoldsAnEmergencyUp: after an outage planned work goes out by one
// worker at first, emergencies by the whole lane.
func TestNoRampHoldsAnEmergencyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBusy(map[string]time.Duration{"a": time.Hour, "planned": time.Hour})
		drive(t, schedule.Config{Lanes: map[string]int{"l": 8}, Pass: b.pass, Grace: 3 * time.Hour}, func(s *schedule.Scheduler) {
			s.Answered("l")
			plan(s, 20)
			advance(time.Second)
			if got := b.now(); got != "1 planned, 0 emergencies" {
				t.Errorf("after an outage it runs %s", got)
			}
			for i := range 20 {
				leak(s, credential.Name(fmt.Sprintf("a/%d", i)))
			}
			advance(time.Second)
			if got := b.now(); got != "1 planned, 9 emergencies" {
				t.Errorf("with emergencies it runs %s", got)
			}
		})
	})
}

// TestAnEmergencysFailedPassIsTriedAgainWithinASecond, however long the record
// could not be read.
func TestAnEmergencysFailedPassIsTriedAgainWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasses()
		drive(t, schedule.Config{Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			p.note(name)
			if time.Since(p.start) < 5*time.Minute {
				return schedule.Wake{}, errors.New("no record")
			}
			return schedule.Wake{}, nil
		}}, func(s *schedule.Scheduler) {
			leak(s, "a/1")
			advance(10 * time.Minute)
		})
		at := p.begun["a/1"]
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 250*time.Millisecond || gap > time.Second {
				t.Errorf("pass %d came after %v, want 250 ms to 1 s", i, gap)
			}
		}
		if last := at[len(at)-1]; last < 5*time.Minute || last > 5*time.Minute+time.Second {
			t.Errorf("the last pass was at %v, want within a second of the record's return", last)
		}
	})
}
