package vault_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/storetest"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

func TestAStandbyThatRedirectsIsFollowedOnce(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	active := vaulttest.NewProxy(t, server.Addr)
	standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, active.Addr+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	defer standby.Close()
	config := root(server)
	config.Addr = standby.URL
	client := open(t, config)
	if err := client.EnsureMetadata(t.Context(), name, "team"); err != nil {
		t.Fatal(err)
	}
	version, err := client.Write(t.Context(), name, storetest.Doc(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.Read(t.Context(), name); err != nil || got.Version != version || got.Revision != 1 {
		t.Errorf("version %d, revision %d, %v", got.Version, got.Revision, err)
	}
	writes := slices.DeleteFunc(active.Requests(), func(s string) bool { return s != "PUT /v1/secret/data/keyturn/team/map" })
	if len(writes) != 1 {
		t.Errorf("the write came %d times", len(writes))
	}
}

func TestAQuotaSaysHowLongToWait(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth/token/lookup-self" {
			_, _ = w.Write([]byte(`{"data":{"ttl":0}}`))
			return
		}
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(`{"errors":["request path \"x\": rate limit quota exceeded"]}`))
	}))
	defer server.Close()
	client := open(t, vault.Config{Addr: server.URL, Login: token(credential.NewSecret("t"))})
	_, err := client.Read(t.Context(), name)
	if fault := wantClass(t, err, credential.ClassRetryable); fault.RetryAfter != 7*time.Second {
		t.Errorf("read: %v", fault.RetryAfter)
	}
	_, err = client.Write(t.Context(), name, storetest.Doc(1), 1)
	if fault := wantClass(t, err, credential.ClassRetryable); fault.RetryAfter != 7*time.Second {
		t.Errorf("write: %v", fault.RetryAfter)
	}
}
