package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/publisher/natstest"
)

// TestLivesWithTheShippedPermissions: an operator with the user of deploy/nats and the
// policy deploy/vault/adopter.hcl adopts, looks and removes; the daemon serves with
// deploy/vault/daemon.hcl. Without the policy nothing is written.
func TestLivesWithTheShippedPermissions(t *testing.T) {
	shipped := natstest.StartShipped(t, "../../deploy/nats")
	login := func(user string) string { return fmt.Sprintf(", nkey_seed: {value: %q}", shipped.Seeds[user]) }
	conn := shipped.As(t, "KEY_OPERATOR", "_INBOX_operator")
	w := newTownAt(t, shipped.Server, conn.Conn, login("KEY_DAEMON"), "", "")
	folder, prefix := filepath.Dir(w.path), w.load(t).Vault.Prefix
	file := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	policy := func(name string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "vault", name+".hcl"))
		if err != nil {
			t.Fatal(err)
		}
		w.vault.Policy(t, name, strings.ReplaceAll(string(text), "/keyturn/", "/"+prefix+"/"))
	}
	policy("daemon")
	policy("adopter")
	text, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(folder, "token")
	as := func(who, password string) *town {
		own := strings.Replace(string(text), login("KEY_DAEMON"), login("KEY_OPERATOR")+", inbox_prefix: _INBOX_operator", 1)
		own = strings.Replace(own, token, filepath.Join(folder, who), 1)
		file(who+".yaml", own)
		file(who, password)
		return &town{path: filepath.Join(folder, who+".yaml")}
	}
	adopter := as("adopter-token", w.vault.TokenFor(t, "adopter").Reveal())
	nobody := as("no-token", w.vault.TokenFor(t, "default").Reveal())
	root := w.vault.Token
	file("token", w.vault.TokenFor(t, "daemon").Reveal())
	d := w.daemon(t)
	file("token", root.Reveal())

	made := w.handmade(t, "Shop map")
	key := made.key(t, 1, 9*time.Hour)
	adopt := []string{"adopt", "shop/map", "--issuer", "portal", "--item", made.item, "--key-stdin", "-f", w.declare(t, "shop/map", "privileges: [premium:user:basemaps]", brisk)}
	nobody.keyturn(t, key.Reveal(), adopt...).has(t, 1, "permission denied", `"read"`)
	if got := w.keys(t, "shop/map"); got.Version != 0 {
		t.Errorf("something was written: %+v", got)
	}
	adopter.keyturn(t, key.Reveal(), adopt...).has(t, 0, "shop/map adopted")
	adopter.keyturn(t, "", "doctor", "shop/map").has(t, 0, "ok   next")
	adopter.keyturn(t, "", "rotate", "shop/map", "--now").has(t, 0)
	w.alone(t, d, "shop/map", 2)
	adopter.keyturn(t, "", "remove", "shop/map", "--reason", "closed", "--yes").has(t, 0, "shop/map: removed")
	adopter.keyturn(t, "", "show", "shop/map").has(t, 0, "was removed at")
	if _, there := w.item(made.item); there || !w.keys(t, "shop/map").Missing {
		t.Error("the item or the secret is there")
	}
	if refused := conn.Refusals(); len(refused) > 0 {
		t.Errorf("the operator was refused %v", refused)
	}
	for _, line := range d.logs.FilterMessage("NATS refused something").All() {
		t.Errorf("the daemon was refused: %v", line.ContextMap())
	}
}
