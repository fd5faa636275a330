package main

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestRowCreate: apply makes the folder and the item, with title, tags, description
// and privileges, and its first key is in Vault and works.
func TestRowCreate(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	file := w.declare(t, "shop/map", "title: Shop map", "folder: Shop", "description: The map in the shop", "tags: [shop, map]",
		"privileges: [premium:user:basemaps, premium:user:geocode:temporary]", `referrers: ["https://*.example.com"]`, "policy: {lifetime: 10h, settle: 0s}")
	w.keyturn(t, "", "apply", "-f", file, "--dry-run").has(t, 0, "shop/map would be registered")
	if len(w.portal.Snapshot()) > 0 {
		t.Fatal("a dry run makes an item")
	}
	w.keyturn(t, "", "apply", "-f", file).has(t, 0, "shop/map registered")
	s := w.alone(t, d, "shop/map", 1)
	primary, _ := s.Primary()
	item, _ := w.item(primary.Item)
	if item.Title != "Shop map" || strings.Join(item.Tags, " ") != "shop map" || len(item.Privileges) != 2 || item.Folder == "" || strings.Join(item.Referrers, " ") != "https://*.example.com" {
		t.Errorf("the item is %+v", item)
	}
	if seen := w.form(t, "/content/items/"+primary.Item, url.Values{}); seen["description"] != "The map in the shop" {
		t.Errorf("its description is %v", seen["description"])
	}
	doc := w.keys(t, "shop/map")
	if key := doc.Primary.Secret.Reveal(); !w.portal.KeyWorks(key, "https://maps.example.com/") || doc.Primary.Fingerprint != primary.Fingerprint {
		t.Error("the key in Vault does not work")
	}
	if left := time.Until(doc.Primary.Expires); left > 10*time.Hour || left < 9*time.Hour || doc.Primary.Expires.Sub(item.Slots[0].KeyExpires).Abs() > 2*time.Second {
		t.Errorf("it expires %s, and the portal says %s", doc.Primary.Expires, item.Slots[0].KeyExpires)
	}
}

// TestRowSaveTheKey: show names path and field, where the key is and nowhere else.
func TestRowSaveTheKey(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/map")
	key := w.keys(t, "shop/map").Primary.Secret
	_, rest, found := strings.Cut(w.keyturn(t, "", "show", "shop/map").out, "read it at   ")
	where, _, _ := strings.Cut(rest, "\n")
	path, field, ok := strings.Cut(where, ", field ")
	if !found || !ok {
		t.Fatalf("show says %q", where)
	}
	if got, err := w.store(t).Get(t.Context(), path, field); err != nil || got != key || !w.portal.KeyWorks(got.Reveal(), "") {
		t.Errorf("%s, field %s: %v", path, field, err)
	}
	for _, args := range [][]string{{"show", "shop/map"}, {"list"}, {"history", "shop/map"}, {"plan"}, {"doctor", "shop/map"}, {"audit", "export"}} {
		for _, output := range []string{"table", "json"} {
			if args[0] == "audit" && output == "json" {
				continue
			}
			if said := w.keyturn(t, "", append(slices.Clone(args), "-o", output)...); strings.Contains(said.out+said.err, key.Reveal()) {
				t.Errorf("%v prints the key", args)
			}
		}
	}
}

// TestRowRegenerate: rotate --now goes through the other slot, and asked for again
// it waits until that of the old key is free. No slot is generated over while its key
// is in use.
func TestRowRegenerate(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/map")
	w.apply(t, "shop/map", "portal", short(10*time.Hour, 3*time.Second))
	app := w.patron(t, w.store(t), "shop/map", credential.Secret{})
	first := w.keys(t, "shop/map").Primary
	w.rotated(t, d, "shop/map")
	second := w.keys(t, "shop/map").Primary
	w.keyturn(t, "", "rotate", "shop/map", "--now", "--reason", "lost again").has(t, 0, "begins when rotation ")
	if second.Seat != first.Seat.Sibling() || !w.works(first) || !w.works(second) {
		t.Errorf("the keys are on %s and %s, or one does not work", first.Seat, second.Seat)
	}
	w.alone(t, d, "shop/map", 3)
	app.never(t)
	if third := w.keys(t, "shop/map").Primary; third.Seat != first.Seat || !w.works(third) {
		t.Errorf("the third key is on %s, or does not work", third.Seat)
	}
	alive := map[int]bool{}
	for _, event := range w.portal.Events() {
		switch event.Kind {
		case "key-generated":
			if alive[event.Slot] {
				t.Errorf("slot %d was generated over", event.Slot)
			}
			alive[event.Slot] = true
		case "key-revoked":
			delete(alive, event.Slot)
		}
	}
	if len(alive) != 1 {
		t.Errorf("slots with a key: %v", alive)
	}
}

