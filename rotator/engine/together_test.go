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
