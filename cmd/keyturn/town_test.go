package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

// town is everything around daemons that run in the test's own process:
// embedded NATS, the dev Vault and the emulated portal, which can fall silent.
type town struct {
	path     string // of the configuration
	operator control.Identity
	vault    *vaulttest.Server
	nats     *natstest.Server
	conn     *nats.Conn
	portal   *emulator.Portal
	calendar *schedule.Calendar

	portalOff atomic.Int64 // how far the portal's clock is ahead, in nanoseconds

	mu     sync.Mutex
	silent chan struct{} // closed when the portal answers again; nil = it does
	heard  []heardCall   // those that were answered
}

const townConfig = `installation: test
nats: {url: %q%s}
vault: {addr: %q, prefix: %q, login: {token: {file: %q}}}
issuers:
  portal: {type: arcgis, url: %q, username: %s, password: {value: %q}, min_lifetime: 1s, timeout: 5s%s}
daemon: {http: "127.0.0.1:0", workers: 64%s}
operators:
  keeper: {key: %s, roles: [{role: admin, namespaces: ["*"]}]}
operator: {seed: {file: keeper.nk}}
`

// newTown starts it all. Issuer and daemon are more fields of the configuration.
func newTown(t *testing.T, issuer, daemon string) *town {
	t.Helper()
	server := natstest.Start(t)
	conn, _ := natstest.Connect(t, server.ClientURL())
	return newTownAt(t, server, conn, "", issuer, daemon)
}

// newTownAt is newTown at a server to which the daemons log in with these fields.
func newTownAt(t *testing.T, broker *natstest.Server, conn *nats.Conn, login, issuer, daemon string) *town {
	t.Helper()
	w := &town{vault: vaulttest.Start(t), nats: broker, conn: conn, calendar: &schedule.Calendar{}}
	portal, err := emulator.New(emulator.Config{MinLifetime: time.Second, Now: func() time.Time { return time.Now().Add(time.Duration(w.portalOff.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	w.portal = portal
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(func() {
		w.speak()
		if err := portal.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	dir := t.TempDir()
	w.path = filepath.Join(dir, "keyturn.yaml")
	token := filepath.Join(dir, "token")
	w.operator, err = keptOperator(filepath.Join(dir, "keeper.nk"), "test")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(townConfig, w.nats.ClientURL(), login, w.vault.Addr, "kt-"+uuid.NewString()[:8], token,
		server.URL+portal.BasePath(), emulator.DefaultUser, emulator.DefaultPassword, issuer, daemon, w.operator.Public())
	for path, content := range map[string]string{w.path: text, token: w.vault.Token.Reveal()} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "setup succeeds", func() bool { return setting{}.run(t.Context(), w.load(t), io.Discard, "table") == nil })
	return w
}

// heardCall is a call that the portal answered.
type heardCall struct {
	path string
	at   time.Time
}

// calls are those that the portal answered since an instant.
func (w *town) calls(since time.Time) (calls []heardCall) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.heard {
		if !c.at.Before(since) {
			calls = append(calls, c)
		}
	}
	return calls
}

// serve is the portal, unless it is silent.
func (w *town) serve(answer http.ResponseWriter, request *http.Request) {
	w.mu.Lock()
	silent := w.silent
	w.mu.Unlock()
	if silent != nil {
		_, _ = io.Copy(io.Discard, request.Body) // so that the end of the request is noticed
		select {
		case <-silent:
		case <-request.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	w.mu.Lock()
	w.heard = append(w.heard, heardCall{request.URL.Path, time.Now()})
	w.mu.Unlock()
	w.portal.Handler().ServeHTTP(answer, request)
}

// hush lets no call be answered; speak ends that.
func (w *town) hush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = make(chan struct{})
}

func (w *town) speak() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent != nil {
		close(w.silent)
		w.silent = nil
	}
}

func (w *town) load(t testing.TB) *config.Config {
	t.Helper()
	c, err := config.Load(w.path, w.calendar)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// resident is a daemon of the town.
type resident struct {
	*daemon
	logs *observer.ObservedLogs
	end  func() error // stops it and returns how it ended
}

// daemon starts one and waits until it is ready.
func (w *town) daemon(t *testing.T) *resident {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	ready := make(chan struct{})
	d := newDaemon(w.load(t), w.calendar, zap.New(core), serveOptions{ready: func() { close(ready) }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.serve(ctx) }()
	r := &resident{daemon: d, logs: logs}
	r.end = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := r.end(); err != nil {
			t.Errorf("daemon %s: %v", d.id, err)
		}
		if t.Failed() {
			for _, line := range logs.All() {
				t.Logf("%s %s %s %v", d.id, line.Level, line.Message, line.ContextMap())
			}
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the daemon ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the daemon is not ready after a minute")
	}
	return r
}

// apply declares a credential through whichever daemon answers.
func (w *town) apply(t testing.TB, name credential.Name, issuer string, policy credential.Policy) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := control.NewClient(w.conn, w.operator).Apply(ctx, control.Apply{Name: name, Spec: credential.Spec{
		Issuer: issuer, Policy: policy, Item: credential.ItemSpec{Title: string(name), Privileges: []string{"premium:user:basemaps"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// short is a policy for keys of that lifetime, with a lead of a third of it.
func short(lifetime, drain time.Duration) credential.Policy {
	return credential.Policy{
		Lifetime: credential.Duration(lifetime), Drain: credential.Duration(drain), DrainSet: true, SettleSet: true,
	}
}

// states reads all credentials.
func (w *town) states(t testing.TB, record *publisher.Record) map[credential.Name]credential.State {
	t.Helper()
	states := map[credential.Name]credential.State{}
	if err := record.Recover(t.Context(), func(e credential.Entry) error {
		states[e.Name] = e.State
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return states
}

// counted adds up a counter or gauge over those that have all these label values.
func counted(t testing.TB, m *metrics, name string, labels ...string) float64 {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			has := map[string]bool{}
			for _, pair := range metric.GetLabel() {
				has[pair.GetValue()] = true
			}
			all := true
			for _, label := range labels {
				all = all && has[label]
			}
			if all {
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return sum
}
