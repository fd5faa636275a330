package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestOnlyADefiniteRefusalIsOne: what the portal says in other ways is no
// answer, and a key is kept while Vault is away.
func TestOnlyADefiniteRefusalIsOne(t *testing.T) {
	const secret = `{"data":{"data":{"api_key":"key"},"metadata":{"version":7}}}`
	for what, c := range map[string]struct {
		vaultStatus, portalStatus int
		vault, portal             string
		want                      usage
		refused                   int
	}{
		"accepted":                  {200, 200, secret, `{"ok":true}`, usage{Accepted: 1}, 0},
		"refused":                   {200, 401, secret, `{"error":{"code":498}}`, usage{}, 1},
		"an error of the portal":    {200, 500, secret, `{"error":{"code":500}}`, usage{NoAnswer: 1}, 0},
		"a page":                    {200, 401, secret, `<html>`, usage{NoAnswer: 1}, 0},
		"Vault is sealed":           {503, 200, `{"errors":["sealed"]}`, `{"ok":true}`, usage{VaultAway: 1, Kept: 1, Accepted: 1}, 0},
		"Vault is sealed, refused":  {503, 401, `{"errors":["sealed"]}`, `{"error":{"code":498}}`, usage{VaultAway: 1, Kept: 1}, 1},
		"the secret is not there":   {404, 200, `{"errors":[]}`, `{"ok":true}`, usage{Keyless: []string{"x"}}, 0},
		"the secret holds no key":   {200, 200, `{"data":{"data":{}}}`, `{"ok":true}`, usage{Keyless: []string{"x"}}, 0},
		"Vault does not know me":    {403, 200, `{"errors":["denied"]}`, `{"ok":true}`, usage{VaultAway: 1, Kept: 1, Accepted: 1}, 0},
		"a refusal without a token": {200, 401, secret, `{"error":{"code":499}}`, usage{}, 1},
	} {
		t.Run(what, func(t *testing.T) {
			asked := new(atomic.Int64)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				status, text := c.vaultStatus, c.vault
				if strings.HasPrefix(r.URL.Path, "/resource") {
					status, text = c.portalStatus, c.portal
				}
				w.WriteHeader(status)
				_, _ = w.Write([]byte(text))
			}))
			defer server.Close()
			a := &apps{client: server.Client(), vault: server.URL + "/v1/", resource: server.URL + "/resource?token=", say: t.Logf}
			a.turn(t.Context(), testName, held{key: "old", version: 6})
			got := a.seen()
			if got.Accepted != c.want.Accepted || got.NoAnswer != c.want.NoAnswer || got.VaultAway != c.want.VaultAway ||
				got.Kept != c.want.Kept || len(got.Keyless) != len(c.want.Keyless) || len(got.Refused) != c.refused {
				t.Errorf("got %+v, want %+v and %d refused", got, c.want, c.refused)
			}
		})
	}
}
