package arcgis_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

var (
	ours   = credential.Marker{Installation: "test", Name: "ns/name"}
	edited = credential.ItemSpec{Title: "a better title", Description: "what <b>it</b> is for", Tags: []string{"maps", "web"}, Folder: "keys of ours"}
)

// shown is the item as the portal shows it to its owner.
func (b *bench) shown(item string) (title, description, folder string, tags, words []string) {
	b.Helper()
	answer := b.byHand("/content/items/"+item, url.Values{})
	list := func(name string) []string {
		var texts []string
		for _, v := range answer[name].([]any) {
			texts = append(texts, v.(string))
		}
		slices.Sort(texts)
		return texts
	}
	title, _ = answer["title"].(string)
	description, _ = answer["description"].(string)
	folder, _ = answer["ownerFolder"].(string)
	return title, description, folder, list("tags"), list("typeKeywords")
}

func TestEditChangesInPlaceAndKeepsWhatOthersWrote(t *testing.T) {
	editions(t, func(t *testing.T, edition emulator.Edition) {
		b := open(t, emulator.Config{Edition: edition})
		item := b.addByHand("made by hand", "their keyword,another one")
		b.byHand("/oauth2/registerApp", url.Values{
			"itemId": {item}, "appType": {"multiple"}, "privileges": {`["premium:user:basemaps"]`}, "httpReferrers": {`["https://a.example.com"]`},
		})
		key := b.issue(credential.SeatID{Item: item, Slot: 1}).Key
		b.calls.take()
		b.calls.wire()
		must(t, b.portal.Edit(t.Context(), item, ours, edited))
		want := []string{"read-item", "read-registration", "edit-item", "list-folders", "make-folder", "move-item"}
		names := b.calls.take()
		slices.Sort(names[:2]) // they are asked at a time
		if diff := cmp.Diff(want, names); diff != "" {
			t.Error(diff)
		}
		for _, r := range b.calls.wire() {
			for _, never := range []string{"privileges", "httpReferrers", "apiToken1ExpirationDate", "type"} {
				if r.PostForm.Has(never) {
					t.Errorf("%s sent %s", r.URL.Path, never)
				}
			}
		}
		title, description, folder, tags, words := b.shown(item)
		if title != edited.Title || description != edited.Description || folder == "" || !slices.Equal(tags, edited.Tags) {
			t.Errorf("it is %q, %q in %q, %q", title, description, folder, tags)
		}
		if diff := cmp.Diff([]string{"APIToken", "Registered App", "another one", "keyturn-credential:ns/name", "keyturn-installation:test", "their keyword"}, words); diff != "" {
			t.Error(diff)
		}
		if !b.emulated.KeyWorks(key.Reveal(), "https://a.example.com/") {
			t.Error("the key is dead")
		}
		// what is not declared any more is cleared; nothing is sent for what is as it should be
		b.calls.take()
		must(t, b.portal.Edit(t.Context(), item, ours, edited))
		must(t, b.portal.Edit(t.Context(), item, ours, credential.ItemSpec{Title: edited.Title}))
		if names := b.calls.take(); len(names) != 6 || names[4] != "edit-item" || names[5] != "move-item" {
			t.Errorf("called %v", names)
		}
		if _, description, folder, tags, _ := b.shown(item); description != "" || folder != "" || len(tags) != 0 {
			t.Errorf("left: %q in %q, %q", description, folder, tags)
		}
	})
}

func TestEditKeepsOrReplacesTheRotation(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	rotation := func() string {
		_, _, _, _, words := b.shown(item)
		var found []string
		for _, word := range words {
			if strings.HasPrefix(word, "keyturn-rotation:") {
				found = append(found, word)
			}
		}
		return strings.Join(found, " ")
	}
	must(t, b.portal.Edit(t.Context(), item, ours, edited))
	if got := rotation(); got != "keyturn-rotation:r-1" {
		t.Errorf("the rotation is %q", got)
	}
	must(t, b.portal.Edit(t.Context(), item, credential.Marker{Installation: "test", Name: "ns/name", Rotation: "r-2"}, edited))
	if got := rotation(); got != "keyturn-rotation:r-2" {
		t.Errorf("the rotation is %q", got)
	}
}

func TestEditOfAnItemThatIsManagedElsewhereSaysWho(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	before := len(b.emulated.Events())
	err := b.portal.Edit(t.Context(), item, credential.Marker{Installation: "other", Name: "ns/name"}, edited)
	fault(t, err, credential.ClassPermanent, "managed already", "keyturn-installation:test", "let go")
	for _, odd := range []credential.Marker{{Installation: "a,b", Name: "ns/name"}, {Installation: "test", Name: "ns/name", Rotation: "r 1"}} {
		fault(t, b.portal.Edit(t.Context(), item, odd, edited), credential.ClassPermanent, "marker")
	}
	if n := len(b.emulated.Events()) - before; n != 0 {
		t.Errorf("%d changes", n)
	}
}

