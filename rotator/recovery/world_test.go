package recovery_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/recovery"
	"github.com/keyturn/keyturn/rotator/schedule"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

// world is all real: JetStream, the Vault core, the emulated portal.
type world struct {
	portal   *emulator.Portal
	issuer   *arcgis.Portal
	vault    *vaulttest.Server
	store    *vault.Client
	record   *publisher.Record
	signer   *publisher.Signer
	calendar *schedule.Calendar
	declared []recovery.Declared
	// strangers are the items that carry no marker of ours, by their titles.
	strangers []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{calendar: &schedule.Calendar{}, vault: vaulttest.Start(t)}
	var err error
	w.portal, err = emulator.New(emulator.Config{Users: map[string]string{"keeper": "password"}, MinLifetime: time.Second})
	must(t, err)
	server := httptest.NewServer(w.portal.Handler())
	t.Cleanup(func() {
		must(t, w.portal.Close())
		server.Close()
	})
	w.issuer, err = arcgis.New(arcgis.Config{
		Name: "example", URL: server.URL + "/sharing/rest", Username: "keeper", Concurrency: 16,
		Password: func() (credential.Secret, error) { return credential.NewSecret("password"), nil },
	})
	must(t, err)
	t.Cleanup(w.issuer.Close)
	seed, _, err := publisher.GenerateSeed()
	must(t, err)
	w.signer, err = publisher.NewSigner(seed)
	must(t, err)
	w.newVault(t)
	w.newStream(t)
	return w
}

// newStream is what setup does on servers that have no stream: after the first
// time it is the loss of the record.
func (w *world) newStream(t testing.TB) {
	t.Helper()
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	must(t, publisher.Setup(t.Context(), js, 1))
	must(t, publisher.PublishSigner(t.Context(), js, w.signer, "test", nil))
	record, err := publisher.Open(t.Context(), publisher.Config{
		JetStream: js, Signer: w.signer, Installation: "test", Root: w.signer.Public(), // the pin of before stays valid
	})
	must(t, err)
	w.record = record
}

// newVault is an empty mount: after the first time it is the loss of Vault.
func (w *world) newVault(t testing.TB) {
	t.Helper()
	if w.store != nil {
		w.vault = vaulttest.Start(t)
	}
	token := w.vault.Token
	store, err := vault.New(vault.Config{
		Addr: w.vault.Addr, Login: vault.Login{Token: func() (credential.Secret, error) { return token, nil }},
	})
	must(t, err)
	must(t, store.Login(t.Context()))
	t.Cleanup(store.Close)
	w.store = store
}

// marking is the portal, with the markers that the test says its items have.
type marking struct {
	*arcgis.Portal
	w *world
}

// Marked implements recovery.Marking.
func (m marking) Marked(_ context.Context, installation string, names []credential.Name) ([]credential.MarkedItem, error) {
	var marked []credential.MarkedItem
	for _, item := range m.w.portal.Snapshot() {
		name := credential.Name(item.Title)
		if installation == "test" && !slices.Contains(m.w.strangers, item.Title) && slices.Contains(names, name) {
			marked = append(marked, credential.MarkedItem{Item: item.ID, Title: item.Title, Name: name})
		}
	}
	return marked, nil
}

func (w *world) recovery(change ...func(*recovery.Config)) *recovery.Recovery {
	c := recovery.Config{
		Record: w.record, Secrets: w.store, Issuers: map[string]recovery.Issuer{"example": marking{w.issuer, w}},
		Calendar: w.calendar, Installation: "test", Daemon: "recover", Actor: "ann", Reason: "the disk is gone",
		Now: time.Now, NewID: uuid.NewString,
	}
	for _, f := range change {
		f(&c)
	}
	return recovery.New(c)
}

// engine is a daemon's.
func (w *world) engine(t testing.TB) *engine.Engine {
	t.Helper()
	logger := zap.NewNop()
	if testing.Verbose() {
		logger = zaptest.NewLogger(t)
	}
	return engine.New(engine.Config{
		Record: w.record, Store: w.store, Issuers: map[string]engine.Issuer{"example": w.issuer},
		Calendar: w.calendar, Installation: "test", Daemon: "d-" + uuid.NewString()[:8], Now: time.Now, Logger: logger,
	})
}

