package engine_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// post calls the portal as a person's browser would, and returns a field.
func (w *world) post(t testing.TB, path string, form url.Values, out string) string {
	t.Helper()
	form.Set("f", "json")
	answer, err := http.PostForm(w.portalURL+path, form)
	must(t, err)
	defer func() { _ = answer.Body.Close() }()
	return field(t, answer.Body, out)
}

func (w *world) token(t testing.TB) string {
	t.Helper()
	return w.post(t, "/generateToken", url.Values{"username": {user}, "password": {password}, "client": {"requestip"}}, "token")
}

// byHand is an item with a key that somebody made in the portal, and put into Vault.
func (w *world) byHand(t testing.TB, name credential.Name, slot int) (credential.SeatID, credential.Secret) {
	t.Helper()
	token := w.token(t)
	item := w.post(t, "/content/users/"+user+"/addItem", url.Values{"token": {token}, "title": {"maps"}, "type": {"Application"}, "tags": {"shop"}, "typeKeywords": {"theirs"}}, "id")
	w.post(t, "/oauth2/registerApp", url.Values{
		"token": {token}, "itemId": {item}, "appType": {"multiple"}, "redirect_uris": {"[]"}, "privileges": {`["premium:user:basemaps"]`},
	}, "client_id")
	seat := credential.SeatID{Item: item, Slot: slot}
	minted, err := w.issuer(t).Issue(t.Context(), seat, time.Now().Add(time.Hour))
	must(t, err)
	_, err = w.store.Write(t.Context(), name, credential.Document{Revision: 1, Primary: credential.Key{
		Secret: minted.Key, Fingerprint: minted.Key.Fingerprint(), Expires: minted.Expires, Seat: seat, Mint: 1,
	}}, 0)
	must(t, err)
	return seat, minted.Key
}

func (w *world) adoption(t testing.TB, name credential.Name, item string, key credential.Secret) engine.Adoption {
	spec := specOf("maps", w.policy(t, lifetime, lead, drain))
	spec.Item.Tags = []string{"shop"}
	return engine.Adoption{Spec: spec, Actor: "test", Item: item, Fingerprint: key.Fingerprint()}
}

// TestAKeyThatSomebodyMadeIsManaged: it stays the same, its item is marked, and its
// successor goes to the other slot.
func TestAKeyThatSomebodyMadeIsManaged(t *testing.T) {
	w := newWorld(t)
	for n := range 10 {
		slot, name := 1+n%2, credential.Name(fmt.Sprintf("adopt/key%d", n))
		if n == 9 { // so long that its marker is shortened
			name = credential.Name(strings.Repeat("a", 63) + "/" + strings.Repeat("b", 63))
		}
		s := &standing{world: w, name: name, engine: w.engine(t, w.ports(t), engine.Hooks{}), ctx: t.Context()}
		seat, key := w.byHand(t, name, slot)
		s.app = w.watch(t, name, drain, 3*time.Millisecond)
		proven, err := s.engine.Prove(t.Context(), name, w.adoption(t, name, seat.Item, key))
		must(t, err)
		_, err = s.engine.Command(t.Context(), name, proven)
		must(t, err)
		s.until(t, ended(1))
		primary := s.primary(t)
		if primary.SeatID != seat || primary.Fingerprint != key.Fingerprint() || !w.portal.KeyWorks(key.Reveal(), "") {
			t.Errorf("adopted as %+v", primary)
		}
		found, err := w.issuer(t).Look(t.Context(), seat.Item)
		must(t, err)
		if !found.MarkedFor(name) || found.MarkedFor("adopt/other") || found.Installation != "test" {
			t.Errorf("marked for %q by %q", found.Marked, found.Installation)
		}
		inspect(t.Context(), t, s.engine, name)
		s.wantDrift(t)
		// another name cannot have the same item
		if _, err := s.engine.Prove(t.Context(), "adopt/other", w.adoption(t, "adopt/other", seat.Item, key)); !credential.IsClass(err, credential.ClassPermanent) {
			t.Errorf("a second name for the item: %v", err)
		}
		w.rotate(t, name)
		s.until(t, ended(2))
		if now := s.primary(t); now.SeatID != seat.Sibling() {
			t.Errorf("the next key is on %s", now.SeatID)
		}
		s.app.check(t)
	}
}

// TestWhatIsNotAdopted, and changes nothing.
func TestWhatIsNotAdopted(t *testing.T) {
	w := newWorld(t)
	e := w.engine(t, w.ports(t), engine.Hooks{})
	seat, key := w.byHand(t, "adopt/refused", 1)
	other, _ := w.byHand(t, "adopt/elsewhere", 1)
	for what, c := range map[string]struct {
		name   credential.Name
		change func(*engine.Adoption)
	}{
		"another key than in Vault": {"adopt/refused", func(a *engine.Adoption) { a.Fingerprint = "0011223344556677" }},
		"another item":              {"adopt/refused", func(a *engine.Adoption) { a.Item = other.Item }},
		"nothing in Vault":          {"adopt/empty", func(*engine.Adoption) {}},
		"no such issuer":            {"adopt/refused", func(a *engine.Adoption) { a.Spec.Issuer = "nowhere" }},
	} {
		a := w.adoption(t, c.name, seat.Item, key)
		c.change(&a)
		if _, err := e.Prove(t.Context(), c.name, a); !credential.IsClass(err, credential.ClassPermanent) {
			t.Errorf("%s: %v, want a permanent fault", what, err)
		}
	}
	must(t, w.portal.InvalidateByHand(seat.Item, 1))
	if _, err := e.Prove(t.Context(), "adopt/refused", w.adoption(t, "adopt/refused", seat.Item, key)); !credential.IsClass(err, credential.ClassPermanent) {
		t.Errorf("a dead key: %v", err)
	}
	if state, err := e.Look(t.Context(), "adopt/refused"); err != nil || state.Revision != 0 {
		t.Errorf("%d events, %v", state.Revision, err)
	}
}
