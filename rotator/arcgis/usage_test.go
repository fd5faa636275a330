package arcgis_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// use makes requests with a key, as an application of a service would.
func (b *bench) use(key credential.Secret, service string, times int) {
	b.Helper()
	for range times {
		answer, err := b.server.Client().PostForm(b.server.URL+"/emulator/resource", url.Values{"token": {key.Reveal()}, "service": {service}})
		must(b, err)
		must(b, answer.Body.Close())
		if answer.StatusCode != http.StatusOK {
			b.Fatalf("status %d", answer.StatusCode)
		}
	}
}

func TestUsageByServiceAndDay(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	theirs := &hand{now: noon}
	editions(t, func(t *testing.T, edition emulator.Edition) {
		theirs.move(noon.Sub(theirs.Now()))
		b := open(t, emulator.Config{Edition: edition, Now: theirs.Now})
		item := b.item()
		issue := func(seat credential.SeatID) credential.Secret {
			minted, err := b.portal.Issue(t.Context(), seat, theirs.Now().Add(300*24*time.Hour))
			must(t, err)
			return minted.Key
		}
		one, two := issue(credential.SeatID{Item: item, Slot: 1}), issue(credential.SeatID{Item: item, Slot: 2})
		other, err := b.portal.EnsureItem(t.Context(), order("r-other"))
		must(t, err)
		b.use(issue(credential.SeatID{Item: other, Slot: 1}), "geocode", 5)
		b.use(one, "geocode", 2)
		b.use(two, "geocode", 1) // the portal does not tell the slots apart
		b.use(two, "places", 1)
		theirs.move(24 * time.Hour)
		b.use(two, "geocode", 4)
		day := func(n int) time.Time { return time.Date(2026, 3, n, 0, 0, 0, 0, time.UTC) }
		want := []credential.Usage{
			{Day: day(1), Service: "geocode", Requests: 3, Credits: 0.12},
			{Day: day(1), Service: "places", Requests: 1},
			{Day: day(2), Service: "geocode", Requests: 4, Credits: 0.16},
		}
		near := cmpopts.EquateApprox(0, 1e-9)
		used, err := b.portal.Usage(t.Context(), item, noon.Add(-5*24*time.Hour), theirs.Now())
		must(t, err)
		if diff := cmp.Diff(want, used, near); diff != "" {
			t.Error(diff)
		}
		used, err = b.portal.Usage(t.Context(), item, day(1), day(2)) // whole days, the last one not
		must(t, err)
		if diff := cmp.Diff(want[:2], used, near); diff != "" {
			t.Error(diff)
		}
		if used, err = b.portal.Usage(t.Context(), item, day(3), day(9)); err != nil || len(used) != 0 {
			t.Errorf("in the future: %v, %v", used, err)
		}
		must(t, b.emulated.SetKnobs(emulator.Knobs{NoUsage: true}))
		_, err = b.portal.Usage(t.Context(), item, day(1), day(2))
		fault(t, err, credential.ClassPermanent, "does not tell usage")
		_, err = b.portal.Usage(t.Context(), item, day(2), day(2))
		fault(t, err, credential.ClassPermanent, "ends before it begins")
	})
}

// One call asks for 60 days at most; none is asked for twice.
func TestUsageOfALongTimeIsAskedInParts(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	b.calls.wire()
	from := time.Date(2026, 1, 5, 17, 0, 0, 0, time.UTC)
	_, err := b.portal.Usage(t.Context(), item, from, from.Add(150*24*time.Hour))
	must(t, err)
	at := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).UnixMilli()
	parts := 0
	for _, r := range b.calls.wire() {
		if !strings.HasSuffix(r.URL.Path, "/usage") {
			continue
		}
		parts++
		if r.PostForm.Get("appId") != b.clientID(item) {
			t.Error("asked for all")
		}
		begin, err := strconv.ParseInt(r.PostForm.Get("startTime"), 10, 64)
		must(t, err)
		end, err := strconv.ParseInt(r.PostForm.Get("endTime"), 10, 64)
		must(t, err)
		if span := time.Duration(end-begin) * time.Millisecond; begin != at || span >= 60*24*time.Hour {
			t.Errorf("from %d (want %d) for %s", begin, at, span)
		}
		at = end + 1
	}
	if last := time.Date(2026, 6, 5, 0, 0, 0, 0, time.UTC).UnixMilli(); parts != 3 || at != last {
		t.Errorf("%d parts until %d, want 3 until %d", parts, at, last)
	}
}

func TestUsageInEachShape(t *testing.T) {
	const at = "1772323200000" // 2026-03-01
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		data  string
		want  []credential.Usage
		class credential.Class
	}{
		"numbers as strings": {data: `[{"stype":"s","num":[["` + at + `","7"]],"credits":[["` + at + `","0.5"]]}]`, want: []credential.Usage{{Day: day, Service: "s", Requests: 7, Credits: 0.5}}},
		"numbers":            {data: `[{"stype":"s","num":[[` + at + `,7]]}]`, want: []credential.Usage{{Day: day, Service: "s", Requests: 7}}},
		"of another app":     {data: `[{"stype":"s","appId":"other","num":[["` + at + `","7"]]}]`},
		"by hours, twice":    {data: `[{"stype":"s","num":[["` + at + `","7"],["1772326800000","1"]]},{"stype":"s","num":[["` + at + `","2"]]}]`, want: []credential.Usage{{Day: day, Service: "s", Requests: 10}}},
		"of another time":    {data: `[{"stype":"s","num":[["1772409600000","7"],["0","7"],["-1","7"]]}]`},
		"half a pair":        {data: `[{"stype":"s","num":[["` + at + `"],[]]}]`},
		"none":               {data: `null`},
		"words":              {data: `[{"stype":"s","num":[["` + at + `","many"]]}]`, class: credential.ClassRetryable},
		"no list":            {data: `{"a":1}`, class: credential.ClassRetryable},
	} {
		t.Run(name, func(t *testing.T) {
			p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/usage") {
					return false
				}
				_, _ = w.Write([]byte(`{"period":"1d","data":` + test.data + `}`))
				return true
			})
			used, err := p.Usage(t.Context(), "i", day, day.Add(time.Hour))
			if test.class != "" {
				fault(t, err, test.class)
				return
			}
			must(t, err)
			if diff := cmp.Diff(test.want, used, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUsageThatIsDenied(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	b.faults(emulator.Rule{Kind: emulator.FaultError, Path: "/usage", Code: 403, Message: "You do not have permissions to access this resource or perform this operation."})
	_, err := b.portal.Usage(t.Context(), item, time.Now().Add(-time.Hour), time.Now())
	fault(t, err, credential.ClassDenied, "usage")
	must(t, b.emulated.DeleteByHand(item))
	_, err = b.portal.Usage(t.Context(), item, time.Now().Add(-time.Hour), time.Now())
	fault(t, err, credential.ClassNotFound)
}
