package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// usedYesterday has the key of an idle slot used on the day before.
func (w *town) usedYesterday(t *testing.T, state credential.State, service string, times int) {
	t.Helper()
	w.portalOff.Store(int64(-24 * time.Hour))
	defer w.portalOff.Store(0)
	primary, _ := state.Primary()
	idle := primary.Sibling()
	date := url.Values{fmt.Sprintf("apiToken%dExpirationDate", idle.Slot): {fmt.Sprint(time.Now().Add(time.Hour).UnixMilli())}}
	w.manager(t, "/content/users/"+emulator.DefaultUser+"/items/"+idle.Item+"/update", "", date)
	key, err := w.portal.RegenerateByHand(idle.Item, idle.Slot)
	if err != nil {
		t.Fatal(err)
	}
	for range times {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/emulator/resource?"+url.Values{"token": {key}, "service": {service}}.Encode(), nil)
		recorder := httptest.NewRecorder()
		w.portal.Handler().ServeHTTP(recorder, request)
		if recorder.Code != http.StatusOK {
			t.Fatalf("status %d", recorder.Code)
		}
	}
}

func (w *town) askedForUsage() (n int) {
	for _, call := range w.calls(time.Time{}) {
		if strings.HasSuffix(call.path, "/usage") {
			n++
		}
	}
	return n
}

// TestUsageMetrics: the last whole day of each credential, asked for at the start
// and then by the interval, shown by one of the daemons; nothing without leave.
func TestUsageMetrics(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	silent := w.daemon(t)
	w.settled(t, silent.record, "maps/web", "maps/other")
	w.usedYesterday(t, w.states(t, silent.record)["maps/web"], "geocode", 3)
	if asked := silent.askIfDue(t.Context(), time.Time{}); w.askedForUsage() != 0 || !asked.IsZero() {
		t.Errorf("asked %d times without leave", w.askedForUsage())
	}
	if err := silent.end(); err != nil {
		t.Fatal(err)
	}

	w.change(t, `daemon: {`, `daemon: {usage_interval: 1h, `)
	shown := func(d *resident, name string) float64 {
		return counted(t, d.metrics, name, "maps/web", "portal", "geocode")
	}
	d := w.daemon(t)
	eventually(t, "usage is shown", func() bool { return shown(d, "keyturn_usage_requests") == 3 })
	if credits := shown(d, "keyturn_usage_credits"); credits < 0.119 || credits > 0.121 {
		t.Errorf("%v credits", credits)
	}
	// the one whose client id counts nothing is asked for by its item as well
	if n := w.askedForUsage(); n != 3 {
		t.Errorf("asked %d times for two credentials", n)
	}

	if d.askIfDue(t.Context(), time.Now().Add(-59*time.Minute)); w.askedForUsage() != 3 {
		t.Error("asked before the interval was over")
	}

	// with another daemon, each credential is shown by one of them
	other := w.daemon(t)
	eventually(t, "they know of each other", func() bool { return d.fleet.Load().Size() == 2 && other.fleet.Load().Size() == 2 })
	d.askUsage(t.Context())
	other.askUsage(t.Context())
	if one, two := shown(d, "keyturn_usage_requests"), shown(other, "keyturn_usage_requests"); one+two != 3 || one*two != 0 {
		t.Errorf("shown: %v and %v", one, two)
	}
	if err := other.end(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is alone again", func() bool { return d.fleet.Load().Size() == 1 })
	d.askUsage(t.Context())
	if shown(d, "keyturn_usage_requests") != 3 {
		t.Error("what the other daemon had is not shown")
	}

	// a portal that does not tell is asked once, and no more in this round
	before := w.askedForUsage()
	if err := w.portal.SetKnobs(emulator.Knobs{NoUsage: true}); err != nil {
		t.Fatal(err)
	}
	d.askUsage(t.Context())
	if n := w.askedForUsage() - before; n != 1 || d.logs.FilterMessageSnippet("usage is not told").Len() == 0 {
		t.Errorf("asked %d times", n)
	}
}
