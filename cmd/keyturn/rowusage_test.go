package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// uses makes requests with the key that Vault shows, as an application of a service.
func (w *town) uses(t *testing.T, name credential.Name, service string, times int) {
	t.Helper()
	key := w.keys(t, name).Primary.Secret.Reveal()
	for range times {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/emulator/resource?"+url.Values{"token": {key}, "service": {service}}.Encode(), nil)
		recorder := httptest.NewRecorder()
		w.portal.Handler().ServeHTTP(recorder, request)
		if recorder.Code != http.StatusOK {
			t.Fatalf("the key of %s is refused: status %d", name, recorder.Code)
		}
	}
}

// TestRowMonitorKeyUsage: requests and credits by service and day, over both items
// of a credential that moves to a new one; and that they prove nothing of one slot.
func TestRowMonitorKeyUsage(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web", "maps/other")
	w.uses(t, "maps/web", "geocode", 3)
	w.uses(t, "maps/web", "places", 1)
	w.uses(t, "maps/other", "geocode", 9)
	today := time.Now().UTC().Format(time.DateOnly)
	w.keyturn(t, "", "usage", "maps/web").has(t, 0, "SERVICE", "3         0.12", "total", "4         0.12", "today is not over", "cannot prove that one of the keys is idle")

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := control.NewClient(w.conn, w.operator).Apply(ctx, control.Apply{Name: "maps/web", Spec: credential.Spec{
		Issuer: "portal", Policy: steady(), Item: credential.ItemSpec{Title: "maps/web", Privileges: []string{"premium:user:places"}},
	}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key of the new item is the primary, and the old one drains", func() bool {
		state := w.states(t, d.record)["maps/web"]
		return state.Generation == 2 && len(itemsOf(state)) == 2
	})
	w.uses(t, "maps/web", "geocode", 2)
	w.keyturn(t, "", "usage", "maps/web").has(t, 0, "5         0.2", "6         0.2", "It lives on 2 items, which are added up")
	read := func(args ...string) (report usageReport) {
		t.Helper()
		said := w.keyturn(t, "", append([]string{"usage", "maps/web", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(said.out), &report); err != nil || said.code != 0 {
			t.Fatalf("exit %d, %v: %s%s", said.code, err, said.out, said.err)
		}
		return report
	}
	report := read("--days", "90")
	if len(report.Items) != 2 || len(report.Days) != 2 || len(report.Services) != 2 || report.Total.Requests != 6 || report.To.Sub(report.From) != 89*24*time.Hour {
		t.Errorf("%+v", report)
	}
	for _, line := range report.Days {
		if line.Day != today && line.Day != time.Now().UTC().Format(time.DateOnly) {
			t.Errorf("%+v", line)
		}
	}

	// an item that somebody deleted is said not to be counted
	old := report.Items[0]
	if primary, _ := w.states(t, d.record)["maps/web"].Primary(); primary.Item == old {
		old = report.Items[1]
	}
	if err := w.portal.DeleteByHand(old); err != nil {
		t.Fatal(err)
	}
	if report = read(); len(report.Items) != 1 || len(report.Gone) != 1 || report.Gone[0] != old || report.Total.Requests != 2 {
		t.Errorf("%+v", report)
	}
	w.keyturn(t, "", "usage", "maps/web").has(t, 0, "Not counted, as the issuer has them no more: "+old)

	for _, days := range []string{"0", "-1", "367"} {
		w.keyturn(t, "", "usage", "maps/web", "--days", days).has(t, 2, "want 1 to 366")
	}
	w.keyturn(t, "", "usage", "maps/none").has(t, 1, "maps/none")
	if err := w.portal.SetKnobs(emulator.Knobs{NoUsage: true}); err != nil {
		t.Fatal(err)
	}
	w.keyturn(t, "", "usage", "maps/web").has(t, 1, "does not tell usage")
}