// An item goes over to another credential of the installation: whether the one before
// has let it go stands in the record.
func TestEditReplacesTheMarkerOfAnotherCredential(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	must(t, b.portal.Edit(t.Context(), item, credential.Marker{Installation: "test", Name: "ns/another"}, edited))
	found, err := b.portal.Look(t.Context(), item)
	must(t, err)
	_, _, _, _, words := b.shown(item)
	if found.Marked != "ns/another" || found.Installation != "test" || slices.Contains(words, "keyturn-credential:ns/name") {
		t.Errorf("marked for %q by %q: %v", found.Marked, found.Installation, words)
	}
}

// The folder is one of the owner's, not of who edits.
func TestEditOfSomebodyElsesItem(t *testing.T) {
	const admin = "chief"
	b := open(t, emulator.Config{Users: map[string]string{user: password, admin: "another password"}, Admins: []string{admin}})
	seat := credential.SeatID{Item: b.item(), Slot: 2}
	key := b.issue(seat).Key
	chief := b.restarted(func(c *arcgis.Config) { c.Username, c.Password = admin, secret("another password") })
	mine := order("r-of-the-chief")
	mine.Spec.Folder = edited.Folder // a folder of the same title in the other content
	_, err := chief.EnsureItem(t.Context(), mine)
	must(t, err)
	for range 2 {
		must(t, chief.Edit(t.Context(), seat.Item, ours, edited))
	}
	title, _, folder, _, _ := b.shown(seat.Item)
	if title != edited.Title || folder == "" || !b.emulated.KeyWorks(key.Reveal(), "") {
		t.Errorf("it is %q in %q", title, folder)
	}
}

func TestEditIsContinuedAfterACrashAtEachCall(t *testing.T) {
	for name, rule := range map[string]emulator.Rule{
		"read item":         {Path: "/content/items/"},
		"read registration": {Path: "/registeredAppInfo"},
		"update":            {Path: "/update"},
		"list of folders":   {Path: "/content/users/" + user, Param: "num=1"},
		"new folder":        {Path: "/createFolder"},
		"move":              {Path: "/move"},
	} {
		for _, act := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, carried out %t", name, act), func(t *testing.T) {
				editions(t, func(t *testing.T, edition emulator.Edition) {
					b := open(t, emulator.Config{Edition: edition})
					seat := credential.SeatID{Item: b.item(), Slot: 1}
					key := b.issue(seat).Key
					rule.Kind, rule.Act, rule.Count = emulator.FaultDrop, act, 1
					b.faults(rule)
					want := credential.ClassUnknown
					if strings.HasPrefix(name, "read") || strings.HasPrefix(name, "list") {
						want = credential.ClassRetryable
					}
					fault(t, b.portal.Edit(t.Context(), seat.Item, ours, edited), want)
					must(t, b.restarted().Edit(t.Context(), seat.Item, ours, edited))
					title, description, folder, tags, _ := b.shown(seat.Item)
					if title != edited.Title || description != edited.Description || folder == "" || len(tags) != 2 || !b.emulated.KeyWorks(key.Reveal(), "") {
						t.Errorf("it is %q, %q in %q, %q", title, description, folder, tags)
					}
					count := map[string]int{}
					for _, event := range b.emulated.Events() {
						count[event.Kind]++
					}
					if count["folder-created"] != 1 || count["item-moved"] != 1 || count["item-updated"] != 2 { // the other is of the key
						t.Errorf("the portal saw %v", count)
					}
				})
			})
		}
	}
}

// A folder that is remembered and was deleted meanwhile is made anew by the next attempt.
func TestEditAfterItsFolderWasDeleted(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	must(t, b.portal.Edit(t.Context(), item, ours, edited))
	_, _, folder, _, _ := b.shown(item)
	must(t, b.portal.Edit(t.Context(), item, ours, credential.ItemSpec{Title: "in the root"}))
	b.byHand("/content/users/"+user+"/"+folder+"/delete", url.Values{})
	fault(t, b.portal.Edit(t.Context(), item, ours, edited), credential.ClassRetryable)
	must(t, b.portal.Edit(t.Context(), item, ours, edited))
	if _, _, again, _, _ := b.shown(item); again == "" || again == folder {
		t.Errorf("it is in folder %q", again)
	}
}

// Sending ours alone would drop the portal's own keywords.
func TestEditWithoutTheKeywordsOfThePortalChangesNothing(t *testing.T) {
	p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/update") {
			t.Error("it was changed")
		}
		if strings.HasSuffix(r.URL.Path, "/content/items/i") {
			_, _ = w.Write([]byte(`{"id":"i","owner":"` + user + `","title":"t"}`))
			return true
		}
		return false
	})
	fault(t, p.Edit(t.Context(), "i", ours, edited), credential.ClassRetryable, "keywords")
}

