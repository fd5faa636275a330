package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// list is what an issuer says.
type list struct {
	keys []credential.ExpiringKey
	err  error
}

func (l list) Expiring(context.Context, time.Time) ([]credential.ExpiringKey, error) {
	return l.keys, l.err
}

func entry(name credential.Name, item string, expires time.Time) credential.Entry {
	return credential.Entry{Name: name, State: credential.State{
		Name: name, Status: credential.StatusRegistered, Spec: credential.Spec{Issuer: "portal"},
		Seats: []credential.Seat{{SeatID: credential.SeatID{Item: item, Slot: 1}, Role: credential.RolePrimary, Expires: expires}},
	}}
}

// TestASweepFindsWhatWasMissed: a lost wake-up, and a key changed by hand, cost
// one sweep at most.
func TestASweepFindsWhatWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		expires := start.Add(30 * 24 * time.Hour)
		entries := []credential.Entry{
			entry("a/same", "i1", expires), entry("a/shorter", "i2", expires), entry("a/gone", "i3", expires),
		}
		issuer := list{keys: []credential.ExpiringKey{
			{Seat: credential.SeatID{Item: "i1", Slot: 1}, Expires: expires.Add(time.Second)},
			{Seat: credential.SeatID{Item: "i2", Slot: 1}, Expires: expires.Add(-24 * time.Hour)},
		}}
		passed := map[credential.Name][]string{}
		told := func(name credential.Name, what string) {
			passed[name] = append(passed[name], fmt.Sprintf("%s after %v", what, time.Since(start)))
		}
		s := schedule.New(schedule.Config{Now: time.Now, Logger: zap.NewNop(), Pass: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			told(name, "pass")
			return schedule.Wake{}, nil
		}, Probe: func(_ context.Context, name credential.Name) (schedule.Wake, error) {
			told(name, "probe")
			return schedule.Wake{At: time.Now().Add(time.Minute), Lane: "portal"}, nil
		}})
		sweeper := &schedule.Sweeper{
			Spec: "*/10 * * * *", Calendar: &schedule.Calendar{}, Issuers: map[string]schedule.Lister{"portal": issuer},
			Recover: func(_ context.Context, each func(credential.Entry) error) error {
				for _, e := range entries {
					if err := each(e); err != nil {
						return err
					}
				}
				return nil
			},
			Plan: func(credential.Entry) schedule.Wake {
				return schedule.Wake{At: time.Now().Add(time.Minute), Lane: "portal"}
			},
			Scheduler: s, Now: time.Now, Logger: zap.NewNop(),
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- s.Run(ctx) }()
		go func() { ended <- sweeper.Run(ctx) }()
		advance(12 * time.Minute) // one firing at ten minutes of the fake clock's midnight start
		stop()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[credential.Name]string{
			"a/same":    "[pass after 11m0s]",
			"a/shorter": "[probe after 10m0s pass after 11m0s]",
			"a/gone":    "[probe after 10m0s pass after 11m0s]",
		} {
			if got := fmt.Sprint(passed[name]); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	})
}

// TestAListThatCannotBeReadSaysNothing: a portal that does not answer is no
// reason to think that its keys are gone.
func TestAListThatCannotBeReadSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done []string
		s := schedule.New(schedule.Config{Now: time.Now, Logger: zap.NewNop(), Pass: func(context.Context, credential.Name) (schedule.Wake, error) {
			done = append(done, "pass")
			return schedule.Wake{}, nil
		}, Probe: func(context.Context, credential.Name) (schedule.Wake, error) {
			done = append(done, "probe")
			return schedule.Wake{}, nil
		}})
		sweeper := &schedule.Sweeper{
			Issuers: map[string]schedule.Lister{"portal": list{err: errors.New("silent")}},
			Recover: func(_ context.Context, each func(credential.Entry) error) error {
				return each(entry("a/b", "i", time.Now().Add(time.Hour)))
			},
			Plan:      func(credential.Entry) schedule.Wake { return schedule.Wake{At: time.Now(), Lane: "portal"} },
			Scheduler: s, Now: time.Now, Logger: zap.NewNop(),
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		if err := sweeper.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		advance(time.Minute)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(done) != "[pass]" {
			t.Errorf("%v, want [pass]", done)
		}
	})
}

// TestASweepComesSoonerWhenAsked: at once after the clock has jumped, and by
// another spec when that was changed.
func TestASweepComesSoonerWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var swept []time.Duration
		specs, soon := make(chan string, 1), make(chan struct{}, 1)
		sweeper := &schedule.Sweeper{
			Spec: "0 12 * * *", Specs: specs, Soon: soon, Calendar: &schedule.Calendar{},
			Recover: func(context.Context, func(credential.Entry) error) error {
				swept = append(swept, time.Since(start))
				return nil
			},
			Scheduler: schedule.New(schedule.Config{Now: time.Now, Logger: zap.NewNop()}), Now: time.Now, Logger: zap.NewNop(),
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- sweeper.Run(ctx) }()
		advance(90 * time.Minute)
		soon <- struct{}{}
		advance(time.Minute)
		specs <- "0 * * * *"
		advance(time.Hour)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(swept) != "[1h30m0s 2h0m0s]" {
			t.Errorf("swept at %v", swept)
		}
	})
}
