package arcgis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestLesson17EachCallToASilentIssuerEndsInTime: without a deadline from whoever
// calls, and with the news that nothing was heard.
func TestLesson17EachCallToASilentIssuerEndsInTime(t *testing.T) {
	const limit = 200 * time.Millisecond
	b := open(t, emulator.Config{}, timeout(limit))
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	key := b.issue(seat).Key
	b.faults(emulator.Rule{Kind: emulator.FaultSilence})
	for what, call := range map[string]func(context.Context) error{
		"ensure":   func(ctx context.Context) error { _, err := b.portal.EnsureItem(ctx, order("r-2")); return err },
		"describe": func(ctx context.Context) error { _, err := b.portal.Describe(ctx, seat.Item); return err },
		"issue": func(ctx context.Context) error {
			_, err := b.portal.Issue(ctx, seat.Sibling(), in(month))
			return err
		},
		"probe": func(ctx context.Context) error {
			_, err := b.portal.Probe(ctx, credential.ProbeRequest{Key: key, Item: seat.Item})
			return err
		},
		"revoke": func(ctx context.Context) error { return b.portal.Revoke(ctx, seat) },
		"list":   func(ctx context.Context) error { _, err := b.portal.Expiring(ctx, in(month)); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*limit) // of the test, not of the call
		began := time.Now()
		err := call(ctx)
		took := time.Since(began)
		cancel()
		var f *credential.Fault
		if !errors.As(err, &f) || !f.Silent || (f.Class != credential.ClassRetryable && f.Class != credential.ClassUnknown) {
			t.Errorf("%s: %v, want a silent fault", what, err)
		}
		if took >= 20*limit {
			t.Errorf("%s took %v, with a limit of %v for each call", what, took, limit)
		}
	}
}
