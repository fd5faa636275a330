package arcgis_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

func contextWithTimeout(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func containsAny(text string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

func TestAnswersThatAreNoneAreClearAndRetryableForReads(t *testing.T) {
	for name, test := range map[string]struct {
		rule   emulator.Rule
		want   string
		silent bool
	}{
		"a web page":     {emulator.Rule{Kind: emulator.FaultHTML}, "a web page instead of JSON", false},
		"garbage":        {emulator.Rule{Kind: emulator.FaultGarbage}, "JSON that is broken", false},
		"nothing":        {emulator.Rule{Kind: emulator.FaultEmpty}, "an empty answer", false},
		"half of it":     {emulator.Rule{Kind: emulator.FaultHalf}, "the connection was cut", true},
		"a cut":          {emulator.Rule{Kind: emulator.FaultDrop}, "the connection was cut", true},
		"silence":        {emulator.Rule{Kind: emulator.FaultSilence}, "no answer in time", true},
		"bad gateway":    {emulator.Rule{Kind: emulator.FaultHTML, Status: 502}, "HTTP status 502", false},
		"not found page": {emulator.Rule{Kind: emulator.FaultHTML, Status: 404}, "HTTP status 404", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, emulator.Config{}, timeout(2*time.Second))
			item := b.item()
			test.rule.Path = "/content/items/"
			b.faults(test.rule)
			_, err := b.portal.Describe(t.Context(), item)
			if f := fault(t, err, credential.ClassRetryable, test.want, "try:"); f.Silent != test.silent {
				t.Errorf("silent: %t", f.Silent)
			}
		})
	}
}

func TestHugeAnswerIsNotRead(t *testing.T) {
	const page, all = 1 << 20, 128
	written := make(chan int, 1)
	p := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		text := []byte(strings.Repeat(" ", page))
		n := 0
		for n < all {
			if _, err := w.Write(text); err != nil {
				break
			}
			n++
		}
		written <- n
	})
	fault(t, p.Check(t.Context()), credential.ClassRetryable, "more than 8 MiB")
	if n := <-written; n == all { // some of it stands in buffers between
		t.Errorf("%d MiB were read", n)
	}
}

func TestThrottlingIsToldFromDenial(t *testing.T) {
	for name, test := range map[string]struct {
		knobs emulator.Knobs
		wait  time.Duration
	}{
		"HTTP 403":                  {emulator.Knobs{ThrottleRequests: 5}, time.Minute},
		"HTTP 429 with Retry-After": {emulator.Knobs{ThrottleRequests: 5, ThrottleStatus: 429, ThrottleRetryAfter: 17 * time.Second}, 17 * time.Second},
		"HTTP 403 with Retry-After": {emulator.Knobs{ThrottleRequests: 5, ThrottleRetryAfter: 23 * time.Second}, 23 * time.Second},
		"code 429 in the body":      {emulator.Knobs{ThrottleRequests: 5, ThrottleStatus: 200}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, emulator.Config{Knobs: test.knobs})
			var err error
			for i := 0; i < 10 && err == nil; i++ {
				_, err = b.portal.EnsureItem(t.Context(), order("r"+strings.Repeat("x", i)))
			}
			if f := fault(t, err, credential.ClassRetryable, "throttles"); f.RetryAfter != test.wait || f.Silent {
				t.Errorf("retry after %s, silent %t", f.RetryAfter, f.Silent)
			}
		})
	}
	for name, rule := range map[string]emulator.Rule{
		"Forbidden in the body":   {Kind: emulator.FaultError, Code: 403, Message: "Forbidden"},
		"HTTP 403 with a page":    {Kind: emulator.FaultHTML, Status: 403},
		"HTTP 403 without a body": {Kind: emulator.FaultEmpty, Status: 403},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, emulator.Config{})
			rule.Path = "/addItem"
			b.faults(rule)
			_, err := b.portal.EnsureItem(t.Context(), order("r-1"))
			if f := fault(t, err, credential.ClassRetryable, "throttles"); f.RetryAfter != time.Minute {
				t.Errorf("retry after %s", f.RetryAfter)
			}
		})
	}
	t.Run("permission", func(t *testing.T) {
		b := open(t, emulator.Config{})
		b.faults(emulator.Rule{Kind: emulator.FaultError, Path: "/addItem", Code: 403, MessageCode: "GWM_0003",
			Message: "You do not have permissions to access this resource or perform this operation."})
		_, err := b.portal.EnsureItem(t.Context(), order("r-1"))
		fault(t, err, credential.ClassDenied)
	})
}

