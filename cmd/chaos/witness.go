package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// sighting is an event that somebody saw during the run.
type sighting struct {
	Sequence uint64
	ID, Hash string // no hash where only a notice was heard
	How      string
}

// witness follows the record during the run: by a JetStream reader, as a service
// that replays, and by a plain subscription, as one that does not.
type witness struct {
	mu      sync.Mutex
	seen    []sighting
	latest  map[credential.Name]credential.State
	bad     []string
	stopped func()
}

func newWitness(ctx context.Context, c *cluster) (*witness, error) {
	w := &witness{latest: map[credential.Name]credential.State{}}
	record, err := publisher.Open(ctx, publisher.Config{JetStream: c.js, OnBad: func(subject string, sequence uint64, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.bad = append(w.bad, subject+" "+strconv.FormatUint(sequence, 10)+": "+err.Error())
	}})
	if err != nil {
		return nil, err
	}
	heard, err := c.conn.Subscribe("keyturn.events.>", w.hear)
	if err != nil {
		return nil, err
	}
	watching, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- record.Watch(watching, 0, w.see) }()
	w.stopped = func() {
		_ = heard.Unsubscribe()
		cancel()
		if err := <-done; err != nil {
			w.bad = append(w.bad, "the watch has ended: "+err.Error())
		}
	}
	return w, nil
}

func (w *witness) see(entry credential.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, sighting{entry.Head.Sequence, entry.Event.ID, entry.Head.Hash, "read"})
	w.latest[entry.Name] = entry.State
}

func (w *witness) hear(msg *nats.Msg) {
	sequence, err := strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.bad = append(w.bad, "a notice on "+msg.Subject+" names no sequence")
		return
	}
	w.seen = append(w.seen, sighting{sequence, attribute(msg.Header, "ce-id"), "", "heard"})
}

// close ends the watch; what was seen stays.
func (w *witness) close() {
	if w.stopped != nil {
		w.stopped()
		w.stopped = nil
	}
}

// count is how many credentials are in such a state.
func (w *witness) count(is func(credential.State) bool) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, state := range w.latest {
		if is(state) {
			n++
		}
	}
	return n
}

// late are the credentials whose primary expires before then.
func (w *witness) late(then time.Time) (names []credential.Name) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, state := range w.latest {
		if primary, ok := state.Primary(); ok && primary.Expires.Before(then) {
			names = append(names, name)
		}
	}
	return names
}

// state is the latest one that was seen.
func (w *witness) state(name credential.Name) credential.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest[name]
}

func attribute(header nats.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
