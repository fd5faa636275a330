package arcgis_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

func TestItemIsFoundByItsMarkerOnALaterPage(t *testing.T) {
	b := open(t, emulator.Config{Knobs: emulator.Knobs{SearchLag: time.Hour}}) // search would not find it
	for i := range 230 {
		b.addByHand(fmt.Sprintf("other %d", i), "")
	}
	item := b.item()
	b.calls.take()
	if again := b.item(); again != item {
		t.Errorf("made twice: %s and %s", item, again)
	}
	want := []string{"list-items", "list-items", "list-items", "read-registration"}
	if diff := cmp.Diff(want, b.calls.take()); diff != "" {
		t.Error(diff)
	}
}

func TestFirstOrderLooksForNothing(t *testing.T) {
	b := open(t, emulator.Config{})
	b.item() // logs in
	b.calls.take()
	first := order("r-2")
	first.First = true
	item, err := b.portal.EnsureItem(t.Context(), first)
	must(t, err)
	if diff := cmp.Diff([]string{"make-item", "register"}, b.calls.take()); diff != "" {
		t.Error(diff)
	}
	if again, err := b.portal.EnsureItem(t.Context(), order("r-2")); err != nil || again != item {
		t.Errorf("the next order finds %s, %v instead of %s", again, err, item)
	}
}

// addByHand makes an item as somebody else's tool would.
func (b *bench) addByHand(title, keywords string) string {
	b.Helper()
	answer := b.byHand("/content/users/"+user+"/addItem", url.Values{"title": {title}, "type": {"Application"}, "typeKeywords": {keywords}})
	id, _ := answer["id"].(string)
	if id == "" {
		b.Fatalf("addItem answers %v", answer)
	}
	return id
}

func (b *bench) byHand(path string, form url.Values) map[string]any {
	b.Helper()
	post := func(path string, form url.Values) map[string]any {
		form.Set("f", "json")
		r, err := b.server.Client().PostForm(b.server.URL+b.emulated.BasePath()+path, form)
		must(b, err)
		defer func() { _ = r.Body.Close() }()
		var answer map[string]any
		must(b, json.NewDecoder(r.Body).Decode(&answer))
		return answer
	}
	token, _ := post("/generateToken", url.Values{"username": {user}, "password": {password}, "client": {"requestip"}})["token"].(string)
	form.Set("token", token)
	return post(path, form)
}

const marker = "keyturn-installation:test,keyturn-credential:ns/name,keyturn-rotation:r-1"

func TestHalfMadeItemIsContinued(t *testing.T) {
	b := open(t, emulator.Config{})
	b.addByHand("another rotation", strings.ReplaceAll(marker, "r-1", "r-2"))
	b.addByHand("another installation", strings.ReplaceAll(marker, "test", "prod"))
	half := b.addByHand("half made", marker)
	if item := b.item(); item != half {
		t.Errorf("made %s beside %s", item, half)
	}
	b.issue(credential.SeatID{Item: half, Slot: 1})
}

func TestOfTwinsTheOldestRegisteredIsUsed(t *testing.T) {
	b := open(t, emulator.Config{})
	b.addByHand("half made first", marker)
	registered := b.addByHand("registered later", marker)
	b.byHand("/oauth2/registerApp", url.Values{"itemId": {registered}, "appType": {"multiple"}, "privileges": {`["premium:user:basemaps","premium:user:geocode:stored"]`}})
	for range 2 {
		if item := b.item(); item != registered {
			t.Errorf("got %s instead of the registered %s", item, registered)
		}
	}
}

func TestUnansweredCallsAreContinuedByTheMarker(t *testing.T) {
	for _, path := range []string{"/addItem", "/oauth2/registerApp"} {
		b := open(t, emulator.Config{})
		b.faults(emulator.Rule{Kind: emulator.FaultDrop, Path: path, Act: true, Count: 1})
		_, err := b.portal.EnsureItem(t.Context(), order("r-1"))
		if f := fault(t, err, credential.ClassUnknown); !f.Silent {
			t.Error("it was silent")
		}
		b.item()
		if n := len(b.emulated.Snapshot()); n != 1 {
			t.Errorf("%s: %d items", path, n)
		}
	}
}

