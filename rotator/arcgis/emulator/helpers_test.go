package emulator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// serveDir makes the test binary a portal process with that state folder.
const serveDir = "EMULATOR_TEST_SERVE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveDir); dir != "" {
		fmt.Fprintln(os.Stderr, serve(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// serve prints the address and serves until the process is killed.
func serve(dir string) error {
	p, err := emulator.New(emulator.Config{Dir: dir})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", l.Addr())
	return p.Run(context.Background(), l)
}

// clock is a time that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 4, 10, 20, 30, 456e6, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is a portal behind a real HTTP server, and a user who is signed in.
type bench struct {
	t     *testing.T
	p     *emulator.Portal
	srv   *httptest.Server
	clock *clock
	root  string // of the portal's endpoints
	token string
}

const user = emulator.DefaultUser

func start(t *testing.T, cfg emulator.Config) *bench {
	t.Helper()
	b := &bench{t: t, clock: newClock()}
	if cfg.Now == nil {
		cfg.Now = b.clock.Now
	}
	p, err := emulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.p = p
	b.srv = httptest.NewServer(p.Handler())
	b.root = b.srv.URL + p.BasePath()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		b.srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	if len(cfg.Users) == 0 {
		b.token = b.signIn(user, emulator.DefaultPassword)
	}
	return b
}

func withKnobs(k emulator.Knobs) emulator.Config { return emulator.Config{Knobs: k} }

func (b *bench) signIn(name, password string) string {
	b.t.Helper()
	m := b.post("/generateToken", "username", name, "password", password, "client", "requestip", "expiration", "1440", "token", "")
	token, _ := m["token"].(string)
	if token == "" {
		b.t.Fatalf("cannot sign in: %v", m)
	}
	return token
}

type object = map[string]any

// post sends names and values as a form with f=json and, unless the form has one, the token.
func (b *bench) post(path string, pairs ...string) object {
	b.t.Helper()
	status, body := b.raw(http.MethodPost, b.root+path, nil, b.form(pairs))
	return b.parse(status, body)
}

func (b *bench) form(pairs []string) url.Values {
	form := url.Values{"f": {"json"}}
	if b.token != "" {
		form.Set("token", b.token)
	}
	for i := 0; i < len(pairs); i += 2 {
		if form.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" && pairs[i] == "token" {
			form.Del("token")
		}
	}
	return form
}

func (b *bench) parse(status int, body string) object {
	b.t.Helper()
	var m object
	if err := json.Unmarshal([]byte(body), &m); err != nil || status != http.StatusOK {
		b.t.Fatalf("status %d, body %q: %v", status, body, err)
	}
	return m
}

func (b *bench) raw(method, address string, header http.Header, form url.Values) (int, string) {
	b.t.Helper()
	res, err := b.do(method, address, header, form)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func (b *bench) do(method, address string, header http.Header, form url.Values) (*http.Response, error) {
	var body io.Reader
	if method == http.MethodGet {
		address += "?" + form.Encode()
	} else {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, address, body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return http.DefaultClient.Do(req)
}

// ok fails the test if the answer is a refusal.
func (b *bench) ok(m object) object {
	b.t.Helper()
	if m["error"] != nil {
		b.t.Fatalf("refused: %v", m["error"])
	}
	return m
}

// refused checks the numeric code of a refusal.
func (b *bench) refused(m object, code int) object {
	b.t.Helper()
	e, _ := m["error"].(object)
	if e == nil || e["code"] != float64(code) {
		b.t.Fatalf("want error %d, got %v", code, m)
	}
	return e
}

// credential is an item with an app.
type credential struct {
	b                  *bench
	id, client, secret string
}

func (b *bench) bare(title string) string {
	b.t.Helper()
	return b.ok(b.post("/content/users/"+user+"/addItem", "title", title, "type", "Application", "tags", "a,b"))["id"].(string)
}

func (b *bench) credential(privileges, referrers string) credential {
	b.t.Helper()
	id := b.bare("credential")
	app := b.ok(b.post("/oauth2/registerApp", "itemId", id, "appType", "multiple", "privileges", privileges,
		"httpReferrers", referrers, "redirect_uris", `["urn:ietf:wg:oauth:2.0:oob"]`))
	c := credential{b, id, app["client_id"].(string), app["client_secret"].(string)}
	c.setDate(1, 30*24*time.Hour)
	c.setDate(2, 60*24*time.Hour)
	return c
}

func (b *bench) basemaps() credential {
	b.t.Helper()
	return b.credential(`["premium:user:basemaps"]`, "[]")
}

func (c credential) path() string { return "/content/users/" + user + "/items/" + c.id }

func ms(t time.Time) string { return fmt.Sprint(t.UnixMilli()) }

func (c credential) setDate(slot int, in time.Duration) {
	c.b.t.Helper()
	c.b.ok(c.date(slot, ms(c.b.clock.Now().Add(in))))
}

func (c credential) date(slot int, value string) object {
	c.b.t.Helper()
	return c.b.post(c.path()+"/update", fmt.Sprintf("apiToken%dExpirationDate", slot), value)
}

func (c credential) generate(slot string, pairs ...string) object {
	c.b.t.Helper()
	return c.b.post("/oauth2/token", append([]string{"token", "", "client_id", c.client, "client_secret", c.secret,
		"grant_type", "client_credentials", "apiToken", slot, "regenerateApiToken", "true"}, pairs...)...)
}

func (c credential) key(slot string) string {
	c.b.t.Helper()
	return c.b.ok(c.generate(slot))["access_token"].(string)
}

func (c credential) revoke(pairs ...string) object {
	c.b.t.Helper()
	return c.b.post("/oauth2/revokeToken", append([]string{"token", "", "client_id", c.client, "client_secret", c.secret}, pairs...)...)
}

func (c credential) info() object {
	c.b.t.Helper()
	return c.b.ok(c.b.post(c.path() + "/registeredAppInfo"))
}

func (c credential) item() object {
	c.b.t.Helper()
	return c.b.ok(c.b.post("/content/items/" + c.id))
}

func (b *bench) works(key string) bool { return b.p.KeyWorks(key, "") }

func (b *bench) mustWork(want bool, key string) {
	b.t.Helper()
	if got := b.works(key); got != want {
		b.t.Fatalf("the key …%s works: %v, want %v", key[len(key)-12:], got, want)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}
