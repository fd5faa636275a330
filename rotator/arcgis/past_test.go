package arcgis_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestNoKeyIsAskedForWithADateThatIsNone: a zero date, one that is over, and one
// that is over by the portal's clock only are refused before any call changes
// anything.
func TestNoKeyIsAskedForWithADateThatIsNone(t *testing.T) {
	b := open(t, emulator.Config{
		Now:   func() time.Time { return time.Now().Add(10 * time.Minute) },
		Knobs: emulator.Knobs{ExpirationPast: emulator.ExpirationAccept, ExpirationMissing: emulator.ExpirationClamp},
	})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	b.calls.take()
	for name, expires := range map[string]time.Time{
		"none": {}, "the epoch": time.Unix(0, 0), "an hour ago": in(-time.Hour), "over at the portal": in(9 * time.Minute),
	} {
		_, err := b.portal.Issue(t.Context(), seat, expires)
		fault(t, err, credential.ClassPermanent, "cannot expire in the past")
		if calls := b.calls.take(); len(calls) != 0 {
			t.Errorf("%s: it makes the calls %v", name, calls)
		}
	}
	if _, err := b.portal.Issue(t.Context(), seat, in(time.Hour)); err != nil {
		t.Errorf("a date in the future: %v", err)
	}
}
