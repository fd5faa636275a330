package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// seenItems are items that the issuer has shown a moment ago: item → when.
type seenItems map[string]time.Time

const (
	// seenFor is how long an item that was seen is not asked for again.
	seenFor = time.Minute
	// looksAtOnce is how many are asked for before those that were seen are noted.
	looksAtOnce = 8
)

// errBusy: the turn did not come in time.
var errBusy = errors.New("the items of other declarations are being looked for")

// Visible implements control.Viewer. Declarations take turns, so that a hundred of
// them make no more calls at a time than one. What was seen is remembered for a
// moment: a request that is sent again, or one that the rate limit cut short and
// that comes back, goes on instead of beginning anew.
func (l *lane) Visible(ctx context.Context, items []string) (missing []string, err error) {
	var seen seenItems
	select {
	case seen = <-l.items:
		defer func() { l.items <- seen }()
	case <-ctx.Done():
		return nil, &credential.Fault{
			Class: credential.ClassRetryable, System: "portal " + l.name, Op: "read items", Err: errBusy, Hint: "apply fewer credentials at a time",
		}
	}
	now := wallClock()
	maps.DeleteFunc(seen, func(_ string, at time.Time) bool { return at.After(now) || now.Sub(at) > seenFor })
	unseen := slices.DeleteFunc(slices.Clone(items), func(item string) bool { return !seen[item].IsZero() })
	for chunk := range slices.Chunk(unseen, looksAtOnce) {
		gone, err := through(ctx, l, "read items", func(ctx context.Context) ([]string, error) { return l.Portal.Visible(ctx, chunk) })
		if err != nil {
			return nil, err
		}
		for _, item := range chunk {
			if !slices.Contains(gone, item) {
				seen[item] = now
			}
		}
		missing = append(missing, gone...)
	}
	return missing, nil
}
