package engine_test

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/schedule"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

// world is everything around an engine, all of it real: JetStream, the Vault
// core, the emulated portal.
type world struct {
	portal    *emulator.Portal
	portalURL string
	vault     *vaulttest.Server
	record    *publisher.Record
	store     *vault.Client
	js        jetstream.JetStream
	calendar  *schedule.Calendar
	signer    *publisher.Signer
	prefix    string
	referer   string      // of the applications
	logger    *zap.Logger // of the engines; nil = the test's when it is verbose

	mu         sync.Mutex
	violations map[credential.Name][]string // what the sentry saw
}

const (
	user     = "keeper"
	password = "correct horse battery staple"
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		calendar: &schedule.Calendar{}, vault: vaulttest.Start(t), prefix: "kt-" + uuid.NewString()[:8],
		violations: map[credential.Name][]string{},
	}

	w.open(t, emulator.Config{})
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	w.js = js
	must(t, publisher.Setup(t.Context(), js, 1))
	seed, _, err := publisher.GenerateSeed()
	must(t, err)
	w.signer, err = publisher.NewSigner(seed)
	must(t, err)
	must(t, publisher.PublishSigner(t.Context(), js, w.signer, "test", nil))
	w.record, err = publisher.Open(t.Context(), publisher.Config{JetStream: js, Signer: w.signer, Installation: "test"})
	must(t, err)

	w.store, err = vault.New(vault.Config{
		Addr: w.vault.Addr, Prefix: w.prefix,
		Login: vault.Login{Token: func() (credential.Secret, error) { return w.vault.Token, nil }},
	})
	must(t, err)
	must(t, w.store.Login(t.Context()))
	t.Cleanup(w.store.Close)
	return w
}

// open starts the portal.
func (w *world) open(t testing.TB, c emulator.Config) {
	t.Helper()
	c.Users = map[string]string{user: password}
	if c.MinLifetime == 0 {
		c.MinLifetime = time.Second
	}
	portal, err := emulator.New(c)
	must(t, err)
	server := httptest.NewServer(portal.Handler())
	t.Cleanup(func() {
		must(t, portal.Close())
		server.Close()
	})
	w.portal, w.portalURL = portal, server.URL+portal.BasePath()
}

// beside is a world with the same Vault and record, and a portal of its own.
func (w *world) beside(t testing.TB, c emulator.Config) *world {
	t.Helper()
	other := &world{
		vault: w.vault, record: w.record, store: w.store, js: w.js, calendar: w.calendar, signer: w.signer,
		prefix: w.prefix, logger: w.logger, violations: map[credential.Name][]string{},
	}
	other.open(t, c)
	return other
}

// works asks the portal for a key that comes from where applications are.
func (w *world) works(key credential.Secret) bool { return w.portal.KeyWorks(key.Reveal(), w.referer) }

// issuer logs in at the portal.
func (w *world) issuer(t testing.TB, change ...func(*arcgis.Config)) *arcgis.Portal {
	t.Helper()
	config := arcgis.Config{
		Name: "example", URL: w.portalURL, Username: user, Concurrency: 64,
		Password: func() (credential.Secret, error) { return credential.NewSecret(password), nil },
	}
	for _, f := range change {
		f(&config)
	}
	issuer, err := arcgis.New(config)
	must(t, err)
	t.Cleanup(issuer.Close)
	return issuer
}

// ports may be replaced one by one, to put faults between.
type ports struct {
	record engine.Record
	store  engine.SecretStore
	issuer engine.Issuer
}

func (w *world) ports(t testing.TB, change ...func(*arcgis.Config)) ports {
	return ports{record: w.record, store: w.store, issuer: &sentry{Portal: w.issuer(t, change...), world: w}}
}

// engine is a daemon's engine with an id of its own.
func (w *world) engine(t testing.TB, p ports, hooks engine.Hooks) *engine.Engine {
	t.Helper()
	logger := zap.NewNop()
	if w.logger != nil {
		logger = w.logger
	} else if testing.Verbose() {
		logger = zaptest.NewLogger(t)
	}
	return engine.New(engine.Config{
		Record: p.record, Store: p.store, Issuers: map[string]engine.Issuer{"example": p.issuer},
		Calendar: w.calendar, Installation: "test", Daemon: "d-" + uuid.NewString()[:8],
		Now: time.Now, Logger: logger, Hooks: hooks,
	})
}

// policy resolves a policy for short-lived keys.
func (w *world) policy(t testing.TB, lifetime, lead, drain time.Duration) credential.Policy {
	t.Helper()
	p, err := credential.Policy{
		Lifetime: credential.Duration(lifetime), RotateBefore: credential.Duration(lead),
		Drain: credential.Duration(drain), DrainSet: true, SettleSet: true,
	}.Resolve(time.Second, w.calendar, time.Now())
	must(t, err)
	return p
}

// register appends the first event, as the control service does.
func (w *world) register(t testing.TB, name credential.Name, policy credential.Policy) {
	t.Helper()
	w.command(t, name, credential.Register{Actor: "test", Spec: specOf(string(name), policy)})
}

func specOf(title string, policy credential.Policy) credential.Spec {
	return credential.Spec{
		Issuer: "example", Policy: policy,
		Item: credential.ItemSpec{Title: title, Privileges: []string{"premium:user:basemaps"}},
	}
}

// command decides and appends one command, again when a daemon was first.
func (w *world) command(t testing.TB, name credential.Name, c credential.Command) {
	t.Helper()
	for {
		state, head, err := w.record.Load(t.Context(), name)
		must(t, err)
		event, err := credential.Decide(state, c, credential.View{Now: time.Now(), Daemon: "test", ID: uuid.NewString(), Calendar: w.calendar})
		must(t, err)
		after := credential.Evolve(state, event)
		after.Name = name
		_, err = w.record.Append(t.Context(), name, head, event, after)
		if credential.IsClass(err, credential.ClassConflict) {
			continue
		}
		must(t, err)
		return
	}
}

// rotate asks for a rotation now.
func (w *world) rotate(t testing.TB, name credential.Name) {
	t.Helper()
	w.command(t, name, credential.RequestRotation{ID: uuid.NewString(), Actor: "test", Now: true})
}

// run lets an engine go on with a credential until done, waiting as it asks.
func run(ctx context.Context, t testing.TB, e *engine.Engine, name credential.Name, done func(engine.Result) bool) engine.Result {
	t.Helper()
	for {
		result, err := e.Pass(ctx, name)
		if err != nil {
			t.Fatalf("pass of %s: %v", name, err)
		}
		if done(result) {
			return result
		}
		if result.Next.At.IsZero() {
			t.Fatalf("%s waits for ever: %s: %s", name, result.Next.Reason, result.Next.Why)
		}
		timer := time.NewTimer(time.Until(result.Next.At))
		select {
		case <-ctx.Done():
			timer.Stop()
			t.Fatalf("%s: time is up while it waits: %s: %s", name, result.Next.Reason, result.Next.Why)
		case <-timer.C:
		}
	}
}

// history collects the events of a credential.
func (w *world) history(t testing.TB, name credential.Name) []credential.Entry {
	t.Helper()
	var entries []credential.Entry
	must(t, w.record.History(t.Context(), name, func(e credential.Entry) error {
		entries = append(entries, e)
		return nil
	}))
	return entries
}

// inspect has a credential compared with issuer and Vault.
func inspect(ctx context.Context, t testing.TB, e *engine.Engine, name credential.Name) {
	t.Helper()
	_, err := e.Inspect(ctx, name)
	must(t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
