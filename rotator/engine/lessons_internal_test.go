package engine

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The tests named after lessons say which row of the list of what went wrong
// elsewhere would have been caught here; the others are in lessons_test.go.

// waits calls back with the shortest and the longest wait after each attempt.
func waits(check func(lead time.Duration, class credential.Class, attempts int, shortest, longest time.Duration)) {
	for _, lead := range []time.Duration{time.Second, time.Minute, 8 * time.Hour, 30 * 24 * time.Hour} {
		p := credential.Policy{RotateBefore: credential.Duration(lead)}
		for _, class := range []credential.Class{credential.ClassRetryable, credential.ClassPermanent, credential.ClassUnknown, credential.ClassDenied} {
			for _, attempts := range []int{1, 2, 3, 15, 16, 63, 64, 1000} {
				check(lead, class, attempts, backoff(p, class, attempts, 0), backoff(p, class, attempts, 0.999999))
			}
		}
	}
}

func TestLesson05ThereIsAFloorBetweenTwoAttempts(t *testing.T) {
	waits(func(lead time.Duration, class credential.Class, attempts int, shortest, _ time.Duration) {
		if floor := min(lead/256, 7*time.Second); shortest < floor {
			t.Errorf("lead %v, %s, attempt %d: waits %v, want %v at least", lead, class, attempts, shortest, floor)
		}
	})
}

func TestTrapRetryDelayThatIsZeroByArithmetic(t *testing.T) {
	waits(func(lead time.Duration, class credential.Class, attempts int, shortest, longest time.Duration) {
		if shortest <= 0 || longest < shortest || longest > max(lead/8, 100*time.Millisecond) {
			t.Errorf("lead %v, %s, attempt %d: waits %v to %v", lead, class, attempts, shortest, longest)
		}
	})
}
