package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
)

// probed is how often the daemons of these tests compare, and watched a policy whose
// planned rotation is far away; it lets a heal happen each eight seconds.
const probed = 2 * time.Second

func watched() credential.Policy {
	p := short(10*time.Minute, 2*time.Second)
	p.RotateBefore = credential.Duration(16 * time.Second)
	return p
}

// meddled is a credential that somebody lays hands on, and its application.
type meddled struct {
	*town
	daemon *resident
	store  *vault.Client
	name   credential.Name
	app    *patron
	before credential.State
	deed   time.Time
}

// seat is where the primary was before the deed.
func (m *meddled) seat() credential.Seat {
	primary, _ := m.before.Primary()
	return primary
}

// history is what was appended since the deed, and when.
func (m *meddled) history(t *testing.T) (entries []credential.Entry) {
	t.Helper()
	if err := m.daemon.record.History(t.Context(), m.name, func(e credential.Entry) error {
		if e.Event.At.After(m.deed) {
			entries = append(entries, e)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return entries
}

// found are the findings since the deed, each as often as it was told.
func (m *meddled) found(t *testing.T) (kinds []credential.FindingKind) {
	t.Helper()
	for _, e := range m.history(t) {
		if f, ok := e.Event.Fact.(credential.Drifted); ok && !f.Healed {
			kinds = append(kinds, f.Finding.Kind)
		}
	}
	return kinds
}

func (m *meddled) state(t *testing.T) credential.State { return m.states(t, m.daemon.record)[m.name] }

// healed waits until applications have another key, and returns when it came.
func (m *meddled) healed(t *testing.T) time.Time {
	t.Helper()
	eventually(t, "another key is promoted", func() bool {
		return m.state(t).Generation > m.before.Generation && m.works(m.keys(t, m.name).Primary)
	})
	return time.Now()
}

// secret writes other fields into the secret, as a person does.
func (m *meddled) secret(t *testing.T, change func(fields map[string]any)) {
	t.Helper()
	path := "secret/data/" + m.load(t).Vault.Prefix + "/" + string(m.name)
	fields, _ := m.vault.Look(t, path)["data"].(map[string]any)
	change(fields)
	m.vault.Do(t, path, map[string]any{"data": fields, "options": map[string]any{"cas": m.keys(t, m.name).Version}})
}

// dates sets the expiration date of a slot, as a person does.
func (m *meddled) dates(t *testing.T, seat credential.SeatID, expires time.Time) {
	t.Helper()
	answer := m.manager(t, "/content/users/"+m.made(t, m.before).Owner+"/items/"+seat.Item+"/update", "",
		url.Values{fmt.Sprintf("apiToken%dExpirationDate", seat.Slot): {strconv.FormatInt(expires.UnixMilli(), 10)}})
	if answer["error"] != nil {
		t.Fatal(answer)
	}
}

// patron is a stand-in application: it loads its key from Vault every few
// milliseconds and uses it, and keeps the one that it has while there is none.
type patron struct {
	mu      sync.Mutex
	used    int
	refused []time.Time
}

func (m *meddled) uses(t *testing.T) *patron {
	return m.patron(t, m.store, m.name, credential.Secret{})
}

// patron starts one that has a key already, unless that is empty.
func (w *town) patron(t *testing.T, store *vault.Client, name credential.Name, key credential.Secret) *patron {
	t.Helper()
	p := &patron{}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { stop(); <-ended })
	load := func(have credential.Secret) credential.Secret {
		if stored, err := store.Read(ctx, name); err == nil && !stored.Primary.Secret.Empty() {
			return stored.Primary.Secret
		}
		return have
	}
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			began := time.Now()
			if key = load(key); key.Empty() {
				continue
			}
			works := w.portal.KeyWorks(key.Reveal(), "")
			p.mu.Lock()
			if p.used++; !works {
				p.refused = append(p.refused, began)
			}
			p.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	eventually(t, "the application has its key", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.used > 0
	})
	return p
}

// never demands that not one use was refused till now.
func (p *patron) never(t *testing.T) {
	t.Helper()
	look := func() (used, refused int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.used, len(p.refused)
	}
	eventually(t, "the application has used its key", func() bool { used, _ := look(); return used >= 20 })
	if used, refused := look(); refused > 0 {
		t.Errorf("%d of %d uses of the key were refused", refused, used)
	}
}

// served demands that no key was refused but in a time of grace.
func (p *patron) served(t *testing.T, from, to time.Time) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	wrong := slices.DeleteFunc(slices.Clone(p.refused), func(at time.Time) bool { return at.After(from.Add(-50*time.Millisecond)) && at.Before(to) })
	if len(wrong) > 0 || p.used < 100 {
		t.Errorf("%d of %d uses were refused, the first at %v: nobody had killed that key (%v to %v)", len(wrong), p.used, slices.Concat(wrong, []time.Time{{}})[0], from, to)
	}
}

