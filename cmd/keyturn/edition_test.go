package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
)

// edition is a portal of an edition behind a private CA, as the issuer "edition"
// of a town.
type edition struct {
	*town
	portal   *emulator.Portal
	url      string
	dir      string // of the configuration and the certificates
	referers atomic.Pointer[string]
}

// newEdition starts it. It demands a client certificate of those who come.
func newEdition(t *testing.T, c emulator.Config) *edition {
	t.Helper()
	w := &edition{town: newTown(t, "", "")}
	w.dir = filepath.Dir(w.path)
	c.MinLifetime = time.Second
	portal, err := emulator.New(c)
	if err != nil {
		t.Fatal(err)
	}
	w.portal = portal
	authority, err := emulator.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		referer := r.Referer()
		w.referers.Store(&referer)
		portal.Handler().ServeHTTP(answer, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are wanted here
	if server.TLS, err = authority.Server(true, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	server.StartTLS()
	t.Cleanup(func() {
		if err := portal.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	w.url = server.URL + portal.BasePath()
	cert, key, err := authority.Client("keyturn")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"portal-ca.pem": authority.PEM(), "portal.crt": cert, "portal.key": key, "portal-password": []byte(emulator.DefaultPassword),
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.change(t, "\ndaemon: {", `
  edition:
    type: arcgis
    url: `+w.url+`
    username: `+emulator.DefaultUser+`
    password: {file: portal-password}
    referer: https://keyturn.example.com
    min_lifetime: 1s
    tls: {ca: portal-ca.pem, cert: portal.crt, key: portal.key}
daemon: {`)
	return w
}

// change replaces a text of the configuration; what it returns takes that back.
func (w *edition) change(t *testing.T, old, new string) (back func()) {
	t.Helper()
	write := func(text string) {
		if err := os.WriteFile(w.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(w.path)
	if err != nil || strings.Count(string(text), old) != 1 {
		t.Fatalf("%q is not there once: %v", old, err)
	}
	write(strings.Replace(string(text), old, new, 1))
	return func() { write(string(text)) }
}

// live takes a credential through its first key, a rotation with its drain, an
// emergency, and the death of each key that was replaced, by a daemon that knows
// nothing but the configuration. An application uses the key all the while.
func (w *edition) live(t *testing.T) {
	t.Helper()
	const name = credential.Name("maps/edition")
	w.daemon(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := w.load(t)
	store, err := openVault(c.Vault, 4, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Login(ctx); err != nil {
		t.Fatal(err)
	}
	record, err := openRecord(ctx, c, w.conn, publisher.Config{})
	if err != nil {
		t.Fatal(err)
	}
	key := func(generation uint64) credential.Secret {
		t.Helper()
		eventually(t, "the rotation has ended", func() bool {
			state, _, err := record.Load(ctx, name)
			return err == nil && state.Generation == generation && state.Rotation == nil
		})
		stored, err := store.Read(ctx, name)
		if err != nil || !w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") {
			t.Errorf("the key of generation %d does not work: %v", generation, err)
		}
		return stored.Primary.Secret
	}
	client := control.NewClient(w.conn, w.operator)

	w.apply(t, name, "edition", short(10*time.Hour, 400*time.Millisecond))
	old := []credential.Secret{key(1)}
	uses := w.use(t, store, name)
	if _, err := client.Rotate(ctx, control.Rotate{Name: name, Now: true}); err != nil {
		t.Fatal(err)
	}
	old = append(old, key(2))
	if n := uses(); n < 10 {
		t.Errorf("the application used its key %d times only", n)
	}
	if _, err := client.Invalidate(ctx, control.Invalidate{Name: name, Key: credential.KeyPrimary, Reason: "in a log"}); err != nil {
		t.Fatal(err)
	}
	key(3)
	for i, key := range old {
		if w.portal.KeyWorks(key.Reveal(), "") {
			t.Errorf("the key of generation %d still works", i+1)
		}
	}
	active := 0
	for _, item := range w.portal.Snapshot() {
		for _, slot := range item.Slots {
			if slot.Active {
				active++
			}
		}
	}
	if active != 1 || len(w.portal.Snapshot()) != 1 {
		t.Errorf("%d active keys on %d items, want 1 on 1", active, len(w.portal.Snapshot()))
	}
	if got := *w.referers.Load(); got != "https://keyturn.example.com" {
		t.Errorf("the referer is %q", got)
	}
}

// use reads the key every few milliseconds and uses it. The returned function
// ends that and counts.
func (w *edition) use(t *testing.T, store *vault.Client, name credential.Name) func() (uses int) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		uses := 0
		for ctx.Err() == nil {
			stored, err := store.Read(ctx, name)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				t.Error(err)
			case !w.portal.KeyWorks(stored.Primary.Secret.Reveal(), ""):
				t.Errorf("the key of version %d was refused", stored.Version)
			default:
				uses++
			}
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
		done <- uses
	}()
	return func() int { stop(); return <-done }
}

func TestOnlineEdition(t *testing.T) {
	w := newEdition(t, emulator.Config{})
	if !strings.HasSuffix(w.url, "/sharing/rest") || strings.HasSuffix(w.url, "gis/sharing/rest") {
		t.Errorf("the portal is at %s", w.url)
	}
	w.live(t)
}

func TestEnterpriseEdition(t *testing.T) {
	w := newEdition(t, emulator.Config{Edition: emulator.Enterprise, WebAdaptor: "gis"})
	if !strings.HasSuffix(w.url, "/gis/sharing/rest") {
		t.Errorf("the portal is at %s", w.url)
	}
	w.live(t)
	open := func() *lane {
		l, err := openIssuer("edition", w.load(t).Issuers["edition"], nil, nil, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		return l
	}
	m, err := open().Whoami(t.Context())
	if err != nil || !m.Enterprise || m.Version != "11.5" {
		t.Errorf("the portal says %+v: %v", m, err)
	}

	// what is wrong in the configuration is said of the portal's answer
	for _, wrong := range []struct{ name, old, new, says string }{
		{"the system's CAs", "ca: portal-ca.pem, ", "", "certificate is not trusted"},
		{"no client certificate", ", cert: portal.crt, key: portal.key", "", "TLS handshake was refused"},
		{"another web adaptor", "/gis/sharing/rest", "/portal/sharing/rest", "check the issuer's url"},
		{"another host name", "ca: portal-ca.pem", "ca: portal-ca.pem, server_name: gis.example.com", "certificate is not trusted"},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			defer w.change(t, wrong.old, wrong.new)()
			_, err := open().Whoami(t.Context())
			if err == nil || !strings.Contains(err.Error(), wrong.says) || !strings.Contains(err.Error(), "(try: ") {
				t.Errorf("%v, want %q and what to try", err, wrong.says)
			}
		})
	}
}

// TestTheFilesOfAPortalsTLSAreChecked: a file that is not there is told with the
// issuer's name, before any call.
func TestTheFilesOfAPortalsTLSAreChecked(t *testing.T) {
	for _, files := range []config.TLS{{CA: "missing.pem"}, {Cert: "missing.crt", Key: "missing.key"}} {
		_, err := openIssuer("campus", config.Issuer{URL: "https://gis.example.com/gis/sharing/rest", TLS: files}, nil, nil, zap.NewNop())
		if err == nil || !strings.Contains(err.Error(), "issuers.campus.tls: ") || !strings.Contains(err.Error(), "missing") {
			t.Errorf("%+v: %v", files, err)
		}
	}
}
