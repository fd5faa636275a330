package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// TestBreakGlassWithRightsOfItsOwn: the operator's login at Vault and account at
// the issuer are used, where the daemons' are of no use.
func TestBreakGlassWithRightsOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	w.rotated(t, d, "maps/web")
	before := w.keys(t, "maps/web")
	daemons := w.load(t)
	o := w.strike(t, d)

	policy, err := os.ReadFile(filepath.Join("..", "..", "deploy", "vault", "responder.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	w.vault.Policy(t, "responder", strings.ReplaceAll(string(policy), "/keyturn/", "/"+daemons.Vault.Prefix+"/"))
	folder := filepath.Dir(w.path)
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("responder", w.vault.TokenFor(t, "responder").Reveal())
	write("portal", emulator.DefaultPassword)
	w.change(t, `value: "`+emulator.DefaultPassword+`"`, `value: "of no use"`)
	w.change(t, "operator:", "break_glass:\n  vault_login: {token: {file: responder}}\n  issuers: {portal: {username: "+emulator.DefaultUser+", password: {file: portal}}}\noperator:")
	write("token", "of-no-use")

	o.breakGlass(t, "maps/web", "--key", "primary").has(t, 0, "is DEAD", "is now the primary in Vault")
	if w.works(before.Primary) || !w.works(before.Secondary) {
		t.Error("the leaked key works, or the other one does not")
	}
	// without a key of the operator it still dies; the file says that it is not signed
	w.change(t, "operator: {seed: {file: keeper.nk}}", "operator: {}")
	o.file += "2"
	o.breakGlass(t, "maps/web", "--key", string(before.Secondary.Fingerprint)).has(t, 0, "will not be signed", "is DEAD", "no working key")
	w.keyturn(t, "", "import", o.file).has(t, 1, "it is not signed")
}

// TestBreakGlassGoesOnWithTheKeyThatLives: the issuer refuses to kill the leaked
// key after applications were given the other one. What is to be tried then is
// about the leaked key, not about the one that they have now.
func TestBreakGlassGoesOnWithTheKeyThatLives(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	w.rotated(t, d, "maps/web")
	before := w.keys(t, "maps/web")
	o := w.strike(t, d)
	refuses := emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultError, Path: "/oauth2/revokeToken", Code: 403}}}
	if err := w.portal.SetFaults(refuses); err != nil {
		t.Fatal(err)
	}
	seat := before.Primary.Seat
	byHand := []string{"--issuer", "portal", "--item", seat.Item, "--slot", fmt.Sprint(seat.Slot), "--fingerprint", string(before.Primary.Fingerprint)}
	o.breakGlass(t, "maps/web", "--key", "primary").has(t, 1, "NOT confirmed dead", "is now the primary in Vault", "try: again with "+strings.Join(byHand, " ")+" instead of --key")
	if err := w.portal.SetFaults(emulator.Faults{}); err != nil {
		t.Fatal(err)
	}
	o.file += "2"
	o.breakGlass(t, "maps/web", "--key", "primary").has(t, 1, "an earlier break-glass", "nothing was done")
	o.breakGlass(t, "maps/web", byHand...).has(t, 0, "is DEAD")
	if w.works(before.Primary) || !w.works(before.Secondary) {
		t.Error("the leaked key works, or the one that applications have does not")
	}
}
