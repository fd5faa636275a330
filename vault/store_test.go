package vault_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/storetest"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

const name = credential.Name("team/map")

func TestConformance(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	storetest.Run(t, func(*testing.T) storetest.Store { return client })
}

func TestLayoutIsWhatApplicationsRead(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	doc := storetest.Doc(41)
	doc.Secondary = storetest.Key("candidate", 2)
	if _, err := client.Write(t.Context(), name, doc, 0); err != nil {
		t.Fatal(err)
	}
	got, _ := server.Look(t, "secret/data/keyturn/team/map")["data"].(map[string]any)
	want := map[string]string{
		"api_key": "AAPT-primary-41", "fingerprint": string(doc.Primary.Fingerprint), "expires_at": "2027-02-01T00:00:00Z",
		"seat": "0123456789abcdef0123456789abcdef/1", "mint": "12",
		"secondary_api_key": "AAPT-candidate", "secondary_fingerprint": string(doc.Secondary.Fingerprint),
		"secondary_expires_at": "2027-02-01T00:00:00Z", "secondary_seat": "0123456789abcdef0123456789abcdef/2", "secondary_mint": "12",
		"rotation_id": "rotation-41", "revision": "41",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("fields\n got %v\nwant %v", got, want)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	const path = "secret/metadata/keyturn/team/map"
	custom := func() string {
		return fmt.Sprint(server.Look(t, path)["custom_metadata"], server.Look(t, path)["cas_required"])
	}
	ensure := func(owner, want string) {
		t.Helper()
		if err := client.EnsureMetadata(t.Context(), name, owner); err != nil {
			t.Fatal(err)
		}
		if got := custom(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	ensure("team map", "map[managed-by:keyturn owner:team map] true")
	server.Do(t, path, map[string]any{"cas_required": false, "max_versions": 5, "custom_metadata": map[string]string{"note": "ours", "owner": "x"}})
	ensure("team map", "map[managed-by:keyturn note:ours owner:team map] true")
	if got := fmt.Sprint(server.Look(t, path)["max_versions"]); got != "5" {
		t.Errorf("max_versions became %s", got)
	}
	ensure("", "map[managed-by:keyturn note:ours] true")
	// an owner that Vault would refuse is cut to what it takes
	if err := client.EnsureMetadata(t.Context(), name, strings.Repeat("ä\n", 500)); err != nil {
		t.Error(err)
	}

	// somebody else's write without check-and-set is refused from now on
	_, err := server.Client(t, server.Token).Logical().Write("secret/data/keyturn/team/map",
		map[string]any{"data": map[string]string{"api_key": "x"}})
	if err == nil || !strings.Contains(err.Error(), "check-and-set parameter required") {
		t.Errorf("a write without check-and-set: %v", err)
	}
}

func TestMissingIsNotDeletedIsNotAMissingMount(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	const path = "keyturn/team/map"
	want := func(version uint64, missing bool) {
		t.Helper()
		got, err := client.Read(t.Context(), name)
		if err != nil || got.Version != version || got.Missing != missing {
			t.Fatalf("got version %d, missing %v, %v; want %d, %v", got.Version, got.Missing, err, version, missing)
		}
	}
	write := func(cas uint64) {
		t.Helper()
		if _, err := client.Write(t.Context(), name, storetest.Doc(cas+1), cas); err != nil {
			t.Fatal(err)
		}
	}
	want(0, true)
	write(0)
	write(1)
	want(2, false)
	server.Delete(t, "secret/data/"+path)
	want(2, true) // deleted
	_, err := client.Write(t.Context(), name, storetest.Doc(9), 0)
	wantClass(t, err, credential.ClassConflict)
	write(2)
	want(3, false)
	server.Do(t, "secret/destroy/"+path, map[string]any{"versions": []int{3}})
	want(3, true) // destroyed
	server.Delete(t, "secret/metadata/"+path)
	want(0, true) // as if never written

	for mount, hint := range map[string]string{"nowhere": "missing", "one": "not KV v2", "secret/keyturn": "missing"} {
		t.Run(mount, func(t *testing.T) {
			if mount == "one" {
				server.MountKV(t, "one", "1")
			}
			server.Policy(t, "wide", `path "*" { capabilities = ["create", "update", "read"] }`)
			for who, secret := range map[string]credential.Secret{"root": server.Token, "limited": server.TokenFor(t, "wide")} {
				config := root(server)
				config.Mount, config.Login = mount, token(secret)
				client := open(t, config)
				_, err := client.Read(t.Context(), name)
				fault := wantClass(t, err, credential.ClassPermanent)
				if !strings.Contains(err.Error(), hint) || !strings.Contains(fault.Hint, "kv-v2") {
					t.Errorf("%s read: %v", who, err)
				}
				_, err = client.Write(t.Context(), name, storetest.Doc(1), 0)
				fault = wantClass(t, err, credential.ClassPermanent)
				if !strings.Contains(fault.Hint, "KV v2") && !strings.Contains(fault.Hint, "kv-v2") {
					t.Errorf("%s write: %v", who, err)
				}
				wantClass(t, client.EnsureMetadata(t.Context(), name, ""), credential.ClassPermanent)
				wantClass(t, client.Destroy(t.Context(), name, 0, 5), credential.ClassPermanent)
			}
		})
	}
}

func TestANewMountIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	config := root(server)
	config.Mount = "fresh"
	client := open(t, config)
	server.MountKV(t, "fresh", "2")
	eventually(t, "the new mount serves", func() bool {
		_, err := client.Read(t.Context(), name)
		if err != nil && !credential.IsClass(err, credential.ClassRetryable) {
			t.Fatalf("while the mount is being made: %v", err)
		}
		return err == nil
	})
}

func TestChangedByHand(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	if _, err := client.Write(t.Context(), name, storetest.Doc(1), 0); err != nil {
		t.Fatal(err)
	}
	// what `vault kv patch` of the key alone does
	fields, _ := server.Look(t, "secret/data/keyturn/team/map")["data"].(map[string]any)
	fields["api_key"] = "AAPT-somebody-elses"
	server.Do(t, "secret/data/keyturn/team/map", map[string]any{"data": fields})
	got, err := client.Read(t.Context(), name)
	if err != nil || got.Missing || got.Version != 2 || got.Revision != 0 {
		t.Errorf("got version %d, revision %d, missing %v, %v", got.Version, got.Revision, got.Missing, err)
	}
	if want := credential.NewSecret("AAPT-somebody-elses").Fingerprint(); got.Primary.Fingerprint != want {
		t.Errorf("fingerprint %s is not that of the key", got.Primary.Fingerprint)
	}
}

func TestALostAnswerToAWriteIsUnknownAndTheWriteIsSentOnce(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	troubles := map[string]vaulttest.Trouble{
		"cut": vaulttest.CutAnswers, "cut in the middle": vaulttest.HalveAnswers,
		"timed out": vaulttest.SwallowAnswers, "gateway timeout": vaulttest.GatewayTimeout,
	}
	for what, trouble := range troubles {
		t.Run(what, func(t *testing.T) {
			name := credential.Name("team/" + strings.ReplaceAll(what, " ", "-"))
			proxy := vaulttest.NewProxy(t, server.Addr)
			config := root(server)
			config.Addr, config.Timeout = proxy.Addr, time.Second
			client := open(t, config)
			if _, err := client.Read(t.Context(), name); err != nil { // a connection to be reused
				t.Fatal(err)
			}
			proxy.Make(trouble)
			_, err := client.Write(t.Context(), name, storetest.Doc(1), 0)
			if fault := wantClass(t, err, credential.ClassUnknown); !fault.Silent {
				t.Error("not silent")
			}
			err = client.EnsureMetadata(t.Context(), name, "x")
			if trouble != vaulttest.HalveAnswers { // this answer has no body, so no middle
				wantClass(t, err, credential.ClassRetryable)
			} else if err != nil {
				t.Errorf("metadata: %v", err)
			}
			proxy.Make(vaulttest.NoTrouble)
			writes := 0
			for _, request := range proxy.Requests() {
				if request == "PUT /v1/secret/data/keyturn/"+string(name) {
					writes++
				}
			}
			if writes != 1 {
				t.Errorf("the write was sent %d times", writes)
			}
			got, err := client.Read(t.Context(), name)
			if err != nil || got.Version != 1 || got.Revision != 1 {
				t.Errorf("after it: version %d, revision %d, %v", got.Version, got.Revision, err)
			}
		})
	}
}

func TestNobodyThereIsRetryableForWritesToo(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	proxy := vaulttest.NewProxy(t, server.Addr)
	config := root(server)
	config.Addr = proxy.Addr
	client := open(t, config)
	proxy.Close()
	check := func(what string, err error) {
		t.Helper()
		if fault := wantClass(t, err, credential.ClassRetryable); !fault.Silent || fault.Hint == "" {
			t.Errorf("%s: %+v", what, fault)
		}
	}
	_, err := client.Read(t.Context(), name)
	check("read", err)
	_, err = client.Write(t.Context(), name, storetest.Doc(1), 0)
	check("write", err)
	check("metadata", client.EnsureMetadata(t.Context(), name, ""))
	_, err = client.Health(t.Context())
	check("health", err)
	if problems := client.Preflight(t.Context()); len(problems) != 1 || !strings.Contains(problems[0].What, "cannot be reached") {
		t.Errorf("preflight: %v", problems)
	}

	stranger, err := vault.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	check("login", stranger.Login(t.Context()))
	_, err = stranger.Read(t.Context(), name)
	check("read before the login", err)
	if !strings.Contains(err.Error(), "not logged in") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("it does not say why there is no login: %v", err)
	}
}

func TestSealedAndUnsealedAgain(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	version, err := client.Write(t.Context(), name, storetest.Doc(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	server.Seal(t)
	check := func(what string, err error) {
		t.Helper()
		if fault := wantClass(t, err, credential.ClassRetryable); !strings.Contains(fault.Hint, "unseal") || !fault.Silent {
			t.Errorf("%s: %+v", what, fault)
		}
	}
	_, err = client.Read(t.Context(), name)
	check("read", err)
	_, err = client.Write(t.Context(), name, storetest.Doc(2), version)
	check("write", err)
	if h, err := client.Health(t.Context()); err != nil || !h.Sealed || !h.Initialized {
		t.Errorf("health: %+v, %v", h, err)
	}
	if problems := client.Preflight(t.Context()); len(problems) != 1 || problems[0].What != "Vault is sealed" {
		t.Errorf("preflight: %v", problems)
	}
	server.Unseal(t)
	eventually(t, "the secret is read again", func() bool {
		got, err := client.Read(t.Context(), name)
		return err == nil && got.Version == version && got.Revision == 1
	})
	if h, err := client.Health(t.Context()); err != nil || h.Sealed || h.Standby || h.Version == "" || time.Since(h.Clock).Abs() > time.Minute {
		t.Errorf("health: %+v, %v", h, err)
	}
}

func TestAContextThatEndsIsSeen(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Read(ctx, name)
	wantClass(t, err, credential.ClassRetryable)
	if !strings.Contains(err.Error(), "canceled") {
		t.Errorf("got %v", err)
	}
}

func TestOneSigningSeedWins(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	_, err := client.SigningSeed(t.Context())
	wantClass(t, err, credential.ClassNotFound)
	seed := credential.NewSecret("SUANEXAMPLE")
	won := make(chan error, 4)
	for range cap(won) {
		go func() { won <- client.StoreSigningSeed(t.Context(), seed) }()
	}
	winners := 0
	for range cap(won) {
		if err := <-won; err == nil {
			winners++
		} else {
			wantClass(t, err, credential.ClassConflict)
		}
	}
	got, err := client.SigningSeed(t.Context())
	if err != nil || got != seed || winners != 1 {
		t.Errorf("winners %d, %v", winners, err)
	}
	wantClass(t, client.StoreSigningSeed(t.Context(), credential.Secret{}), credential.ClassPermanent)
}

func TestGetReadsBothVersionsOfKV(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	server.MountKV(t, "old/kv", "1")
	server.Do(t, "old/kv/portals/main", map[string]any{"password": "p1", "port": 6443, "empty": ""})
	server.Do(t, "secret/data/portals/main", map[string]any{"data": map[string]any{"password": "p2"}})
	for path, want := range map[string]string{"old/kv/portals/main": "p1", "secret/portals/main": "p2", "secret/data/portals/main": "p2"} {
		if got, err := client.Get(t.Context(), path, "password"); err != nil || got.Reveal() != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got, err := client.Get(t.Context(), "old/kv/portals/main", "port"); err != nil || got.Reveal() != "6443" {
		t.Errorf("a number: %v", err)
	}
	for path, field := range map[string]string{"secret/portals/none": "x", "secret/portals/main": "user", "old/kv/portals/main": "empty"} {
		_, err := client.Get(t.Context(), path, field)
		wantClass(t, err, credential.ClassNotFound)
	}
	for _, path := range []string{"", "/secret/x", "secret/../sys/x", "secret", "sys/mounts"} {
		_, err := client.Get(t.Context(), path, "x")
		wantClass(t, err, credential.ClassPermanent)
	}
	_, err := client.Get(t.Context(), "nowhere/x", "x")
	if credential.IsClass(err, credential.ClassNotFound) || err == nil {
		t.Errorf("a missing mount reads like a missing secret: %v", err)
	}
}
