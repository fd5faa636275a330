package engine

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// hear asks the issuer for its clock before the first thing that is due, if
// nobody here has heard it yet: ours may be wrong. Without an answer ours counts.
func (e *Engine) hear(ctx context.Context, w *work, step credential.Step) bool {
	seat, ok := hasClock(w.state, step)
	if !ok || w.heard {
		return false
	}
	issuer := e.config.Issuers[w.state.Spec.Issuer]
	if clock, measures := issuer.(Clocked); !measures || known(clock) {
		return false
	}
	w.heard = true
	_, err := issuer.Describe(ctx, seat.Item)
	return err == nil
}

// hasClock names the seat whose item is asked, for a step that is due because a
// clock says so.
func hasClock(s credential.State, step credential.Step) (credential.Seat, bool) {
	switch {
	case step.Kind == credential.StepNotice, step.Kind == credential.StepBegin:
		if s.Killed != (credential.SeatID{}) {
			return credential.Seat{SeatID: s.Killed}, true
		}
		return s.Primary()
	case step.Kind == credential.StepAbandon && step.Reason == credential.ReasonKeyExpired:
		return s.Candidate()
	}
	return credential.Seat{}, false
}

func known(clock Clocked) bool {
	_, _, ok := clock.Skew()
	return ok
}
