package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestCommandsWithTheShippedPermissions: with the NATS configuration in
// deploy/nats a daemon serves, an operator's commands work with the operator's
// rights, and a service hears its events and its acknowledgement counts.
func TestCommandsWithTheShippedPermissions(t *testing.T) {
	shipped := natstest.StartShipped(t, "../../deploy/nats")
	login := func(user string) string { return fmt.Sprintf(", nkey_seed: {value: %q}", shipped.Seeds[user]) }
	operator, shop := shipped.As(t, "KEY_OPERATOR", "_INBOX_operator"), shipped.As(t, "KEY_SHOP", "_INBOX_shop")
	w := newTownAt(t, shipped.Server, operator.Conn, login("KEY_DAEMON"), "", "")
	text, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	configOf := func(who string) string {
		path := filepath.Join(filepath.Dir(w.path), who+".yaml")
		text := strings.Replace(string(text), login("KEY_DAEMON"), login("KEY_"+strings.ToUpper(who))+", inbox_prefix: _INBOX_"+who, 1)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := configOf("operator")
	d := w.daemon(t)
	heard := make(chan *nats.Msg, 256)
	if _, err := shop.ChanSubscribe("keyturn.events.shop.*", heard); err != nil {
		t.Fatal(err)
	}
	if err := shop.Flush(); err != nil {
		t.Fatal(err)
	}
	watching := start(t, nil, "watch", "--config", path)
	policy := gatedBy(credential.BeforePromote, credential.ThenHalt)
	policy.Confirm.Consumers = []string{"shop"}
	w.apply(t, "shop/maps", "portal", policy)
	eventually(t, "watch tells of the first key", func() bool { return strings.Contains(watching.output.String(), "shop/maps") })
	for _, args := range [][]string{{"list"}, {"show", "shop/maps"}, {"history", "shop/maps"}, {"plan"}, {"rotate", "shop/maps", "--reason", "test"}} {
		output, code := call(t, nil, append(args, "--config", path)...)
		if code != 0 || !strings.Contains(output, "shop/maps") && !strings.Contains(output, "registered at issuer portal") {
			t.Errorf("keyturn %s as the operator: exit %d: %s", strings.Join(args, " "), code, output)
		}
	}
	for deadline := time.After(time.Minute); ; {
		var fingerprint string
		select {
		case msg := <-heard:
			if issued, ok := issuedIn(t, msg); ok {
				fingerprint = issued
			}
		case <-deadline:
			t.Fatal("the service does not hear of its key in a minute")
		}
		if fingerprint == "" {
			continue
		}
		answer, err := shop.Request("keyturn.ack.shop", fmt.Appendf(nil, `{"name":"shop/maps","fingerprint":%q}`, fingerprint), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(answer.Data), `"acknowledged"`) {
			break // the first key's needs none
		}
	}
	eventually(t, "the service's word opens the gate", func() bool {
		state, _, err := d.record.Load(t.Context(), "shop/maps")
		return err == nil && state.Generation == 2
	})
	as := func(path string, code int, want string, args ...string) {
		t.Helper()
		output, got := call(t, nil, append(args, "--config", path)...)
		if got != code || !strings.Contains(output, want) {
			t.Errorf("keyturn %s with %s: exit %d, want %d and %q: %s", strings.Join(args, " "), filepath.Base(path), got, code, want, output)
		}
	}
	as(path, 0, "shop/maps held", "hold", "shop/maps", "--reason", "audit")
	as(path, 0, "shop/maps released", "release", "shop/maps")
	as(path, 0, "new credentials: frozen", "freeze", "--reason", "incident")
	as(path, 0, "1 done", "thaw")
	as(path, 3, "no attempt has failed", "retry", "shop/maps")
	as(path, 0, "is dead", "invalidate", "shop/maps", "--key", "primary", "--reason", "one")
	as(path, 0, "1 done", "invalidate", "--namespace", "shop", "--key", "primary", "--reason", "several")
	as(path, 3, "1 already", "invalidate", "--namespace", "shop", "--key", "primary", "--reason", "several")
	as(path, 0, "", "list", "--emergency")
	as(path, 0, "the daemon knows this key", "doctor")
	auditor := configOf("auditor")
	as(auditor, 3, "", "denied")
	as(auditor, 0, "", "audit", "verify")
	as(auditor, 0, "LEAKED", "history", "shop/maps")
	as(auditor, 0, "shop/maps", "audit", "export", "--format", "jsonl")
	as(auditor, 1, "", "hold", "shop/maps", "--reason", "no") // whatever key signs it
	for who, user := range map[string]*natstest.User{"operator": operator, "service": shop} {
		if refused := user.Refusals(); len(refused) > 0 {
			t.Errorf("the %s was refused %v", who, refused)
		}
	}
	for _, line := range d.logs.FilterMessage("NATS refused something").All() {
		t.Errorf("the daemon was refused: %v", line.ContextMap())
	}
}

// issuedIn reads the fingerprint of key.issued.
func issuedIn(t *testing.T, msg *nats.Msg) (string, bool) {
	t.Helper()
	if msg.Header["ce-type"][0] != string(credential.TypeIssued) {
		return "", false
	}
	_, rest, _ := strings.Cut(string(msg.Data), `"fingerprint":"`)
	fingerprint, _, ok := strings.Cut(rest, `"`)
	return fingerprint, ok
}
