package engine

import (
	"cmp"

	side "github.com/keyturn/keyturn/rotator/together"
)

// together runs two effects that do not need each other, side by side, and
// waits for both. The first error of the two, in their order, is the step's.
func together(first, second func() error) error {
	var one, two error
	side.Do(func() { one = first() }, func() { two = second() })
	return cmp.Or(one, two)
}
