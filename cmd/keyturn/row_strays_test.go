package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// strayGrace is that of these tests.
const strayGrace = 3 * time.Second

// applied declares a credential with these privileges, through whichever daemon answers.
func (w *town) applied(t *testing.T, name credential.Name, privileges ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := control.NewClient(w.conn, w.operator).Apply(ctx, control.Apply{Name: name, Spec: credential.Spec{
		Issuer: "portal", Policy: watched(), Item: credential.ItemSpec{Title: string(name), Folder: "ours", Privileges: privileges},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// leftover is an item with our mark, as a call leaves it whose answer was lost.
func (w *town) leftover(t *testing.T, d *resident, name credential.Name) string {
	t.Helper()
	item, err := d.issuers["portal"].EnsureItem(t.Context(), credential.ItemOrder{
		Marker: credential.Marker{Installation: "test", Name: name, Rotation: uuid.NewString()},
		Spec:   credential.ItemSpec{Title: string(name), Folder: "ours", Privileges: []string{"premium:user:basemaps"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return item
}

// there reports whether the portal has an item.
func (w *town) there(item string) bool {
	return slices.ContainsFunc(w.portal.Snapshot(), func(i emulator.ItemState) bool { return i.ID == item })
}

// sweep has a daemon sweep once, when all that is there is old enough.
func (w *town) sweep(t *testing.T, d *resident) {
	t.Helper()
	if err := d.sweeper().Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w *town) ages(t *testing.T) {
	t.Helper()
	old := time.Now().Add(strayGrace + time.Second)
	eventually(t, "the items are old enough", func() bool { return time.Now().After(old) })
}

// TestRowCreateSweepsStrays: what calls without an answer leave at the portal is
// gone after one sweep, with the keys on it; what is somebody's stays.
func TestRowCreateSweepsStrays(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", fmt.Sprintf(`, sweep: "0 0 1 1 *", stray_grace: %s`, strayGrace))
	d := w.daemon(t)

	// a removed credential, one that lives, and one that no record knows
	w.applied(t, "rows/removed", "premium:user:basemaps")
	w.applied(t, "rows/lives", "premium:user:basemaps")
	w.issued(t, d, "rows/removed", 1)
	lives := w.issued(t, d, "rows/lives", 1)
	if _, err := d.engine.Command(t.Context(), "rows/removed", credential.Remove{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	d.scheduler.Look("rows/removed", "portal")
	eventually(t, "it is removed", func() bool {
		return w.states(t, d.record)["rows/removed"].Status == credential.StatusRemoved
	})
	eventually(t, "what is removed is forgotten", func() bool { return counted(t, d.metrics, "keyturn_credentials") == 1 })
	removed, withKey, unknown := w.leftover(t, d, "rows/removed"), w.leftover(t, d, "rows/lives"), w.leftover(t, d, "nobody/knows")
	minted, err := d.issuers["portal"].Issue(t.Context(), credential.SeatID{Item: withKey, Slot: 2}, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	answer := w.manager(t, "/content/users/"+emulator.DefaultUser+"/addItem", "", url.Values{"type": {"Application"}, "title": {"somebody's"}})
	somebodys, _ := answer["id"].(string)
	if somebodys == "" {
		t.Fatal(answer)
	}

	// the answer to a call that makes an item is lost, and before it is looked for,
	// the declaration changes: what it was made for is not wanted any more
	faults(t, w, emulator.Rule{Kind: emulator.FaultDrop, Path: "/addItem", Act: true, Count: 1})
	w.applied(t, "rows/lost-answer", "premium:user:basemaps")
	w.fired(t)
	w.applied(t, "rows/lost-answer", "premium:user:places")
	lost := w.issued(t, d, "rows/lost-answer", 1)
	w.ages(t)
	tooYoung := w.leftover(t, d, "rows/lives")
	if n := len(w.itemsOf("rows/lost-answer")); n != 2 {
		t.Errorf("%d items of the lost answer, want two before the sweep", n)
	}

	w.sweep(t, d)
	eventually(t, "what nobody wants is gone after one sweep", func() bool {
		return !w.there(removed) && !w.there(withKey) && len(w.itemsOf("rows/lost-answer")) == 1
	})
	if w.portal.KeyWorks(minted.Key.Reveal(), "") {
		t.Error("the key on a stray item lives")
	}
	for _, s := range []credential.State{lives, lost} {
		if primary, _ := s.Primary(); !w.there(primary.Item) || !w.works(w.keys(t, s.Name).Primary) {
			t.Errorf("the item of %s is gone", s.Name)
		}
	}
	for what, item := range map[string]string{"of no record": unknown, "too young": tooYoung, "unmarked": somebodys} {
		if !w.there(item) {
			t.Errorf("an item is gone that is %s", what)
		}
	}
	w.ages(t)
	w.sweep(t, d)
	eventually(t, "what was too young is gone after the next", func() bool { return !w.there(tooYoung) })
	if !w.there(unknown) || !w.there(somebodys) {
		t.Error("the second sweep took what is not ours to take")
	}
	told := d.logs.FilterMessageSnippet("no record of its credential").All()
	if len(told) != 1 || told[0].ContextMap()["item"] != unknown || told[0].ContextMap()["title"] != "nobody/knows" {
		t.Errorf("told of the item without a record %d times: %v, want once", len(told), told)
	}
	for metric, want := range map[string]float64{"keyturn_unknown_items": 1, "keyturn_credentials": 2} {
		if got := counted(t, d.metrics, metric); got != want {
			t.Errorf("%s is %v, want %v", metric, got, want)
		}
	}
	if got := counted(t, d.metrics, "keyturn_items_deleted_total", "portal", "yes"); got != 4 {
		t.Errorf("%v stray items were deleted, want 4", got)
	}
}

// itemsOf are the items of a credential, by their title.
func (w *town) itemsOf(name credential.Name) (items []emulator.ItemState) {
	for _, item := range w.portal.Snapshot() {
		if item.Title == string(name) {
			items = append(items, item)
		}
	}
	return items
}

func faults(t *testing.T, w *town, rules ...emulator.Rule) {
	t.Helper()
	if err := w.portal.SetFaults(emulator.Faults{Rules: rules}); err != nil {
		t.Fatal(err)
	}
}

// fired waits until the fault has happened.
func (w *town) fired(t *testing.T) {
	t.Helper()
	eventually(t, "the fault has happened", func() bool { return w.portal.Faults().Rules[0].Fired == 1 })
}

// TestRowCreateSurvivesAKill: a daemon is killed at each call of a creation, before
// or after the portal has acted, and the declaration changes before another one goes
// on. One sweep later the portal has one item of the credential, the one in use.
func TestRowCreateSurvivesAKill(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", fmt.Sprintf(`, sweep: "0 0 1 1 *", stray_grace: %s`, strayGrace))
	var names []credential.Name
	for i, rule := range []emulator.Rule{
		{Path: "/createFolder", Act: true}, {Path: "/addItem"}, {Path: "/addItem", Act: true}, {Path: "/oauth2/registerApp"},
		{Path: "/oauth2/registerApp", Act: true}, {Path: "/update", Act: true}, {Path: "/oauth2/token", Act: true},
	} {
		name := credential.Name(fmt.Sprintf("kill/at-%d", i))
		names = append(names, name)
		p := start(t, nil, "serve", "--config", w.path)
		eventually(t, "a daemon answers", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := control.NewClient(w.conn, w.operator).Whoami(ctx)
			return err == nil
		})
		rule.Kind, rule.Count = emulator.FaultSilence, 1
		faults(t, w, rule)
		w.applied(t, name, "premium:user:basemaps")
		w.fired(t)
		p.signal(syscall.SIGKILL)
		<-p.exited
		faults(t, w)
	}
	d := w.daemon(t)
	for _, name := range names {
		w.applied(t, name, "premium:user:places")
	}
	for _, name := range names {
		w.issued(t, d, name, 1)
	}
	w.ages(t)
	before := 0
	for _, name := range names {
		before += len(w.itemsOf(name))
	}
	w.sweep(t, d)
	eventually(t, "each has the item in use and no other", func() bool {
		for _, name := range names {
			if len(w.itemsOf(name)) != 1 {
				return false
			}
		}
		return true
	})
	for _, name := range names {
		primary, _ := w.states(t, d.record)[name].Primary()
		if item := w.itemsOf(name)[0]; item.ID != primary.Item || !w.works(w.keys(t, name).Primary) {
			t.Errorf("%s uses item %s, the portal has %s", name, primary.Item, item.ID)
		}
	}
	t.Logf("%d items of %d credentials before the sweep", before, len(names))
	if before == len(names) {
		t.Error("no kill has left an item behind: the sweep was not tested")
	}
}
