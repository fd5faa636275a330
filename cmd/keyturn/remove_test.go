package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TestRowRemove: what will happen is said and confirmed; then the keys are dead, the
// secret and the item gone, and the name begins a new life.
func TestRowRemove(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	const name = credential.Name("shop/map")
	file := w.declare(t, name, "title: Shop map", "privileges: [premium:user:basemaps]",
		"policy: {lifetime: 10h, drain: 1h, settle: 0s, confirm: {consumers: [shop], before: retire, deadline: 1h, then: proceed}}")
	w.keyturn(t, "", "apply", "-f", file).has(t, 0, "registered")
	eventually(t, "it has a key", func() bool { return w.states(t, d.record)[name].Generation == 1 })
	w.rotated(t, d, name)
	before := w.keys(t, name)
	item := before.Primary.Seat.Item

	w.keyturn(t, "", "remove", string(name)).has(t, 2, "no --reason")
	foretold := []string{
		"key " + string(before.Primary.Fingerprint) + " (primary) on slot 2 of item " + item + " dies",
		"key " + string(before.Secondary.Fingerprint) + " (draining) on slot 1 of item " + item + " dies",
		"is deleted from Vault, with all its versions", "item " + item + " is deleted at issuer portal for good", "consumers, which will have no key: shop",
	}
	w.keyturn(t, "", "remove", string(name), "--dry-run").has(t, 0, foretold...)
	w.keyturn(t, "", "remove", string(name), "--reason", "closed").has(t, 2, "nobody is there to confirm it", "--yes")
	w.keyturn(t, "", "hold", string(name), "--reason", "audit").has(t, 0)
	w.keyturn(t, "", "remove", string(name), "--reason", "closed", "--yes").has(t, 1, "a hold stands", "audit", "keyturn release shop/map")
	w.keyturn(t, "", "release", string(name)).has(t, 0)
	if !w.works(before.Primary) || w.states(t, d.record)[name].Removing != nil {
		t.Fatal("it was removed without being confirmed, or under a hold")
	}

	w.keyturn(t, "", "remove", string(name), "--reason", "closed", "--yes").has(t, 0, append(foretold, "is being removed: closed", "is dead", "was deleted for good", "shop/map: removed; its history stays")...)
	if _, there := w.item(item); there || w.works(before.Primary) || w.works(before.Secondary) {
		t.Error("the item is there, or a key of it works")
	}
	if doc := w.keys(t, name); !doc.Missing {
		t.Errorf("the secret is there: version %d", doc.Version)
	}
	if out := w.keyturn(t, "", "list").out; strings.Contains(out, string(name)) {
		t.Errorf("list shows it: %s", out)
	}
	w.keyturn(t, "", "show", string(name)).has(t, 0, "shop/map was removed at", "by keeper: closed", "begin a new life")
	w.keyturn(t, "", "show", string(name), "-o", "json").has(t, 0, `"removed_by": "keeper"`, `"status": "removed"`)
	w.keyturn(t, "", "doctor", string(name)).has(t, 0, "removed")
	w.keyturn(t, "", "history", string(name)).has(t, 0, "is being removed: closed", "no key lives, and the record is closed")
	w.keyturn(t, "", "plan", string(name)).has(t, 1, "it was removed", "keyturn show shop/map")
	w.keyturn(t, "", "rotate", string(name)).has(t, 1, "no such credential")
	w.keyturn(t, "", "remove", string(name), "--reason", "closed", "--yes").has(t, 3, "was removed at", "by keeper")
	w.keyturn(t, "", "remove", "shop/mop", "--reason", "closed", "--yes").has(t, 1, "no such credential")

	w.keyturn(t, "", "apply", "-f", file, "--dry-run").has(t, 0, "would be registered")
	w.keyturn(t, "", "apply", "-f", file).has(t, 0, "registered")
	s := w.alone(t, d, name, 1)
	after := w.keys(t, name)
	if primary, _ := s.Primary(); !w.works(after.Primary) || primary.Item == item || primary.Mint <= before.Primary.Mint || s.Spec.Policy.Confirm == nil {
		t.Errorf("its new life begins with %+v", primary)
	}
}

