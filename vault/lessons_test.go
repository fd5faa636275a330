package vault_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/storetest"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

// TestLesson04ARedactedOrEmptyKeyIsNeverWritten: a document that went through a
// redacted view on its way does not replace the secret, and what is for display
// is written beside it, not with it.
func TestLesson04ARedactedOrEmptyKeyIsNeverWritten(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	doc := storetest.Doc(1)
	doc.Secondary = storetest.Key("draining", 2)
	version, err := client.Write(t.Context(), name, doc, 0)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(s credential.Secret) credential.Secret { // as any encoder, log or template shows it
		text, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		return credential.NewSecret(string(text))
	}
	for what, change := range map[string]func(*credential.Document){
		"a redacted primary":                func(d *credential.Document) { d.Primary.Secret = shown(d.Primary.Secret) },
		"a redacted primary by another way": func(d *credential.Document) { d.Primary.Secret = credential.NewSecret(fmt.Sprint(d.Primary.Secret)) },
		"a redacted secondary": func(d *credential.Document) {
			d.Secondary.Secret = shown(d.Secondary.Secret)
			d.Secondary.Fingerprint = d.Secondary.Secret.Fingerprint() // even one that was made to fit
		},
		"an empty primary":   func(d *credential.Document) { d.Primary.Secret = credential.NewSecret("") },
		"an empty secondary": func(d *credential.Document) { d.Secondary.Secret = credential.Secret{} },
		"nothing":            func(d *credential.Document) { d.Primary, d.Secondary = credential.Key{}, credential.Key{} },
	} {
		bad := doc
		bad.Revision = 2
		change(&bad)
		_, err := client.Write(t.Context(), name, bad, version)
		if !credential.IsClass(err, credential.ClassPermanent) {
			t.Errorf("%s: %v, want it refused", what, err)
		}
	}
	if _, err := client.Write(t.Context(), name, storetest.Doc(3), version-1); !credential.IsClass(err, credential.ClassConflict) {
		t.Errorf("a write over another version: %v, want a conflict", err)
	}
	for _, owner := range []string{"last seen today", ""} {
		if err := client.EnsureMetadata(t.Context(), name, owner); err != nil {
			t.Error(err)
		}
	}
	got, err := client.Read(t.Context(), name)
	if err != nil || got.Version != version || got.Primary.Secret != doc.Primary.Secret || got.Secondary.Secret != doc.Secondary.Secret {
		t.Errorf("after it all: version %d, want %d, with both keys; %v", got.Version, version, err)
	}
}

// TestTrapSocketsPerObject: however many secrets there are, they go over as many
// connections as there are workers.
func TestTrapSocketsPerObject(t *testing.T) {
	t.Parallel()
	const workers, secrets = 4, 60
	server := vaulttest.Start(t)
	target, err := url.Parse(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	onward := &http.Transport{}
	between := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: onward, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
	})
	between.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	between.Start()
	t.Cleanup(func() { between.Close(); onward.CloseIdleConnections() })
	client := open(t, vault.Config{Addr: between.URL, Login: token(server.Token), Concurrency: workers})
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < secrets; i += workers {
				name := credential.Name(fmt.Sprintf("team/map-%d", i))
				if _, err := client.Write(t.Context(), name, storetest.Doc(1), 0); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := client.Read(t.Context(), name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	group.Wait()
	if n := connections.Load(); n > 2*workers {
		t.Errorf("%d connections for %d secrets and %d workers", n, secrets, workers)
	}
}
