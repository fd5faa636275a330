package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/storetest"
)

// A server, or a proxy before it, that repeats all it was sent in its errors.
func echo(status int, raw bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth/token/lookup-self" {
			_, _ = io.WriteString(w, `{"data":{"ttl":0}}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		said := "refused " + r.Header.Get("X-Vault-Token") + " " + string(body)
		w.WriteHeader(status)
		if raw {
			_, _ = io.WriteString(w, "<html>"+said)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {said, said}})
	})
}

func TestNoErrorShowsASecret(t *testing.T) {
	t.Parallel()
	doc := storetest.Doc(1)
	doc.Primary, doc.Secondary = storetest.Key("first-s3cret", 1), storetest.Key("second-s3cret", 2)
	for _, status := range []int{200, 201, 400, 403, 404, 412, 429, 500, 503} {
		for _, raw := range []bool{false, true} {
			server := httptest.NewServer(echo(status, raw))
			var seen []error
			client, err := vault.New(vault.Config{
				Addr: server.URL, Login: token(credential.NewSecret("t0ken-s3cret")),
				Observe: func(_ string, _ time.Duration, err error) { seen = append(seen, err) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Login(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err = client.Write(t.Context(), name, doc, 3)
			seen = append(seen, err, client.StoreSigningSeed(t.Context(), credential.NewSecret("seed-s3cret")))
			_, err = client.Read(t.Context(), name)
			seen = append(seen, err)
			_, err = client.Get(t.Context(), "secret/x", "y")
			seen = append(seen, err)
			for _, problem := range client.Preflight(t.Context()) {
				seen = append(seen, errors.New(problem.String()))
			}
			failures := 0
			for _, err := range seen {
				if err == nil {
					continue
				}
				failures++
				text, _ := json.Marshal(err)
				for _, shown := range []string{err.Error(), fmt.Sprintf("%+v %#v %q", err, err, err), string(text)} {
					if strings.Contains(shown, "s3cret") {
						t.Errorf("status %d, raw %v: %s", status, raw, shown)
					}
					if strings.Contains(shown, "<html>") {
						t.Errorf("status %d: a body is shown: %s", status, shown)
					}
				}
				var fault *credential.Fault
				if errors.As(err, &fault) && fault.System != "vault" {
					t.Errorf("status %d: %v", status, err)
				}
			}
			if failures < 4 {
				t.Errorf("status %d, raw %v: only %d failures", status, raw, failures)
			}
			client.Close()
			server.Close()
		}
	}
}

func TestRefusedDocumentsShowNoKey(t *testing.T) {
	t.Parallel()
	client, err := vault.New(vault.Config{Addr: "http://127.0.0.1:1", Login: token(credential.NewSecret("t"))})
	if err != nil {
		t.Fatal(err)
	}
	doc := storetest.Doc(1)
	doc.Primary = storetest.Key("s3cret", 1)
	doc.Primary.Fingerprint = "another"
	_, err = client.Write(context.Background(), name, doc, 0)
	wantClass(t, err, credential.ClassPermanent)
	if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "s3cret") {
		t.Errorf("got %v", err)
	}
}
