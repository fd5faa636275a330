package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// Config is what an Engine needs.
type Config struct {
	Record Record
	Store  SecretStore
	// Issuers: configured name → issuer.
	Issuers map[string]Issuer
	// Calendar reads cron specs.
	Calendar credential.Calendar
	// Installation marks items at the issuer.
	Installation string
	// Daemon is unique to this process start.
	Daemon string
	// MaxSkew is the difference of clocks beyond which planned destructive
	// steps stop: issuer → bound; missing or zero = 5 minutes.
	MaxSkew map[string]time.Duration
	// Now is the wall clock, with a monotonic reading.
	Now func() time.Time
	// NewID makes ids of events, Random numbers from 0 up to 1 for the jitter;
	// nil = UUIDs and the process's random numbers.
	NewID  func() string
	Random func() float64
	Logger *zap.Logger
	Hooks  Hooks
}

// Hooks are told what happens; nil ones are not called.
type Hooks struct {
	// Step ended: step, issuer, duration, and "ok" or the class of its failure.
	Step func(step credential.StepKind, issuer string, took time.Duration, result string)
	// Committed: an event was appended, with the state after it.
	Committed func(event credential.Event, after credential.State)
	// Conflict: an append or a Vault write met another writer.
	Conflict func(system string)
}

// Engine carries out what the core decides, one credential at a time. It keeps
// no state of a credential beyond a pass, except what must survive it: when a
// claim was first seen, and a key that is waiting out its settle time.
type Engine struct {
	config Config
	claims sightings
	outage outages

	mu       sync.Mutex
	parked   map[credential.Name]*work // credential → a pass that waits to verify
	suspects map[about]suspicion
}

