package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// mode is what happens at one call of a port.
type mode int

const (
	pass       mode = iota
	stopBefore      // the daemon dies before the call is made
	stopAfter       // the call acts, and the daemon dies before it hears so
	late            // the daemon dies, and the call acts a while later
	lose            // the call acts, and only its answer is lost
	lag             // the answer is lost, and the call acts a while later
)

func (m mode) String() string {
	return [...]string{"pass", "stop before", "stop after", "late", "lose", "lag"}[m]
}

// stopped is the panic by which a daemon dies in the middle of a pass.
type stopped struct{}

// call is a call of a port: the nth of that name, from 0.
type call struct {
	what string
	n    int
}

func (c call) String() string { return fmt.Sprintf("%s %d", c.what, c.n) }

// tap stands between an engine and its ports, counts the calls, and asks the
// plan what happens at each.
type tap struct {
	to     ports
	window time.Duration // of a claim
	plan   func(c call) mode
	failed func(error) // is told of each error of a port; may be nil

	mu    sync.Mutex
	calls []call
	going sync.WaitGroup // late calls
}

// ports are those that the engine gets.
func (p *tap) ports() ports {
	return ports{record: tapRecord{p}, store: tapStore{p}, issuer: tapIssuer{p}}
}

// kind is how a lost answer of the call looks, and how late it may act.
type kind int

const (
	reading kind = iota
	writing      // the record or Vault: may act at any time
	issuing      // the issuer: acts within window and margin
)

func (p *tap) call(ctx context.Context, kind kind, what string, do func(context.Context) error) error {
	p.mu.Lock()
	this := call{what: what}
	for _, earlier := range p.calls {
		if earlier.what == what {
			this.n++
		}
	}
	p.calls = append(p.calls, this)
	p.mu.Unlock()
	switch p.plan(this) {
	case stopBefore:
		panic(stopped{})
	case stopAfter:
		_ = do(ctx)
		panic(stopped{})
	case late:
		p.later(ctx, kind, do)
		panic(stopped{})
	case lag:
		if kind != reading {
			p.later(ctx, kind, do)
			return lost(kind, what, nil)
		}
		return lost(kind, what, do(ctx))
	case lose:
		return lost(kind, what, do(ctx))
	case pass:
	}
	err := do(ctx)
	if err != nil && p.failed != nil {
		p.failed(err)
	}
	return err
}

// later makes a call that was on its way for a while.
func (p *tap) later(ctx context.Context, kind kind, do func(context.Context) error) {
	delay := p.window * 6 / 5
	if kind == writing {
		delay = p.window * 3
	}
	p.going.Add(1)
	time.AfterFunc(delay, func() {
		defer p.going.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		_ = do(ctx)
	})
}

// lost is how it looks when no answer comes.
func lost(kind kind, what string, err error) error {
	if kind == reading {
		return fmt.Errorf("lost the answer to %s: %w", what, context.DeadlineExceeded)
	}
	return &credential.Fault{
		Class: credential.ClassUnknown, System: "test", Op: what, Silent: true,
		Err: errors.Join(errors.New("the answer is lost"), err),
	}
}

type tapRecord struct{ *tap }

func (p tapRecord) Load(ctx context.Context, name credential.Name) (s credential.State, h credential.Head, err error) {
	err = p.call(ctx, reading, "record.Load", func(ctx context.Context) (err error) {
		s, h, err = p.to.record.Load(ctx, name)
		return err
	})
	return s, h, err
}

func (p tapRecord) Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, after credential.State) (h credential.Head, err error) {
	err = p.call(ctx, writing, "record.Append "+string(event.Fact.Type()), func(ctx context.Context) (err error) {
		h, err = p.to.record.Append(ctx, name, head, event, after)
		return err
	})
	return h, err
}

func (p tapRecord) Verify(ctx context.Context, name credential.Name, head credential.Head) error {
	return p.call(ctx, reading, "record.Verify", func(ctx context.Context) error {
		return p.to.record.Verify(ctx, name, head)
	})
}

type tapStore struct{ *tap }

func (p tapStore) Read(ctx context.Context, name credential.Name) (s credential.Stored, err error) {
	err = p.call(ctx, reading, "store.Read", func(ctx context.Context) (err error) {
		s, err = p.to.store.Read(ctx, name)
		return err
	})
	return s, err
}

func (p tapStore) Write(ctx context.Context, name credential.Name, doc credential.Document, cas uint64) (v uint64, err error) {
	err = p.call(ctx, writing, "store.Write", func(ctx context.Context) (err error) {
		v, err = p.to.store.Write(ctx, name, doc, cas)
		return err
	})
	return v, err
}

func (p tapStore) EnsureMetadata(ctx context.Context, name credential.Name, owner string) error {
	return p.call(ctx, writing, "store.EnsureMetadata", func(ctx context.Context) error {
		return p.to.store.EnsureMetadata(ctx, name, owner)
	})
}

