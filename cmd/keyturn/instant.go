package main

import (
	"fmt"
	"time"
)

// parseInstant reads an instant, a day, which begins at midnight UTC, or a duration
// before now; empty is the zero time.
func parseInstant(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return now.Add(-ago).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%s %s: want an instant such as 2026-11-01T08:00:00Z, a day such as 2026-11-01, or a duration such as 24h", flag, text)
}