// New returns an engine.
func New(c Config) *Engine {
	if c.NewID == nil {
		c.NewID = NewID
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	return &Engine{
		config: c,
		claims: sightings{seen: map[credential.Name]map[string]time.Time{}},
		parked: map[credential.Name]*work{}, suspects: map[about]suspicion{},
	}
}

// Result is how a pass ended.
type Result struct {
	State credential.State
	// Next is what the core waits for.
	Next credential.Step
}

// maxTurns bounds a pass: a rotation takes about a dozen turns. maxIdle bounds
// those after one another whose result came to nothing.
const (
	maxTurns = 200
	maxIdle  = 5
)

// Pass takes a credential as far as it goes now. An error means that the record
// could not be read or written; a failed step is in the record, not an error.
// Passes of one credential must not run at the same time in one Engine.
func (e *Engine) Pass(ctx context.Context, name credential.Name) (Result, error) {
	w := e.resumeWork(name)
	if err := e.load(ctx, w); err != nil {
		return Result{}, err
	}
	if w.stored && e.urgent(w.state) { // an emergency does not wait for a key that settles
		e.park(w)
		w = &work{engine: e, name: name}
		if err := e.load(ctx, w); err != nil {
			return Result{}, err
		}
	}
	w.later = time.Time{}
	for turn, idle := 0, 0; turn < maxTurns && idle < maxIdle; turn++ {
		step := credential.Next(w.state, e.view(w))
		if step.Kind == credential.StepWait {
			return Result{State: w.state, Next: e.waits(w, step)}, nil
		}
		if err := ctx.Err(); err != nil {
			return Result{State: w.state, Next: step}, err
		}
		if e.hear(ctx, w, step) {
			continue
		}
		command, err := e.do(ctx, w, step)
		if err == nil && !w.later.IsZero() {
			e.park(w)
			return Result{State: w.state, Next: credential.Step{
				Kind: credential.StepWait, Reason: credential.ReasonInFlight, At: w.later, Seat: step.Seat,
				Why: "the new key is settling",
			}}, nil
		}
		if err != nil {
			command, err = e.failed(ctx, w, step, err)
		}
		if err != nil {
			return Result{}, err
		}
		if command == nil {
			continue
		}
		before := w.head.Sequence
		if err := e.commit(ctx, w, command); err != nil {
			return Result{}, err
		}
		if idle++; w.head.Sequence != before {
			idle = 0
		}
	}
	return Result{}, fmt.Errorf("credential %s: the steps lead nowhere (try: keyturn show %s)", name, name)
}

// do runs one step and tells how it went.
func (e *Engine) do(ctx context.Context, w *work, step credential.Step) (credential.Command, error) {
	run := steps()[step.Kind]
	if run == nil {
		return nil, fmt.Errorf("credential %s: no code for step %s", w.name, step.Kind)
	}
	issuer, err := e.issuer(w)
	if err != nil {
		return nil, err
	}
	w.issuer = issuer
	if w.state.Emergency() {
		ctx = context.WithValue(ctx, urgentKey{}, true)
	}
	began := e.config.Now()
	command, err := run(ctx, w, step)
	var found *foundError
	var shown *shownError
	switch {
	case errors.As(err, &found):
		command, err = found.Found, nil
	case errors.As(err, &shown):
		command, err = shown.KeyPromoted, nil
	}
	if hook := e.config.Hooks.Step; hook != nil && w.later.IsZero() {
		result := "ok"
		if err != nil {
			result = string(credential.ClassOf(err))
		}
		hook(step.Kind, w.state.Spec.Issuer, e.config.Now().Sub(began), result)
	}
	return command, err
}

func (e *Engine) issuer(w *work) (Issuer, error) {
	issuer, ok := e.config.Issuers[w.state.Spec.Issuer]
	if !ok {
		return nil, &credential.Fault{
			Class: credential.ClassPermanent, System: "config", Op: "find issuer " + w.state.Spec.Issuer,
			Hint: "add it under issuers, or apply the credential with another issuer",
		}
	}
	return issuer, nil
}

// view reads the clocks once.
func (e *Engine) view(w *work) credential.View {
	now := e.config.Now()
	v := credential.View{
		Now: now, MaxSkew: cmp.Or(e.config.MaxSkew[w.state.Spec.Issuer], 5*time.Minute), Daemon: e.config.Daemon, ID: e.config.NewID(),
		Seen: e.claims.ages(w.name, now), Calendar: e.config.Calendar,
		Work: credential.Work{Minted: w.minted != nil, Stored: w.stored},
	}
	if w.claim != nil {
		v.Work.Claim = w.claim.ID
	}
	if clock, ok := e.config.Issuers[w.state.Spec.Issuer].(Clocked); ok {
		if skew, answered, ok := clock.Skew(); ok {
			v.Skew, v.IssuerAnswered = credential.SkewAt(now, skew, answered), answered
		}
	}
	return v
}

// commit appends the event that follows from a command. A conflict is not a
// verdict: the record is read again and the same command decided anew, so that
// a result is kept if it still fits.
func (e *Engine) commit(ctx context.Context, w *work, command credential.Command) error {
	const attempts = 10
	for range attempts {
		view := e.view(w)
		event, err := credential.Decide(w.state, command, view)
		if err != nil {
			if errors.Is(err, credential.ErrAbsurd) {
				return e.commitAbsurd(ctx, w, err)
			}
			if _, beside := command.(credential.Tell); !beside {
				w.drop() // overtaken: what this pass holds no longer fits
			}
			return nil
		}
		after := credential.Evolve(w.state, event)
		after.Name = w.name
		began := e.config.Now()
		head, err := e.config.Record.Append(ctx, w.name, w.head, event, after)
		switch {
		case err == nil:
			w.state, w.head = after, head
			w.took(event, began)
			e.claims.see(w.name, after, e.config.Now())
			e.committed(event, after)
			return nil
		case credential.IsClass(err, credential.ClassConflict):
			if hook := e.config.Hooks.Conflict; hook != nil {
				hook("record")
			}
			held := w.claim != nil
			primary, _ := w.state.Primary()
			if err := e.reload(ctx, w); err != nil {
				return err
			}
			if !e.stands(w, command, held, primary) {
				w.drop()
				return nil
			}
		default:
			return err
		}
	}
	return fmt.Errorf("credential %s: gave way %d times at one append", w.name, attempts)
}

// stands reports whether a command may be decided anew after another event came
// first. What was seen or failed under a claim counts as long as the claim
// stands; without one it was seen against a state that is gone, unless it is about
// a primary that is still the same.
func (e *Engine) stands(w *work, command credential.Command, held bool, before credential.Seat) bool {
	switch c := command.(type) {
	case credential.Begin:
		next := credential.Next(w.state, e.view(w))
		return next.Kind == credential.StepBegin && next.Reason == c.Reason
	case credential.Found:
		now, _ := w.state.Primary()
		about := c.Finding.Seat == before.SeatID && now.SeatID == before.SeatID && now.Mint == before.Mint
		return about || (held && w.claim != nil)
	case credential.KeyInvalidated: // of a primary that has a successor now: Vault may show it still
		now, _ := w.state.Primary()
		return c.Seat != before.SeatID || now.SeatID == before.SeatID
	case credential.StepFailed:
		return held && w.claim != nil
	}
	return true
}

// commitAbsurd records a result that cannot be true as a failed attempt.
func (e *Engine) commitAbsurd(ctx context.Context, w *work, cause error) error {
	command, err := e.failed(ctx, w, credential.Step{Kind: credential.StepVerify}, &credential.Fault{
		Class: credential.ClassPermanent, System: "issuer " + w.state.Spec.Issuer, Op: "issue a key", Err: cause,
		Hint: "check the issuer's clock and the lifetimes that it allows",
	})
	if err != nil {
		return err
	}
	return e.commit(ctx, w, command)
}

// load reads the record.
func (e *Engine) load(ctx context.Context, w *work) error {
	state, head, err := e.config.Record.Load(ctx, w.name)
	if err != nil {
		return err
	}
	e.claims.see(w.name, state, e.config.Now())
	w.adopt(state, head)
	return nil
}

// reload reads the record after a conflict. A first read may still be stale,
// so it looks again a few times until it sees something newer.
func (e *Engine) reload(ctx context.Context, w *work) error {
	before := w.head.Sequence
	for wait := 2 * time.Millisecond; ; wait *= 2 {
		if err := e.load(ctx, w); err != nil {
			return err
		}
		if w.head.Sequence > before || wait > 200*time.Millisecond {
			return nil
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// failed turns a step's error into the command that records it. Conflicts are
// not failures: the record is read and decided again.
func (e *Engine) failed(ctx context.Context, w *work, step credential.Step, cause error) (credential.Command, error) {
	if ctx.Err() != nil {
		return nil, errors.Join(cause, ctx.Err())
	}
	if credential.IsClass(cause, credential.ClassConflict) {
		if hook := e.config.Hooks.Conflict; hook != nil {
			hook("vault")
		}
		w.drop()
		return nil, e.load(ctx, w)
	}
	class := credential.ClassOf(cause)
	var fault *credential.Fault
	silent, after := false, time.Duration(0)
	if errors.As(cause, &fault) {
		silent, after = fault.Silent && fault.System != "vault", fault.RetryAfter
	}
	attempts := 1 + w.state.Attempts(step.Kind, step.Seat)
	// an issuer that asks for an hour gets it, but not more than a key can spare
	after = min(after, w.state.Spec.Policy.RotateBefore.Std()/8)
	wait := max(after, backoff(w.state.Spec.Policy, class, attempts, e.config.Random()))
	if w.state.Emergency() {
		wait = min(wait, urgentWait(attempts))
	}
	e.config.Logger.Warn("step failed",
		zap.String(logkey.Credential, string(w.name)), zap.String(logkey.Step, string(step.Kind)),
		zap.String(logkey.Class, string(class)), zap.Int(logkey.Attempt, attempts),
		zap.Duration(logkey.RetryIn, wait), zap.Error(cause))
	return credential.StepFailed{
		Step: step.Kind, Seat: step.Seat, Class: class, Message: cause.Error(), Silent: silent,
		Answered: w.claim != nil && !w.unanswered, Wait: wait,
	}, nil
}

// backoff is exponential with full jitter above a floor, within bounds that
// follow from the lead time, so that a short-lived key still gets its retries.
func backoff(p credential.Policy, class credential.Class, attempts int, random float64) time.Duration {
	lead := p.RotateBefore.Std()
	base := min(max(lead/128, 100*time.Millisecond), 15*time.Second)
	limit := max(min(lead/8, time.Hour), base)
	ceiling := limit
	if class != credential.ClassPermanent && attempts < 16 {
		ceiling = min(limit, base<<attempts)
	}
	floor := base / 2
	return floor + time.Duration(random*float64(ceiling-floor))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
