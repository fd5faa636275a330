package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestRowAdopt: keys that applications use, from their own path, from another one
// and from standard input, are adopted as they are, and then rotated: not one use
// is refused.
func TestRowAdopt(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	store := w.store(t)
	for i := range 10 {
		name := credential.Name(fmt.Sprintf("shop/app-%d", i))
		made := w.handmade(t, "Maps "+string(name))
		slot := 1 + i%2
		key := made.key(t, slot, 9*time.Hour)
		old, own := fmt.Sprintf("apps/%s-%d", w.load(t).Vault.Prefix, i), w.secretAt(t, name)
		from, in := []string{"--key-from-vault", "secret/" + own}, ""
		switch i % 4 {
		case 0, 2:
			w.put(t, own, 0, map[string]any{"api_key": key.Reveal()})
		case 1:
			w.put(t, old, 0, map[string]any{"key": key.Reveal() + "\n"})
			from = []string{"--key-from-vault", "secret/" + old + "#key"}
		default:
			from, in = []string{"--key-stdin"}, " "+key.Reveal()+"\r\n"
		}
		app := w.patron(t, store, name, key)
		file := w.declare(t, name, "privileges: [premium:user:basemaps]", "owner: team-maps", brisk)
		args := append([]string{"adopt", string(name), "--issuer", "portal", "--item", made.item, "-f", file}, from...)
		w.keyturn(t, in, append(args, "--dry-run")...).has(t, 0, "it is not rotated: the next rotation begins")
		if s := w.states(t, d.record)[name]; s.Status != credential.StatusUnknown {
			t.Fatal("a dry run leaves a record")
		}
		done := w.keyturn(t, in, args...)
		done.has(t, 0, string(key.Fingerprint()), fmt.Sprintf("slot %d of item %s", slot, made.item), "adopted: applications go on with the key that they have")
		if strings.Contains(done.out+done.err, key.Reveal()) {
			t.Fatal("the key is printed")
		}
		now, s := w.keys(t, name), w.states(t, d.record)[name]
		primary, _ := s.Primary()
		item, _ := w.item(made.item)
		if now.Primary.Secret != key || now.Primary.Seat.Slot != slot || primary.Fingerprint != key.Fingerprint() || s.Mint != 1 || now.Primary.Mint != 1 || item.Slots[slot-1].Generations != 1 {
			t.Fatalf("it is not the very key: %+v, %+v", primary, item)
		}
		w.keyturn(t, in, args...).has(t, 3, "managed already, with this very key")
		w.keyturn(t, "", "rotate", string(name), "--now").has(t, 0)
		s = w.alone(t, d, name, 2)
		if primary, _ := s.Primary(); primary.SeatID != (credential.SeatID{Item: made.item, Slot: 3 - slot}) {
			t.Errorf("the next key is on %s", primary.SeatID)
		}
		if s.Spec.Owner != "team-maps" || s.Spec.Item.Title != "Maps "+string(name) {
			t.Errorf("declared %+v", s.Spec)
		}
		app.never(t)
		w.keyturn(t, "", "history", string(name)).has(t, 0, "adopted at issuer portal", "keeper")
	}
}

// TestAdoptWithOtherSettings: the file wants other privileges than the item has. A
// succession is foretold, and follows with no refusal.
func TestAdoptWithOtherSettings(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	made := w.handmade(t, "Old map")
	key := made.key(t, 1, 9*time.Hour)
	w.put(t, w.secretAt(t, "shop/map"), 0, map[string]any{"api_key": key.Reveal()})
	app := w.patron(t, w.store(t), "shop/map", credential.Secret{})
	file := w.declare(t, "shop/map", "title: New map", "privileges: [premium:user:geocode:temporary]", brisk)
	w.keyturn(t, "", "adopt", "shop/map", "--issuer", "portal", "--item", made.item, "--key-from-vault", "secret/"+w.secretAt(t, "shop/map"), "-f", file).
		has(t, 0, "declares other privileges", "at once a new item is made (succession)", "then the old item "+made.item+" is deleted for good", "edited in place")
	s := w.alone(t, d, "shop/map", 2)
	primary, _ := s.Primary()
	item, ok := w.item(primary.Item)
	if _, old := w.item(made.item); old || !ok || item.Title != "New map" || strings.Join(item.Privileges, " ") != "premium:user:geocode:temporary" {
		t.Errorf("the old item is there: %v; the new one: %+v", old, item)
	}
	app.never(t)
}

