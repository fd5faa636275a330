package vault_test

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/storetest"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

// TestFindAndRestore: with the adopter's policy a secret is found as it is, written
// over, and put back with all of its fields; where nothing was, the one version is
// deleted. What somebody wrote since stays.
func TestFindAndRestore(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	admin := open(t, root(server))
	server.Policy(t, "adopter", policyFile(t, "adopter.hcl"))
	adopter := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "adopter"))})
	const name = credential.Name("example/map")
	find := func() vault.Found {
		t.Helper()
		found, err := adopter.Find(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	write := func(cas uint64) uint64 {
		t.Helper()
		version, err := adopter.Write(t.Context(), name, storetest.Doc(1), cas)
		if err != nil {
			t.Fatal(err)
		}
		return version
	}
	restore := func(was vault.Found, written uint64) error {
		return adopter.Restore(t.Context(), name, was, written)
	}

	was := find()
	if !was.Missing || was.Version != 0 || was.Extra != nil {
		t.Fatalf("found %+v where nothing is", was)
	}
	if err := restore(was, write(0)); err != nil {
		t.Fatal(err)
	}
	if was = find(); !was.Missing || was.Version != 1 {
		t.Fatalf("after it was taken back: version %d, missing %v", was.Version, was.Missing)
	}
	written := write(1)
	if _, err := admin.Write(t.Context(), name, storetest.Doc(2), written); err != nil {
		t.Fatal(err)
	}
	if err := restore(was, written); err != nil {
		t.Fatal(err)
	}
	if now := find(); now.Revision != 2 {
		t.Errorf("what somebody wrote since is gone: version %d, revision %d", now.Version, now.Revision)
	}

	server.Do(t, "secret/data/keyturn/example/map", map[string]any{"data": map[string]any{"api_key": "K", "url": "https://example.com", "limits": map[string]any{"a": 1}}})
	was = find()
	if was.Primary.Secret.Reveal() != "K" || was.Revision != 0 || fmt.Sprint(was.Extra) != "[limits url]" {
		t.Fatalf("found %+v", was)
	}
	written = write(was.Version)
	if now := find(); now.Extra != nil || now.Revision != 1 {
		t.Errorf("a document of ours has more: %v", now.Extra)
	}
	if err := restore(was, written); err != nil {
		t.Fatal(err)
	}
	if now := find(); now.Primary.Secret.Reveal() != "K" || fmt.Sprint(now.Extra) != "[limits url]" || now.Version != written+1 {
		t.Errorf("put back %+v", now)
	}
	wantClass(t, restore(was, written), credential.ClassConflict) // it is not the latest any more

	// and no more than that
	wantClass(t, adopter.Destroy(t.Context(), name, 1, 2), credential.ClassDenied)
	wantClass(t, adopter.Erase(t.Context(), name, 1), credential.ClassDenied)
	wantClass(t, adopter.EnsureMetadata(t.Context(), name, ""), credential.ClassDenied)
	_, err := adopter.SigningSeed(t.Context())
	wantClass(t, err, credential.ClassDenied)
	_, err = adopter.Find(t.Context(), "no-name")
	wantClass(t, err, credential.ClassPermanent)
}
