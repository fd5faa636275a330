package engine_test

import (
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestABreakGlassStopsADaemonUnderItsClaim: an operator makes the key that drains
// the primary in Vault, with a revision that no event has, just when a daemon has
// claimed to revoke it. The daemon meets that write, and lets the key live.
func TestABreakGlassStopsADaemonUnderItsClaim(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "glass/race", drain)
	w.rotate(t, s.name)
	s.until(t, func(r engine.Result) bool { return r.State.Generation == 2 })
	var shown credential.Stored
	racing := w.tap(t, func(c call) mode {
		if c.what == "store.Write" && c.n == 0 { // the fence: the claim is open
			there, err := w.store.Read(t.Context(), s.name)
			must(t, err)
			shown = there
			_, err = w.store.Write(t.Context(), s.name, credential.Document{
				Primary: there.Secondary, RotationID: there.RotationID, Revision: there.Revision + 1_000_000,
			}, there.Version)
			must(t, err)
		}
		return pass
	})
	s.engine = w.engine(t, racing.ports(), engine.Hooks{})
	s.until(t, blocked)
	if !w.portal.KeyWorks(shown.Secondary.Secret.Reveal(), "") {
		t.Error("the key that applications have was revoked")
	}
	if there, err := w.store.Read(t.Context(), s.name); err != nil || there.Primary.Fingerprint != shown.Secondary.Fingerprint {
		t.Errorf("Vault shows %s: %v", there.Primary.Fingerprint, err)
	}
}
