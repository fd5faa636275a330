package publisher

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// through opens a record behind a proxy, with calls that time out soon.
func (s *site) through(t *testing.T, p *proxy) *Record {
	t.Helper()
	_, js := natstest.Connect(t, p.url(), nats.IgnoreDiscoveredServers(), nats.DontRandomize())
	return s.openAs(t, newSigner(t), func(cfg *Config) { cfg.JetStream, cfg.Timeout = js, time.Second })
}

// first is the URL of one server.
func (s *site) first() string {
	url, _, _ := strings.Cut(s.url, ",")
	return url
}

// wantHistory checks which events stand on the record.
func wantHistory(t *testing.T, r *Record, name credential.Name, ids ...string) {
	t.Helper()
	var got []string
	err := r.History(limited(t), name, func(e credential.Entry) error {
		got = append(got, e.Event.ID)
		return nil
	})
	if err != nil {
		t.Fatalf("History: %v", err)
	}
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("events on the record (-want +got):\n%s", diff)
	}
}

func TestLostAcknowledgement(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		direct := s.open(t)
		event := func() credential.Event { return recordtest.Event(credential.Released{}) }

		t.Run("the look after it finds our event", func(t *testing.T) {
			t.Parallel()
			const name = "lost/found"
			r := s.through(t, newProxy(t, s.first(), func(p *proxy, piece string) bool {
				if isAppend(piece) {
					p.deaf.Store(true)
				}
				if isLook(piece) {
					p.deaf.Store(false)
				}
				return true
			}))
			mine := event()
			head, err := r.Append(limited(t), name, credential.Head{}, mine, recordtest.State(name, 1))
			if err != nil {
				t.Fatalf("Append: %v", err)
			}
			if _, loaded := mustLoad(t, direct, name); loaded != head {
				t.Errorf("Append gave %+v, the record has %+v", head, loaded)
			}
			wantHistory(t, direct, name, mine.ID)
		})

		t.Run("the conflict of the second try is our first one", func(t *testing.T) {
			t.Parallel()
			const name = "lost/twice"
			appends := atomic.Int32{}
			r := s.through(t, newProxy(t, s.first(), func(p *proxy, piece string) bool {
				if isAppend(piece) {
					p.deaf.Store(appends.Add(1) == 1)
				}
				return true
			}))
			mine := event()
			head, err := r.Append(limited(t), name, credential.Head{}, mine, recordtest.State(name, 1))
			if err != nil {
				t.Fatalf("Append: %v", err)
			}
			if n := appends.Load(); n != 2 {
				t.Errorf("it was sent %d times, want 2", n)
			}
			if _, loaded := mustLoad(t, direct, name); loaded != head {
				t.Errorf("Append gave %+v, the record has %+v", head, loaded)
			}
			wantHistory(t, direct, name, mine.ID)
		})

		t.Run("an append that did not arrive is sent again", func(t *testing.T) {
			t.Parallel()
			const name = "lost/again"
			appends := atomic.Int32{}
			r := s.through(t, newProxy(t, s.first(), func(_ *proxy, piece string) bool {
				return !isAppend(piece) || appends.Add(1) > 1
			}))
			mine := event()
			if _, err := r.Append(limited(t), name, credential.Head{}, mine, recordtest.State(name, 1)); err != nil {
				t.Fatalf("Append: %v", err)
			}
			wantHistory(t, direct, name, mine.ID)
		})

		t.Run("another event that came first is a conflict", func(t *testing.T) {
			t.Parallel()
			const name = "lost/other"
			other := event()
			r := s.through(t, newProxy(t, s.first(), func(_ *proxy, piece string) bool {
				if !isAppend(piece) {
					return true
				}
				if _, err := direct.Append(limited(t), name, credential.Head{}, other, recordtest.State(name, 1)); err != nil {
					t.Errorf("the other append: %v", err)
				}
				return false
			}))
			_, err := r.Append(limited(t), name, credential.Head{}, event(), recordtest.State(name, 1))
			if !credential.IsClass(err, credential.ClassConflict) || !strings.Contains(err.Error(), other.ID) {
				t.Errorf("Append says %v, want a conflict that names %s", err, other.ID)
			}
			wantHistory(t, direct, name, other.ID)
		})

		t.Run("without any answer the outcome is unknown, and the same append finds out", func(t *testing.T) {
			t.Parallel()
			const name = "lost/unknown"
			healed := atomic.Bool{}
			p := newProxy(t, s.first(), func(p *proxy, piece string) bool {
				if isAppend(piece) && !healed.Load() {
					p.deaf.Store(true)
				}
				return true
			})
			r := s.through(t, p)
			mine := event()
			_, err := r.Append(limited(t), name, credential.Head{}, mine, recordtest.State(name, 1))
			var fault *credential.Fault
			if !errors.As(err, &fault) || fault.Class != credential.ClassUnknown || !fault.Silent {
				t.Fatalf("Append says %v, want a silent unknown outcome", err)
			}
			head, err := direct.Append(limited(t), name, credential.Head{}, mine, recordtest.State(name, 1))
			if !credential.IsClass(err, credential.ClassConflict) {
				t.Errorf("another signer's append of the same event gave %+v, %v; want a conflict", head, err)
			}
			healed.Store(true)
			p.deaf.Store(false)
			p.cut()
			var again credential.Head
			natstest.Eventually(t, "the same append succeeds", func() bool {
				again, err = r.Append(limited(t), name, credential.Head{}, mine, recordtest.State(name, 1))
				return err == nil
			})
			if _, loaded := mustLoad(t, direct, name); loaded != again {
				t.Errorf("Append gave %+v, the record has %+v", again, loaded)
			}
			wantHistory(t, direct, name, mine.ID)
		})

		t.Run("a connection that is cut after the event was stored", func(t *testing.T) {
			t.Parallel()
			const name = "lost/cut"
			p := newProxy(t, s.first(), func(p *proxy, piece string) bool {
				if isAppend(piece) {
					p.deaf.Store(true)
				}
				return true
			})
			r := s.through(t, p)
			if _, err := s.nc.Subscribe(EventSubject(name), func(*nats.Msg) {
				p.deaf.Store(false)
				p.cut()
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.nc.Flush(); err != nil {
				t.Fatal(err)
			}
			mine := event()
			head, err := r.Append(limited(t), name, credential.Head{}, mine, recordtest.State(name, 1))
			if err != nil {
				t.Fatalf("Append: %v", err)
			}
			if _, loaded := mustLoad(t, direct, name); loaded != head {
				t.Errorf("Append gave %+v, the record has %+v", head, loaded)
			}
			wantHistory(t, direct, name, mine.ID)
		})
	})
}

