package together_test

import (
	"testing"

	"github.com/keyturn/keyturn/rotator/together"
)

func TestBothHaveRunAtTheEnd(t *testing.T) {
	ready := make(chan struct{}) // each waits for the other
	ran := make(chan string, 2)
	together.Do(func() { <-ready; ran <- "first" }, func() { close(ready); ran <- "second" })
	if len(ran) != 2 {
		t.Errorf("%d of 2 ran", len(ran))
	}
}

// A panic of either ends the caller, after the other has ended.
func TestAPanicIsTheCallers(t *testing.T) {
	for _, who := range []string{"first", "second"} {
		ended := make(chan string, 2)
		run := func(name string) func() {
			return func() {
				defer func() { ended <- name }()
				if name == who {
					panic(name)
				}
			}
		}
		func() {
			defer func() {
				if got := recover(); got != who || len(ended) != 2 {
					t.Errorf("recovered %v when %d of 2 had ended, want %s", got, len(ended), who)
				}
			}()
			together.Do(run("first"), run("second"))
		}()
	}
}
