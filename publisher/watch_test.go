package publisher

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// watching runs Watch and collects what comes.
type watching struct {
	mu      sync.Mutex
	entries []credential.Entry
	stop    context.CancelFunc
	result  chan error
}

func watch(t *testing.T, run func(ctx context.Context, fn func(credential.Entry)) error) *watching {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &watching{stop: stop, result: make(chan error, 1)}
	go func() {
		w.result <- run(ctx, func(e credential.Entry) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.entries = append(w.entries, e)
		})
	}()
	t.Cleanup(stop)
	return w
}

func (w *watching) ids() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := []string{}
	for _, e := range w.entries {
		ids = append(ids, e.Event.ID)
	}
	return ids
}

func (w *watching) wait(t *testing.T, want []string) {
	t.Helper()
	natstest.Eventually(t, fmt.Sprintf("%d events were seen", len(want)), func() bool { return len(w.ids()) >= len(want) })
	if diff := cmp.Diff(want, w.ids()); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
}

// end stops it; it must return nil without delay.
func (w *watching) end(t *testing.T) {
	t.Helper()
	w.stop()
	select {
	case err := <-w.result:
		if err != nil {
			t.Errorf("Watch returned %v", err)
		}
	case <-time.After(4 * time.Second):
		t.Error("Watch does not end with its context")
	}
}

// writer appends to one credential and remembers the ids.
type writer struct {
	r    *Record
	head credential.Head
	ids  []string
}

func (w *writer) append(t *testing.T, n int) {
	t.Helper()
	for range n {
		event := recordtest.Event(credential.Released{})
		natstest.Eventually(t, "an append succeeds", func() bool {
			head, err := w.r.Append(limited(t), mapKey, w.head, event, recordtest.State(mapKey, 1))
			if err == nil {
				w.head = head
			}
			return err == nil
		})
		w.ids = append(w.ids, event.ID)
	}
}

func TestWatch(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		var bad bads
		r := s.open(t, bad.hook)
		w := &writer{r: r}
		w.append(t, 3)
		middle := w.head.Sequence
		began := time.Now()
		w.append(t, 2)
		all := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.Watch(ctx, 0, fn) })
		some := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.Watch(ctx, middle, fn) })
		since := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.WatchSince(ctx, began, fn) })
		all.wait(t, w.ids)
		some.wait(t, w.ids[3:])
		since.wait(t, w.ids[3:])
		s.forge(t, &nats.Msg{Subject: RecordSubject("team/bad"), Data: []byte("nonsense")})
		w.append(t, 2)
		all.wait(t, w.ids)
		some.wait(t, w.ids[3:])
		since.wait(t, w.ids[3:])
		if n := len(bad.get()); n != 3 {
			t.Errorf("told of %d bad messages, want 1 by each of 3", n)
		}
		for _, w := range []*watching{all, some, since} {
			w.end(t)
		}
		wantNoneLeft(t)
	})
}

// TestRecoverThenWatchMissesNothing appends while it recovers.
func TestRecoverThenWatchMissesNothing(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		r := s.open(t)
		w := &writer{r: r}
		w.append(t, 20)
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.append(t, 50)
		}()
		last := uint64(0)
		if err := r.Recover(limited(t), func(e credential.Entry) error { last = e.Head.Sequence; return nil }); err != nil {
			t.Fatal(err)
		}
		seen := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.Watch(ctx, last, fn) })
		<-done
		natstest.Eventually(t, "the last event is seen", func() bool {
			seen.mu.Lock()
			defer seen.mu.Unlock()
			n := len(seen.entries)
			return last == w.head.Sequence || n > 0 && seen.entries[n-1].Head == w.head
		})
		rest := seen.ids()
		if diff := cmp.Diff(w.ids[len(w.ids)-len(rest):], rest); diff != "" {
			t.Errorf("watched after recovery (-want +got):\n%s", diff)
		}
		seen.end(t)
	})
}

func TestWatchGoesOnAfterARestart(t *testing.T) {
	server := natstest.Start(t)
	s := newSite(t, server.ClientURL(), 1)
	var retries atomic.Int32
	r := s.open(t, func(cfg *Config) { cfg.OnRetry = func(error) { retries.Add(1) } })
	w := &writer{r: r}
	w.append(t, 2)
	seen := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.Watch(ctx, 0, fn) })
	// this one has seen nothing when the server goes: it must not start "now" again
	fresh := w.head.Sequence
	late := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.Watch(ctx, fresh, fn) })
	seen.wait(t, w.ids)
	for range 2 {
		server.Restart(t)
		w.append(t, 3)
		seen.wait(t, w.ids)
		late.wait(t, w.ids[2:])
	}
	if retries.Load() == 0 {
		t.Error("OnRetry was not called")
	}
	// without a server, both end at once too
	server.Shutdown()
	natstest.Eventually(t, "the client has noticed", func() bool { return !s.nc.IsConnected() })
	seen.end(t)
	late.end(t)
	wantNoneLeft(t)
}

func TestWatchGoesOnWithoutTheLeader(t *testing.T) {
	cluster := natstest.StartCluster(t, 3)
	s := newClusterSite(t, cluster, 3)
	r := s.open(t, func(cfg *Config) { cfg.Timeout = 5 * time.Second })
	w := &writer{r: r}
	w.append(t, 2)
	seen := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.Watch(ctx, 0, fn) })
	seen.wait(t, w.ids)
	leader := cluster.StreamLeader(t, StreamName)
	leader.Shutdown()
	w.append(t, 3)
	seen.wait(t, w.ids)
	leader.Restart(t)
	w.append(t, 3)
	seen.wait(t, w.ids)
	seen.end(t)
}

func TestWatchEndsWhenTheStreamIsGone(t *testing.T) {
	s := oneNode(t)
	r := s.open(t)
	w := &writer{r: r}
	w.append(t, 1)
	seen := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.Watch(ctx, 0, fn) })
	seen.wait(t, w.ids)
	if err := s.js.DeleteStream(t.Context(), StreamName); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-seen.result:
		if !credential.IsClass(err, credential.ClassPermanent) || !strings.Contains(err.Error(), "keyturn setup") {
			t.Errorf("Watch returned %v, want a permanent fault with a hint", err)
		}
	case <-time.After(time.Minute):
		t.Error("Watch does not notice that the stream is gone")
	}
}