// declare notes a credential: keys of two hours, whose lead is long enough for
// claims to be long, and whose drain is short.
func (w *world) declare(t testing.TB, name credential.Name, change ...func(*credential.Policy)) {
	t.Helper()
	p := credential.Policy{
		Lifetime: credential.Duration(2 * time.Hour), RotateBefore: credential.Duration(30 * time.Minute),
		Drain: credential.Duration(200 * time.Millisecond), DrainSet: true, SettleSet: true,
	}
	for _, f := range change {
		f(&p)
	}
	p, err := p.Resolve(time.Second, w.calendar, time.Now())
	must(t, err)
	w.declared = append(w.declared, recovery.Declared{Name: name, Spec: credential.Spec{
		Issuer: "example", Policy: p,
		Item: credential.ItemSpec{Title: string(name), Privileges: []string{"premium:user:basemaps"}},
	}})
}

// make is a credential with its first key, registered as apply does.
func (w *world) make(t testing.TB, name credential.Name, change ...func(*credential.Policy)) {
	t.Helper()
	w.declare(t, name, change...)
	_, err := w.engine(t).Command(t.Context(), name, credential.Register{Actor: "ann", Spec: w.declared[len(w.declared)-1].Spec})
	must(t, err)
	w.run(t, name, ended(1))
}

// rotate asks for a rotation and runs it until done.
func (w *world) rotate(t testing.TB, name credential.Name, done func(credential.State) bool) credential.State {
	t.Helper()
	_, err := w.engine(t).Command(t.Context(), name, credential.RequestRotation{ID: uuid.NewString(), Actor: "ann", Now: true})
	must(t, err)
	return w.run(t, name, done)
}

// run lets an engine go on until done.
func (w *world) run(t testing.TB, name credential.Name, done func(credential.State) bool) credential.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	e := w.engine(t)
	for {
		result, err := e.Pass(ctx, name)
		must(t, err)
		if done(result.State) {
			return result.State
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

// ended: so many promotions, and nothing open.
func ended(generation uint64) func(credential.State) bool {
	return func(s credential.State) bool { return s.Generation >= generation && s.Rotation == nil }
}

// promoted: so many promotions, the last one still drains.
func promoted(generation uint64) func(credential.State) bool {
	return func(s credential.State) bool { return s.Generation >= generation }
}

func ready(s credential.State) bool {
	return s.Rotation != nil && s.Rotation.Phase == credential.PhaseReady
}

func (w *world) load(t testing.TB, name credential.Name) credential.State {
	t.Helper()
	state, _, err := w.record.Load(t.Context(), name)
	must(t, err)
	return state
}

func (w *world) read(t testing.TB, name credential.Name) credential.Stored {
	t.Helper()
	stored, err := w.store.Read(t.Context(), name)
	must(t, err)
	return stored
}

// applications use the api_key of some credentials all the time.
type applications struct {
	stop func() []string
}

// use reads and uses the keys until stop, which tells what was refused.
func (w *world) use(t testing.TB, names ...credential.Name) applications {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var mu sync.Mutex
	var refused []string
	for _, name := range names {
		group.Go(func() {
			ticker := time.NewTicker(3 * time.Millisecond)
			defer ticker.Stop()
			uses := 0
			for ctx.Err() == nil {
				stored, err := w.store.Read(ctx, name)
				if err == nil {
					uses++
					// the key of a version that was replaced in between works until the drain ends
					if !w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") {
						mu.Lock()
						refused = append(refused, string(name))
						mu.Unlock()
					}
				}
				select {
				case <-ctx.Done():
				case <-ticker.C:
				}
			}
			if uses == 0 {
				mu.Lock()
				refused = append(refused, string(name)+" was never used")
				mu.Unlock()
			}
		})
	}
	stop := sync.OnceValue(func() []string {
		cancel()
		group.Wait()
		return refused
	})
	t.Cleanup(func() { stop() })
	return applications{stop}
}

// aliveOf are the seats with a live key on the items of a title.
func (w *world) aliveOf(name credential.Name) []credential.SeatID {
	var seats []credential.SeatID
	for _, item := range w.portal.Snapshot() {
		for i, slot := range item.Slots {
			if item.Title == string(name) && slot.Active && time.Now().Before(slot.KeyExpires) {
				seats = append(seats, credential.SeatID{Item: item.ID, Slot: i + 1})
			}
		}
	}
	return seats
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