// TestAdoptRefuses what cannot be adopted, and leaves Vault as it was.
func TestAdoptRefuses(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/managed")
	primary, _ := w.states(t, d.record)["shop/managed"].Primary()
	managed := w.keys(t, "shop/managed").Primary.Secret

	made, other := w.handmade(t, "Map"), w.handmade(t, "Other map")
	key, foreign := made.key(t, 1, 9*time.Hour), other.key(t, 1, 9*time.Hour)
	dead := made.key(t, 2, 9*time.Hour)
	if err := w.portal.InvalidateByHand(made.item, 2); err != nil {
		t.Fatal(err)
	}
	replaced := other.key(t, 2, 9*time.Hour)
	other.key(t, 2, 9*time.Hour)
	marked := w.handmade(t, "Theirs")
	theirs := marked.key(t, 1, 9*time.Hour)
	w.form(t, "/content/users/keyturn/items/"+marked.item+"/update", map[string][]string{"typeKeywords": {"Application,keyturn-installation:elsewhere,keyturn-credential:shop/map"}})
	beside := w.handmade(t, "Map with more beside its key")
	long := beside.key(t, 1, 9*time.Hour)
	w.put(t, w.secretAt(t, "shop/taken"), 0, map[string]any{"api_key": "something else"})
	w.put(t, w.secretAt(t, "shop/more"), 0, map[string]any{"api_key": long.Reveal(), "url": "https://example.com"})

	for what, test := range map[string]struct {
		name, item string
		key        credential.Secret
		says       string
		code       int
	}{
		"a key of another item":  {"shop/map", made.item, foreign, "the key belongs to another item", 1},
		"a dead key":             {"shop/map", made.item, dead, "slot 2 of item " + made.item + " is inactive", 1},
		"a key that was renewed": {"shop/map", other.item, replaced, "the issuer refuses the key, and slot 2", 1},
		"no key":                 {"shop/map", made.item, credential.NewSecret("hello"), "no API key", 1},
		"two lines":              {"shop/map", made.item, credential.NewSecret(key.Reveal() + "\n" + key.Reveal()), "more than one line", 2},
		"nothing":                {"shop/map", made.item, credential.NewSecret(" \n"), "there is no key", 2},
		"no such item":           {"shop/map", strings.Repeat("0", 32), key, "does not exist", 1},
		"an item of ours":        {"shop/map", primary.Item, managed, "it belongs to shop/managed", 1},
		"a name of ours":         {"shop/managed", made.item, key, "managed already, with another key", 1},
		"another installation's": {"shop/map", marked.item, theirs, `the installation "elsewhere" manages it`, 1},
		"a path that is taken":   {"shop/taken", made.item, key, "holds something else than this key (version 1)", 1},
		"other fields":           {"shop/more", beside.item, long, "has fields beside the key that keyturn does not keep: url", 1},
		"a key as an argument":   {"shop/map", key.Reveal(), key, "stands in the shell's history", 2},
	} {
		said := w.keyturn(t, test.key.Reveal(), "adopt", test.name, "--issuer", "portal", "--item", test.item, "--key-stdin")
		if said.code != test.code || !strings.Contains(said.err, test.says) {
			t.Errorf("%s: exit %d, %s%s", what, said.code, said.out, said.err)
		}
		if strings.Contains(said.out+said.err, test.key.Reveal()) && len(test.key.Reveal()) > 20 {
			t.Errorf("%s: the key is printed", what)
		}
	}
	if got := w.keys(t, "shop/map"); got.Version != 0 {
		t.Errorf("something was written: version %d", got.Version)
	}
	w.keyturn(t, key.Reveal(), "adopt", "shop/map", "--issuer", "nowhere", "--item", made.item, "--key-stdin").has(t, 2, "there are: portal")
	w.keyturn(t, "", "adopt", "shop/map", "--issuer", "portal", "--item", made.item).has(t, 2, "--key-from-vault or --key-stdin")
	w.keyturn(t, "", "adopt", "shop/map", "--issuer", "portal", "--item", made.item, "--key-from-vault", "secret/nowhere").has(t, 1, "no such secret")
	w.keyturn(t, long.Reveal(), "adopt", "shop/more", "--issuer", "portal", "--item", beside.item, "--key-stdin", "--drop-fields").has(t, 0, "these fields there are lost: url", "adopted")
}