func TestAppendWhileDisconnectedStoresNothing(t *testing.T) {
	server := natstest.Start(t)
	s := newSite(t, server.ClientURL(), 1)
	r := s.open(t)
	head := mustAppend(t, r, mapKey, credential.Head{}, 1)
	server.Shutdown()
	natstest.Eventually(t, "the client has noticed", func() bool { return !s.nc.IsConnected() })
	_, err := r.Append(limited(t), mapKey, head, recordtest.Event(credential.Released{}), recordtest.State(mapKey, 2))
	var fault *credential.Fault
	if !errors.As(err, &fault) || fault.Class != credential.ClassRetryable || !fault.Silent {
		t.Fatalf("Append says %v, want a silent retryable fault", err)
	}
	server.Restart(t)
	natstest.Eventually(t, "the client is back", s.nc.IsConnected)
	natstest.Eventually(t, "the record can be read", func() bool {
		_, loaded, err := r.Load(limited(t), mapKey)
		return err == nil && loaded == head
	})
	mustAppend(t, r, mapKey, head, 2)
}

func TestAppendHeedsItsContext(t *testing.T) {
	r := oneNode(t).open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Append(ctx, mapKey, credential.Head{}, recordtest.Event(credential.Released{}), recordtest.State(mapKey, 1))
	if !errors.Is(err, context.Canceled) || !credential.IsClass(err, credential.ClassRetryable) {
		t.Errorf("Append says %v, want a retryable fault by cancellation: nothing was sent", err)
	}
}

