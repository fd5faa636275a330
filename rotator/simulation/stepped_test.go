package simulation

import (
	"testing"
	"testing/synctest"
	"time"
)

// A stepped clock moves its wall reading only: what is measured between two
// readings is the time that went by.
func TestSteppedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := stepped(time.Now(), 0)
		time.Sleep(time.Second)
		for _, by := range []time.Duration{time.Hour, -time.Hour, 365 * 24 * time.Hour} {
			after := stepped(time.Now(), by)
			if wall := after.Round(0).Sub(before.Round(0)); wall != time.Second+by {
				t.Errorf("stepped by %v: the wall clock went on by %v", by, wall)
			}
			if mono := after.Sub(before); mono != time.Second {
				t.Errorf("stepped by %v: the monotonic clock went on by %v", by, mono)
			}
		}
	})
}