// TestAdoptThatADaemonRefuses is taken back: what Vault held is there again.
func TestAdoptThatADaemonRefuses(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	made := w.handmade(t, "Map")
	key := made.key(t, 1, 9*time.Hour)
	w.put(t, w.secretAt(t, "shop/there"), 0, map[string]any{"api_key": key.Reveal()})
	text, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	// an operator who may not adopt in that namespace
	w.change(t, `roles: [{role: admin, namespaces: ["*"]}]`, `roles: [{role: viewer, namespaces: ["*"]}]`)
	if err := d.end(); err != nil {
		t.Fatal(err)
	}
	weak := w.daemon(t)
	adopt := func(name, item string, key credential.Secret) said {
		return w.keyturn(t, key.Reveal(), "adopt", name, "--issuer", "portal", "--item", item, "--key-stdin")
	}
	adopt("shop/new", made.item, key).has(t, 1, "lacks the role admin", "was taken back")
	adopt("shop/there", made.item, key).has(t, 1, "lacks the role admin", "is again what it was")
	if got := w.keys(t, "shop/new"); !got.Missing || got.Version != 1 {
		t.Errorf("what was not there before: %+v", got)
	}
	if got := w.keys(t, "shop/there"); got.Primary.Secret != key || got.Revision != 0 || got.Version != 3 {
		t.Errorf("what was there before: version %d, revision %d", got.Version, got.Revision)
	}
	if err := weak.end(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.daemon(t)
	adopt("shop/new", made.item, key).has(t, 0, "adopted")
	adopt("shop/there", made.item, key).has(t, 1, "it belongs to shop/new")

	// the daemon knows of an item that another credential is about to delete
	state := credential.State{Old: []credential.OldItem{{Item: made.item}}}
	if err := managed("shop/old", state, made.item); err == nil || !strings.Contains(err.Error(), "shop/old has left it and is about to delete it") {
		t.Errorf("got %v", err)
	}
}

// TestAdoptGoesOn where it ended between the write to Vault and the record: a daemon
// that took the request may have done it, so the key stays; run again, nothing is
// written twice.
func TestAdoptGoesOn(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	made := w.handmade(t, "Map")
	key := made.key(t, 1, 9*time.Hour)
	var ears []*nats.Subscription
	for subject, answer := range map[string]string{control.SubjectLimits: `{"issuers":{"portal":{"min_lifetime":1}}}`, control.SubjectAdopt: ""} {
		ear, err := w.conn.Subscribe(subject, func(m *nats.Msg) {
			if answer != "" {
				_ = m.Respond([]byte(answer))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		ears = append(ears, ear)
	}
	args := []string{"adopt", "shop/map", "--issuer", "portal", "--item", made.item, "--key-stdin", "-f", w.declare(t, "shop/map", "privileges: [premium:user:basemaps]", brisk)}
	w.keyturn(t, key.Reveal(), args...).has(t, 1, "whether it is on record is not known, so the key stays in Vault", "the same command again")
	if got := w.keys(t, "shop/map"); got.Primary.Secret != key || got.Version != 1 {
		t.Fatalf("version %d", got.Version)
	}
	for _, ear := range ears {
		if err := ear.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
	d := w.daemon(t)
	w.keyturn(t, key.Reveal(), args...).has(t, 0, "already", "shop/map adopted")
	s := w.alone(t, d, "shop/map", 1)
	if now := w.keys(t, "shop/map"); now.Version != 1 || s.Vault.Version != 1 || now.Primary.Secret != key {
		t.Errorf("version %d is in Vault and %d on record", now.Version, s.Vault.Version)
	}
}

// TestAdoptWhatAnotherLetGo: the item that one name kept goes on under another, and is
// marked for that one.
func TestAdoptWhatAnotherLetGo(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/old")
	item := w.keys(t, "shop/old").Primary.Seat.Item
	key := credential.Secret{}
	adopt := func() said {
		return w.keyturn(t, key.Reveal(), "adopt", "shop/new", "--issuer", "portal", "--item", item, "--key-stdin", "-f", w.declare(t, "shop/new", "privileges: [premium:user:basemaps]", brisk))
	}
	key = w.keys(t, "shop/old").Primary.Secret
	adopt().has(t, 1, "it belongs to shop/old", "keyturn remove shop/old --keep-item")
	w.keyturn(t, "", "remove", "shop/old", "--reason", "renamed", "--yes", "--keep-item").has(t, 0, "shop/old: removed")
	key = handmade{w, item}.key(t, 1, 9*time.Hour)
	adopt().has(t, 0, "shop/new adopted")
	w.alone(t, d, "shop/new", 1) // marked, too
	if words := fmt.Sprint(w.form(t, "/content/items/"+item, url.Values{})["typeKeywords"]); !strings.Contains(words, "keyturn-credential:shop/new") || strings.Contains(words, "shop/old") {
		t.Errorf("the item has the keywords %s", words)
	}
	w.keyturn(t, "", "doctor", "shop/new").has(t, 0, "ok   next")
}

// TestADaemonAdoptsNoItemOfARecord, whatever is marked on it, and whoever asks.
func TestADaemonAdoptsNoItemOfARecord(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/managed")
	key := w.keys(t, "shop/managed").Primary
	w.form(t, "/content/users/keyturn/items/"+key.Seat.Item+"/update", map[string][]string{"typeKeywords": {"Application"}})
	key.Mint = 1
	if _, err := w.store(t).Write(t.Context(), "shop/thief", credential.Document{Primary: key, Revision: 1}, 0); err != nil {
		t.Fatal(err)
	}
	ask := control.Adopt{Name: "shop/thief", Item: key.Seat.Item, Fingerprint: key.Fingerprint, Spec: w.states(t, d.record)["shop/managed"].Spec}
	if _, err := control.NewClient(w.conn, w.operator).Adopt(t.Context(), ask); err == nil || !strings.Contains(err.Error(), "it belongs to shop/managed") {
		t.Errorf("got %v", err)
	}
}

// TestRefused: only when no daemon can do it any more is what was written taken back.
func TestRefused(t *testing.T) {
	for what, test := range map[string]struct {
		err  error
		want bool
	}{
		"a conflict":          {&control.Refusal{Code: control.CodeConflict}, true},
		"a missing role":      {fmt.Errorf("adopt: %w", &control.Refusal{Code: control.CodeDenied}), true},
		"asked twice":         {&control.Refusal{Code: control.CodeConflict, Resent: true}, false},
		"a daemon in straits": {&control.Refusal{Code: control.CodeUnavailable}, false},
		"nobody there":        {control.ErrNoDaemon, true},
		"no answer":           {context.DeadlineExceeded, false},
	} {
		if refused(test.err) != test.want {
			t.Errorf("%s: want %v", what, test.want)
		}
	}
}
