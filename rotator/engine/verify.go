package engine

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// verification is how the proving of a new key stands.
type verification struct {
	mint  uint64
	began time.Time // first probe
	since time.Time // accepted without a break since; zero = not accepted
	tries int
	told  string // ItemStatus.Settings before the key was made
}

// patience is how long a new key may be refused before that counts as wrong
// and no longer as "not yet".
const patience = 30 * time.Second

// verify probes the new key until the issuer has accepted it throughout the
// settle time. Between two probes the work is parked, so nobody waits for it.
func verify(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	now := w.engine.config.Now()
	if w.verify.began.IsZero() {
		w.verify.began = now
	}
	proof, err := w.issuer.Probe(ctx, credential.ProbeRequest{
		Key: w.minted.Key, Item: step.Seat.Item, Referrers: w.state.Spec.Item.Referrers,
	})
	w.verify.tries++
	policy := w.state.Spec.Policy
	if err != nil {
		w.verify.since = time.Time{}
		enough := policy.Settle.Std() + min(patience, policy.RotateBefore.Std()/8)
		if !credential.IsClass(err, credential.ClassDenied) || now.Sub(w.verify.began) >= enough {
			return nil, err
		}
		w.later = now.Add(min(50*time.Millisecond<<min(w.verify.tries, 6), enough/4))
		return nil, nil
	}
	if w.verify.since.IsZero() {
		w.verify.since = now
	}
	settle := policy.Settle.Std()
	if w.state.Killed != (credential.SeatID{}) {
		settle = 0 // what applications have now is dead for sure
	}
	if settled := w.verify.since.Add(settle); now.Before(settled) {
		w.later = now.Add(min(settled.Sub(now), max(policy.Settle.Std()/6, 100*time.Millisecond)))
		return nil, nil
	}
	expires := w.minted.Expires
	if !proof.Expires.IsZero() {
		expires = proof.Expires
	}
	return credential.KeyIssued{
		Seat: step.Seat, Mint: w.verify.mint, Fingerprint: w.minted.Key.Fingerprint(),
		Expires: expires, Version: w.vault.Version, Told: w.verify.told,
	}, nil
}