// TestRowDrift: whatever somebody changes by hand is found within one probe
// interval and told once; what is safe is healed, the rest waits for an operator.
func TestRowDrift(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", ", probe_interval: "+probed.String())
	daemons := []*resident{w.daemon(t), w.daemon(t)}
	for _, d := range daemons {
		eventually(t, "both know each other", func() bool { return d.fleet.Load().Size() == 2 })
	}
	store := w.store(t)
	const draining = 2 // the row with two keys
	rows := []struct {
		name string
		hand func(*testing.T, *meddled)
		// finds are told once each, in any order; kills are those that heal.
		finds []credential.FindingKind
		kills bool
		then  func(*testing.T, *meddled)
	}{
		{"regenerated by hand", func(t *testing.T, m *meddled) {
			if _, err := w.portal.RegenerateByHand(m.seat().Item, m.seat().Slot); err != nil {
				t.Fatal(err)
			}
		}, []credential.FindingKind{credential.FindingKeyReplaced, credential.FindingUnknownKey}, true, nil},
		{"invalidated by hand", invalidates, []credential.FindingKind{credential.FindingKeyRefused}, true, again},
		{"invalidated by hand during a drain", invalidates, []credential.FindingKind{credential.FindingKeyRefused}, true, swapped},
		{"item deleted", func(t *testing.T, m *meddled) {
			if err := w.portal.DeleteByHand(m.seat().Item); err != nil {
				t.Fatal(err)
			}
		}, []credential.FindingKind{credential.FindingItemMissing}, true, nil},
		{"settings edited", func(t *testing.T, m *meddled) {
			answer := w.manager(t, "/oauth2/apps/"+w.made(t, m.before).ClientID+"/update", "", url.Values{"privileges": {`["premium:user:places"]`}})
			if answer["error"] != nil {
				t.Fatal(answer)
			}
		}, []credential.FindingKind{credential.FindingKeyRefused, credential.FindingSettings}, true, nil},
		{"Vault value changed", func(t *testing.T, m *meddled) {
			other := w.keys(t, "drift/other").Primary.Secret.Reveal()
			m.secret(t, func(fields map[string]any) { fields["api_key"] = other })
		}, []credential.FindingKind{credential.FindingVaultChanged}, false, nil},
		{"Vault secret deleted", func(t *testing.T, m *meddled) {
			w.vault.Delete(t, "secret/data/"+w.load(t).Vault.Prefix+"/"+string(m.name))
		}, []credential.FindingKind{credential.FindingVaultMissing}, false, nil},
		{"expiry differs", func(t *testing.T, m *meddled) {
			m.dates(t, m.seat().SeatID, m.seat().Expires.Add(-2*time.Minute))
		}, []credential.FindingKind{credential.FindingExpiry}, false, nil},
		{"unknown key in the idle slot", func(t *testing.T, m *meddled) {
			m.dates(t, m.seat().Sibling(), m.seat().Expires)
			if _, err := w.portal.RegenerateByHand(m.seat().Item, m.seat().Sibling().Slot); err != nil {
				t.Fatal(err)
			}
		}, []credential.FindingKind{credential.FindingUnknownKey}, false, nil},
	}
	w.apply(t, "drift/other", "portal", watched())
	for i := range rows {
		policy := watched()
		if i == draining {
			policy.Drain = credential.Duration(14 * time.Second)
		}
		w.apply(t, credential.Name(fmt.Sprintf("drift/row-%d", i)), "portal", policy)
	}
	w.issued(t, daemons[0], "drift/other", 1)
	t.Cleanup(func() { // when all rows are through
		probes, heals := 0.0, map[string]float64{}
		for _, d := range daemons {
			probes += counted(t, d.metrics, "keyturn_probes_total", "portal")
			for _, by := range []string{"new-key", "draining-key"} {
				heals[by] += counted(t, d.metrics, "keyturn_heals_total", by)
			}
			for _, kind := range []credential.FindingKind{credential.FindingVaultChanged, credential.FindingVaultMissing} {
				if got := counted(t, d.metrics, "keyturn_findings", "portal", string(kind)); got != 1 {
					t.Errorf("keyturn_findings says %v of %s, want 1", got, kind)
				}
			}
		}
		if heals["new-key"] != 5 || heals["draining-key"] != 1 || probes < 50 {
			t.Errorf("%v heals, %v probes", heals, probes)
		}
	})
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			m := &meddled{town: w, daemon: daemons[0], store: store, name: credential.Name(fmt.Sprintf("drift/row-%d", i))}
			m.before = w.issued(t, m.daemon, m.name, 1)
			if i == draining {
				w.asksToRotate(t, m.name)
				eventually(t, "two keys live", func() bool { m.before = m.state(t); return m.before.Generation == 2 && len(m.before.Seats) == 2 })
			}
			m.app = m.uses(t)
			m.deed = time.Now()
			row.hand(t, m)
			m.check(t, row.finds, row.kills)
			if row.then != nil {
				row.then(t, m)
			}
		})
	}
}

