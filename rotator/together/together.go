// Package together runs calls that do not need each other side by side, for all
// who make such calls: the engine and its adapters.
package together

// Do runs two functions side by side and waits for both. A panic of either ends
// the caller, not the process, after both have ended.
func Do(first, second func()) {
	other := make(chan any, 1)
	go func() {
		defer func() { other <- recover() }()
		second()
	}()
	var late any
	func() {
		defer func() { late = <-other }() // also when the first one panics
		first()
	}()
	if late != nil {
		panic(late)
	}
}
