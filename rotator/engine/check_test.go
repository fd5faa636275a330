package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/credential"
)

// sentry stands before the portal and looks at each call that kills a key:
// applications must not be using that key, and must have a working one.
type sentry struct {
	*arcgis.Portal
	world *world
}

func (s *sentry) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error) {
	s.look(ctx, "generate", seat)
	return s.Portal.Issue(ctx, seat, expires)
}

func (s *sentry) Revoke(ctx context.Context, seat credential.SeatID) error {
	s.look(ctx, "revoke", seat)
	return s.Portal.Revoke(ctx, seat)
}

// Remove looks at both slots: neither may hold a key that applications use.
func (s *sentry) Remove(ctx context.Context, item string, revoke bool) error {
	for slot := 1; slot <= 2; slot++ {
		s.look(ctx, "delete", credential.SeatID{Item: item, Slot: slot})
	}
	return s.Portal.Remove(ctx, item, revoke)
}

func (s *sentry) look(ctx context.Context, what string, seat credential.SeatID) {
	w := s.world
	for _, item := range w.portal.Snapshot() {
		if item.ID != seat.Item {
			continue
		}
		name := credential.Name(item.Title)
		stored, err := w.store.Read(ctx, name)
		if err != nil || stored.Primary.Secret.Empty() {
			return
		}
		state, _, err := w.record.Load(ctx, name)
		if leaked, ok := state.Seat(seat); err != nil || state.Removing != nil || state.Killed != (credential.SeatID{}) || (ok && leaked.Leak != nil && leaked.Leak.Immediately) {
			return // an operator wanted that
		}
		if stored.Primary.Seat == seat {
			w.violated(name, "%s on %s, which Vault shows as the primary", what, seat)
		}
		if what == "revoke" && !w.works(stored.Primary.Secret) {
			w.violated(name, "revoke on %s while Vault's primary does not work", seat)
		}
	}
}

func (w *world) violated(name credential.Name, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations[name] = append(w.violations[name], fmt.Sprintf(format, args...))
}

// app is a stand-in application: it reads api_key from Vault and uses it at
// once, over and over.
type app struct {
	name   credential.Name
	stop   context.CancelFunc
	first  chan struct{} // closed at the first key
	done   chan struct{}
	reads  int
	faults []string
	// excused is true where an operator put up with applications having no key.
	excused bool
}

