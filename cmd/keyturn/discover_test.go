package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/cmd/keyturn/internal/declare"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/arcgis/privilege"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// byHand makes an API key credential as a person would; fields of the item and of
// the registration.
func (w *town) byHand(t *testing.T, item, app url.Values) string {
	t.Helper()
	item.Set("type", "Application")
	id, _ := w.manager(t, "/content/users/"+emulator.DefaultUser+"/addItem", "", item)["id"].(string)
	app.Set("itemId", id)
	app.Set("appType", "multiple")
	if answer := w.manager(t, "/oauth2/registerApp", "", app); id == "" || answer["error"] != nil {
		t.Fatalf("made %q: %v", id, answer["error"])
	}
	return id
}

// issuers are what declarations are resolved against.
func issuers(c *config.Config) declare.Context {
	against := declare.Context{Issuers: map[string]declare.Issuer{}, Calendar: &schedule.Calendar{}, Now: time.Now()}
	for name, issuer := range c.Issuers {
		against.Issuers[name] = declare.Issuer{MinLifetime: issuer.MinLifetime.Value}
	}
	return against
}

// TestDiscoverManagedOrNot: who manages an item is told from the record first, and
// from its marker otherwise; what nobody manages comes out as declarations with
// which apply finds nothing wrong.
func TestDiscoverManagedOrNot(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.declares(t, "maps/web", "title: The web map\nprivileges: [premium:user:places]\n"+steadyPolicy).has(t, 0)
	ours := w.made(t, w.issued(t, d, "maps/web", 1)).ID
	fields := url.Values{"title": {"The shop: its map"}, "tags": {"shop,web"}, "description": {"made by hand\nand \"kept\""}}
	byHand := w.byHand(t, fields, url.Values{
		"privileges": {`["premium:user:basemaps","portal:admin:viewItems","portal:app:access:item:` + ours + `"]`}, "httpReferrers": {`["https://shop.example.com"]`},
	})
	twin := w.byHand(t, url.Values{"title": {"The shop, its map"}}, url.Values{"privileges": {`["premium:user:places"]`}})
	powerless := w.byHand(t, url.Values{"title": {"may do nothing"}}, url.Values{})
	other := w.byHand(t, url.Values{"title": {"elsewhere"}, "typeKeywords": {"keyturn-installation:other,keyturn-credential:maps/web"}}, url.Values{"privileges": {`["premium:user:places"]`}})
	orphan := w.byHand(t, url.Values{"title": {"an orphan"}, "typeKeywords": {"keyturn-installation:test,keyturn-credential:maps/old,keyturn-rotation:r"}}, url.Values{"privileges": {`["premium:user:places"]`}})
	w.manager(t, "/content/users/"+emulator.DefaultUser+"/items/"+byHand+"/update", "", url.Values{"apiToken2ExpirationDate": {fmt.Sprint(time.Now().Add(30*24*time.Hour + time.Hour).UnixMilli())}})
	key, err := w.portal.RegenerateByHand(byHand, 2)
	if err != nil {
		t.Fatal(err)
	}

	table := w.keyturn(t, "", "discover", "--issuer", "portal")
	table.has(t, 0)
	for item, words := range map[string][]string{
		ours:   {"The web map", emulator.DefaultUser, "expires in ", "inactive", "maps/web"},
		byHand: {"The shop: its map", "inactive", "expires in 30d", "-"},
		other:  {"elsewhere", "installation other (maps/web)"},
		orphan: {"an orphan", "made for maps/old, whose record does not name it"},
	} {
		line := ""
		for l := range strings.Lines(table.out) {
			if strings.HasPrefix(l, item) {
				line = l
			}
		}
		for _, word := range words {
			if !strings.Contains(line, word) {
				t.Errorf("%q is not in %q", word, line)
			}
		}
	}

	var list []discovered
	answer := w.keyturn(t, "", "discover", "--issuer", "portal", "-o", "json")
	if err := json.Unmarshal([]byte(answer.out), &list); err != nil || len(list) != 6 {
		t.Fatalf("%v: %s", err, answer.out)
	}
	for _, one := range list {
		if (one.ManagedBy == "maps/web") != (one.Item == ours) || (one.Installation == "other") != (one.Item == other) {
			t.Errorf("%+v", one)
		}
	}

	text := w.keyturn(t, "", "discover", "--issuer", "portal", "-o", "yaml")
	text.has(t, 0,
		"# keyturn adopt portal/the-shop-its-map --issuer portal --item ", "# keyturn adopt portal/the-shop-its-map-2 --issuer portal --item ",
		"--item "+byHand+" --key-stdin -f FILE", "--item "+twin+" --key-stdin -f FILE",
		"# left out: item "+other+": installation other (maps/web)", "# left out: item "+orphan+": ",
		"# item "+powerless+" cannot be declared as it is:", "the key could do nothing",
	)
	for what, never := range map[string]string{"the managed item": "--item " + ours, "the managed item, left out": "left out: item " + ours, "the key": key, "the password": emulator.DefaultPassword} {
		if strings.Contains(text.out+table.out+answer.out, never) {
			t.Errorf("%s stands in it", what)
		}
	}
	declared, err := declare.Parse("found.yaml", []byte(text.out), issuers(w.load(t)))
	if err != nil || len(declared) != 2 {
		t.Fatalf("%d declarations, %v:\n%s", len(declared), err, text.out)
	}
	want := credential.ItemSpec{
		Title: "The shop: its map", Description: "made by hand\nand \"kept\"", Tags: []string{"shop", "web"},
		Privileges: []string{"premium:user:basemaps", "portal:admin:viewItems"}, Items: []string{ours}, Referrers: []string{"https://shop.example.com"},
		Personal: true, AllowUnlisted: true,
	}
	at := slices.IndexFunc(declared, func(d declare.Declaration) bool { return d.Spec.Item.Title == want.Title })
	if at < 0 {
		t.Fatalf("it is not declared:\n%s", text.out)
	}
	if diff := cmp.Diff(want, declared[at].Spec.Item); diff != "" {
		t.Error(diff)
	}
	// and apply takes it, if the names are free
	w.keyturn(t, text.out, "apply", "-f", "-", "--dry-run").has(t, 0, "portal/the-shop-its-map would be registered")
}

