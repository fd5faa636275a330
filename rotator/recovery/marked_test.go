package recovery_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/recovery"
)

// the portal's own markers
func TestThePortalsOwnMarkers(t *testing.T) {
	w := newWorld(t)
	w.make(t, "maps/one")
	w.make(t, "maps/two")
	_, err := w.issuer.Issue(t.Context(), w.read(t, "maps/one").Primary.Seat.Sibling(), time.Now().Add(time.Hour).Truncate(time.Second))
	must(t, err)
	w.newStream(t)
	for installation, want := range map[string]int{"test": 2, "other": 1} {
		r := w.recovery(func(c *recovery.Config) {
			c.Issuers = map[string]recovery.Issuer{"example": w.issuer}
			c.Installation = installation
		})
		plan, err := r.Plan(t.Context(), w.declared)
		must(t, err)
		if line := lineOf(t, plan, "maps/one"); line.Fact == nil || len(line.Fact.Seats) != want {
			t.Errorf("%s: %+v", installation, line)
		} else if want == 2 && line.Fact.Seats[1].Role != credential.RoleOrphan {
			t.Errorf("%+v", line.Fact.Seats)
		}
	}
}
