package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// follower watches the record, once for all credentials that a command is about,
// and tells when the keys of each are dead and replaced.
type follower struct {
	// each is told of every event of one that is followed; may be nil.
	each func(credential.Entry)

	mu       sync.Mutex
	followed map[credential.Name]*followed
	failed   error         // the record cannot be followed any more
	over     chan struct{} // closed then
}

// followed is one credential: its state as it was last seen, and the keys that
// each request was about.
type followed struct {
	state   credential.State
	asked   map[string][]credential.LeakedKey // request → keys
	waiting []*wait
}

// wait is one request whose keys are not all dead yet.
type wait struct {
	request  string
	revision uint64                 // from which on the record knows of it
	key      string                 // as it was asked
	keys     []credential.LeakedKey // nil = not known yet
	done     chan struct{}
}

// follow begins with what was read up to a sequence; it ends with ctx.
func follow(ctx context.Context, record *publisher.Record, states []credential.State, after uint64, each func(credential.Entry)) *follower {
	f := &follower{each: each, followed: map[credential.Name]*followed{}, over: make(chan struct{})}
	for _, s := range states {
		f.followed[s.Name] = &followed{state: s, asked: map[string][]credential.LeakedKey{}}
	}
	go func() {
		err := record.Watch(ctx, after, f.saw)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.failed = err
		close(f.over)
	}()
	return f
}

func (f *follower) saw(e credential.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one, ok := f.followed[e.Name]
	if !ok {
		return
	}
	one.state = e.State
	one.state.Name = e.Name
	if fact, ok := e.Event.Fact.(credential.Compromised); ok && e.Event.Request != "" {
		one.asked[e.Event.Request] = fact.Keys
	}
	if f.each != nil {
		f.each(e)
	}
	one.settle()
}

// settle ends what is waited for and has come. The caller holds mu.
func (one *followed) settle() {
	one.waiting = slices.DeleteFunc(one.waiting, func(w *wait) bool {
		if one.state.Revision < w.revision {
			return false
		}
		if w.keys == nil {
			if w.keys = one.asked[w.request]; w.keys == nil { // known before: whatever still lives of it
				w.keys = leakedKeys(one.state, w.key)
			}
		}
		if unfinished(one.state, w.keys) {
			return false
		}
		close(w.done)
		return true
	})
}

// await waits until the keys of a request are dead and replaced, and returns the
// state that it was left in. A false says that they are not.
func (f *follower) await(ctx context.Context, name credential.Name, w *wait) (after credential.State, done bool) {
	f.mu.Lock()
	one := f.followed[name]
	one.waiting = append(one.waiting, w)
	one.settle()
	f.mu.Unlock()
	select {
	case <-w.done:
		done = true
	case <-ctx.Done():
	case <-f.over:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return one.state, done
}

// leakedKeys are the keys of a request that was known before and still live.
func leakedKeys(s credential.State, key string) []credential.LeakedKey {
	keys := []credential.LeakedKey{}
	for _, seat := range s.Leaked() {
		if means(seat, key) {
			keys = append(keys, credential.LeakedKey{Seat: seat.SeatID, Role: seat.Role, Fingerprint: seat.Fingerprint, Expires: seat.Expires})
		}
	}
	if s.Killed != (credential.SeatID{}) && key != credential.KeySecondary {
		keys = append(keys, credential.LeakedKey{Seat: s.Killed, Role: credential.RolePrimary})
	}
	return keys
}

// means reports whether --key is about a seat.
func means(seat credential.Seat, key string) bool {
	switch key {
	case credential.KeyAll:
		return true
	case credential.KeyPrimary:
		return seat.Role == credential.RolePrimary
	case credential.KeySecondary:
		return seat.Role != credential.RolePrimary
	}
	return slices.Contains(fingerprintsOf(seat), credential.Fingerprint(key))
}

// fingerprintsOf are the keys that may live on a seat.
func fingerprintsOf(seat credential.Seat) []credential.Fingerprint {
	return slices.DeleteFunc([]credential.Fingerprint{seat.Fingerprint, seat.Over}, func(key credential.Fingerprint) bool { return key == "" })
}

// unfinished reports whether one of the keys still lives, or was the primary and
// has no successor.
func unfinished(s credential.State, keys []credential.LeakedKey) bool {
	return slices.ContainsFunc(keys, func(k credential.LeakedKey) bool {
		seat, ok := s.Seat(k.Seat)
		return (ok && seat.Leak != nil) || s.Killed == k.Seat
	})
}

// standing says in words what an emergency waits for.
func (r *reader) standing(s credential.State) string {
	var text string
	for _, seat := range s.Leaked() {
		text += fmt.Sprintf("the leaked key %s (%s) still lives; ", orDash(string(seat.Fingerprint)), seat.Role)
	}
	if s.Killed != (credential.SeatID{}) {
		text += "the primary is dead and has no successor yet; "
	}
	return text + r.obstacle(s)
}

// obstacle says what stands in the way of the next step: the last failure, or
// what is waited for.
func (r *reader) obstacle(s credential.State) string {
	if f := s.Failure; f != nil {
		return failureText(*f, wallClock())
	}
	next := r.next(s)
	if next.Kind == credential.StepWait {
		hint := ""
		if next.Reason == credential.ReasonHeld {
			hint = " (try: --override-hold, or keyturn release)"
		}
		return "it waits: " + next.Why + hint
	}
	return fmt.Sprintf("the next step is %s: %s", next.Kind, next.Why)
}