func TestDiscoverFolders(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	folder, _ := w.manager(t, "/content/users/"+emulator.DefaultUser+"/createFolder", "", url.Values{"title": {"web maps"}})["folder"].(map[string]any)
	item := w.byHand(t, url.Values{"title": {"A map"}}, url.Values{"privileges": {`["premium:user:places"]`}})
	w.manager(t, "/content/users/"+emulator.DefaultUser+"/items/"+item+"/move", "", url.Values{"folder": {folder["id"].(string)}})
	w.keyturn(t, "", "discover", "--issuer", "portal", "-o", "yaml").has(t, 0, "  folder: web maps\n", "portal/a-map")
}

func TestDiscoverSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	w.keyturn(t, "", "discover").has(t, 2, "--issuer ISSUER")
	w.keyturn(t, "", "discover", "--issuer", "protal").has(t, 2, `no issuer "protal" is configured (there are: portal)`)
	w.keyturn(t, "", "discover", "--issuer", "portal", "-o", "xml").has(t, 2, "want table, json or yaml")
	w.keyturn(t, "", "discover", "--issuer", "portal", "-o", "json").has(t, 0, "[]")
	w.keyturn(t, "", "discover", "--issuer", "portal", "-o", "yaml").has(t, 0, "# API key credentials of issuer portal", "# There is none to declare.")
	if err := w.portal.SetFaults(emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultThrottle, Path: "/search"}}}); err != nil {
		t.Fatal(err)
	}
	w.keyturn(t, "", "discover", "--issuer", "portal").has(t, 1, "throttles")
}

// TestDiscoveredTwiceAndBroken: what a portal shows twice or a title that has line
// breaks is no reason to declare nothing.
func TestDiscoveredTwiceAndBroken(t *testing.T) {
	c := &config.Config{Issuers: map[string]config.Issuer{"portal": {}}}
	d := declaring{issuer: "portal", config: c, calendar: &schedule.Calendar{}, now: time.Now(), taken: map[credential.Name]bool{}}
	const item = "0123456789abcdef0123456789abcdef"
	text, name, err := d.entry(discovered{Item: item, Spec: credential.ItemSpec{
		Title: "a\tmap\nof ours", Folder: "web\x00maps", Tags: []string{"a", "a"}, Privileges: []string{"premium:user:places", "premium:user:places"},
		Items: []string{item, item}, Referrers: []string{"https://a.example", "https://a.example"},
	}})
	if err != nil || name != "portal/a-map-of-ours" || !strings.Contains(text, "title: a map of ours\n") || !strings.Contains(text, "folder: web maps\n") {
		t.Errorf("%s: %v\n%s", name, err, text)
	}
	long := d.name(strings.Repeat("ab ", 40))
	d.taken[long] = true
	for _, name := range []credential.Name{long, d.name(strings.Repeat("ab ", 40))} {
		if _, err := credential.ParseName(string(name)); err != nil {
			t.Error(err)
		}
	}
}

