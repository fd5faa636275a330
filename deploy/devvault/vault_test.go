package main

import (
	"net/http"
	"slices"
	"testing"
)

func TestSealAndUnseal(t *testing.T) {
	dir := t.TempDir()
	c := start(t, "-dir", dir)
	root, anyone := c.root(), c.as("")
	root.must(t, http.MethodPost, "secret/data/a", write("kept", 0))
	if status, answer := anyone.try(t, http.MethodGet, "sys/health", nil); status != http.StatusOK || in(answer, "version") != c.line.Version {
		t.Errorf("health: %d %v, want version %s", status, answer, c.line.Version)
	}

	root.must(t, http.MethodPut, "sys/seal", nil)
	root.refused(t, http.MethodGet, "secret/data/a", nil, http.StatusServiceUnavailable, "Vault is sealed")
	root.refused(t, http.MethodPost, "secret/data/a", write("no", 1), http.StatusServiceUnavailable, "Vault is sealed")
	if status, answer := anyone.try(t, http.MethodGet, "sys/health", nil); status != http.StatusServiceUnavailable || in(answer, "sealed") != true {
		t.Errorf("health: %d %v, want sealed", status, answer)
	}
	if answer := anyone.must(t, http.MethodGet, "sys/seal-status", nil); in(answer, "sealed") != true || in(answer, "t") != 1.0 || in(answer, "n") != 1.0 {
		t.Errorf("seal status: %v", answer)
	}

	key := readKeysOf(t, dir).UnsealKey
	if answer := anyone.must(t, http.MethodPut, "sys/unseal", object{"key": key}); in(answer, "sealed") != false {
		t.Errorf("unseal: %v", answer)
	}
	root.wantSecret(t, "a", "kept", 1)
	root.must(t, http.MethodPost, "secret/data/a", write("more", 1))

	// It also ends well while it is sealed, and is unsealed by the next start.
	root.must(t, http.MethodPut, "sys/seal", nil)
	c.closeStdin(t)
	if status := c.wait(t, endBound); status != 0 {
		t.Errorf("exit status %d\n%s", status, c.stderr)
	}
	start(t, "-dir", dir).root().wantSecret(t, "a", "more", 2)
}

func TestAppRoleAndLimitedToken(t *testing.T) {
	c := start(t)
	root, anyone := c.root(), c.as("")
	root.must(t, http.MethodPost, "secret/data/app/a", write("one", 0))
	root.must(t, http.MethodPost, "secret/data/other", write("two", 0))
	root.must(t, http.MethodPut, "sys/policies/acl/app", object{"policy": `
path "secret/data/app/*"          { capabilities = ["create", "read", "update"] }
path "sys/internal/ui/mounts/*"   { capabilities = ["read"] }`})
	root.must(t, http.MethodPost, "auth/approle/role/app", object{"token_policies": "app", "token_ttl": "1m"})
	role := str(t, root.must(t, http.MethodGet, "auth/approle/role/app/role-id", nil), "data", "role_id")
	secret := str(t, root.must(t, http.MethodPost, "auth/approle/role/app/secret-id", nil), "data", "secret_id")

	anyone.refused(t, http.MethodPost, "auth/approle/login", object{"role_id": role, "secret_id": "wrong"}, http.StatusBadRequest, "invalid secret id")
	anyone.refused(t, http.MethodPost, "auth/approle/login", object{"role_id": "wrong", "secret_id": secret}, http.StatusBadRequest, "invalid role ID")
	login := anyone.must(t, http.MethodPost, "auth/approle/login", object{"role_id": role, "secret_id": secret})
	app := c.as(str(t, login, "auth", "client_token"))

	app.wantSecret(t, "app/a", "one", 1)
	app.must(t, http.MethodPost, "secret/data/app/a", write("more", 1))
	app.refused(t, http.MethodGet, "secret/data/other", nil, http.StatusForbidden, "permission denied")
	app.refused(t, http.MethodGet, "sys/mounts", nil, http.StatusForbidden, "permission denied")

	able := app.must(t, http.MethodPost, "sys/capabilities-self", object{"paths": []string{"secret/data/app/a", "secret/data/other"}})
	if got, _ := in(able, "data", "secret/data/app/a").([]any); !slices.Contains(got, any("update")) {
		t.Errorf("capabilities: %v", able)
	}
	if got, _ := in(able, "data", "secret/data/other").([]any); !slices.Equal(got, []any{"deny"}) {
		t.Errorf("capabilities: %v", able)
	}
	mount := app.must(t, http.MethodGet, "sys/internal/ui/mounts/secret", nil)
	if in(mount, "data", "type") != "kv" || in(mount, "data", "options", "version") != "2" {
		t.Errorf("mount: %v", mount)
	}
	app.refused(t, http.MethodGet, "sys/internal/ui/mounts/missing", nil, http.StatusForbidden, "preflight capability check")

	app.must(t, http.MethodPost, "auth/token/renew-self", nil)
	app.must(t, http.MethodPost, "auth/token/revoke-self", nil)
	app.refused(t, http.MethodGet, "secret/data/app/a", nil, http.StatusForbidden, "permission denied")
}
