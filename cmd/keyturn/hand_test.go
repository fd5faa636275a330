package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
)

// form posts a form to the portal as the person who is signed in there.
func (w *town) form(t testing.TB, path string, fields url.Values) map[string]any {
	t.Helper()
	post := func(path string, fields url.Values) (answer map[string]any) {
		fields.Set("f", "json")
		request := httptest.NewRequest(http.MethodPost, w.portal.BasePath()+path, strings.NewReader(fields.Encode()))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		recorder := httptest.NewRecorder()
		w.portal.Handler().ServeHTTP(recorder, request)
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || answer["error"] != nil {
			t.Fatalf("%s: %v %v", path, answer["error"], err)
		}
		return answer
	}
	signed := post("/generateToken", url.Values{
		"username": {emulator.DefaultUser}, "password": {emulator.DefaultPassword}, "client": {"requestip"}, "expiration": {"60"},
	})
	if !strings.HasPrefix(path, "/oauth2/token") {
		fields.Set("token", signed["token"].(string))
	}
	return post(path, fields)
}

// handmade is an item that somebody made in the portal, without keyturn.
type handmade struct {
	town *town
	item string
}

func (w *town) handmade(t testing.TB, title string, privileges ...string) handmade {
	t.Helper()
	if len(privileges) == 0 {
		privileges = []string{"premium:user:basemaps"}
	}
	text, err := json.Marshal(privileges)
	if err != nil {
		t.Fatal(err)
	}
	owner := "/content/users/" + emulator.DefaultUser
	item := w.form(t, owner+"/addItem", url.Values{"title": {title}, "type": {"Application"}, "tags": {"by hand"}})["id"].(string)
	w.form(t, "/oauth2/registerApp", url.Values{"itemId": {item}, "appType": {"multiple"}, "privileges": {string(text)}, "httpReferrers": {"[]"}})
	return handmade{w, item}
}

// key generates a key that lives so long.
func (h handmade) key(t testing.TB, slot int, lives time.Duration) credential.Secret {
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
func (w *town) put(t testing.TB, path string, version int, fields map[string]any) {
	t.Helper()
	w.vault.Do(t, "secret/data/"+path, map[string]any{"options": map[string]any{"cas": version}, "data": fields})
}

// path is where the secret of a credential is, below the mount.
func (w *town) secretAt(t testing.TB, name credential.Name) string {
	t.Helper()
	return w.load(t).Vault.Prefix + "/" + string(name)
}

// declare writes a declaration into a file.
func (w *town) declare(t testing.TB, name credential.Name, lines ...string) (file string) {
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

// application reads its key every few milliseconds and uses it.
type application struct {
	reads, refusals atomic.Int64
	stop            func()
}

// application starts one: it takes the key that read returns; an empty one is a
// refusal, too.
func (w *town) application(t testing.TB, read func(context.Context) credential.Secret) *application {
	t.Helper()
	a := &application{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(3 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			key := read(ctx)
			if ctx.Err() != nil {
				return
			}
			a.reads.Add(1)
			if key.Empty() || !w.portal.KeyWorks(key.Reveal(), "") {
				a.refusals.Add(1)
			}
			<-ticker.C
		}
	}()
	a.stop = func() { cancel(); <-ended }
	t.Cleanup(a.stop)
	return a
}

// reader reads a credential's key where applications do.
func apiKey(store *vault.Client, name credential.Name) func(context.Context) credential.Secret {
	return func(ctx context.Context) credential.Secret {
		doc, err := store.Read(ctx, name)
		if err != nil {
			return credential.Secret{}
		}
		return doc.Primary.Secret
	}
}

// never fails if the application was refused, or never ran.
func (a *application) never(t testing.TB) {
	t.Helper()
	a.stop()
	if a.refusals.Load() > 0 || a.reads.Load() < 10 {
		t.Errorf("%d of %d uses of the key were refused", a.refusals.Load(), a.reads.Load())
	}
}

// alone waits until only the primary lives, and returns the state.
func (w *town) alone(t testing.TB, d *resident, name credential.Name, generation uint64) (s credential.State) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has generation %d and nothing else", name, generation), func() bool {
		s = w.states(t, d.record)[name]
		return s.Generation == generation && len(s.Seats) == 1 && s.Rotation == nil && len(s.Old) == 0 && s.Edit == nil
	})
	return s
}
