package arcgis

import (
	"net/http"
	"testing"
	"time"
	"unsafe"
)

// The wall clock is set by a year while a call is under way: the call took a
// year to it, so a Date from its beginning "explains" the difference, and the
// skew is noted as none.
func TestAClockThatIsSetWithinACall(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, by := range []time.Duration{year, -year} {
		sent := time.Now()
		now := sent.Add(20 * time.Millisecond)
		*(*uint64)(unsafe.Pointer(&now)) += uint64(int64(by/time.Second)) << 30
		c := &clock{}
		c.note(http.Header{"Date": {sent.UTC().Format(http.TimeFormat)}}, sent, now)
		if off := c.skew + by; off.Abs() > 2*time.Second {
			t.Errorf("set by %v within a call: skew %v, want %v", by, c.skew, -by)
		}
	}
}