func invalidates(t *testing.T, m *meddled) {
	t.Helper()
	if err := m.portal.InvalidateByHand(m.seat().Item, m.seat().Slot); err != nil {
		t.Fatal(err)
	}
}

func (w *town) asksToRotate(t *testing.T, name credential.Name) {
	t.Helper()
	if _, err := control.NewClient(w.conn, w.operator).Rotate(t.Context(), control.Rotate{Name: name, Now: true}); err != nil {
		t.Fatal(err)
	}
}

// check waits for what is to be found, and for some more intervals.
func (m *meddled) check(t *testing.T, finds []credential.FindingKind, kills bool) {
	t.Helper()
	over := m.deed
	if kills {
		over = m.healed(t)
	}
	eventually(t, fmt.Sprintf("%v are found", finds), func() bool { return len(m.found(t)) >= len(finds) })
	first := m.history(t)[0].Event
	if late := first.At.Sub(m.deed); late > probed+5*time.Second { // a busy machine is slow to look four times
		t.Errorf("the first was found %v after the deed, want within %v and the time of a probe", late, probed)
	}
	until := time.Now().Add(4 * probed)
	eventually(t, "some more probes are made", func() bool { return time.Now().After(until) })
	found := m.found(t)
	slices.Sort(found)
	slices.Sort(finds)
	if !slices.Equal(found, finds) {
		t.Errorf("told %v, want each of %v once", found, finds)
	}
	m.app.served(t, m.deed, over)
	if kills {
		return
	}
	if after := m.state(t); after.Generation != m.before.Generation || after.Rotation != nil {
		t.Errorf("it did not wait: generation %d, rotation %+v", after.Generation, after.Rotation)
	}
	for _, e := range m.portal.Events() {
		if e.ItemID == m.seat().Item && e.Actor != "hand" && e.Time.After(m.deed) && e.Kind != "item-updated" {
			t.Errorf("the portal was asked for %s on slot %d by %s", e.Kind, e.Slot, e.Actor)
		}
	}
}

// again: a key that is killed right after it came is not replaced before four
// probe intervals of the policy are over.
func again(t *testing.T, m *meddled) {
	t.Helper()
	first := m.state(t).Healed
	m.before = m.state(t)
	invalidates(t, m)
	m.healed(t)
	if gap, want := m.state(t).Healed.Sub(first), 4*watched().ProbeInterval(); gap < want {
		t.Errorf("two heals within %v, want %v between them", gap, want)
	}
}

// swapped: the key that still drained took over, and none was made.
func swapped(t *testing.T, m *meddled) {
	t.Helper()
	if after, _ := m.state(t).Primary(); after.Mint >= m.seat().Mint {
		t.Errorf("mint %d took over from %d, want the one before it", after.Mint, m.seat().Mint)
	}
	for _, e := range m.history(t) {
		if _, claimed := e.Event.Fact.(credential.Started); claimed {
			t.Error("a rotation began where a living key was there")
		}
	}
}
