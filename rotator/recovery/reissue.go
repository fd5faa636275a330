package recovery

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Rotator asks the daemons for a rotation.
type Rotator interface {
	// Rotate asks for a rotation now, by somebody who accepts that Vault lost the
	// key. One that is asked for already is no error.
	Rotate(ctx context.Context, lost Lost, reason string) error
}

// Watcher follows the record.
type Watcher interface {
	// Watch tells each event after a sequence, in order, until ctx ends.
	Watch(ctx context.Context, after uint64, each func(credential.Entry)) error
}

// Result is what became of one lost credential.
type Result struct {
	Lost
	// Done is true when the new key is in Vault, proven and the primary.
	Done bool `json:"done"`
	// Fingerprint is that of the new key.
	Fingerprint credential.Fingerprint `json:"fingerprint,omitempty"`
	// Why it is not done.
	Why string `json:"why,omitempty"`
}

// Reissue has lost keys made anew, by the daemons.
type Reissue struct {
	Rotator Rotator
	Watcher Watcher
	Secrets Secrets
	// After is the last sequence of the record that was read before the losses
	// were found.
	After  uint64
	Reason string
	// Progress is told of each result as it comes; may be nil.
	Progress func(Result)
}

// maxAsked bounds how often a rotation of one credential is asked for: once to
// begin it, and once for each finding about Vault that it stops at.
const maxAsked = 4

// Run asks for a rotation of each, in order, and follows the record until all
// are done or ctx ends. A request is an operator's: it accepts that Vault is
// empty, or what a backup left there. What somebody else wrote meanwhile it does
// not accept. The report is complete: it has a result for each.
func (r *Reissue) Run(ctx context.Context, lost []Lost) []Result {
	p := &progress{reissue: r, open: map[credential.Name]*pending{}}
	var order []*pending
	for _, l := range lost {
		one := &pending{result: Result{Lost: l}, state: l.state}
		order = append(order, one)
		if l.Loss == LossForeign || l.Loss == LossUnread {
			one.result.Why = l.Detail
			continue
		}
		p.open[l.Name] = one
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.finished = func() { cancel(errFinished) }
	watched := make(chan error, 1)
	go func() { watched <- r.Watcher.Watch(ctx, r.After, func(e credential.Entry) { p.saw(ctx, e) }) }()
	for _, one := range order {
		p.begin(ctx, one)
	}
	p.finishIfEmpty()
	err := <-watched
	results := make([]Result, 0, len(order))
	for _, one := range order {
		if p.open[one.result.Name] == one && !one.result.Done && one.result.Why == "" {
			one.result.Why = p.why(ctx, one, err)
		}
		results = append(results, one.result)
	}
	return results
}

// errFinished ends the watch when there is a result for each.
var errFinished = errors.New("finished")

// pending is one credential under way.
type pending struct {
	result Result
	asked  int
	state  credential.State // the last one seen
}

// progress is what Run knows; the watch and the asking share it.
type progress struct {
	reissue  *Reissue
	finished func()

	mu   sync.Mutex
	open map[credential.Name]*pending // without a result
}

// begin asks for the first time, unless the watch was faster.
func (p *progress) begin(ctx context.Context, one *pending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[one.result.Name] == one && one.asked == 0 {
		p.ask(ctx, one)
	}
}

// ask asks for a rotation; the caller holds mu.
func (p *progress) ask(ctx context.Context, one *pending) {
	one.asked++
	if err := p.reissue.Rotator.Rotate(ctx, one.result.Lost, p.reissue.Reason); err != nil && ctx.Err() == nil {
		p.settle(one, "it could not be asked for: "+err.Error())
	}
}

// settle ends one; an empty why is success. The caller holds mu.
func (p *progress) settle(one *pending, why string) {
	one.result.Why, one.result.Done = why, why == ""
	delete(p.open, one.result.Name)
	if p.reissue.Progress != nil {
		p.reissue.Progress(one.result)
	}
	if len(p.open) == 0 {
		p.finished()
	}
}

func (p *progress) finishIfEmpty() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) == 0 {
		p.finished()
	}
}

// saw takes an event of the record.
func (p *progress) saw(ctx context.Context, e credential.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one, ok := p.open[e.Name]
	if !ok {
		return
	}
	one.state = e.State
	one.state.Name = e.Name
	if primary, ok := e.State.Primary(); ok && primary.Mint > one.result.mint && primary.Fingerprint != one.result.primary {
		one.result.Fingerprint = primary.Fingerprint
		p.settle(one, "")
		return
	}
	drifted, ok := e.Event.Fact.(credential.Drifted)
	if !ok || drifted.Healed || one.asked == 0 {
		return
	}
	switch drifted.Finding.Kind {
	case credential.FindingVaultMissing, credential.FindingVaultChanged:
	case credential.FindingItemMissing:
	default:
		return
	}
	if one.asked >= maxAsked {
		p.settle(one, fmt.Sprintf("it stops again and again at: %s (phase %s)", drifted.Finding.Detail, phaseOf(one.state)))
		return
	}
	// accepted is what was lost, not what somebody wrote since
	there, err := p.reissue.Secrets.Read(ctx, e.Name)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		p.settle(one, "Vault cannot be read: "+err.Error())
	case !there.Missing && there.Version != one.result.Version && there.Revision == 0:
		p.settle(one, fmt.Sprintf("somebody else wrote version %d in Vault meanwhile (try: look at it; keyturn rotate %s --now accepts it)", there.Version, e.Name))
	default:
		one.result.Version = there.Version
		p.ask(ctx, one)
	}
}

func phaseOf(s credential.State) credential.Phase {
	if s.Rotation == nil {
		return "none"
	}
	return s.Rotation.Phase
}

// why says how far one came when the time was up.
func (p *progress) why(ctx context.Context, one *pending, watched error) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := "it is asked for and has not begun"
	switch s := one.state; {
	case s.Failure != nil:
		state = fmt.Sprintf("attempt %d at %s failed: %s", s.Failure.Attempts, s.Failure.Step, s.Failure.Message)
	case s.Rotation != nil && s.Rotation.Phase == credential.PhaseDrain && s.Generation == one.result.state.Generation:
		state = "an earlier rotation still drains, and its old key must end first"
	case s.Rotation != nil:
		state = fmt.Sprintf("its rotation is in the phase %s", s.Rotation.Phase)
	case one.asked == 0:
		state = "it was not asked for"
	}
	if ctx.Err() == nil && watched != nil {
		return fmt.Sprintf("the record could not be followed: %v; %s", watched, state)
	}
	return "not done in time: " + state + " (try: keyturn watch " + string(one.result.Name) + ", or keyturn reissue again)"
}
