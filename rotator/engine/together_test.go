package engine

import (
	"errors"
	"testing"
)

func TestTogetherWaitsForBothAndTakesTheFirstError(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	ran := make(chan string, 2)
	if err := together(func() error { ran <- "a"; return one }, func() error { ran <- "b"; return two }); err != one { //nolint:errorlint // this very one
		t.Errorf("got %v, want the first", err)
	}
	if len(ran) != 2 {
		t.Errorf("%d of 2 ran", len(ran))
	}
	if err := together(func() error { return nil }, func() error { return two }); err != two { //nolint:errorlint // this very one
		t.Errorf("got %v, want the second", err)
	}
}

// A panic of either ends the caller, after the other has ended.
func TestTogetherPassesAPanicOn(t *testing.T) {
	for what, pair := range map[string][2]func() error{
		"first":  {func() error { panic("first") }, func() error { return nil }},
		"second": {func() error { return nil }, func() error { panic("second") }},
	} {
		func() {
			defer func() {
				if got := recover(); got != what {
					t.Errorf("recovered %v, want %s", got, what)
				}
			}()
			_ = together(pair[0], pair[1])
		}()
	}
}
