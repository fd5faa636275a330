package schedule_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// advance lets a bubble's clock go on, and what is due by then end: all tests
// here run in one, so no real time passes.
func advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
