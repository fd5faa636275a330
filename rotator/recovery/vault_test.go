package recovery_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/recovery"
)

// rotator asks an engine, as the control service does.
type rotator struct {
	e     *engine.Engine
	mu    *sync.Mutex
	asked *[]credential.Name
}

func (r rotator) Rotate(ctx context.Context, lost recovery.Lost, reason string) error {
	r.mu.Lock()
	*r.asked = append(*r.asked, lost.Name)
	r.mu.Unlock()
	_, err := r.e.Command(ctx, lost.Name, credential.RequestRotation{ID: uuid.NewString(), Actor: "ann", Reason: reason, Now: true, Vault: &lost.Version})
	if errors.Is(err, credential.ErrNothing) {
		return nil
	}
	return err
}

// daemon passes over those credentials until the test ends.
func (w *world) daemon(t testing.TB, names ...credential.Name) *engine.Engine {
	t.Helper()
	e := w.engine(t)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, name := range names {
		group.Go(func() {
			ticker := time.NewTicker(20 * time.Millisecond)
			defer ticker.Stop()
			for ctx.Err() == nil {
				_, _ = e.Pass(ctx, name)
				select {
				case <-ctx.Done():
				case <-ticker.C:
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); group.Wait() })
	return e
}

func (w *world) states(t testing.TB) (states []credential.State, last uint64) {
	t.Helper()
	must(t, w.record.Recover(t.Context(), func(e credential.Entry) error {
		e.State.Name = e.Name
		states = append(states, e.State)
		last = max(last, e.Head.Sequence)
		return nil
	}))
	return states, last
}

// reissue is the command, with the daemon of the test.
func (w *world) reissue(t testing.TB, within time.Duration, asked *[]credential.Name) []recovery.Result {
	t.Helper()
	states, last := w.states(t)
	lost, err := recovery.FindLost(t.Context(), w.record, w.store, states, 4)
	must(t, err)
	var names []credential.Name
	for _, d := range w.declared {
		names = append(names, d.Name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	r := &recovery.Reissue{
		Rotator: rotator{w.daemon(t, names...), &sync.Mutex{}, asked}, Watcher: w.record, Secrets: w.store, After: last, Reason: "Vault lost",
	}
	return r.Run(ctx, lost)
}

// TestVaultLost: the record says what must be reissued and in which order; one
// run does it, with new keys in the new Vault, and the old ones end.
func TestVaultLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lives := func(d time.Duration) func(*credential.Policy) {
		return func(p *credential.Policy) {
			p.Lifetime = credential.Duration(d)
			shortLead(p)
		}
	}
	w.make(t, "maps/late", lives(3*time.Hour))
	w.make(t, "maps/soon", lives(time.Hour))
	w.make(t, "maps/next", lives(2*time.Hour))
	w.rotate(t, "maps/next", ended(2))
	states, _ := w.states(t)
	if lost, err := recovery.FindLost(t.Context(), w.record, w.store, states, 4); err != nil || len(lost) > 0 {
		t.Fatalf("nothing is lost, and it says %v, %v", lost, err)
	}
	old := map[credential.Name]credential.Stored{}
	for _, d := range w.declared {
		old[d.Name] = w.read(t, d.Name)
	}
	w.newVault(t)
	states, _ = w.states(t)
	lost, err := recovery.FindLost(t.Context(), w.record, w.store, states, 4)
	must(t, err)
	var order []credential.Name
	for _, l := range lost {
		order = append(order, l.Name)
		if l.Loss != recovery.LossMissing || l.Expires.IsZero() {
			t.Errorf("%+v", l)
		}
	}
	want := []credential.Name{"maps/soon", "maps/next", "maps/late"}
	if !slices.Equal(order, want) {
		t.Errorf("the order is %v, want %v", order, want)
	}
	var asked []credential.Name
	results := w.reissue(t, 60*time.Second, &asked)
	if len(asked) < 3 || !slices.Equal(asked[:3], want) {
		t.Errorf("asked for %v first, want %v", asked, want)
	}
	if len(results) != 3 {
		t.Errorf("%d results", len(results))
	}
	for _, result := range results {
		stored := w.read(t, result.Name)
		if !result.Done || result.Why != "" || stored.Primary.Fingerprint != result.Fingerprint || stored.Primary.Fingerprint == old[result.Name].Primary.Fingerprint {
			t.Errorf("%s: %+v; in Vault %s", result.Name, result, stored.Primary.Fingerprint)
		}
		if !w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") {
			t.Errorf("%s: the new key does not work", result.Name)
		}
	}
	for _, name := range want { // and the rotations end: the old keys are dead
		state := w.run(t, name, func(s credential.State) bool { return s.Rotation == nil })
		primary, _ := state.Primary()
		if left := w.aliveOf(name); len(left) != 1 || left[0] != primary.SeatID {
			t.Errorf("%s: alive %v, the primary is %s", name, left, primary.SeatID)
		}
		if stored := w.read(t, name); stored.Version != state.Vault.Version || !stored.Secondary.Secret.Empty() {
			t.Errorf("%s: Vault has version %d, the record %d", name, stored.Version, state.Vault.Version)
		}
	}
}
