package vault_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/storetest"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

// policyFile reads a policy as it is shipped.
func policyFile(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", "vault", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// without takes a capability away from a path of a policy.
func without(t *testing.T, policy, path, capability string) string {
	t.Helper()
	block := regexp.MustCompile(`path "` + regexp.QuoteMeta(path) + `" \{[^}]*\}`)
	found := block.FindString(policy)
	word := regexp.MustCompile(`"` + capability + `"(, )?`)
	if !word.MatchString(strings.TrimPrefix(found, "path")) {
		t.Fatalf("the policy has no %q on %s", capability, path)
	}
	less := strings.Replace(word.ReplaceAllString(found, ""), ", ]", "]", 1)
	return strings.Replace(policy, found, less, 1)
}

func TestTheDaemonsPolicyIsEnough(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	server.Policy(t, "daemon", policyFile(t, "daemon.hcl"))
	client := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "daemon"))})
	if problems := client.Preflight(t.Context()); len(problems) > 0 {
		t.Errorf("preflight: %v", problems)
	}
	storetest.Run(t, func(*testing.T) storetest.Store { return client })

	// the seed is read and never written
	_, err := client.SigningSeed(t.Context())
	wantClass(t, err, credential.ClassNotFound)
	wantClass(t, client.StoreSigningSeed(t.Context(), credential.NewSecret("S1")), credential.ClassDenied)
	server.Policy(t, "setup", policyFile(t, "setup.hcl"))
	setup := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "setup"))})
	if err := setup.StoreSigningSeed(t.Context(), credential.NewSecret("S1")); err != nil {
		t.Fatal(err)
	}
	wantClass(t, setup.StoreSigningSeed(t.Context(), credential.NewSecret("S2")), credential.ClassConflict)
	if seed, err := client.SigningSeed(t.Context()); err != nil || seed.Reveal() != "S1" {
		t.Errorf("seed: %v", err)
	}
}

func TestPreflightNamesEachMissingCapability(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	policy := policyFile(t, "daemon.hcl")
	for _, test := range []struct{ path, capability, shown string }{
		{"secret/data/keyturn/+/+", "create", "secret/data/keyturn/*"},
		{"secret/data/keyturn/+/+", "update", "secret/data/keyturn/*"},
		{"secret/data/keyturn/+/+", "read", "secret/data/keyturn/*"},
		{"secret/metadata/keyturn/+/+", "create", "secret/metadata/keyturn/*"},
		{"secret/metadata/keyturn/+/+", "update", "secret/metadata/keyturn/*"},
		{"secret/metadata/keyturn/+/+", "read", "secret/metadata/keyturn/*"},
		{"secret/destroy/keyturn/+/+", "update", "secret/destroy/keyturn/*"},
		{"secret/data/keyturn/_system/*", "read", "secret/data/keyturn/_system/signing"},
		{"secret/data/keyturn/_system/checkpoint", "create", "secret/data/keyturn/_system/checkpoint"},
		{"secret/data/keyturn/_system/checkpoint", "update", "secret/data/keyturn/_system/checkpoint"},
		{"secret/data/keyturn/_system/checkpoint", "read", "secret/data/keyturn/_system/checkpoint"},
		{"secret/metadata/keyturn/_system/checkpoint", "create", "secret/metadata/keyturn/_system/checkpoint"},
		{"secret/metadata/keyturn/_system/checkpoint", "update", "secret/metadata/keyturn/_system/checkpoint"},
	} {
		what := test.capability + " " + test.path
		server.Policy(t, "less", without(t, policy, test.path, test.capability))
		client := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "less"))})
		problems := client.Preflight(t.Context())
		want := fmt.Sprintf("the token lacks the capability %q on %s", test.capability, test.shown)
		if len(problems) != 1 || problems[0].What != want || problems[0].Hint == "" {
			t.Errorf("without %s: %v", what, problems)
		}
	}

	client := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "default"))})
	if problems := client.Preflight(t.Context()); len(problems) != 14 { // the mount, and all thirteen
		t.Errorf("without a policy: %d problems: %v", len(problems), problems)
	}
}

func TestPreflightTellsWhatIsWrongWithTheMount(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	server.MountKV(t, "one", "1")
	for mount, want := range map[string]string{"nowhere": "missing", "one": "not KV v2"} {
		config := root(server)
		config.Mount = mount
		problems := open(t, config).Preflight(t.Context())
		if len(problems) != 1 || !strings.Contains(problems[0].What, want) || !strings.Contains(problems[0].Hint, "kv-v2") {
			t.Errorf("%s: %v", mount, problems)
		}
	}
	if problems := open(t, root(server)).Preflight(t.Context()); len(problems) > 0 {
		t.Errorf("root: %v", problems)
	}
}

func TestAnApplicationReadsItsOwnSecretOnly(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	admin := open(t, root(server))
	for _, name := range []credential.Name{"example/map", "example/other"} {
		if _, err := admin.Write(t.Context(), name, storetest.Doc(1), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.StoreSigningSeed(t.Context(), credential.NewSecret("S1")); err != nil {
		t.Fatal(err)
	}
	server.Policy(t, "app", policyFile(t, "application.hcl"))
	app := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "app"))})
	if got, err := app.Read(t.Context(), "example/map"); err != nil || got.Revision != 1 {
		t.Errorf("its own: revision %d, %v", got.Revision, err)
	}
	if key, err := app.Get(t.Context(), "secret/keyturn/example/map", "api_key"); err != nil || key != storetest.Doc(1).Primary.Secret {
		t.Errorf("its own key: %v", err)
	}
	_, err := app.Read(t.Context(), "example/other")
	wantClass(t, err, credential.ClassDenied)
	_, err = app.SigningSeed(t.Context())
	wantClass(t, err, credential.ClassDenied)
	_, err = app.Write(t.Context(), "example/map", storetest.Doc(2), 1)
	wantClass(t, err, credential.ClassDenied)
	wantClass(t, app.EnsureMetadata(t.Context(), "example/map", ""), credential.ClassDenied)
}

// TestTheRespondersPolicy: what a break-glass does, and no more.
func TestTheRespondersPolicy(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	admin := open(t, root(server))
	const name = credential.Name("example/map")
	version, err := admin.Write(t.Context(), name, storetest.Doc(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	server.Policy(t, "responder", policyFile(t, "responder.hcl"))
	responder := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "responder"))})
	there, err := responder.Read(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := responder.Write(t.Context(), name, storetest.Doc(2), there.Version); err != nil {
		t.Error(err)
	}
	_, err = responder.Write(t.Context(), "example/new", storetest.Doc(1), 0)
	wantClass(t, err, credential.ClassDenied)
	wantClass(t, responder.Destroy(t.Context(), name, version, version+1), credential.ClassDenied)
	_, err = responder.SigningSeed(t.Context())
	wantClass(t, err, credential.ClassDenied)
}
