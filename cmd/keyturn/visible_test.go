package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestItemsAreSeenThoughTheRateLimitIsLow: what was seen before the time was up is
// not asked for again, so applying the same again comes to an end. An item that is
// not there is asked for each time.
func TestItemsAreSeenThoughTheRateLimitIsLow(t *testing.T) {
	emulated, err := emulator.New(emulator.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	reads := map[string]int{} // item → how often it was read
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, item, found := strings.Cut(r.URL.Path, "/content/items/"); found {
			mu.Lock()
			reads[item]++
			mu.Unlock()
		}
		emulated.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(func() { _ = emulated.Close(); server.Close() })
	transport := arcgis.NewTransport(8)
	limit := newLimiter(transport, 200)
	portal, err := arcgis.New(arcgis.Config{
		Name: "portal", URL: server.URL + emulated.BasePath(), Username: emulator.DefaultUser, Transport: limit,
		Password: func() (credential.Secret, error) { return credential.NewSecret(emulator.DefaultPassword), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(portal.Close)
	l := breakable("portal", portal, time.Second, limit, zap.NewNop())
	items := make([]string, 60)
	for i := range items {
		if items[i], err = portal.EnsureItem(t.Context(), credential.ItemOrder{
			Marker: credential.Marker{Installation: "test", Name: "a/b", Rotation: strings.Repeat("r", i+1)}, Spec: credential.ItemSpec{Title: "T"}, First: true,
		}); err != nil {
			t.Fatal(err)
		}
	}
	limit.set(20) // a burst of twenty, then one each 50 ms
	ask := func(items ...string) ([]string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		defer cancel()
		return l.Visible(ctx, items)
	}
	missing, err := ask(items...)
	if err == nil || !credential.IsClass(err, credential.ClassRetryable) || !strings.Contains(err.Error(), "rate_limit") {
		t.Fatalf("all at once: %v, %v", missing, err)
	}
	for attempt := 0; err != nil; attempt++ {
		if attempt == 20 {
			t.Fatal("it never comes to an end")
		}
		missing, err = ask(items...)
	}
	if len(missing) != 0 {
		t.Errorf("missing: %v", missing)
	}
	mu.Lock()
	if reads[items[0]] != 1 {
		t.Errorf("the first item was read %d times", reads[items[0]])
	}
	mu.Unlock()
	limit.set(1000)
	const absent = "0123456789abcdef0123456789abcdef"
	for range 2 {
		if missing, err := ask(items[0], absent); err != nil || len(missing) != 1 || missing[0] != absent {
			t.Errorf("missing: %v, %v", missing, err)
		}
	}
	mu.Lock()
	if reads[absent] != 2 {
		t.Errorf("what is not there was read %d times, want each time", reads[absent])
	}
	mu.Unlock()

	// while the breaker is open nothing is sent, and whoever waits for a turn is told
	server.CloseClientConnections()
	server.Close()
	for range tripAfter {
		_, _ = ask(absent)
	}
	if _, err := ask(absent); err == nil || !strings.Contains(err.Error(), errAway.Error()) {
		t.Errorf("while the issuer is away: %v", err)
	}
	taken := <-l.items
	if _, err := ask(absent); err == nil || !strings.Contains(err.Error(), errBusy.Error()) || !credential.IsClass(err, credential.ClassRetryable) {
		t.Errorf("while others are looked for: %v", err)
	}
	l.items <- taken
}
