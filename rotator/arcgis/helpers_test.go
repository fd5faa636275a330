package arcgis_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	user     = "keeper"
	password = "correct horse battery staple"
)

var spec = credential.ItemSpec{Title: "a key", Privileges: []string{"premium:user:basemaps", "premium:user:geocode:stored"}}

// bench is an emulated portal behind a real HTTP server, with a client.
type bench struct {
	*testing.T
	emulated *emulator.Portal
	server   *httptest.Server
	portal   *arcgis.Portal
	calls    *calls
}

// calls keeps what Observe and the wire saw.
type calls struct {
	mu          sync.Mutex
	names       []string
	requests    []*http.Request
	connections int // made so far
}

func (c *calls) observe(op string, _ time.Duration, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, op)
}

// take returns the names since the last take, and forgets them.
func (c *calls) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := c.names
	c.names = nil
	return names
}

// wire returns the requests since the last wire, and forgets them.
func (c *calls) wire() []*http.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	requests := c.requests
	c.requests = nil
	return requests
}

func open(t *testing.T, e emulator.Config, change ...func(*arcgis.Config)) *bench {
	t.Helper()
	return openOn(t, e, false, change...)
}

// openOn speaks HTTP/2 over TLS, or plain HTTP/1.
func openOn(t *testing.T, e emulator.Config, h2 bool, change ...func(*arcgis.Config)) *bench {
	t.Helper()
	if e.Users == nil {
		e.Users = map[string]string{user: password}
	}
	if e.MinLifetime == 0 {
		e.MinLifetime = time.Second
	}
	emulated, err := emulator.New(e)
	must(t, err)
	b := &bench{T: t, emulated: emulated, calls: &calls{}}
	handler := confide(emulated.Handler())
	b.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		must(t, r.ParseForm())
		b.calls.mu.Lock()
		b.calls.requests = append(b.calls.requests, r)
		b.calls.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	b.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	b.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			b.calls.mu.Lock()
			b.calls.connections++
			b.calls.mu.Unlock()
		}
	}
	if b.server.EnableHTTP2 = h2; h2 {
		b.server.StartTLS()
		change = append(change, func(c *arcgis.Config) {
			pool := x509.NewCertPool()
			pool.AddCert(b.server.Certificate())
			c.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		})
	} else {
		b.server.Start()
	}
	t.Cleanup(func() {
		must(t, emulated.Close())
		b.server.Close()
	})
	b.portal = client(t, b.server.URL+emulated.BasePath(), append([]func(*arcgis.Config){func(c *arcgis.Config) { c.Observe = b.calls.observe }}, change...)...)
	return b
}

// client logs in with the password unless changed.
func client(t testing.TB, url string, change ...func(*arcgis.Config)) *arcgis.Portal {
	t.Helper()
	c := arcgis.Config{Name: "example", URL: url, Username: user, Password: secret(password), Timeout: 5 * time.Second}
	for _, f := range change {
		f(&c)
	}
	observe := c.Observe
	c.Observe = func(op string, took time.Duration, err error) {
		told.error(err)
		if observe != nil {
			observe(op, took, err)
		}
	}
	p, err := arcgis.New(c)
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

func secret(value string) func() (credential.Secret, error) {
	return func() (credential.Secret, error) { return credential.NewSecret(value), nil }
}

func timeout(d time.Duration) func(*arcgis.Config) {
	return func(c *arcgis.Config) { c.Timeout = d }
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) faults(rules ...emulator.Rule) {
	b.Helper()
	must(b, b.emulated.SetFaults(emulator.Faults{Rules: rules}))
}

func order(rotation string) credential.ItemOrder {
	return credential.ItemOrder{Marker: credential.Marker{Installation: "test", Name: "ns/name", Rotation: rotation}, Spec: spec}
}

func (b *bench) item() string {
	b.Helper()
	item, err := b.portal.EnsureItem(b.Context(), order("r-1"))
	must(b, err)
	return item
}

func in(d time.Duration) time.Time { return time.Now().Add(d).UTC().Truncate(time.Second) }

const month = 30 * 24 * time.Hour

func (b *bench) issue(seat credential.SeatID) credential.Minted {
	b.Helper()
	minted, err := b.portal.Issue(b.Context(), seat, in(month))
	must(b, err)
	return minted
}

// fault demands a fault of a class, and that its text gives nothing away.
func fault(t testing.TB, err error, class credential.Class, parts ...string) *credential.Fault {
	t.Helper()
	told.error(err)
	var f *credential.Fault
	if !errors.As(err, &f) {
		t.Fatalf("want a %s fault, got %v", class, err)
	}
	if f.Class != class {
		t.Fatalf("want a %s fault, got a %s one: %v", class, f.Class, err)
	}
	if f.System != "portal example" {
		t.Errorf("the system is %q", f.System)
	}
	text := f.Error()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("want %q in: %s", part, text)
		}
	}
	for _, never := range []string{password, "<html", "AAPT", "token=", "client_secret="} {
		if strings.Contains(text, never) {
			t.Errorf("%q stands in: %s", never, text)
		}
	}
	return f
}

// fake is a portal that answers what a test says.
func fake(t *testing.T, answer http.HandlerFunc, change ...func(*arcgis.Config)) *arcgis.Portal {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/sharing/rest/generateToken", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"token":"manager-token","expires":` + strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10) + `,"ssl":true}`))
	})
	mux.HandleFunc("/", answer)
	server := httptest.NewServer(confide(mux))
	t.Cleanup(server.Close)
	return client(t, server.URL+"/sharing/rest", change...)
}
