package arcgis_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// registerByHand makes an API key credential as a person would.
func (b *bench) registerByHand(title, keywords, appType string) string {
	b.Helper()
	item := b.addByHand(title, keywords)
	b.byHand("/oauth2/registerApp", url.Values{"itemId": {item}, "appType": {appType}, "privileges": {`["premium:user:places"]`}})
	return item
}

func TestDiscoverSeesOwnAndOthersCredentials(t *testing.T) {
	const admin = "chief"
	editions(t, func(t *testing.T, edition emulator.Edition) {
		b := open(t, emulator.Config{Edition: edition, Users: map[string]string{user: password, admin: "another password"}, Admins: []string{admin}})
		mapped := b.addByHand("a map", "")
		o := order("r-1")
		o.Spec = credential.ItemSpec{
			Title: "made by keyturn", Folder: "keys of ours", Description: "for the shop", Tags: []string{"shop", "web"},
			Privileges: []string{"premium:user:basemaps"}, Items: []string{mapped}, Referrers: []string{"https://a.example.com"},
		}
		item, err := b.portal.EnsureItem(t.Context(), o)
		must(t, err)
		b.issue(credential.SeatID{Item: item, Slot: 2})
		expires := b.emulated.Snapshot()[1].Slots[1].ItemExpires
		byHand := b.registerByHand("made by hand", "", "multiple")
		b.registerByHand("a web app", "", "browser")
		b.addByHand("never registered", "APIToken")

		want := []credential.FoundItem{
			{Item: byHand, Owner: user, Spec: credential.ItemSpec{Title: "made by hand", Privileges: []string{"premium:user:places"}}},
			{
				Item: item, Owner: user, Spec: o.Spec, Installation: "test", Marked: "ns/name",
				Slots: [2]credential.SlotStatus{{}, {Active: true, Expires: expires}},
			},
		}
		chief := b.restarted(func(c *arcgis.Config) { c.Username, c.Password = admin, secret("another password") })
		own, err := chief.EnsureItem(t.Context(), order("r-of-the-chief"))
		must(t, err)
		seen, err := b.restarted().Discover(t.Context())
		must(t, err)
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("the owner sees: %s", diff)
		}
		all, err := chief.Discover(t.Context()) // by search, whose dates are -1
		must(t, err)
		chiefs := credential.FoundItem{Item: own, Owner: admin, Spec: spec, Installation: "test", Marked: "ns/name"}
		if diff := cmp.Diff(append([]credential.FoundItem{chiefs}, want...), all); diff != "" {
			t.Errorf("the administrator sees: %s", diff)
		}
		for _, one := range all {
			looked, err := chief.Look(t.Context(), one.Item)
			must(t, err)
			if diff := cmp.Diff(one, looked); diff != "" {
				t.Errorf("looked at by itself: %s", diff)
			}
		}
	})
}

// Search lags: what was just made is seen, and what was just deleted is not.
func TestDiscoverDoesNotLag(t *testing.T) {
	b := open(t, emulator.Config{})
	gone, there := b.registerByHand("gone", "", "multiple"), b.registerByHand("there", "", "multiple")
	must(t, b.emulated.SetKnobs(emulator.Knobs{SearchLag: time.Hour}))
	must(t, b.emulated.DeleteByHand(gone))
	later := b.registerByHand("there later", "", "multiple")
	b.byHand("/oauth2/apps/"+b.clientID(b.registerByHand("unregistered", "", "multiple"))+"/unregister", url.Values{})
	seen, err := b.portal.Discover(t.Context())
	must(t, err)
	var items []string
	for _, one := range seen {
		items = append(items, one.Item)
	}
	if diff := cmp.Diff([]string{there, later}, items); diff != "" {
		t.Error(diff)
	}
}