func TestRefusedAppends(t *testing.T) {
	s := oneNode(t)
	r := s.open(t)
	state := recordtest.State(mapKey, 1)
	state.Spec.Owner = strings.Repeat("x", 2<<20)
	_, err := r.Append(limited(t), mapKey, credential.Head{}, recordtest.Event(credential.Released{}), state)
	if !credential.IsClass(err, credential.ClassPermanent) {
		t.Errorf("an event of 2 MiB: %v, want a permanent fault", err)
	}
	reader := s.openAs(t, nil)
	_, err = reader.Append(limited(t), mapKey, credential.Head{}, recordtest.Event(credential.Released{}), recordtest.State(mapKey, 1))
	if !credential.IsClass(err, credential.ClassPermanent) {
		t.Errorf("without a signer: %v, want a permanent fault", err)
	}
	if err := s.js.DeleteStream(t.Context(), StreamName); err != nil {
		t.Fatal(err)
	}
	_, err = r.Append(limited(t), mapKey, credential.Head{}, recordtest.Event(credential.Released{}), recordtest.State(mapKey, 1))
	if !credential.IsClass(err, credential.ClassRetryable) {
		t.Errorf("without a stream: %v, want a retryable fault: nobody received it", err)
	}
}

// TestRace also looks at what subscribers hear: a core subscriber on the events
// hears the winners and nobody else.
func TestRace(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		const writers, rounds = 16, 30
		var conflicts, appends atomic.Int32
		r := s.open(t, func(cfg *Config) {
			cfg.OnConflict = func() { conflicts.Add(1) }
			cfg.OnAppend = func(kind string) {
				if kind != string(credential.TypeReleased) {
					t.Errorf("OnAppend(%q)", kind)
				}
				appends.Add(1)
			}
		})
		subscriber, _ := natstest.Connect(t, s.url)
		heard, err := subscriber.SubscribeSync(EventSubject(mapKey))
		if err != nil {
			t.Fatal(err)
		}
		if err := subscriber.Flush(); err != nil {
			t.Fatal(err)
		}
		s.interested(t, EventSubject(mapKey))
		var winners []string
		head := credential.Head{}
		for range rounds {
			events := make([]credential.Event, writers)
			heads := make([]credential.Head, writers)
			errs := make([]error, writers)
			var group sync.WaitGroup
			for w := range writers {
				events[w] = recordtest.Event(credential.Released{})
				group.Go(func() {
					heads[w], errs[w] = r.Append(limited(t), mapKey, head, events[w], recordtest.State(mapKey, 1))
				})
			}
			group.Wait()
			won := 0
			for w, err := range errs {
				if err == nil {
					won++
					winners = append(winners, events[w].ID)
					head = heads[w]
				} else if !credential.IsClass(err, credential.ClassConflict) {
					t.Fatalf("writer %d: %v", w, err)
				}
			}
			if won != 1 {
				t.Fatalf("%d writers won", won)
			}
		}
		if c, a := conflicts.Load(), appends.Load(); c != rounds*(writers-1) || a != rounds {
			t.Errorf("hooks counted %d appends and %d conflicts", a, c)
		}
		wantHistory(t, r, mapKey, winners...)
		var got []string
		for len(got) < len(winners) {
			msg, err := heard.NextMsg(30 * time.Second)
			if err != nil {
				t.Fatalf("after %d events: %v", len(got), err)
			}
			got = append(got, attribute(msg.Header, headerID))
		}
		if diff := cmp.Diff(winners, got); diff != "" {
			t.Errorf("subscribers heard (-want +got):\n%s", diff)
		}
		if n, _, _ := heard.Pending(); n != 0 {
			t.Errorf("subscribers heard %d further messages", n)
		}
	})
}

func TestConflictKnowsBothCodes(t *testing.T) {
	for code, want := range map[jetstream.ErrorCode]bool{10071: true, 10164: true, 10060: false} {
		if got := isConflict(&jetstream.APIError{Code: 400, ErrorCode: code}); got != want {
			t.Errorf("isConflict(%d) = %t", code, got)
		}
	}
}
