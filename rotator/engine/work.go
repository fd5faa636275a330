package engine

import (
	"context"
	"errors"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// work is one pass over one credential: the folded record, and what the pass
// holds that no commit names yet.
type work struct {
	engine *Engine
	name   credential.Name
	issuer Issuer
	state  credential.State
	head   credential.Head

	// claim is the one that this pass opened, and began when it began to.
	claim *credential.Claim
	began time.Time
	// unanswered is true once a call under the claim had no clear outcome.
	unanswered bool

	// minted is the key made under the claim, or found in Vault by resume;
	// stored says that Vault has it.
	minted *credential.Minted
	stored bool
	// verify is how the proving of it stands.
	verify verification
	// later, if set, ends the pass: the work is parked until then.
	later time.Time

	// heard is true once this pass has asked the issuer for its clock.
	heard bool
	// vault is the last version read or written by this pass; nil = none yet.
	vault *credential.Stored
	// wrote is the version of this pass's own last write; 0 = none.
	wrote uint64
}

// errWindow: the claim's window is over, so no call is made.
var errWindow = errors.New("the claim's window is over")

// adopt takes a state that was read, and keeps what the pass holds only as long
// as it fits.
func (w *work) adopt(state credential.State, head credential.Head) {
	state.Name = w.name
	w.state, w.head = state, head
	if w.claim != nil && !holds(state, w.claim.ID) {
		w.drop()
	}
	candidate, ok := state.Candidate()
	if w.claim == nil && w.stored && (!ok || candidate.Mint != w.verify.mint) {
		w.drop()
	}
}

func holds(s credential.State, claim string) bool {
	for _, c := range s.Claims {
		if c.ID == claim {
			return true
		}
	}
	return false
}

// drop forgets what the pass holds. The claim stays open for all.
func (w *work) drop() {
	w.claim, w.minted, w.stored, w.unanswered = nil, nil, false, false
	w.verify, w.later, w.vault, w.wrote = verification{}, time.Time{}, nil, 0
}

// took updates what the pass holds after its event was appended.
func (w *work) took(event credential.Event, began time.Time) {
	var opened *credential.Claim
	switch f := event.Fact.(type) {
	case credential.Started:
		opened = &f.Claim
	case credential.StepClaimed:
		opened = &f.Claim
	case credential.Retiring:
		opened = &f.Claim
	case credential.Expiring, credential.Expired:
		return // told beside the work
	case credential.Promoted:
		if w.claim != nil && w.claim.Op == credential.OpRevoke { // found on the way to a revocation, which goes on
			w.vault = nil
			return
		}
		vault := w.vault
		w.drop()
		w.vault = vault
		return
	case credential.Issued:
		// the content of Vault is known, so the next step need not read it
		vault := w.vault
		w.drop()
		w.vault = vault
		return
	}
	vault := w.vault
	w.drop()
	if opened != nil {
		w.claim, w.began = opened, began
		if opened.Op != credential.OpRevoke {
			vault = nil
		}
		w.vault = vault
	}
}

// call runs one call that changes the issuer, within the claim's window. The
// window counts from when the append began, by the clock that ran further.
func (w *work) call(ctx context.Context, op string, change func(context.Context) error) error {
	now := w.engine.config.Now()
	elapsed := max(now.Sub(w.began), now.Round(0).Sub(w.began.Round(0)))
	left := w.claim.Window.Std() - elapsed
	if left <= 0 {
		return &credential.Fault{
			Class: credential.ClassRetryable, System: "issuer " + w.state.Spec.Issuer, Op: op, Err: errWindow,
			Hint: "the issuer or this machine is slow; the step is tried again",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	err := change(ctx)
	if err != nil && credential.ClassOf(err) == credential.ClassUnknown {
		w.unanswered = true
	}
	return err
}

// park keeps the work of a pass that waits.
func (e *Engine) park(w *work) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.parked[w.name] = w
}

// resumeWork returns the parked work of a credential, or new work.
func (e *Engine) resumeWork(name credential.Name) *work {
	e.mu.Lock()
	defer e.mu.Unlock()
	w, ok := e.parked[name]
	if !ok {
		return &work{engine: e, name: name}
	}
	delete(e.parked, name)
	return w
}