func TestRetryAfterMayBeADate(t *testing.T) {
	p := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusTooManyRequests)
	})
	f := fault(t, p.Check(t.Context()), credential.ClassRetryable)
	if f.RetryAfter < 85*time.Second || f.RetryAfter > 91*time.Second {
		t.Errorf("retry after %s", f.RetryAfter)
	}
}

func TestNothingIsSentAfterARedirect(t *testing.T) {
	var reached atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{elsewhere.URL + "/sharing/rest?token=stolen", "/sharing/rest/other?token=stolen"} {
			p := fake(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/other") {
					reached.Add(1)
				}
				http.Redirect(w, r, to, status)
			})
			fault(t, p.Check(t.Context()), credential.ClassRetryable, "redirects", "url")
		}
	}
	if reached.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestRefusedConnectionIsKnownToHaveChangedNothing(t *testing.T) {
	b := open(t, emulator.Config{})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	b.server.Close()
	b.portal.Close() // on a connection from before it could not be known
	_, err := b.portal.Issue(t.Context(), seat, in(month))
	if f := fault(t, err, credential.ClassRetryable, "refused"); !f.Silent {
		t.Error("it was silent")
	}
}

func TestHandshakeThatFailsHasChangedNothing(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	for name, test := range map[string]struct{ url, want string }{
		"unknown CA":     {server.URL, "certificate is not trusted"},
		"not TLS at all": {strings.Replace(plainServer(t), "http:", "https:", 1), "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			p := client(t, test.url+"/sharing/rest", func(c *arcgis.Config) { c.Password, c.APIKey = nil, secret("k") })
			_, err := p.EnsureItem(t.Context(), order("r-1"))
			if f := fault(t, err, credential.ClassRetryable, test.want, "try:"); !f.Silent {
				t.Error("no answer came")
			}
		})
	}
}

func plainServer(t *testing.T) string {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return server.URL
}

func TestPrivateCA(t *testing.T) {
	emulated, err := emulator.New(emulator.Config{Users: map[string]string{user: password}})
	must(t, err)
	server := httptest.NewTLSServer(emulated.Handler())
	t.Cleanup(func() {
		must(t, emulated.Close())
		server.Close()
	})
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	p := client(t, server.URL+"/sharing/rest", func(c *arcgis.Config) { c.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12} })
	must(t, p.Check(t.Context()))
}

