package main

import (
	"context"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// TestLesson05TheDifferenceOfTheClocksIsAMetricAndBeyondTheBoundAnAlert: people
// are told before keys look expired to one side only.
func TestLesson05TheDifferenceOfTheClocksIsAMetricAndBeyondTheBoundAnAlert(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for off, alert := range map[time.Duration]bool{0: false, time.Minute: false, 10 * time.Minute: true, -10 * time.Minute: true, year: true, -year: true} {
		emulated, err := emulator.New(emulator.Config{Now: func() time.Time { return time.Now().Add(off) }})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(emulated.Handler())
		portal, err := arcgis.New(arcgis.Config{
			Name: "example", URL: server.URL + emulated.BasePath(), Username: emulator.DefaultUser,
			Password: func() (credential.Secret, error) { return credential.NewSecret(emulator.DefaultPassword), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := portal.Whoami(t.Context()); err != nil { // any answer will do
			t.Fatalf("clock %v off: %v", off, err)
		}
		core, logs := observer.New(zap.ErrorLevel)
		d := newDaemon(&config.Config{Issuers: map[string]config.Issuer{"example": {MaxClockSkew: strict.Duration{Value: 5 * time.Minute}}}},
			&schedule.Calendar{}, zap.New(core), serveOptions{})
		d.issuers["example"] = breakable("example", portal, time.Second, nil, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // one look
		if err := d.watchIssuers(ctx); err != nil {
			t.Error(err)
		}
		if got := gauge(t, d.metrics.registry, "keyturn_issuer_clock_skew_seconds"); got-off.Seconds() > 2 || got-off.Seconds() < -2 {
			t.Errorf("clock %v off: the metric says %v s", off, got)
		}
		if told := logs.FilterMessageSnippet("clock").Len() == 1; told != alert {
			t.Errorf("clock %v off: told %v, want %v", off, told, alert)
		}
		now := time.Now() // our wall clock is set, and the issuer has said nothing since
		*(*uint64)(unsafe.Pointer(&now)) += uint64(year/time.Second) << 30
		logs.TakeAll()
		d.compareClocks(now, map[string]time.Time{})
		if got := gauge(t, d.metrics.registry, "keyturn_issuer_clock_skew_seconds"); got-(off-year).Seconds() > 2 || got-(off-year).Seconds() < -2 {
			t.Errorf("clock %v off, and ours set a year ahead: the metric says %v s", off, got)
		}
		if told := logs.FilterMessageSnippet("clock").Len() == 1; told == (off == year) {
			t.Errorf("clock %v off, and ours set a year ahead: told %v", off, told)
		}
		portal.Close()
		server.Close()
		if err := emulated.Close(); err != nil {
			t.Error(err)
		}
	}
}

func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name && len(family.GetMetric()) == 1 {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

// TestLesson02AfterAnEmergencyEverySubscriberIsTold to fetch the key again: of the
// leak before anything is done about it, and of the key that is to be used then.
func TestLesson02AfterAnEmergencyEverySubscriberIsTold(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	events := make(chan *nats.Msg, 64)
	if _, err := w.conn.ChanSubscribe("keyturn.events.maps.web", events); err != nil {
		t.Fatal(err)
	}
	if err := w.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	w.keyturn(t, "", "invalidate", "maps/web", "--key", "primary", "--reason", "in a repository").has(t, 0)
	var told []string
	for len(told) == 0 || told[len(told)-1] != string(credential.TypeInvalidated) {
		select {
		case msg := <-events:
			told = append(told, msg.Header.Get("ce-type"))
		case <-time.After(20 * time.Second):
			t.Fatalf("told of %v only", told)
		}
	}
	if told[0] != string(credential.TypeCompromised) || !slices.Contains(told, string(credential.TypePromoted)) {
		t.Errorf("told of %v", told)
	}
}
