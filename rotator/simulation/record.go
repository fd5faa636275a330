package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Record is the simulated record: a list of entries for each credential, and
// one sequence over all.
type Record struct {
	mu       sync.Mutex
	sequence uint64
	entries  map[credential.Name][]credential.Entry
	ids      map[string]credential.Name // event id → whose it is
}

// NewRecord returns an empty record.
func NewRecord() *Record {
	return &Record{entries: map[credential.Name][]credential.Entry{}, ids: map[string]credential.Name{}}
}

// Entries is the history of a credential, the oldest first.
func (r *Record) Entries(name credential.Name) []credential.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[name]
}

// State is the state after the last event; the zero State if there is none.
func (r *Record) State(name credential.Name) credential.State {
	entries := r.Entries(name)
	if len(entries) == 0 {
		return credential.State{}
	}
	return entries[len(entries)-1].State
}

// Load implements engine.Record.
func (r *Record) Load(ctx context.Context, name credential.Name) (credential.State, credential.Head, error) {
	return r.loadAt(ctx, name, 0)
}

// loadAt reads what was last some events ago: a stale read.
func (r *Record) loadAt(ctx context.Context, name credential.Name, ago int) (credential.State, credential.Head, error) {
	if err := given(ctx, "record", "load "+string(name)); err != nil {
		return credential.State{}, credential.Head{}, err
	}
	entries := r.Entries(name)
	if len(entries) <= ago {
		return credential.State{}, credential.Head{}, nil
	}
	last := entries[len(entries)-1-ago]
	return last.State, last.Head, nil
}

// Append implements engine.Record.
func (r *Record) Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, after credential.State) (credential.Head, error) {
	op := fmt.Sprintf("append to %s after %d", name, head.Sequence)
	if err := given(ctx, "record", op); err != nil {
		return credential.Head{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if event.Fact == nil || event.ID == "" {
		return credential.Head{}, fault(credential.ClassPermanent, "record", op, "an event without id or fact")
	}
	entries := r.entries[name]
	if owner, used := r.ids[event.ID]; used {
		return r.again(op, owner == name, entries, head, event)
	}
	last := uint64(0)
	if len(entries) > 0 {
		last = entries[len(entries)-1].Head.Sequence
	}
	if last != head.Sequence {
		return credential.Head{}, fault(credential.ClassConflict, "record", op, fmt.Sprintf("the last one is %d", last))
	}
	r.sequence++
	r.ids[event.ID] = name
	next := credential.Head{Sequence: r.sequence, Hash: "hash of " + event.ID, Signer: "simulated"}
	r.entries[name] = append(entries, credential.Entry{Name: name, Head: next, Event: event, State: after})
	return next, nil
}

// again answers an append whose event is stored already.
func (r *Record) again(op string, mine bool, entries []credential.Entry, head credential.Head, event credential.Event) (credential.Head, error) {
	for i, entry := range entries {
		before := uint64(0)
		if i > 0 {
			before = entries[i-1].Head.Sequence
		}
		if mine && entry.Event.ID == event.ID && before == head.Sequence {
			return entry.Head, nil
		}
	}
	return credential.Head{}, fault(credential.ClassPermanent, "record", op, "this id was used before")
}

// Verify implements engine.Record.
func (r *Record) Verify(ctx context.Context, name credential.Name, head credential.Head) error {
	if err := given(ctx, "record", "verify "+string(name)); err != nil {
		return err
	}
	for _, entry := range r.Entries(name) {
		if entry.Head == head {
			return nil
		}
	}
	return fault(credential.ClassPermanent, "record", "verify "+string(name), "there is no such event")
}

// given is the fault of a call whose context is over before it began.
func given(ctx context.Context, system, op string) error {
	if err := ctx.Err(); err != nil {
		return &credential.Fault{Class: credential.ClassRetryable, System: system, Op: op, Silent: true, Err: err}
	}
	return nil
}

func fault(class credential.Class, system, op, why string) error {
	return &credential.Fault{Class: class, System: system, Op: op, Err: errors.New(why)}
}

// text is the JSON of an entry, for the search for secrets.
func text(event credential.Event, after credential.State) string {
	fact, _ := json.Marshal(event.Fact)
	state, _ := json.Marshal(after)
	return string(fact) + string(state)
}
