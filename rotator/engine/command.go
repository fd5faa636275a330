package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Command decides and appends an operator's command. It makes no call outside,
// so it answers at once; the work follows in a pass. It returns the state
// after it, and an error of credential.Decide as it is: ErrNothing,
// ErrUnknown, ErrStale, ErrHeld.
func (e *Engine) Command(ctx context.Context, name credential.Name, command credential.Command) (credential.State, error) {
	const attempts = 10
	w := &work{engine: e, name: name}
	if err := e.load(ctx, w); err != nil {
		return credential.State{}, err
	}
	for range attempts {
		event, err := credential.Decide(w.state, command, e.view(w))
		if err != nil {
			return w.state, err
		}
		after := credential.Evolve(w.state, event)
		after.Name = name
		_, err = e.config.Record.Append(ctx, name, w.head, event, after)
		if err == nil {
			e.committed(event, after)
			return after, nil
		}
		if !credential.IsClass(err, credential.ClassConflict) {
			return w.state, err
		}
		if err := e.reload(ctx, w); err != nil {
			return credential.State{}, err
		}
	}
	return w.state, fmt.Errorf("credential %s: others keep changing it (try: again)", name)
}

// Look folds a credential without changing anything.
func (e *Engine) Look(ctx context.Context, name credential.Name) (credential.State, error) {
	state, _, err := e.config.Record.Load(ctx, name)
	state.Name = name
	return state, err
}

// Plan says what comes next for a state that was read elsewhere, and notes its
// claims, so that a take-over counts from now.
func (e *Engine) Plan(name credential.Name, state credential.State) credential.Step {
	state.Name = name
	e.See(name, state)
	if at, ok := e.parkedUntil(name, state); ok {
		return credential.Step{Kind: credential.StepWait, Reason: credential.ReasonInFlight, At: at, Why: "the new key is settling"}
	}
	return credential.Next(state, e.view(&work{engine: e, name: name, state: state}))
}

func (e *Engine) committed(event credential.Event, after credential.State) {
	if hook := e.config.Hooks.Committed; hook != nil {
		hook(event, after)
	}
}

// NewID is a fresh id for requests and daemons.
func NewID() string { return uuid.NewString() }

// parkedUntil is when the parked work of a credential goes on, if it still fits.
func (e *Engine) parkedUntil(name credential.Name, state credential.State) (time.Time, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w, ok := e.parked[name]
	candidate, _ := state.Candidate()
	if !ok || w.verify.mint != candidate.Mint || (w.claim != nil && !holds(state, w.claim.ID)) {
		return time.Time{}, false
	}
	return w.later, true
}
