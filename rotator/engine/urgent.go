package engine

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

type urgentKey struct{}

// Urgent reports whether a call belongs to an emergency: no open breaker and no
// planned work holds it up.
func Urgent(ctx context.Context) bool {
	urgent, _ := ctx.Value(urgentKey{}).(bool)
	return urgent
}

// urgent reports whether there is something to do about a leaked key that needs
// nothing of what a parked pass holds.
func (e *Engine) urgent(s credential.State) bool {
	if !s.Emergency() {
		return false
	}
	step := credential.Next(s, e.view(&work{engine: e, name: s.Name, state: s}))
	return step.Kind != credential.StepWait && (step.Reason == credential.ReasonLeaked || step.Kind == credential.StepExpire)
}

// waits is what a pass that has nothing to do now waits for: what it parked, if
// it went before that.
func (e *Engine) waits(w *work, step credential.Step) credential.Step {
	at, parked := e.parkedUntil(w.name, w.state)
	if !parked || (!step.At.IsZero() && step.At.Before(at)) {
		return step
	}
	return credential.Step{Kind: credential.StepWait, Reason: credential.ReasonInFlight, At: at, Why: "the new key is settling"}
}

// urgentWait is how long an emergency waits at most after a failed attempt: it
// goes on until it is done, without flooding the record.
func urgentWait(attempts int) time.Duration {
	const least, most, many, last = time.Second, 30 * time.Second, 20, 5 * time.Minute
	if attempts > many {
		return last
	}
	return min(least<<min(attempts-1, 5), most)
}