// watch starts an application. It counts from the first key that it gets.
// A key that took longer than the drain on its way to the application is not
// held against anybody; with no drain, one that Vault no longer shows is not.
func (w *world) watch(t testing.TB, name credential.Name, drain, pause time.Duration) *app {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a := &app{name: name, stop: cancel, first: make(chan struct{}), done: make(chan struct{})}
	stopOnce := sync.OnceFunc(func() { cancel(); <-a.done })
	a.stop = stopOnce
	t.Cleanup(stopOnce)
	go func() {
		defer close(a.done)
		ticker := time.NewTicker(pause)
		defer ticker.Stop()
		for ctx.Err() == nil {
			began := time.Now()
			stored, err := w.store.Read(ctx, name)
			if key := stored.Primary.Secret; err == nil && !key.Empty() {
				if a.reads++; a.reads == 1 {
					close(a.first)
				}
				works := w.works(key)
				if !works && drain == 0 {
					again, err := w.store.Read(ctx, name)
					works = err != nil || again.Primary.Secret != key
				}
				if !works && (drain == 0 || time.Since(began) < drain) {
					a.faults = append(a.faults, fmt.Sprintf("%s: the key of version %d (mint %d) was refused",
						time.Now().Format("05.000"), stored.Version, stored.Primary.Mint))
				}
			} else if err == nil && a.reads > 0 {
				a.faults = append(a.faults, fmt.Sprintf("version %d in Vault has no key", stored.Version))
			}
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	}()
	return a
}

// check ends the application and says what it met.
func (a *app) check(t testing.TB) {
	t.Helper()
	if a.excused {
		a.stop()
		return
	}
	select {
	case <-a.first:
	case <-time.After(5 * time.Second):
		t.Errorf("%s: the application never got a key", a.name)
	}
	a.stop()
	for i, fault := range a.faults {
		if i == 5 {
			t.Errorf("%s: and %d refusals more", a.name, len(a.faults)-i)
			break
		}
		t.Errorf("%s: %s", a.name, fault)
	}
}

// checkEnd demands the one end that every rotation has, whatever happened on
// the way: one seat, its key in Vault, and nothing left over anywhere.
func (w *world) checkEnd(t testing.TB, name credential.Name, generation uint64) {
	t.Helper()
	state := w.checkRest(t, name, generation)
	primary, _ := state.Primary()
	w.checkPortal(t, name, primary.SeatID, 1)
}

// checkRest is checkEnd, but for the items that a succession has left.
func (w *world) checkRest(t testing.TB, name credential.Name, generation uint64) credential.State {
	t.Helper()
	state, _, err := w.record.Load(t.Context(), name)
	must(t, err)
	primary, ok := state.Primary()
	if !ok || len(state.Seats) != 1 || state.Rotation != nil || state.Generation != generation {
		t.Errorf("%s: generation %d, rotation %+v, seats %+v", name, state.Generation, state.Rotation, state.Seats)
	}
	stored, err := w.store.Read(t.Context(), name)
	must(t, err)
	if !w.works(stored.Primary.Secret) {
		t.Errorf("%s: Vault's primary does not work at the portal", name)
	}
	if stored.Primary.Fingerprint != primary.Fingerprint || stored.Primary.Seat != primary.SeatID || stored.Primary.Mint != primary.Mint {
		t.Errorf("%s: Vault's primary is %s on %s, the record's %s on %s", name,
			stored.Primary.Fingerprint, stored.Primary.Seat, primary.Fingerprint, primary.SeatID)
	}
	if !stored.Secondary.Secret.Empty() {
		t.Errorf("%s: Vault still shows a second key, mint %d", name, stored.Secondary.Mint)
	}
	if stored.Version != state.Vault.Version {
		t.Errorf("%s: Vault's version is %d, the record's %d", name, stored.Version, state.Vault.Version)
	}
	w.checkKeys(t, name, primary.SeatID)
	w.checkVersions(t, name)
	w.checkHistory(t, name)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, violation := range w.violations[name] {
		t.Errorf("%s: %s", name, violation)
	}
	return state
}

// checkGone demands the end of a removal: no item, no key, no secret, and a record
// that is closed.
func (w *world) checkGone(t testing.TB, name credential.Name) {
	t.Helper()
	state, _, err := w.record.Load(t.Context(), name)
	must(t, err)
	if state.Status != credential.StatusRemoved || len(state.Seats)+len(state.Old)+len(state.Claims) != 0 {
		t.Errorf("%s: %+v", name, state)
	}
	stored, err := w.store.Read(t.Context(), name)
	must(t, err)
	if !stored.Missing {
		t.Errorf("%s: Vault still shows version %d", name, stored.Version)
	}
	w.checkPortal(t, name, credential.SeatID{}, 0)
	w.checkHistory(t, name)
}

// checkPortal: so many items, and no active key but on the primary's seat.
func (w *world) checkPortal(t testing.TB, name credential.Name, primary credential.SeatID, items int) {
	t.Helper()
	w.checkKeys(t, name, primary)
	if found := w.items(name); found != items {
		t.Errorf("%s: %d items at the portal, want %d", name, found, items)
	}
}

// items counts the items that were made for a credential.
func (w *world) items(name credential.Name) (n int) {
	for _, item := range w.portal.Snapshot() {
		if item.Title == string(name) {
			n++
		}
	}
	return n
}

// checkKeys: there is no active key but on the primary's seat.
func (w *world) checkKeys(t testing.TB, name credential.Name, primary credential.SeatID) {
	t.Helper()
	for _, item := range w.portal.Snapshot() {
		if item.Title != string(name) {
			continue
		}
		for i, slot := range item.Slots {
			id := credential.SeatID{Item: item.ID, Slot: i + 1}
			if slot.Active && time.Now().Before(slot.KeyExpires) && id != primary {
				t.Errorf("%s: a key is alive on %s, which is not the primary", name, id)
			}
		}
	}
}

// checkVersions: every key that any version in Vault still shows works.
func (w *world) checkVersions(t testing.TB, name credential.Name) {
	t.Helper()
	path := w.prefix + "/" + string(name)
	versions, _ := w.vault.Look(t, "secret/metadata/"+path)["versions"].(map[string]any)
	if len(versions) == 0 {
		t.Errorf("%s: no versions in Vault", name)
	}
	client := w.vault.Client(t, w.vault.Token)
	for version := range versions {
		secret, err := client.Logical().ReadWithDataWithContext(t.Context(), "secret/data/"+path, map[string][]string{"version": {version}})
		must(t, err)
		if secret == nil {
			continue
		}
		fields, _ := secret.Data["data"].(map[string]any)
		for _, field := range []string{"api_key", "secondary_api_key"} {
			if key, _ := fields[field].(string); key != "" && !w.works(credential.NewSecret(key)) {
				t.Errorf("%s: version %s shows a dead key as %s", name, version, field)
			}
		}
	}
}

// checkHistory replays the record, and looks at each claim.
func (w *world) checkHistory(t testing.TB, name credential.Name) {
	t.Helper()
	state := credential.State{}
	for i, entry := range w.history(t, name) {
		for _, claim := range claimsOf(entry.Event.Fact) {
			seat, ok := state.Seat(claim.Seat)
			killed := claim.Op == credential.OpRevoke && (state.Removing != nil || (seat.Leak != nil && seat.Leak.Immediately))
			if ok && seat.Role == credential.RolePrimary && !killed {
				t.Errorf("%s: event %d claims %s on the primary's seat", name, i, claim.Op)
			}
		}
		state = credential.Evolve(state, entry.Event)
		state.Name = name
		got, err := json.Marshal(state)
		must(t, err)
		want, err := json.Marshal(entry.State)
		must(t, err)
		if string(got) != string(want) {
			t.Fatalf("%s: event %d replays as\n%s\nbut carries\n%s", name, i, got, want)
		}
	}
}

func claimsOf(fact credential.Fact) []credential.Claim {
	switch f := fact.(type) {
	case credential.Started:
		return []credential.Claim{f.Claim}
	case credential.StepClaimed:
		return []credential.Claim{f.Claim}
	case credential.Retiring:
		return []credential.Claim{f.Claim}
	}
	return nil
}
