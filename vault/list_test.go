package vault_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

func TestListNamesWhatCanBeACredential(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	if names, err := client.List(t.Context()); err != nil || len(names) > 0 {
		t.Fatalf("of an empty mount: %v, %v", names, err)
	}
	for _, path := range []string{
		"keyturn/team/map", "keyturn/team/web", "keyturn/apps/one", "keyturn/_system/other", "keyturn/loose",
		"keyturn/team/Not-A-Name", "keyturn/team/deep/er", "elsewhere/team/map",
	} {
		server.Do(t, "secret/data/"+path, map[string]any{"data": map[string]any{"api_key": "x"}})
	}
	if err := client.StoreSigningSeed(t.Context(), credential.NewSecret("S1")); err != nil {
		t.Fatal(err)
	}
	server.Delete(t, "secret/data/keyturn/team/web") // its history is there: it was a credential's
	names, err := client.List(t.Context())
	if want := []credential.Name{"apps/one", "team/map", "team/web"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %v, %v; want %v", names, err, want)
	}
}

func TestListSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	server.Policy(t, "daemon", policyFile(t, "daemon.hcl"))
	client := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "daemon"))})
	_, err := client.List(t.Context())
	fault := wantClass(t, err, credential.ClassDenied)
	if !strings.Contains(fault.Hint, `"list" on secret/metadata/keyturn/`) {
		t.Errorf("the hint does not name the capability: %s", fault.Hint)
	}
	server.Policy(t, "recover", policyFile(t, "recover.hcl"))
	if _, err := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "daemon", "recover"))}).List(t.Context()); err != nil {
		t.Errorf("with the policy for it: %v", err)
	}
	config := root(server)
	config.Mount = "nowhere"
	_, err = open(t, config).List(t.Context())
	wantClass(t, err, credential.ClassPermanent)
	client, err = vault.New(root(server))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.List(t.Context())
	wantClass(t, err, credential.ClassRetryable) // not logged in
}

// TestListKeepsOutOfTheInstallationsSecrets: a policy may deny them.
func TestListKeepsOutOfTheInstallationsSecrets(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	for _, path := range []string{"keyturn/team/map", "keyturn/_system/signing"} {
		server.Do(t, "secret/data/"+path, map[string]any{"data": map[string]any{"api_key": "x"}})
	}
	server.Policy(t, "recover", policyFile(t, "daemon.hcl")+`
path "secret/metadata/keyturn/" { capabilities = ["list"] }
path "secret/metadata/keyturn/+/" { capabilities = ["list"] }
path "secret/metadata/keyturn/_system/" { capabilities = ["deny"] }
`)
	client := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "recover"))})
	names, err := client.List(t.Context())
	if want := []credential.Name{"team/map"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %v, %v; want %v", names, err, want)
	}
}