// What is no HTTP is quoted by net/http; it does not get into a fault.
func TestAnswerThatIsNoHTTPIsNotQuoted(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_, _ = conn.Write([]byte("AAPTsecret hello\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	p := client(t, "http://"+listener.Addr().String()+"/sharing/rest")
	f := fault(t, p.Check(t.Context()), credential.ClassRetryable)
	if strings.Contains(f.Error(), "hello") {
		t.Error(f)
	}
}

func TestWhatWasSentInConfidenceIsNotEchoed(t *testing.T) {
	p := fake(t, func(w http.ResponseWriter, r *http.Request) {
		must(t, r.ParseForm())
		_, _ = w.Write([]byte(`{"error":{"code":400,"message":"Bad token ` + r.PostForm.Get("token") + `"}}`))
	})
	f := fault(t, p.Check(t.Context()), credential.ClassPermanent, "[redacted]")
	if strings.Contains(f.Error(), "manager-token") {
		t.Error(f)
	}
}

func TestOneFaultEachAfterItsOwnDeadline(t *testing.T) {
	b := open(t, emulator.Config{}, timeout(time.Second))
	item := b.item()
	b.faults(emulator.Rule{Kind: emulator.FaultSilence})
	began := time.Now()
	_, err := b.portal.Describe(t.Context(), item) // its context has no deadline
	fault(t, err, credential.ClassRetryable)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("waited for %s", took)
	}
}

func TestGivingUpSaysSo(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	b.faults(emulator.Rule{Kind: emulator.FaultSilence})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := b.portal.Describe(ctx, item)
	if fault(t, err, credential.ClassRetryable); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSkewIsTheIssuersClockLessOurs(t *testing.T) {
	for _, off := range []time.Duration{0, -time.Hour, 10 * time.Minute, 300 * time.Millisecond} {
		base := time.Now()
		b := open(t, emulator.Config{Now: func() time.Time { return time.Now().Add(off) }})
		if _, _, ok := b.portal.Skew(); ok {
			t.Error("a skew before the first answer")
		}
		must(t, b.portal.Check(t.Context()))
		skew, answered, ok := b.portal.Skew()
		if d := skew - off; !ok || d > 1500*time.Millisecond || d < -1500*time.Millisecond || answered.Before(base) {
			t.Errorf("off by %s: skew %s at %s, %t", off, skew, answered, ok)
		}
		if off == 0 && skew != 0 {
			t.Errorf("a skew of %s from the resolution of the header", skew)
		}
	}
}

func TestExpiringIsPagedAndNamesSeats(t *testing.T) {
	b := open(t, emulator.Config{})
	for i := range 3 {
		item, err := b.portal.EnsureItem(t.Context(), order("r"+strings.Repeat("x", i)))
		must(t, err)
		for slot := 1; slot <= 2; slot++ {
			b.issue(credential.SeatID{Item: item, Slot: slot})
		}
	}
	keys, err := b.portal.Expiring(t.Context(), in(2*month))
	must(t, err)
	if len(keys) != 6 || keys[0].Seat.Slot != 1 || keys[1].Seat != keys[0].Seat.Sibling() || keys[0].Title != spec.Title || keys[0].Expires.IsZero() {
		t.Errorf("got %+v", keys)
	}
	keys, err = b.portal.Expiring(t.Context(), in(time.Hour))
	must(t, err)
	if len(keys) != 0 {
		t.Errorf("got %+v", keys)
	}

	// pages that name no next start, and one that goes round
	var starts []string
	p := fake(t, func(w http.ResponseWriter, r *http.Request) {
		must(t, r.ParseForm())
		starts = append(starts, r.PostForm.Get("start"))
		n := 100
		if len(starts) == 2 {
			n = 1
		}
		_, _ = w.Write([]byte(`{"items":[` + strings.TrimSuffix(strings.Repeat(`{"title":"t","itemId":"i","apiToken":2,"expirationDate":1779110552000},`, n), ",") + `]}`))
	})
	keys, err = p.Expiring(t.Context(), in(month))
	must(t, err)
	if diff := cmp.Diff([]string{"1", "101"}, starts); diff != "" || len(keys) != 101 {
		t.Errorf("%s; %d keys", diff, len(keys))
	}
	b2 := open(t, emulator.Config{Knobs: emulator.Knobs{NoAPITokens: true}})
	_, err = b2.portal.Expiring(t.Context(), in(month))
	fault(t, err, credential.ClassPermanent, "version")
}

func TestConnectionsAreKept(t *testing.T) {
	b := open(t, emulator.Config{}, func(c *arcgis.Config) { c.Concurrency = 16 })
	item := b.item()
	for range 10 {
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if _, err := b.portal.Describe(t.Context(), item); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	b.calls.mu.Lock()
	defer b.calls.mu.Unlock()
	if n := b.calls.connections; n > 34 {
		t.Errorf("%d connections for 16 items at a time", n)
	}
}
