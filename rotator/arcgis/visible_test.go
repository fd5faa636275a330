package arcgis_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestVisibleTellsWhatIsNotThere: what does not exist, what lies in the recycle
// bin and what the portal denies, in the order asked and each once.
func TestVisibleTellsWhatIsNotThere(t *testing.T) {
	b := open(t, emulator.Config{Users: map[string]string{user: password, "other": password}})
	there, denied, binned := b.item(), b.addByHand("denied", ""), b.addByHand("binned", "")
	theirs, err := client(t, b.server.URL+b.emulated.BasePath(), func(c *arcgis.Config) { c.Username = "other" }).EnsureItem(t.Context(), order("r-2"))
	must(t, err)
	b.byHand("/content/users/"+user+"/items/"+binned+"/delete", url.Values{})
	b.faults(emulator.Rule{Kind: emulator.FaultError, Path: "/content/items/" + denied, Code: 403, Message: "You do not have permissions to access this resource or perform this operation."})
	const absent = "0123456789abcdef0123456789abcdef"
	b.calls.take()
	missing, err := b.portal.Visible(t.Context(), []string{absent, there, denied, there, theirs, absent, binned})
	must(t, err)
	if diff := cmp.Diff([]string{absent, denied, theirs, binned}, missing); diff != "" {
		t.Error(diff)
	}
	if calls := b.calls.take(); len(calls) != 5 {
		t.Errorf("%d calls for 5 different items: %v", len(calls), calls)
	}
	if missing, err := b.portal.Visible(t.Context(), nil); err != nil || missing != nil {
		t.Errorf("of no items: %v, %v", missing, err)
	}
	if calls := b.calls.take(); len(calls) != 0 {
		t.Errorf("no items make the calls %v", calls)
	}
}

// TestVisibleSaysNothingWhenItCannotAsk: one item that cannot be read is an error
// about all, and no list of missing ones.
func TestVisibleSaysNothingWhenItCannotAsk(t *testing.T) {
	for name, rule := range map[string]emulator.Rule{
		"an error 500": {Kind: emulator.FaultError},
		"a throttle":   {Kind: emulator.FaultThrottle},
		"a cut":        {Kind: emulator.FaultDrop},
		"a web page":   {Kind: emulator.FaultHTML},
		"silence":      {Kind: emulator.FaultSilence},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, emulator.Config{}, timeout(2*time.Second))
			item := b.item()
			rule.Path = "/content/items/" + item
			b.faults(rule)
			missing, err := b.portal.Visible(t.Context(), []string{"0123456789abcdef0123456789abcdef", item})
			if missing != nil {
				t.Errorf("missing: %v", missing)
			}
			fault(t, err, credential.ClassRetryable)
		})
	}
	b := open(t, emulator.Config{})
	item := b.item()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if missing, err := b.portal.Visible(ctx, []string{item}); err == nil || missing != nil {
		t.Errorf("after the end of its context: %v, %v", missing, err)
	}
}

// TestVisibleKeepsToTheConcurrency: a hundred items are read a few at a time, and
// the first failure ends it.
func TestVisibleKeepsToTheConcurrency(t *testing.T) {
	const concurrency = 4
	items := make([]string, 100)
	for i := range items {
		items[i] = fmt.Sprintf("%032x", i)
	}
	var now, most, total atomic.Int64
	var failAt atomic.Int64
	full := make(chan struct{})
	p := fake(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		nth := total.Add(1)
		if nth == concurrency {
			close(full) // as many as may run at a time do
		}
		<-full
		if fail := failAt.Load(); fail > 0 && nth >= fail {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		_, _ = fmt.Fprintf(w, `{"id":%q}`, id)
	}, func(c *arcgis.Config) { c.Concurrency = concurrency })
	missing, err := p.Visible(t.Context(), items)
	if err != nil || missing != nil || most.Load() != concurrency || total.Load() != int64(len(items)) {
		t.Errorf("%v, %v: %d calls, %d at a time", missing, err, total.Load(), most.Load())
	}
	failAt.Store(total.Load() + 1)
	_, err = p.Visible(t.Context(), items)
	fault(t, err, credential.ClassRetryable, "HTTP status 500")
	if calls := total.Load() - int64(len(items)); calls > 2*concurrency {
		t.Errorf("%d calls though the first one failed", calls)
	}
}

// TestAPanicWhileItemsAreReadEndsTheCall, not the process.
func TestAPanicWhileItemsAreReadEndsTheCall(t *testing.T) {
	wire := arcgis.NewTransport(1)
	t.Cleanup(wire.CloseIdleConnections)
	items := []string{"0123456789abcdef0123456789abcdef", "1123456789abcdef0123456789abcdef", "2123456789abcdef0123456789abcdef"}
	b := open(t, emulator.Config{}, func(c *arcgis.Config) {
		c.Transport = &broken{RoundTripper: wire, ending: "/items/" + items[1]}
	})
	defer func() {
		if got := recover(); got != "at /items/"+items[1] {
			t.Errorf("recovered %v", got)
		}
		if missing, err := b.portal.Visible(t.Context(), slices.Delete(slices.Clone(items), 1, 2)); err != nil || len(missing) != 2 {
			t.Errorf("after the panic: %v, %v", missing, err)
		}
	}()
	_, _ = b.portal.Visible(t.Context(), items)
}