func (p tapStore) Destroy(ctx context.Context, name credential.Name, from, below uint64) error {
	return p.call(ctx, writing, "store.Destroy", func(ctx context.Context) error {
		return p.to.store.Destroy(ctx, name, from, below)
	})
}

func (p tapStore) Erase(ctx context.Context, name credential.Name, upto uint64) error {
	return p.call(ctx, writing, "store.Erase", func(ctx context.Context) error {
		return p.to.store.Erase(ctx, name, upto)
	})
}

type tapIssuer struct{ *tap }

func (p tapIssuer) EnsureItem(ctx context.Context, order credential.ItemOrder) (item string, err error) {
	err = p.call(ctx, issuing, "issuer.EnsureItem", func(ctx context.Context) (err error) {
		item, err = p.to.issuer.EnsureItem(ctx, order)
		return err
	})
	return item, err
}

func (p tapIssuer) Describe(ctx context.Context, item string) (s credential.ItemStatus, err error) {
	err = p.call(ctx, reading, "issuer.Describe", func(ctx context.Context) (err error) {
		s, err = p.to.issuer.Describe(ctx, item)
		return err
	})
	return s, err
}

func (p tapIssuer) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (m credential.Minted, err error) {
	err = p.call(ctx, issuing, "issuer.Issue", func(ctx context.Context) (err error) {
		m, err = p.to.issuer.Issue(ctx, seat, expires)
		return err
	})
	return m, err
}

func (p tapIssuer) Probe(ctx context.Context, request credential.ProbeRequest) (proof credential.Proof, err error) {
	err = p.call(ctx, reading, "issuer.Probe", func(ctx context.Context) (err error) {
		proof, err = p.to.issuer.Probe(ctx, request)
		return err
	})
	return proof, err
}

func (p tapIssuer) Revoke(ctx context.Context, seat credential.SeatID) error {
	return p.call(ctx, issuing, "issuer.Revoke", func(ctx context.Context) error {
		return p.to.issuer.Revoke(ctx, seat)
	})
}

func (p tapIssuer) keeper() engine.Keeper { return p.to.issuer.(engine.Keeper) }

func (p tapIssuer) Edit(ctx context.Context, item string, marker credential.Marker, spec credential.ItemSpec) error {
	return p.call(ctx, issuing, "issuer.Edit", func(ctx context.Context) error {
		return p.keeper().Edit(ctx, item, marker, spec)
	})
}

func (p tapIssuer) Remove(ctx context.Context, item string, revoke bool) error {
	return p.call(ctx, issuing, "issuer.Remove", func(ctx context.Context) error {
		return p.keeper().Remove(ctx, item, revoke)
	})
}

func (p tapIssuer) Marked(ctx context.Context, installation string, names []credential.Name) (items []credential.MarkedItem, err error) {
	err = p.call(ctx, reading, "issuer.Marked", func(ctx context.Context) (err error) {
		items, err = p.keeper().Marked(ctx, installation, names)
		return err
	})
	return items, err
}

// drive lets an engine go on until done, as a daemon would: it waits as the
// engine asks and goes on after failures of the record. It returns errStopped
// when the tap stopped the daemon.
func drive(ctx context.Context, e *engine.Engine, name credential.Name, done func(engine.Result) bool) error {
	for {
		result, err := passOnce(ctx, e, name)
		switch {
		case errors.Is(err, errStopped):
			return err
		case err == nil && done(result):
			return nil
		case err != nil && ctx.Err() == nil && credential.ClassOf(err) == credential.ClassUnknown && !lostAnswer(err):
			return err // not the record's failure
		}
		wait := 20 * time.Millisecond
		if err == nil {
			wait = 100 * time.Millisecond // a command may come meanwhile
			if at := result.Next.At; !at.IsZero() {
				wait = max(0, min(wait, time.Until(at)))
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: time is up; waits for %s: %s: %w", name, result.Next.Reason, result.Next.Why, errors.Join(err, ctx.Err()))
		case <-timer.C:
		}
	}
}

// lostAnswer reports whether an error says that an answer did not come.
func lostAnswer(err error) bool {
	var fault *credential.Fault
	return errors.As(err, &fault) || errors.Is(err, context.DeadlineExceeded)
}

var errStopped = errors.New("the daemon has stopped")

func passOnce(ctx context.Context, e *engine.Engine, name credential.Name) (result engine.Result, err error) {
	defer func() {
		switch p := recover(); p.(type) {
		case nil:
		case stopped:
			err = errStopped
		default:
			panic(p)
		}
	}()
	return e.Pass(ctx, name)
}

// ended is the end of a rotation, and of what it leaves to tidy up.
func ended(generation uint64) func(engine.Result) bool {
	return func(r engine.Result) bool {
		stuck := slices.ContainsFunc(r.State.Drift, func(d credential.Finding) bool { return d.Kind == credential.FindingItemInUse })
		return r.State.Generation == generation && r.State.Rotation == nil && r.State.Edit == nil && (len(r.State.Old) == 0 || stuck)
	}
}