func TestSettingsAreToldWhateverTheirOrder(t *testing.T) {
	b := open(t, emulator.Config{})
	other := b.addByHand("a map", "")
	o := order("r-1")
	o.Spec.Items, o.Spec.Referrers = []string{other}, []string{"https://b.example.com", "https://a.example.com"}
	item, err := b.portal.EnsureItem(t.Context(), o)
	must(t, err)
	o.Spec.Privileges = slices.Clone(o.Spec.Privileges)
	slices.Reverse(o.Spec.Privileges)
	slices.Reverse(o.Spec.Referrers)
	status, err := b.portal.Describe(t.Context(), item)
	must(t, err)
	if status.Settings != o.Spec.SettingsHash() {
		t.Errorf("the settings are %q, want %q", status.Settings, o.Spec.SettingsHash())
	}
	b.byHand("/oauth2/apps/"+b.clientID(item)+"/update", url.Values{"httpReferrers": {`["https://a.example.com"]`}})
	if status, err = b.portal.Describe(t.Context(), item); err != nil || status.Settings == o.Spec.SettingsHash() {
		t.Errorf("an edit by hand is not told: %q, %v", status.Settings, err)
	}
	silent := portalOfOneItem(t, nil)
	if status, err = silent.Describe(t.Context(), "i"); err != nil || status.Settings != "" {
		t.Errorf("a portal that does not tell: %q, %v", status.Settings, err)
	}
}

func (b *bench) clientID(item string) string {
	for _, it := range b.emulated.Snapshot() {
		if it.ID == item {
			return it.ClientID
		}
	}
	return ""
}

func TestMarkedLooksThroughEveryFolderAndPage(t *testing.T) {
	b := open(t, emulator.Config{Knobs: emulator.Knobs{SearchLag: time.Hour}}) // search would not find them
	for i := range 120 {
		b.addByHand(fmt.Sprintf("other %d", i), "")
	}
	adopted := b.addByHand("adopted", "keyturn-installation:test,keyturn-credential:ns/name")
	for i := range 130 {
		o := order(fmt.Sprintf("r-%d", i))
		o.Spec.Folder = "keys of ours"
		_, err := b.portal.EnsureItem(t.Context(), o)
		must(t, err)
	}
	long := order("r-long")
	long.Marker.Name = credential.Name(strings.Repeat("n", 63) + "/" + strings.Repeat("m", 63))
	_, err := b.portal.EnsureItem(t.Context(), long)
	must(t, err)
	items, err := b.restarted().Marked(t.Context(), "test", []credential.Name{"ns/name", long.Marker.Name})
	must(t, err)
	count := map[credential.Name]int{}
	for i, item := range items {
		count[item.Name]++
		if (item.Rotation == "") != (item.Item == adopted) || (i > 0 && item.Created.Before(items[i-1].Created)) {
			t.Errorf("%d: %+v", i, item)
		}
	}
	if len(items) != 132 || count["ns/name"] != 131 || count[long.Marker.Name] != 1 {
		t.Errorf("%d items: %v", len(items), count)
	}
}

func TestMarkedWhileAFolderIsDeleted(t *testing.T) {
	b := open(t, emulator.Config{})
	b.item()
	o := order("r-2")
	o.Spec.Folder = "keys of ours"
	item, err := b.portal.EnsureItem(t.Context(), o)
	must(t, err)
	_, _, folder, _, _ := b.shown(item)
	p := client(t, b.through(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/"+folder) {
			b.byHand("/content/users/"+user+"/"+folder+"/delete", url.Values{})
		}
	}))
	items, err := p.Marked(t.Context(), "test", nil)
	must(t, err)
	if len(items) != 1 || items[0].Rotation != "r-1" || items[0].Name != "" {
		t.Errorf("got %+v", items)
	}
	b.faults(emulator.Rule{Kind: emulator.FaultThrottle, Path: "/content/users/"})
	_, err = b.portal.Marked(t.Context(), "test", nil)
	fault(t, err, credential.ClassRetryable)
}

func TestSlotOf(t *testing.T) {
	b := open(t, emulator.Config{})
	for slot := 1; slot <= 2; slot++ {
		key := b.issue(credential.SeatID{Item: b.item(), Slot: slot}).Key
		if got, ok := arcgis.SlotOf(key); !ok || got != slot {
			t.Errorf("slot %d: got %d, %t", slot, got, ok)
		}
	}
	for _, text := range []string{"", "AT1_abcdefgh", strings.Repeat("a", 40) + "AT3_abcdefgh", strings.Repeat("a", 40) + "AT1_abcdefg", strings.Repeat("a b", 20) + "AT1_abcdefgh"} {
		if slot, ok := arcgis.SlotOf(credential.NewSecret(text)); ok || slot != 0 {
			t.Errorf("%q: %d, %t", text, slot, ok)
		}
	}
}
