package engine_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// patientLead makes claims last for seconds, so that a machine which is busy with
// other tests does not matter.
const patientLead = 20 * time.Second

// life is a credential that lives through everything: its first key, two
// rotations, a change of settings and an emergency.
type life struct {
	*world
	name   credential.Name
	engine *engine.Engine
	spec   credential.Spec
	// deadly is true where somebody kills the key in use, which no application
	// can be spared.
	deadly bool
	// between is what happens after the two rotations; nil = nothing.
	between func(ctx context.Context, t *testing.T, l *life)
}

// begin declares a credential.
func (w *world) begin(t testing.TB, e *engine.Engine, name credential.Name, item credential.ItemSpec, policy credential.Policy) *life {
	t.Helper()
	l := &life{world: w, name: name, engine: e, spec: credential.Spec{Issuer: "example", Policy: policy, Item: item}}
	l.spec.Item.Title = string(name)
	w.command(t, name, credential.Register{Actor: "test", Spec: l.spec})
	return l
}

func (l *life) until(ctx context.Context, t testing.TB, done func(engine.Result) bool) {
	t.Helper()
	must(t, drive(ctx, l.engine, l.name, done))
}

// declare changes the settings.
func (l *life) declare(t testing.TB, privileges ...string) {
	t.Helper()
	spec := l.spec
	spec.Item.Privileges = slices.Concat(l.spec.Item.Privileges, privileges)
	l.command(t, l.name, credential.Register{Actor: "test", Spec: spec})
}

// refused waits for a failure that says so, and what to try.
func (l *life) refused(ctx context.Context, t testing.TB, says string) {
	t.Helper()
	said := "nothing"
	err := drive(ctx, l.engine, l.name, func(r engine.Result) bool {
		if r.State.Failure != nil {
			said = r.State.Failure.Message
		}
		return strings.Contains(said, says) && strings.Contains(said, "(try: ")
	})
	if err != nil {
		t.Fatalf("%s: the failure on record is %q, want %q in it and what to try: %v", l.name, said, says, err)
	}
}

// run lives the whole life, with a stand-in application at its side from the
// first key on. Nothing but the item of the last key is left of it, and those
// that successions left.
func (l *life) run(ctx context.Context, t *testing.T) {
	t.Helper()
	app := l.watch(t, l.name, drain, 10*time.Millisecond)
	app.excused = l.deadly
	l.until(ctx, t, ended(1))
	generation := uint64(1)
	for range 2 {
		generation++
		l.rotate(t, l.name)
		l.until(ctx, t, ended(generation))
	}
	if l.between != nil {
		l.between(ctx, t, l)
		state, err := l.engine.Look(ctx, l.name)
		must(t, err)
		generation = state.Generation
	}
	before, err := l.store.Read(ctx, l.name)
	must(t, err)
	l.declare(t, "premium:user:geocode")
	generation++
	l.until(ctx, t, ended(generation))
	after, err := l.store.Read(ctx, l.name)
	must(t, err)
	if before.Primary.Seat.Item == after.Primary.Seat.Item {
		t.Errorf("%s: the settings changed, and the item did not", l.name)
	}
	app.check(t)
	if app.reads < 20 {
		t.Errorf("%s: the application read its key %d times only", l.name, app.reads)
	}

	app = l.watch(t, l.name, 0, 10*time.Millisecond) // nobody may hold on to a leaked key
	<-app.first
	l.command(t, l.name, compromise(credential.KeyPrimary))
	generation++
	l.until(ctx, t, func(r engine.Result) bool { return safe(r) && ended(generation)(r) })
	app.check(t)
	l.checkRest(t, l.name, generation)
}

// leftItems counts the items that successions have left at the portal, over all
// credentials.
func leftItems(t testing.TB, w *world) int {
	t.Helper()
	left := 0
	for _, item := range w.portal.Snapshot() {
		state, _, err := w.record.Load(t.Context(), credential.Name(item.Title))
		must(t, err)
		if primary, ok := state.Primary(); state.Generation > 0 && (!ok || primary.Item != item.ID) {
			left++
		}
	}
	return left
}

// managerKey makes an API key that may have these privileges, for a manager.
func (w *world) managerKey(ctx context.Context, t testing.TB, privileges ...string) (item string, key credential.Secret) {
	t.Helper()
	owner := w.issuer(t)
	item, err := owner.EnsureItem(ctx, credential.ItemOrder{
		Marker: credential.Marker{Installation: "test", Name: "test/manager", Rotation: "r"},
		Spec:   credential.ItemSpec{Title: "the manager's own key", Privileges: privileges, Personal: true},
	})
	must(t, err)
	minted, err := owner.Issue(ctx, credential.SeatID{Item: item, Slot: 1}, time.Now().Add(time.Hour))
	must(t, err)
	return item, minted.Key
}

// appToken asks for a short-lived token of the item's app, as an application does.
func (w *world) appToken(t testing.TB, item string) credential.Secret {
	t.Helper()
	read := func(field string) []string {
		return []string{w.post(t, "/content/users/"+user+"/items/"+item+"/registeredAppInfo", url.Values{"token": {w.token(t)}}, field)}
	}
	return credential.NewSecret(w.post(t, "/oauth2/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": read("client_id"), "client_secret": read("client_secret"),
	}, "access_token"))
}
