package emulator_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

func journalFile(dir string) string { return filepath.Join(dir, "portal.jsonl") }

// fill makes one of everything, and things that are gone again.
func fill(b *bench) (c credential, live, dead string) {
	b.t.Helper()
	c = b.basemaps()
	dead = c.key("1")
	live = c.key("1")
	folder := b.folder("f")
	b.ok(b.post(c.path()+"/move", "folder", folder))
	b.ok(b.post("/content/users/" + user + "/" + b.folder("gone") + "/delete"))
	gone := b.basemaps()
	gone.key("2")
	b.ok(b.post(gone.path()+"/delete", "permanentDelete", "true"))
	bin := b.basemaps()
	b.ok(b.post(bin.path() + "/delete"))
	return c, live, dead
}

func TestStateSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	b := start(t, emulator.Config{Dir: dir})
	c, live, dead := fill(b)
	before, list := b.p.Snapshot(), b.ok(b.post("/content/users/"+user))
	if err := b.p.Close(); err != nil {
		t.Fatal(err)
	}
	b.refused(b.post(c.path()+"/update", "title", "too late"), 500)

	again := start(t, emulator.Config{Dir: dir, Now: b.clock.Now})
	if d := cmp.Diff(before, again.p.Snapshot()); d != "" {
		t.Fatal(d)
	}
	again.mustWork(true, live)
	again.mustWork(false, dead)
	again.token = b.token // sessions survive
	if d := cmp.Diff(list, again.ok(again.post("/content/users/"+user))); d != "" {
		t.Fatal(d)
	}
	equal(t, again.ok(again.post("/search", "q", "id:"+c.id))["total"], any(1.0))
	c.b = again
	c.key("1")
	again.mustWork(false, live)
	if err := again.p.RevokeSessions(); err != nil {
		t.Fatal(err)
	}
	again.refused(again.post("/community/self"), 498)
}

func TestNothingIsBuffered(t *testing.T) {
	dir := t.TempDir()
	b := start(t, emulator.Config{Dir: dir})
	_, live, _ := fill(b)
	data, err := os.ReadFile(journalFile(dir)) // as a kill -9 would leave it
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(live)) || bytes.Contains(data, []byte("AAPT")) {
		t.Error("a key is in the journal")
	}
	copied := t.TempDir()
	if err := os.WriteFile(journalFile(copied), data, 0o600); err != nil {
		t.Fatal(err)
	}
	again := start(t, emulator.Config{Dir: copied, Now: b.clock.Now})
	if d := cmp.Diff(b.p.Snapshot(), again.p.Snapshot()); d != "" {
		t.Fatal(d)
	}
}

func TestATornLastLineIsDropped(t *testing.T) {
	dir := t.TempDir()
	b := start(t, emulator.Config{Dir: dir})
	b.basemaps()
	before := b.p.Snapshot()
	whole, err := os.ReadFile(journalFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	b.bare("the last one")
	data, err := os.ReadFile(journalFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{len(whole), len(whole) + 1, (len(whole) + len(data)) / 2, len(data) - 1} {
		torn := t.TempDir()
		if err := os.WriteFile(journalFile(torn), data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again := start(t, emulator.Config{Dir: torn, Now: b.clock.Now})
		if d := cmp.Diff(before, again.p.Snapshot()); d != "" {
			t.Fatalf("cut at %d: %s", cut, d)
		}
		again.bare("after the tear") // and the journal goes on well
		again.p.Close()
		last := start(t, emulator.Config{Dir: torn, Now: b.clock.Now})
		equal(t, len(last.p.Snapshot()), len(before)+1)
	}
}

func TestADamagedJournalIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(journalFile(dir), []byte("[]\nrubbish\n[]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := emulator.New(emulator.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Fatalf("got %v", err)
	}
}

func TestStartingCompactsTheJournal(t *testing.T) {
	dir := t.TempDir()
	b := start(t, emulator.Config{Dir: dir})
	c := b.basemaps()
	for i := range 100 {
		b.ok(b.post(c.path()+"/update", "title", fmt.Sprint(i)))
	}
	b.p.Close()
	before, _ := os.ReadFile(journalFile(dir))
	start(t, emulator.Config{Dir: dir, Now: b.clock.Now})
	after, _ := os.ReadFile(journalFile(dir))
	if len(after) > len(before)/10 || bytes.Count(after, []byte("\n")) != 3 {
		t.Errorf("%d bytes became %d:\n%s", len(before), len(after), after)
	}
}

func TestOneFolderHasOnePortal(t *testing.T) {
	dir := t.TempDir()
	start(t, emulator.Config{Dir: dir})
	if _, err := emulator.New(emulator.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a second portal: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]emulator.Config{
		"edition":  {Edition: "desktop"},
		"admin":    {Admins: []string{"stranger"}},
		"held":     {Held: map[string][]string{"stranger": nil}},
		"lifetime": {MinLifetime: 2, MaxLifetime: 1},
		"events":   {MaxEvents: -1},
		"fault":    {Faults: emulator.Faults{Rules: []emulator.Rule{{Kind: "meteor"}}}},
		"latency":  {Faults: emulator.Faults{Latency: -1}},
	} {
		if _, err := emulator.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// BenchmarkMixedLoad is a probe, a read and a generation against 10,000 credentials on disk.
func BenchmarkMixedLoad(b *testing.B) {
	p, err := emulator.New(emulator.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	h := p.Handler()
	call := func(path string, pairs ...string) string {
		form := "f=json"
		for i := 0; i < len(pairs); i += 2 {
			form += "&" + pairs[i] + "=" + pairs[i+1]
		}
		req := httptest.NewRequest(http.MethodPost, p.BasePath()+path, strings.NewReader(form))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w.Body.String()
	}
	field := func(body, name string) string {
		_, rest, _ := strings.Cut(body, `"`+name+`":"`)
		value, _, _ := strings.Cut(rest, `"`)
		return value
	}
	token := field(call("/generateToken", "username", user, "password", emulator.DefaultPassword, "client", "requestip", "expiration", "9999"), "token")
	type cred struct{ id, client, secret string }
	creds := make([]cred, 10_000)
	for i := range creds {
		id := field(call("/content/users/"+user+"/addItem", "token", token, "title", "x", "type", "Application"), "id")
		app := call("/oauth2/registerApp", "token", token, "itemId", id, "appType", "multiple", "privileges", "%5B%5D")
		creds[i] = cred{id, field(app, "client_id"), field(app, "client_secret")}
	}
	b.ResetTimer()
	for i := range b.N {
		c := creds[i%len(creds)]
		call("/content/users/"+user+"/items/"+c.id+"/update", "token", token, "apiToken1ExpirationDate", "4102444800000")
		key := field(call("/oauth2/token", "client_id", c.client, "client_secret", c.secret, "grant_type", "client_credentials", "apiToken", "1"), "access_token")
		call("/content/users/"+user+"/items/"+c.id+"/registeredAppInfo", "token", token)
		call("/portals/self", "token", key)
	}
	b.ReportMetric(float64(4*b.N)/b.Elapsed().Seconds(), "requests/s")
}
