package vault_test

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

// The seeds are replaced by a setup that may do so, with check-and-set, and by
// nobody else.
func TestSigningKeysAreReplaced(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	as := func(policies ...string) *vault.Client {
		for _, p := range policies {
			server.Policy(t, p, policyFile(t, p+".hcl"))
		}
		return open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, policies...))})
	}
	setup, daemon := as("setup", "new-signer"), as("daemon")
	_, err := setup.SigningKeys(t.Context())
	wantClass(t, err, credential.ClassNotFound)
	if err := setup.StoreSigningSeed(t.Context(), credential.NewSecret("S1")); err != nil {
		t.Fatal(err)
	}
	keys, err := setup.SigningKeys(t.Context())
	if err != nil || keys.Current.Reveal() != "S1" || !keys.Next.Empty() || keys.Version != 1 {
		t.Fatalf("keys %+v, %v", keys, err)
	}
	keys.Next = credential.NewSecret("S2")
	wantClass(t, daemon.ReplaceSigningKeys(t.Context(), keys), credential.ClassDenied)
	wantClass(t, as("setup").ReplaceSigningKeys(t.Context(), keys), credential.ClassDenied)
	if err := setup.ReplaceSigningKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	wantClass(t, setup.ReplaceSigningKeys(t.Context(), keys), credential.ClassConflict)
	for _, bad := range []vault.SigningKeys{
		{Next: keys.Next, Version: 2}, {Current: keys.Current}, {Current: credential.NewSecret(credential.Secret{}.String()), Version: 2},
	} {
		wantClass(t, setup.ReplaceSigningKeys(t.Context(), bad), credential.ClassPermanent)
	}
	read, err := daemon.SigningKeys(t.Context())
	if err != nil || read.Current.Reveal() != "S1" || read.Next.Reveal() != "S2" || read.Version != 2 {
		t.Errorf("keys %+v, %v", read, err)
	}
	if seed, err := daemon.SigningSeed(t.Context()); err != nil || seed.Reveal() != "S1" {
		t.Errorf("the seed that signs: %v", err)
	}
}

// Daemons add checkpoints, auditors read them, and nobody else does either. Of
// more than a hundred the last hundred are kept.
func TestCheckpointsAreKept(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	for _, p := range []string{"daemon", "auditor"} {
		server.Policy(t, p, policyFile(t, p+".hcl"))
	}
	daemon := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "daemon"))})
	auditor := open(t, vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "auditor"))})
	_, err := auditor.Checkpoints(t.Context())
	wantClass(t, err, credential.ClassNotFound)
	for i := range uint64(103) {
		_, version, err := daemon.LastCheckpoint(t.Context())
		if err != nil || version != i {
			t.Fatalf("version %d, %v; want %d", version, err, i)
		}
		if err := daemon.StoreCheckpoint(t.Context(), fmt.Appendf(nil, "c%d", i+1), version); err != nil {
			t.Fatal(err)
		}
	}
	wantClass(t, daemon.StoreCheckpoint(t.Context(), []byte("late"), 102), credential.ClassConflict)
	all, err := auditor.Checkpoints(t.Context())
	if err != nil || len(all) != 100 || string(all[0]) != "c103" || string(all[99]) != "c4" {
		t.Errorf("%d checkpoints, first %q, last %q, %v", len(all), all[0], all[len(all)-1], err)
	}
	wantClass(t, auditor.StoreCheckpoint(t.Context(), []byte("forged"), 103), credential.ClassDenied)
	_, err = auditor.SigningSeed(t.Context())
	wantClass(t, err, credential.ClassDenied)
}
