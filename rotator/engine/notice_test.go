package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// slowIssuer lets something happen between the portal's answer and ours.
type slowIssuer struct {
	engine.Issuer
	then func()
}

func (s *slowIssuer) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error) {
	minted, err := s.Issuer.Issue(ctx, seat, expires)
	s.then()
	return minted, err
}

// Another daemon gives the notice of the primary's expiry while a key is being
// made: the maker must go on with its key.
func TestANoticeOfAnotherDaemonDoesNotLoseTheKey(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("maps/noticed")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	policy := w.policy(t, 8*time.Second, 6*time.Second, 0)
	w.register(t, name, policy)
	p := w.ports(t)
	must(t, drive(ctx, w.engine(t, p, engine.Hooks{}), name, ended(1)))
	state, _, err := w.record.Load(ctx, name)
	must(t, err)
	primary, _ := state.Primary()
	warn := policy.WarnAt(primary.Expires)
	time.Sleep(time.Until(warn) - 300*time.Millisecond)
	p.issuer = &slowIssuer{Issuer: p.issuer, then: func() {
		time.Sleep(time.Until(warn) + 20*time.Millisecond)
		w.command(t, name, credential.Tell{Level: credential.LevelWarn})
	}}
	result, err := w.engine(t, p, engine.Hooks{}).Pass(ctx, name)
	must(t, err)
	stored, err := w.store.Read(ctx, name)
	must(t, err)
	t.Logf("the pass ended: %s: %s, until %s; generation %d; Vault's mint %d and %d", result.Next.Reason, result.Next.Why,
		result.Next.At.Format("05.000"), result.State.Generation, stored.Primary.Mint, stored.Secondary.Mint)
	if result.State.Generation != 2 {
		t.Error("the key that was made is lost, and the claim has to run out")
	}
}
