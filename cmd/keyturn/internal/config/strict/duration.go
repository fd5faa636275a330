package strict

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Duration is a duration in a file; Set tells an explicit zero from none.
type Duration struct {
	Value time.Duration
	Set   bool
}

// Core is the value as the core has it.
func (d Duration) Core() credential.Duration { return credential.Duration(d.Value) }

// DurationPattern is what a duration looks like, for schemas.
const DurationPattern = `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d|w))+)$`

var (
	durationShape = regexp.MustCompile(DurationPattern)
	durationPart  = regexp.MustCompile(`([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h|d|w)`)
)

// ParseDuration reads a duration as people write it: Go's units, and d and w
// for 24 hours and seven days. There are no negative ones.
func ParseDuration(text string) (time.Duration, error) {
	if !durationShape.MatchString(text) {
		return 0, fmt.Errorf("%q is not a duration: want a number with a unit, such as 90d, 12h or 30s", text)
	}
	var total time.Duration
	for _, part := range durationPart.FindAllStringSubmatch(text, -1) {
		d, err := durationOf(part[1], part[2])
		if err != nil || d > math.MaxInt64-total {
			return 0, fmt.Errorf("%q is too long a duration", text)
		}
		total += d
	}
	return total, nil
}

// durationOf reads one number with its unit.
func durationOf(number, unit string) (time.Duration, error) {
	hours := map[string]time.Duration{"d": 24, "w": 7 * 24}[unit]
	if hours == 0 {
		return time.ParseDuration(number + unit)
	}
	if strings.Contains(number, ".") {
		f, err := strconv.ParseFloat(number, 64)
		if f *= float64(hours * time.Hour); err != nil || f >= math.MaxInt64 {
			return 0, strconv.ErrRange
		}
		return time.Duration(math.Round(f)), nil
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/int64(hours*time.Hour) {
		return 0, strconv.ErrRange
	}
	return time.Duration(n) * hours * time.Hour, nil
}
