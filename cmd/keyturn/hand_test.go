package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// form is manager, of what the portal must not refuse.
func (w *town) form(t *testing.T, path string, fields url.Values) map[string]any {
	t.Helper()
	answer := w.manager(t, path, "", fields)
	if answer["error"] != nil {
		t.Fatalf("%s: %v", path, answer["error"])
	}
	return answer
}

// handmade is an item that somebody made in the portal, without keyturn.
type handmade struct {
	town *town
	item string
}

func (w *town) handmade(t *testing.T, title string) handmade {
	t.Helper()
	owner := "/content/users/" + emulator.DefaultUser
	item := w.form(t, owner+"/addItem", url.Values{"title": {title}, "type": {"Application"}, "tags": {"by hand"}})["id"].(string)
	w.form(t, "/oauth2/registerApp", url.Values{"itemId": {item}, "appType": {"multiple"}, "privileges": {`["premium:user:basemaps"]`}, "httpReferrers": {"[]"}})
	return handmade{w, item}
}

// key generates a key that lives so long.
func (h handmade) key(t *testing.T, slot int, lives time.Duration) credential.Secret {
	t.Helper()
	path := "/content/users/" + emulator.DefaultUser + "/items/" + h.item
	h.town.form(t, path+"/update", url.Values{fmt.Sprintf("apiToken%dExpirationDate", slot): {fmt.Sprint(time.Now().Add(lives).UnixMilli())}})
	app := h.town.form(t, path+"/registeredAppInfo", url.Values{})
	return credential.NewSecret(h.town.form(t, "/oauth2/token", url.Values{
		"client_id": {app["client_id"].(string)}, "client_secret": {app["client_secret"].(string)},
		"grant_type": {"client_credentials"}, "apiToken": {fmt.Sprint(slot)}, "regenerateApiToken": {"true"},
	})["access_token"].(string))
}

// item is what the portal holds; ok is false for one that is gone.
func (w *town) item(id string) (found emulator.ItemState, ok bool) {
	for _, item := range w.portal.Snapshot() {
		if item.ID == id && !item.Recycled {
			return item, true
		}
	}
	return emulator.ItemState{}, false
}

// put writes a secret by hand, over whatever is there.
func (w *town) put(t *testing.T, path string, version int, fields map[string]any) {
	t.Helper()
	w.vault.Do(t, "secret/data/"+path, map[string]any{"options": map[string]any{"cas": version}, "data": fields})
}

// path is where the secret of a credential is, below the mount.
func (w *town) secretAt(t *testing.T, name credential.Name) string {
	t.Helper()
	return w.load(t).Vault.Prefix + "/" + string(name)
}

// declare writes a declaration into a file.
func (w *town) declare(t *testing.T, name credential.Name, lines ...string) (file string) {
	t.Helper()
	text := "name: " + string(name) + "\nissuer: portal\n" + strings.Join(lines, "\n") + "\n"
	file = filepath.Join(t.TempDir(), strings.ReplaceAll(string(name), "/", "-")+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// brisk is a policy whose old keys work a second longer.
const brisk = "policy: {lifetime: 10h, drain: 1s, settle: 0s}"

// alone waits until only the primary lives, and returns the state.
func (w *town) alone(t *testing.T, d *resident, name credential.Name, generation uint64) (s credential.State) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has generation %d and nothing else", name, generation), func() bool {
		s = w.states(t, d.record)[name]
		return s.Generation == generation && len(s.Seats) == 1 && s.Rotation == nil && len(s.Old) == 0 && s.Edit == nil
	})
	return s
}