// TestRowInvalidate: the key dies, and applications have another one.
func TestRowInvalidate(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/map")
	leaked := w.keys(t, "shop/map").Primary
	w.keyturn(t, "", "invalidate", "shop/map", "--key", "primary", "--reason", "in a chat").has(t, 0, "is dead; applications have key ")
	if now := w.keys(t, "shop/map").Primary; w.works(leaked) || !w.works(now) || now.Seat != leaked.Seat.Sibling() {
		t.Error("the leaked key works, or its successor does not")
	}
}

// TestRowEditPrivileges, item access and referrers: it is foretold, and goes to a new
// item with not one refusal; the old item ends deleted.
func TestRowEditPrivileges(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	declare := func(lines ...string) string { return w.declare(t, "shop/map", append(lines, brisk)...) }
	w.keyturn(t, "", "apply", "-f", declare("privileges: [premium:user:basemaps]")).has(t, 0)
	w.alone(t, d, "shop/map", 1)
	app := w.patron(t, w.store(t), "shop/map", credential.Secret{})
	shared := w.handmade(t, "A layer").item
	old := w.keys(t, "shop/map").Primary
	for i, lines := range [][]string{
		{"privileges: [premium:user:basemaps, premium:user:places]"},
		{"privileges: [premium:user:basemaps, premium:user:places]", "items: [" + shared + "]"},
		{"privileges: [premium:user:basemaps, premium:user:places]", "items: [" + shared + "]", `referrers: ["https://example.com"]`},
	} {
		if i == 2 { // from then on a request needs a referer, which this application does not send
			app.never(t)
		}
		file := declare(lines...)
		foretold := []string{"a new item is made (succession)", "goes to the same path in Vault with no downtime", "the old key works 1s longer", "the old item " + old.Seat.Item + " is deleted for good"}
		w.keyturn(t, "", "apply", "-f", file, "--dry-run").has(t, 0, append(foretold, "would be updated")...)
		w.keyturn(t, "", "apply", "-f", file).has(t, 0, foretold...)
		w.alone(t, d, "shop/map", uint64(i+2)) //nolint:gosec // small
		now := w.keys(t, "shop/map").Primary
		item, _ := w.item(now.Seat.Item)
		if _, there := w.item(old.Seat.Item); there || w.works(old) || now.Seat.Item == old.Seat.Item {
			t.Errorf("edit %d: the old item is there, or its key works", i)
		}
		if !slices.Contains(item.Privileges, "premium:user:places") || len(item.Referrers) != i/2 || !w.portal.KeyWorks(now.Secret.Reveal(), "https://example.com/") {
			t.Errorf("edit %d: the new item is %+v", i, item)
		}
		old = now
	}
	w.keyturn(t, "", "history", "shop/map").has(t, 0, "was deleted for good")
}

// TestPlanForetellsASuccession that waits for its window, and list the old item.
func TestPlanForetellsASuccession(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	window := "policy: {lifetime: 10h, drain: 1s, settle: 0s, window: {start: '0 0 1 1 *', duration: 1h}}"
	w.keyturn(t, "", "apply", "-f", w.declare(t, "shop/map", "privileges: [premium:user:basemaps]", window)).has(t, 0)
	w.alone(t, d, "shop/map", 1)
	item := w.keys(t, "shop/map").Primary.Seat.Item
	w.keyturn(t, "", "apply", "-f", w.declare(t, "shop/map", "privileges: [premium:user:places]", window)).has(t, 0)
	w.keyturn(t, "", "plan", "shop/map").has(t, 0, "begin", "a new item is made (succession)", "the old item "+item+" is deleted for good")
	w.keyturn(t, "", "plan", "shop/map", "-o", "json").has(t, 0, `"step": "begin"`, "(succession)")
	w.keyturn(t, "", "show", "shop/map").has(t, 0, "item         "+item+`, title "shop/map"`)
}