func TestDiscoverReadsEveryPageAndFolderOnce(t *testing.T) {
	b := open(t, emulator.Config{}, func(c *arcgis.Config) { c.Concurrency = 4 })
	for i := range 130 {
		o := order(fmt.Sprintf("r-%d", i))
		o.Spec.Folder = []string{"", "keys of ours"}[i%2]
		_, err := b.portal.EnsureItem(t.Context(), o)
		must(t, err)
	}
	before := b.emulated.Calls()
	b.calls.wire()
	seen, err := b.restarted().Discover(t.Context())
	must(t, err)
	folders := map[string]int{}
	for _, one := range seen {
		folders[one.Spec.Folder]++
	}
	if len(seen) != 130 || folders["keys of ours"] != 65 || folders[""] != 65 {
		t.Errorf("%d items: %v", len(seen), folders)
	}
	for _, r := range b.calls.wire() {
		if q := r.PostForm.Get("q"); strings.HasSuffix(r.URL.Path, "/search") && !strings.HasPrefix(q, "orgid:"+b.organisation()+" AND ") {
			t.Errorf("searched everywhere: %s", q)
		}
	}
	after := b.emulated.Calls()
	for path, most := range map[string]int{
		"/content/users/{user}/items/{item}/registeredAppInfo": 130, "/content/items/{item}": 130, "/search": 2, "/content/users/{user}": 3,
	} {
		if n := after[path] - before[path]; n == 0 || n > most {
			t.Errorf("%d calls of %s, want at most %d", n, path, most)
		}
	}
}

// A portal that does not answer is no portal without credentials.
func TestDiscoverFailsWhole(t *testing.T) {
	for _, path := range []string{"/content/users/" + user, "/search", "/registeredAppInfo", "/content/items/", "/portals/self"} {
		b := open(t, emulator.Config{})
		b.item()
		b.faults(emulator.Rule{Kind: emulator.FaultThrottle, Path: path})
		_, err := b.portal.Discover(t.Context())
		fault(t, err, credential.ClassRetryable, "throttles")
	}
}

func TestLookAtWhatIsNoCredential(t *testing.T) {
	b := open(t, emulator.Config{})
	_, err := b.portal.Look(t.Context(), b.registerByHand("a web app", "", "browser"))
	fault(t, err, credential.ClassPermanent, "no API key credential")
	_, err = b.portal.Look(t.Context(), b.addByHand("a map", ""))
	fault(t, err, credential.ClassPermanent, "not registered")
	_, err = b.portal.Look(t.Context(), "0123456789abcdef0123456789abcdef")
	fault(t, err, credential.ClassNotFound)
	personal := b.addByHand("an administrator's", "")
	b.byHand("/oauth2/registerApp", url.Values{"itemId": {personal}, "appType": {"multiple"}, "privileges": {`["portal:admin:viewItems"]`}})
	if found, err := b.portal.Look(t.Context(), personal); err != nil || !found.Spec.Personal {
		t.Errorf("%+v, %v", found, err)
	}
	// a portal without the keyword: a key tells
	p := portalOfOneItem(t, nil)
	_, err = p.Look(t.Context(), "i")
	must(t, err)
	// in a folder that is not there (any more)
	p = portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/content/items/i"):
			_, _ = w.Write([]byte(`{"id":"i","owner":"` + user + `","ownerFolder":"f"}`))
		case strings.HasSuffix(r.URL.Path, "/users/"+user):
			_, _ = w.Write([]byte(`{"folders":[{"id":"other","title":"other"}]}`))
		default:
			return false
		}
		return true
	})
	_, err = p.Look(t.Context(), "i")
	fault(t, err, credential.ClassRetryable, "folder f")
}

func (b *bench) organisation() string {
	b.Helper()
	id, _ := b.byHand("/portals/self", url.Values{})["id"].(string)
	if id == "" {
		b.Fatal("the portal does not say which organisation it is")
	}
	return id
}

// What search finds and others do not let us manage is no failure.
func TestDiscoverLeavesOutWhatIsNotOurs(t *testing.T) {
	for name, registration := range map[string]string{
		"hidden secret": `{"itemId":"i","client_id":"c"}`,
		"denied":        `{"error":{"code":403,"message":"You do not have permissions to access this resource or perform this operation."}}`,
		"garbage":       `<html>`,
	} {
		t.Run(name, func(t *testing.T) {
			p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case strings.HasSuffix(r.URL.Path, "/search"):
					_, _ = w.Write([]byte(`{"results":[{"id":"i"}],"nextStart":-1}`))
				case strings.HasSuffix(r.URL.Path, "/registeredAppInfo"):
					_, _ = w.Write([]byte(registration))
				case strings.HasSuffix(r.URL.Path, "/users/"+user), strings.HasSuffix(r.URL.Path, "/portals/self"):
					_, _ = w.Write([]byte(`{}`))
				default:
					return false
				}
				return true
			})
			seen, err := p.Discover(t.Context())
			if name == "garbage" {
				fault(t, err, credential.ClassRetryable)
				return
			}
			must(t, err)
			if len(seen) != 0 {
				t.Errorf("got %+v", seen)
			}
		})
	}
}