// TestDiscoveredTextsAreDeclaredAsTheyAre: whatever people write into titles, tags
// and the like, the file reads as what was found, or says why it cannot.
func TestDiscoveredTextsAreDeclaredAsTheyAre(t *testing.T) {
	t.Parallel()
	c := &config.Config{Installation: "test", Issuers: map[string]config.Issuer{"portal": {MinLifetime: strict.Duration{Value: 24 * time.Hour, Set: true}}}}
	odd := rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{
			"", " ", "yes", "null", "~", "2024", "1e3", "0x1f", "- a", "? b", "a: b", "#c", "a #b", "'", `"`, "*x", "&x", "!x", "%x", "@x", "`x`", "|", ">", "{}", "[]", "---", "...",
			"a\nb", "a\n\n b\n", "\n", "\t", "a\r\nb", "tail ", " head", "\u2028", "\u0085", "\ufeff", "é", "日本", "=", "<<", "on", ".inf", "12:30", "2026-01-01",
		}),
	)
	rapid.Check(t, func(t *rapid.T) {
		named := rapid.SampledFrom([]string{"premium:user:places", "premium:user:elevation", "portal:admin:viewItems", "a:b"})
		if rapid.IntRange(0, 9).Draw(t, "odd privileges") == 0 {
			named = odd
		}
		var list []discovered
		for i := range rapid.IntRange(1, 5).Draw(t, "items") {
			list = append(list, discovered{
				Item: fmt.Sprintf("%032x", i), Owner: odd.Draw(t, "owner"),
				Spec: credential.ItemSpec{
					Title: odd.Draw(t, "title"), Folder: odd.Draw(t, "folder"), Description: odd.Draw(t, "description"), Tags: rapid.SliceOfN(odd, 0, 3).Draw(t, "tags"),
					Privileges: rapid.SliceOfN(named, 1, 3).Draw(t, "privileges"),
					Referrers:  rapid.SliceOfN(rapid.SampledFrom([]string{"https://*.example.com", "shop.example.com", "*"}), 0, 2).Draw(t, "referrers"),
				},
			})
		}
		var out bytes.Buffer
		d := declaring{issuer: "portal", config: c, calendar: &schedule.Calendar{}, now: time.Now(), taken: map[credential.Name]bool{"portal/key": true}}
		if err := d.print(&out, list); err != nil {
			t.Fatal(err)
		}
		refused := strings.Count(out.String(), "cannot be declared as it is:")
		declared, err := declare.Parse("found.yaml", out.Bytes(), issuers(c))
		if refused == len(list) {
			return
		}
		if err != nil || len(declared) != len(list)-refused {
			t.Fatalf("%d declarations and %d refused of %d, %v:\n%s", len(declared), refused, len(list), err, out.String())
		}
		for _, have := range declared {
			matches := slices.ContainsFunc(list, func(found discovered) bool {
				want := found.Spec
				want.Title = declarable(want.Title)
				if want.Title == "" {
					want.Title = string(have.Name)
				}
				want.Folder = declarable(want.Folder)
				want.Tags, want.Privileges, want.Referrers = distinct(want.Tags), distinct(want.Privileges), distinct(want.Referrers)
				want.Personal, want.AllowUnlisted = have.Spec.Item.Personal, slices.ContainsFunc(want.Privileges, func(p string) bool { return !privilege.Listed(p) })
				return cmp.Equal(want, have.Spec.Item, cmpopts.EquateEmpty())
			})
			if !matches || have.Name == "portal/key" {
				t.Fatalf("nobody has %+v:\n%s", have, out.String())
			}
		}
	})
}