// TestPlanOfAnItemThatCannotBeDeleted: no step of a rotation has failed.
func TestPlanOfAnItemThatCannotBeDeleted(t *testing.T) {
	s := credential.State{Old: []credential.OldItem{{Item: "old", Failure: &credential.Failure{Step: credential.StepDelete}}}}
	if p := plannedOf(s, credential.Step{Kind: credential.StepWait, Reason: credential.ReasonBackoff}, time.Now()); p.Step != string(credential.StepDelete) {
		t.Errorf("planned is %s", p.Step)
	}
}

// TestRowTitleTagsFolderInPlace: same item, same key, edited at the portal.
func TestRowTitleTagsFolderInPlace(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.keyturn(t, "", "apply", "-f", w.declare(t, "shop/map", "title: Map", "tags: [a]", "privileges: [premium:user:basemaps]", brisk)).has(t, 0)
	w.alone(t, d, "shop/map", 1)
	app := w.patron(t, w.store(t), "shop/map", credential.Secret{})
	before := w.keys(t, "shop/map")
	file := w.declare(t, "shop/map", "title: New map", "folder: Shop", "tags: [b, c]", "description: Words", "privileges: [premium:user:basemaps]", brisk)
	w.keyturn(t, "", "apply", "-f", file, "--dry-run").has(t, 0, "edited in place, which touches no key", `item.title: "Map" → "New map"`)
	if said := w.keyturn(t, "", "apply", "-f", file); strings.Contains(said.out, "succession") {
		t.Error("a succession is foretold")
	}
	eventually(t, "the item is edited", func() bool {
		item, _ := w.item(before.Primary.Seat.Item)
		return item.Title == "New map" && strings.Join(item.Tags, " ") == "b c" && item.Folder != ""
	})
	if seen := w.form(t, "/content/items/"+before.Primary.Seat.Item, url.Values{}); seen["description"] != "Words" {
		t.Errorf("its description is %v", seen["description"])
	}
	s := w.alone(t, d, "shop/map", 1)
	if after := w.keys(t, "shop/map"); after.Version != before.Version || after.Primary != before.Primary || s.Mint != 1 {
		t.Error("the key changed")
	}
	app.never(t)
	w.keyturn(t, "", "history", "shop/map").has(t, 0, "edited in place")
	w.keyturn(t, "", "apply", "-f", file).has(t, 3)
}

// TestAnEditThatFailsIsSaid, with what to do.
func TestAnEditThatFailsIsSaid(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/map")
	refuses := emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultError, Path: "/update", Code: 403}}}
	if err := w.portal.SetFaults(refuses); err != nil {
		t.Fatal(err)
	}
	w.keyturn(t, "", "apply", "-f", w.declare(t, "shop/map", "title: New", "privileges: [premium:user:basemaps]", brisk)).has(t, 0)
	eventually(t, "it has failed", func() bool { return len(w.states(t, d.record)["shop/map"].Failures()) > 0 })
	w.keyturn(t, "", "show", "shop/map").has(t, 0, "to be edited in place", "failure      edit failed")
	w.keyturn(t, "", "doctor", "shop/map").has(t, 1, "LOOK failure", "edit failed", "keyturn retry shop/map")
	w.keyturn(t, "", "plan").has(t, 0, "shop/map")
	if err := w.portal.SetFaults(emulator.Faults{}); err != nil {
		t.Fatal(err)
	}
	w.keyturn(t, "", "retry", "shop/map").has(t, 0)
	eventually(t, "it is edited", func() bool { return w.states(t, d.record)["shop/map"].Edit == nil })
	w.keyturn(t, "", "doctor", "shop/map").has(t, 0, "ok   next")
}
