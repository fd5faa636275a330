package credential

import "time"

// SkewAt is the issuer's clock less ours at an instant of our clock, from what it
// was when the issuer answered: a wall clock that was set since then is off by
// that much more. Both instants carry a monotonic reading.
func SkewAt(now time.Time, skew time.Duration, answered time.Time) time.Duration {
	stepped := now.Round(0).Sub(answered.Round(0)) - now.Sub(answered)
	return skew - stepped
}
