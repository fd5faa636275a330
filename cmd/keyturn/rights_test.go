package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
)

// TestEveryCommandWithTheShippedPermissions: with the NATS configuration in
// deploy/nats each command of an operator and of an auditor does its work with
// what its user may, at Vault the auditor with deploy/vault/auditor.hcl, and the
// daemons keep denials and checkpoints with theirs.
func TestEveryCommandWithTheShippedPermissions(t *testing.T) {
	shipped := natstest.StartShipped(t, "../../deploy/nats")
	login := func(user string) string { return fmt.Sprintf(", nkey_seed: {value: %q}", shipped.Seeds[user]) }
	conn := shipped.As(t, "KEY_OPERATOR", "_INBOX_operator").Conn
	w := newTownAt(t, shipped.Server, conn, login("KEY_DAEMON"), "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "shop/maps", "shop/tiles")
	text, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	as := map[string]*town{}
	for _, who := range []string{"operator", "auditor"} {
		path := filepath.Join(filepath.Dir(w.path), who+".yaml")
		own := login("KEY_"+strings.ToUpper(who)) + ", inbox_prefix: _INBOX_" + who
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), login("KEY_DAEMON"), own, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		as[who] = &town{path: path}
	}
	policy, err := os.ReadFile("../../deploy/vault/auditor.hcl")
	if err != nil {
		t.Fatal(err)
	}
	w.vault.Policy(t, "auditor", strings.ReplaceAll(string(policy), "/keyturn/", "/"+w.load(t).Vault.Prefix+"/"))
	folder := t.TempDir()
	keep := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := keep("token", w.vault.TokenFor(t, "auditor").Reveal())
	text, err = os.ReadFile(as["auditor"].path)
	if err != nil {
		t.Fatal(err)
	}
	own := strings.Replace(string(text), filepath.Join(filepath.Dir(w.path), "token"), token, 1)
	if err := os.WriteFile(as["auditor"].path, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	operator := func(args ...string) said { return as["operator"].keyturn(t, "", args...) }
	auditor := func(args ...string) said { return as["auditor"].keyturn(t, "", args...) }

	operator("invalidate", "shop/maps", "--key", "primary", "--reason", "leak").has(t, 0, "is dead; applications have key ")
	operator("hold", "shop/maps", "--reason", "audit").has(t, 0, "shop/maps held")
	operator("release", "shop/maps").has(t, 0, "shop/maps released")
	operator("freeze", "--reason", "incident").has(t, 0, "2 done")
	operator("thaw").has(t, 0, "2 done")
	operator("retry", "shop/maps").has(t, 3)
	operator("doctor").has(t, 0, "the daemon knows this key as keeper")
	as["operator"].keyturn(t, w.keys(t, "shop/tiles").Primary.Secret.Reveal(), "identify").has(t, 0, "shop/tiles")
	operator("rotate", "shop/nowhere", "--reason", "x").has(t, 1, "no such credential")
	file := filepath.Join(folder, "broken.json")
	operator("invalidate", "shop/tiles", "--key", "primary", "--reason", "alone", "--break-glass", "--out", file).has(t, 0, "is DEAD")
	operator("import", file).has(t, 0, "on record")
	operator("operator", "list").has(t, 0, "keeper")

	eventually(t, "there is a checkpoint", func() bool {
		_, data, _, err := d.record.LastCheckpoint(t.Context())
		return err == nil && data != nil
	})
	checkpoint := auditor("audit", "checkpoint")
	checkpoint.has(t, 0)
	export := auditor("audit", "export")
	export.has(t, 0)
	file = keep("checkpoint.json", checkpoint.out)
	auditor("audit", "verify", "--checkpoint", file).has(t, 0, "intact")
	auditor("audit", "verify", "--checkpoint", "vault").has(t, 0, "intact")
	auditor("audit", "verify", "--since", "1h").has(t, 0, "intact")
	auditor("audit", "verify", "--file", keep("export.jsonl", export.out), "--checkpoint", file).has(t, 0, "intact")
	auditor("audit", "export", "--format", "csv").has(t, 0, "shop/maps")
	auditor("audit", "report", "--since", "1h").has(t, 0, "leaked")
	auditor("history", "shop/maps").has(t, 0, "LEAKED")
	stranger, err := keptOperator(filepath.Join(folder, "stranger.nk"), "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.NewClient(conn, stranger).Rotate(t.Context(), control.Rotate{Name: "shop/maps", Reason: "x"}); err == nil {
		t.Error("a stranger's request is answered")
	}
	eventually(t, "the auditor reads what was denied", func() bool { return strings.Contains(auditor("denied").out, stranger.Public()) })
	for _, line := range d.logs.FilterMessage("NATS refused something").All() {
		t.Errorf("the daemon was refused: %v", line.ContextMap())
	}
}
