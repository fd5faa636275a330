package credential_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TestWhatAnAcknowledgementMeans: one of the new key counts once; one of the
// primary is no news; all others are refused, each for its own reason.
func TestWhatAnAcknowledgementMeans(t *testing.T) {
	promote, retire := gated(credential.BeforePromote, "web", "batch"), gated(credential.BeforeRetire, "web", "batch")
	over := func(l *life) *life { // the rotation that was in its drain has ended
		l.must(credential.Acknowledge{Consumer: "web", Fingerprint: "fp-2"}, credential.Acknowledge{Consumer: "batch", Fingerprint: "fp-2"})
		l.at(l.state.Rotation.DrainUntil)
		l.must(credential.ClaimRevoke{Seat: first})
		return l.must(credential.KeyInvalidated{Seat: first, How: credential.HowRevoked, Version: 9})
	}
	for what, c := range map[string]struct {
		life        *life
		consumer    string
		fingerprint credential.Fingerprint
		want        error
	}{
		"of the new key before its promotion":            {proven(promote), "web", "fp-2", nil},
		"of the new key in the drain":                    {inDrain(retire), "web", "fp-2", nil},
		"of the new key in the drain, for another gate":  {inDrain(promote), "web", "fp-2", nil},
		"of the new key again":                           {proven(promote).must(credential.Acknowledge{Consumer: "web", Fingerprint: "fp-2"}), "web", "fp-2", credential.ErrNothing},
		"of the primary while no rotation is open":       {over(inDrain(retire)), "web", "fp-2", credential.ErrNothing},
		"of the primary while a key is being made":       {making(promote), "web", "fp-1", credential.ErrNothing},
		"of the old key in the drain":                    {inDrain(retire), "web", "fp-1", credential.ErrStale},
		"of a key that is dead":                          {over(inDrain(retire)), "web", "fp-1", credential.ErrStale},
		"of a key that is not proven yet":                {making(promote), "web", "fp-2", credential.ErrStale},
		"of no key while one is being made":              {making(promote), "web", "", credential.ErrStale},
		"of no key before the first one":                 {newLife().must(credential.Register{Spec: spec(promote)}), "web", "", credential.ErrStale},
		"of a consumer that the policy does not name":    {proven(promote), "shop", "fp-2", credential.ErrNotNamed},
		"where the policy names nobody":                  {proven(), "web", "fp-2", credential.ErrNotNamed},
		"of a credential that nobody registered":         {newLife(), "web", "fp-2", credential.ErrUnknown},
		"of a candidate that was given up for another":   {proven(promote).must(credential.GiveUp{Why: "changed"}), "web", "fp-2", credential.ErrStale},
		"of a consumer that was taken out of the policy": {proven(promote).must(credential.Register{Spec: spec(gated(credential.BeforePromote, "batch"))}), "web", "fp-2", credential.ErrNotNamed},
	} {
		before := len(c.life.events)
		if err := c.life.do(credential.Acknowledge{Consumer: c.consumer, Fingerprint: c.fingerprint}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if appended := len(c.life.events) - before; (c.want == nil) != (appended == 1) {
			t.Errorf("%s: %d events", what, appended)
		}
		if c.want == nil && !slices.Equal(c.life.state.Missing(), []string{"batch"}) {
			t.Errorf("%s: missing are %v", what, c.life.state.Missing())
		}
	}
}

// TestANewMintIsAcknowledgedAnew: who confirmed a key that was given up within
// its rotation has not confirmed the one that takes its place.
func TestANewMintIsAcknowledgedAnew(t *testing.T) {
	l := proven(gated(credential.BeforePromote, "web"))
	l.must(credential.Acknowledge{Consumer: "web", Fingerprint: "fp-2"})
	claim := credential.Claim{ID: "c-3", Daemon: "d-2", Op: credential.OpGenerate, Seat: second, Mint: 3}
	for what, step := range map[string]credential.StepClaimed{
		"another mint": {Claim: claim},
		"a new item":   {Claim: credential.Claim{ID: "c-4", Daemon: "d-2", Op: credential.OpCreateItem}, NewItem: true},
		"a made item":  {Claim: credential.Claim{ID: "c-5", Daemon: "d-2", Op: credential.OpGenerate, Seat: credential.SeatID{Item: "i2", Slot: 1}, Mint: 3}, Item: "i2"},
	} {
		after := credential.Evolve(l.state, credential.Event{ID: "e", At: l.now, Fact: step})
		if missing := after.Missing(); !slices.Equal(missing, []string{"web"}) {
			t.Errorf("%s: missing are %v", what, missing)
		}
	}
	revoking := credential.Evolve(inDrain(gated(credential.BeforeRetire, "web")).must(credential.Acknowledge{Consumer: "web", Fingerprint: "fp-2"}).state,
		credential.Event{ID: "e", At: l.now, Fact: credential.StepClaimed{Claim: credential.Claim{ID: "c-6", Op: credential.OpRevoke, Seat: first}}})
	if missing := revoking.Missing(); len(missing) > 0 {
		t.Errorf("a take-over of the retirement forgot who had confirmed: %v", missing)
	}
}

// TestAGateNamesWhoIsMissing in words.
func TestAGateNamesWhoIsMissing(t *testing.T) {
	life := proven(gated(credential.BeforePromote, "web", "batch", "shop"))
	for _, step := range []struct{ consumer, why string }{
		{"web", "waits for web, batch and shop to confirm the new key"},
		{"batch", "waits for batch and shop to confirm the new key"},
		{"shop", "waits for shop to confirm the new key"},
	} {
		if why := life.next().Why; why != step.why {
			t.Errorf("it says %q, want %q", why, step.why)
		}
		life.must(credential.Acknowledge{Consumer: step.consumer, Fingerprint: "fp-2"})
	}
}
