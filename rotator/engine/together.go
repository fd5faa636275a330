package engine

import "cmp"

// together runs two effects that do not need each other, side by side, and
// waits for both. The first error of the two, in their order, is the step's. A
// panic ends the caller, not the process.
func together(first, second func() error) error {
	type end struct {
		err   error
		panic any
	}
	other := make(chan end, 1)
	go func() {
		var e end
		defer func() {
			e.panic = recover()
			other <- e
		}()
		e.err = second()
	}()
	var mine error
	var late end
	func() {
		defer func() { late = <-other }() // also when the first one panics
		mine = first()
	}()
	if late.panic != nil {
		panic(late.panic)
	}
	return cmp.Or(mine, late.err)
}