func TestFolderIsMadeOnceAndFoundAgain(t *testing.T) {
	b := open(t, emulator.Config{})
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			o := order(fmt.Sprintf("r-%d", i))
			o.Spec.Folder = "keys of ours"
			if _, err := b.portal.EnsureItem(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	folders := map[string]bool{}
	for _, item := range b.emulated.Snapshot() {
		folders[item.Folder] = true
	}
	if len(folders) != 1 || folders[""] {
		t.Errorf("the folders are %v", folders)
	}

	// somebody deletes it: noticed, and made anew with the next attempt
	for id := range folders {
		b.byHand("/content/users/"+user+"/"+id+"/delete", url.Values{})
	}
	o := order("r-9")
	o.Spec.Folder = "keys of ours"
	_, err := b.portal.EnsureItem(t.Context(), o)
	fault(t, err, credential.ClassRetryable)
	_, err = b.portal.EnsureItem(t.Context(), o)
	must(t, err)
}

func TestListsAreEncodedAsThePortalWants(t *testing.T) {
	b := open(t, emulator.Config{})
	other := b.addByHand("data", "")
	o := order("r-1")
	o.Spec.Tags = []string{"one", "two"}
	o.Spec.Items, o.Spec.Referrers = []string{other}, []string{"https://a.example.com", "https://b.example.com"}
	b.calls.wire()
	_, err := b.portal.EnsureItem(t.Context(), o)
	must(t, err)
	for _, r := range b.calls.wire() {
		switch {
		case strings.HasSuffix(r.URL.Path, "/addItem"):
			if tags, words := r.PostForm.Get("tags"), r.PostForm.Get("typeKeywords"); tags != "one,two" || words != marker {
				t.Errorf("tags %s, typeKeywords %s", tags, words)
			}
		case strings.HasSuffix(r.URL.Path, "/registerApp"):
			got := []string{r.PostForm.Get("privileges"), r.PostForm.Get("httpReferrers"), r.PostForm.Get("redirect_uris"), r.PostForm.Get("appType")}
			want := []string{
				`["premium:user:basemaps","premium:user:geocode:stored","portal:app:access:item:` + other + `"]`,
				`["https://a.example.com","https://b.example.com"]`, `["urn:ietf:wg:oauth:2.0:oob"]`, "multiple",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
	}
	for _, item := range b.emulated.Snapshot() {
		if item.ClientID != "" && len(item.Privileges)+len(item.Referrers) != 5 {
			t.Errorf("registered %+v", item)
		}
	}
}

func TestPrivilegeThatIsRefusedIsPermanentAndNamed(t *testing.T) {
	b := open(t, emulator.Config{Held: map[string][]string{user: {"portal:user:generateApiTokens", "portal:user:assignPrivilegesToApps", "premium:user:basemaps"}}})
	_, err := b.portal.EnsureItem(t.Context(), order("r-1"))
	fault(t, err, credential.ClassPermanent, "premium:user:geocode:stored")
}

func TestPrivilegeThatIsLeftOutIsNoticed(t *testing.T) {
	b := open(t, emulator.Config{})
	half := b.addByHand("half made", marker)
	b.byHand("/oauth2/registerApp", url.Values{"itemId": {half}, "appType": {"multiple"}, "privileges": {`["premium:user:basemaps"]`}})
	_, err := b.portal.EnsureItem(t.Context(), order("r-1"))
	fault(t, err, credential.ClassPermanent, "left out premium:user:geocode:stored")
}

func TestManagerWithoutTheRightsIsDenied(t *testing.T) {
	b := open(t, emulator.Config{Held: map[string][]string{user: {"premium:user:basemaps", "premium:user:geocode:stored"}}})
	_, err := b.portal.EnsureItem(t.Context(), order("r-1"))
	fault(t, err, credential.ClassDenied, "privileges")
	m, err := b.portal.Whoami(t.Context())
	must(t, err)
	if len(m.Missing) != 2 || m.User != user || m.Enterprise {
		t.Errorf("the manager is %+v", m)
	}
}

func TestOddMarkersAreRefused(t *testing.T) {
	b := open(t, emulator.Config{})
	for _, installation := range []string{"", "a,b", "a b", "a\nb"} {
		o := order("r-1")
		o.Marker.Installation = installation
		_, err := b.portal.EnsureItem(t.Context(), o)
		fault(t, err, credential.ClassPermanent, "installation")
	}
	long := order("r-1")
	long.Marker.Name = credential.Name(strings.Repeat("n", 63) + "/" + strings.Repeat("m", 63))
	one, err := b.portal.EnsureItem(t.Context(), long)
	must(t, err)
	if two, err := b.portal.EnsureItem(t.Context(), long); err != nil || two != one {
		t.Errorf("made twice: %s and %s, %v", one, two, err)
	}
}

func TestUnregisteredItemIsNotTakenForAMissingOne(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	b.byHand("/oauth2/apps/"+b.emulated.Snapshot()[0].ClientID+"/unregister", url.Values{})
	_, err := b.portal.Describe(t.Context(), item)
	fault(t, err, credential.ClassPermanent, "not registered")
	must(t, b.portal.Remove(t.Context(), item, false))
	must(t, b.portal.Remove(t.Context(), item, false)) // not there is no error
	if n := len(b.emulated.Snapshot()); n != 0 {
		t.Errorf("%d items are left", n)
	}
}

// A hidden item "does not exist" as well. When the other call was not heard as
// the manager's, that proves nothing.
func TestAbsenceNeedsTwoWitnesses(t *testing.T) {
	const absent = `{"error":{"code":400,"messageCode":"CONT_0001","message":"Item does not exist or is inaccessible.","details":[]}}`
	for name, test := range map[string]struct {
		registration string
		class        credential.Class
	}{
		"both say so": {absent, credential.ClassNotFound},
		"denied":      {`{"error":{"code":403,"messageCode":"GWM_0003","message":"You do not have permissions.","details":[]}}`, credential.ClassDenied},
		"no token":    {`{"error":{"code":499,"messageCode":"GWM_0003","message":"Token Required"}}`, credential.ClassDenied},
		"garbage":     {`<html>`, credential.ClassRetryable},
		"it is there": {`{"itemId":"i","client_id":"c","client_secret":"s"}`, credential.ClassRetryable},
		"no user":     {`{"error":{"code":400,"messageCode":"COM_0018","message":"User does not exist or is inaccessible."}}`, credential.ClassPermanent},
	} {
		t.Run(name, func(t *testing.T) {
			p := fake(t, func(w http.ResponseWriter, r *http.Request) {
				text := absent
				if strings.HasSuffix(r.URL.Path, "registeredAppInfo") {
					text = test.registration
				}
				_, _ = w.Write([]byte(text))
			})
			_, err := p.Describe(t.Context(), "i")
			fault(t, err, test.class)
		})
	}
}

func TestMissingActiveFieldsAndDatesAreNone(t *testing.T) {
	p := fake(t, func(w http.ResponseWriter, r *http.Request) {
		text := `{"id":"i","owner":"keeper","apiToken1ExpirationDate":-1}`
		if strings.HasSuffix(r.URL.Path, "registeredAppInfo") {
			text = `{"itemId":"i","client_id":"c","client_secret":"s"}`
		}
		_, _ = w.Write([]byte(text))
	})
	status, err := p.Describe(t.Context(), "i")
	must(t, err)
	if status.Slots != [2]credential.SlotStatus{} {
		t.Errorf("the slots are %+v", status.Slots)
	}
}

func TestRemoveGoesPastTheRecycleBin(t *testing.T) {
	b := open(t, emulator.Config{})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	key := b.issue(seat).Key
	must(t, b.portal.Remove(t.Context(), seat.Item, true))
	if b.emulated.KeyWorks(key.Reveal(), "") || len(b.emulated.Snapshot()) != 0 {
		t.Errorf("left: %+v", b.emulated.Snapshot())
	}
}