// TestRemoveKeeps the secret and the item, as asked; apply and adopt begin new lives
// with them.
func TestRemoveKeeps(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/a", "shop/b")
	a, b := w.keys(t, "shop/a"), w.keys(t, "shop/b")

	w.keyturn(t, "", "remove", "shop/a", "--reason", "moved", "--yes", "--keep-secret").has(t, 0, "stays in Vault, with a key that is dead", "shop/a: removed")
	if doc := w.keys(t, "shop/a"); doc.Primary.Secret != a.Primary.Secret || w.works(a.Primary) {
		t.Error("the secret is not as it was, or its key works")
	}
	w.keyturn(t, "", "show", "shop/a").has(t, 0, "was kept, with a dead key")
	w.apply(t, "shop/a", "portal", short(10*time.Hour, time.Second))
	w.alone(t, d, "shop/a", 1)
	if now := w.keys(t, "shop/a"); !w.works(now.Primary) || now.Version <= a.Version {
		t.Error("the new life's key is not in Vault")
	}

	item := b.Primary.Seat.Item
	w.keyturn(t, "", "remove", "shop/b", "--reason", "by hand again", "--yes", "--keep-item", "--keep-secret").has(t, 0, "item "+item+" stays at issuer portal, without a key", "shop/b: removed")
	kept, there := w.item(item)
	if !there || kept.Slots[0].Active || kept.Slots[1].Active {
		t.Fatalf("the item is there: %v, with %+v", there, kept.Slots)
	}
	w.keyturn(t, "", "show", "shop/b").has(t, 0, "kept at the issuer: item "+item)
	key := handmade{w, item}.key(t, 2, 9*time.Hour)
	w.keyturn(t, key.Reveal(), "adopt", "shop/b", "--issuer", "portal", "--item", item, "--key-stdin", "-f", w.declare(t, "shop/b", "privileges: [premium:user:basemaps]", brisk)).
		has(t, 0, "over the dead key of an earlier life", "shop/b adopted")
	if out := w.keyturn(t, "", "show", "shop/b").out; strings.Contains(out, "kept item") || !strings.Contains(out, "item         "+item) {
		t.Errorf("show says:\n%s", out)
	}
	if now := w.keys(t, "shop/b"); now.Primary.Secret != key || !w.works(now.Primary) {
		t.Error("applications do not have the adopted key")
	}
	w.keyturn(t, "", "rotate", "shop/b", "--now").has(t, 0)
	s := w.alone(t, d, "shop/b", 2)
	if primary, _ := s.Primary(); primary.SeatID != (credential.SeatID{Item: item, Slot: 1}) {
		t.Errorf("the next key is on %s", primary.SeatID)
	}
}

// TestRemoveWaits for a key that keyturn did not make, and for a hold: both are said,
// with what to do, and --keep-item leaves the item.
func TestRemoveWaits(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/a", "shop/b")
	primary := w.keys(t, "shop/a").Primary
	foreign := handmade{w, primary.Seat.Item}.key(t, primary.Seat.Sibling().Slot, time.Hour)
	w.keyturn(t, "", "remove", "shop/a", "--reason", "closed", "--yes", "--timeout", "4s").has(t, 1,
		"waits: ", "holds an active key that keyturn did not make", "keyturn remove shop/a --keep-item", "not removed yet", "the daemons go on trying")
	w.keyturn(t, "", "list").has(t, 0, "removing", "shop/a")
	w.keyturn(t, "", "list", "--stuck").has(t, 0, "shop/a", "holds an active key")
	w.keyturn(t, "", "show", "shop/a").has(t, 0, "REMOVING", "by keeper", "old item     "+primary.Seat.Item, "it is not deleted")
	w.keyturn(t, "", "doctor", "shop/a").has(t, 1, "LOOK item-in-use", "keyturn remove shop/a --keep-item")
	w.keyturn(t, "", "apply", "-f", w.declare(t, "shop/a", "privileges: [premium:user:basemaps]", brisk)).has(t, 1, "is being removed since")
	w.keyturn(t, foreign.Reveal(), "adopt", "shop/a", "--issuer", "portal", "--item", primary.Seat.Item, "--key-stdin").has(t, 1, "is being removed")
	w.keyturn(t, "", "remove", "shop/a", "--reason", "leave it", "--keep-item").has(t, 0, "is being removed since", "item "+primary.Seat.Item+" is left at the issuer", "shop/a: removed")
	if _, there := w.item(primary.Seat.Item); !there || w.works(primary) || !w.portal.KeyWorks(foreign.Reveal(), "") {
		t.Error("the item is gone, or our key works, or the foreign one does not")
	}

	w.hush()
	w.keyturn(t, "", "remove", "shop/b", "--reason", "closed", "--yes", "--no-wait").has(t, 0, "on record; the daemons do it")
	w.keyturn(t, "", "hold", "shop/b", "--reason", "audit").has(t, 0)
	w.speak()
	eventually(t, "the hold is what it waits for", func() bool {
		return strings.Contains(w.keyturn(t, "", "show", "shop/b").out, "it waits: held by keeper: audit (try: keyturn release shop/b)")
	})
	w.keyturn(t, "", "release", "shop/b").has(t, 0)
	w.keyturn(t, "", "remove", "shop/b", "--reason", "closed", "-o", "json").has(t, 0, `"result": "done"`)
}

// TestConfirm: the very name is wanted, of a person.
func TestConfirm(t *testing.T) {
	for typed, want := range map[string]bool{"shop/map\n": true, "shop/map": true, " shop/map \r\n": true, "yes\n": false, "": false, "shop/maps\n": false} {
		if err := confirm(strings.NewReader(typed), io.Discard, true, "shop/map"); (err == nil) != want {
			t.Errorf("%q: %v", typed, err)
		}
	}
	if err := confirm(strings.NewReader("shop/map\n"), io.Discard, false, "shop/map"); err == nil {
		t.Error("nobody confirms it")
	}
}

// TestRemoveSaysWhyItStandsStill: a key that is being made is waited for, which may
// take a minute.
func TestRemoveSaysWhyItStandsStill(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	w.daemon(t)
	file := w.declare(t, "shop/a", "privileges: [premium:user:basemaps]", "policy: {lifetime: 90d, settle: 30s}")
	w.keyturn(t, "", "apply", "-f", file).has(t, 0, "registered")
	eventually(t, "its first key is being proven", func() bool {
		return strings.Contains(w.keyturn(t, "", "show", "shop/a").out, "not proven yet")
	})
	w.keyturn(t, "", "remove", "shop/a", "--reason", "closed", "--yes", "--timeout", "6s").has(t, 1,
		"\nwaits: another call at the issuer may still be under way", "not removed yet")
}
