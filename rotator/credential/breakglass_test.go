package credential_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// emergency is a drain in which the primary leaked and is to die at once.
func emergency(other credential.Role) credential.State {
	return credential.State{
		Status: credential.StatusRegistered, Spec: spec(), Settings: spec().Item.SettingsHash(), Generation: 2, Mint: 2, Revision: 20,
		Seats: []credential.Seat{
			{
				SeatID: credential.SeatID{Item: "i1", Slot: 2}, Role: credential.RolePrimary, Fingerprint: "p", Mint: 2, Proven: start,
				Expires: start.Add(90 * 24 * time.Hour), Leak: &credential.Leak{Actor: "oncall", Reason: "leak", Immediately: true},
			},
			{SeatID: credential.SeatID{Item: "i1", Slot: 1}, Role: other, Fingerprint: "s", Mint: 1, Proven: start, Expires: start.Add(60 * 24 * time.Hour)},
		},
		Rotation: &credential.Rotation{ID: "r", Phase: credential.PhaseDrain, Target: credential.SeatID{Item: "i1", Slot: 2}, Settings: spec().Item.SettingsHash()},
		Vault:    credential.Vault{Version: 7, Other: "s"},
	}
}

// kill has the leaked primary die.
func (l *life) kill(t *testing.T) {
	t.Helper()
	seat := credential.SeatID{Item: "i1", Slot: 2}
	for _, c := range []credential.Command{credential.ClaimRevoke{Seat: seat}, credential.KeyInvalidated{Seat: seat, How: credential.HowRevoked, Version: l.state.Vault.Version}} {
		if err := l.do(c); err != nil {
			t.Fatalf("%T: %v", c, err)
		}
	}
}

// TestAKeyThatDrainsOutlivesOneThatDiesImmediately: such a death writes nothing to
// Vault, so what Vault carries is there still, and takes over.
func TestAKeyThatDrainsOutlivesOneThatDiesImmediately(t *testing.T) {
	l := newLife()
	l.state = emergency(credential.RoleDraining)
	l.kill(t)
	if step := l.next(); step.Kind != credential.StepPromote || step.Seat.Slot != 1 {
		t.Errorf("next is %+v, want the promotion of the key that drains", step)
	}
}

// TestNothingIsGeneratedOverWhatAnOperatorMayHaveShown: after break-glass, Vault
// may show a key as the primary that the record does not want any more.
func TestNothingIsGeneratedOverWhatAnOperatorMayHaveShown(t *testing.T) {
	for _, role := range []credential.Role{credential.RoleOrphan, credential.RoleDraining} {
		l := newLife()
		l.state = emergency(role)
		l.state.Vault = credential.Vault{Version: 8, Accepted: 8, Foreign: true}
		l.kill(t)
		if err := l.do(credential.Begin{Reason: credential.ReasonLeaked}); err != nil {
			t.Fatal(err)
		}
		if claim := l.state.Claims[len(l.state.Claims)-1]; claim.Op != credential.OpCreateItem {
			t.Errorf("%s: the claim is to %s on %s", role, claim.Op, claim.Seat)
		}
	}
}
