package publisher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// wantNoneLeft waits until no goroutine of a reader runs.
func wantNoneLeft(t *testing.T) {
	t.Helper()
	natstest.Eventually(t, "all goroutines of the readers have ended", func() bool {
		stacks := make([]byte, 4<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(text, "created by github.com/keyturn/keyturn/publisher.(*Record)") &&
			!strings.Contains(text, "created by github.com/nats-io/nats.go/jetstream.(*pull")
	})
}

// bads collects what is told of bad messages.
type bads struct {
	mu   sync.Mutex
	seqs []uint64
}

func (b *bads) hook(cfg *Config) {
	cfg.OnBad = func(_ string, sequence uint64, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if err == nil {
			panic("a bad message without a reason")
		}
		b.seqs = append(b.seqs, sequence)
	}
}

func (b *bads) get() []uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(slices.Values(b.seqs))
}

func TestRecover(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		var bad bads
		r := s.open(t, bad.hook)
		if err := s.openAs(t, nil).Recover(limited(t), func(e credential.Entry) error {
			return fmt.Errorf("there is no credential yet, but %s came", e.Name)
		}); err != nil {
			t.Errorf("Recover of no credentials: %v", err)
		}
		const credentials = 700 // some batches
		want := map[credential.Name]credential.Entry{}
		js, err := jetstream.New(s.nc)
		if err != nil {
			t.Fatal(err)
		}
		for i := range credentials {
			name := credential.Name(fmt.Sprintf("ns-%d/key-%d", i%7, i))
			head := credential.Head{}
			for revision := range uint64(i%3 + 1) {
				event, state := recordtest.Event(credential.Released{}), recordtest.State(name, revision+1)
				msg, next, err := encode(name, r.source, head, event, state, r.cfg.Signer)
				if err != nil {
					t.Fatal(err)
				}
				ack, err := js.PublishMsg(t.Context(), msg)
				if err != nil {
					t.Fatal(err)
				}
				head = next
				head.Sequence = ack.Sequence
				want[name] = credential.Entry{Name: name, Head: head, Event: event, State: state}
			}
		}
		// three that cannot be read: the others come all the same
		for i, subject := range []string{"keyturn.record.bad.one", "keyturn.record.bad", "keyturn.record.ns-0.key-0"} {
			s.forge(t, &nats.Msg{Subject: subject, Data: []byte("nonsense"), Header: nats.Header{headerSpec: {specVersion}, headerID: {fmt.Sprint(i)}}})
		}
		delete(want, "ns-0/key-0") // its last event is the bad one
		got := map[credential.Name]credential.Entry{}
		last := uint64(0)
		err = r.Recover(limited(t), func(e credential.Entry) error {
			if e.Head.Sequence <= last {
				t.Errorf("message %d after %d", e.Head.Sequence, last)
			}
			last = e.Head.Sequence
			got[e.Name] = e
			return nil
		})
		if err != nil {
			t.Fatalf("Recover: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("recovered (-want +got):\n%s", diff)
		}
		if n := len(bad.get()); n != 3 {
			t.Errorf("told of %d bad messages, want 3", n)
		}

		stop := errors.New("enough")
		calls := 0
		err = r.Recover(limited(t), func(credential.Entry) error {
			if calls++; calls == 300 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || calls != 300 {
			t.Errorf("with an error of fn: %v after %d calls", err, calls)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err = r.Recover(ctx, func(credential.Entry) error { cancel(); return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that ends: %v", err)
		}
		wantNoneLeft(t)
	})
}

func TestHistory(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		var bad bads
		r := s.open(t, bad.hook)
		wantHistory(t, r, mapKey)
		var want []string
		head := credential.Head{}
		for revision := range uint64(20) {
			mustAppend(t, r, credential.Name(fmt.Sprintf("team/other-%d", revision)), credential.Head{}, 1)
			event := recordtest.Event(credential.Acknowledged{Consumer: "shop"})
			next, err := r.Append(t.Context(), mapKey, head, event, recordtest.State(mapKey, revision+1))
			if err != nil {
				t.Fatal(err)
			}
			head = next
			want = append(want, event.ID)
		}
		s.forge(t, &nats.Msg{Subject: RecordSubject(mapKey), Data: []byte("nonsense")})
		wantHistory(t, r, mapKey, want...)
		if n := len(bad.get()); n != 1 {
			t.Errorf("told of %d bad messages, want 1", n)
		}
		wantNoneLeft(t)
	})
}

func TestRecoverDoesNotWaitForever(t *testing.T) {
	s := oneNode(t)
	mustAppend(t, s.open(t), mapKey, credential.Head{}, 1)
	r := s.through(t, newProxy(t, s.url, func(p *proxy, piece string) bool {
		if strings.Contains(piece, "$JS.API.CONSUMER.MSG.NEXT.") {
			p.deaf.Store(true)
		}
		return true
	}))
	err := r.Recover(limited(t), func(credential.Entry) error { return nil })
	if !errors.Is(err, errStalled) || !credential.IsClass(err, credential.ClassRetryable) {
		t.Errorf("Recover says %v, want a retryable fault: nothing comes", err)
	}
	wantNoneLeft(t)
}

func TestNamesThatAreNone(t *testing.T) {
	r := oneNode(t).open(t)
	for _, name := range []credential.Name{"", "team", "*/*", "team/>", "_system/signers", "a.b/c"} {
		_, _, errLoad := r.Load(limited(t), name)
		_, errAppend := r.Append(limited(t), name, credential.Head{}, recordtest.Event(credential.Released{}), recordtest.State(name, 1))
		errHistory := r.History(limited(t), name, func(credential.Entry) error { return nil })
		for what, err := range map[string]error{"Load": errLoad, "Append": errAppend, "History": errHistory} {
			if !credential.IsClass(err, credential.ClassPermanent) {
				t.Errorf("%s of %q says %v, want a permanent fault", what, name, err)
			}
		}
	}
}

// TestSubscribersGetTheSameBytes compares what stands on the record with what a
// plain subscriber hears.
func TestSubscribersGetTheSameBytes(t *testing.T) {
	s := oneNode(t)
	r := s.open(t)
	heard, err := s.nc.SubscribeSync("keyturn.events.*.*")
	if err != nil {
		t.Fatal(err)
	}
	head := mustAppend(t, r, mapKey, credential.Head{}, 1)
	msg, err := heard.NextMsg(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	stored := s.copyOf(t, head.Sequence)
	if msg.Subject != EventSubject(mapKey) || !bytes.Equal(msg.Data, stored.Data) {
		t.Errorf("on %s came other data than is stored", msg.Subject)
	}
	for name, values := range stored.Header {
		if !slices.Equal(values, msg.Header[name]) {
			t.Errorf("%s is %q, stored is %q", name, msg.Header[name], values)
		}
	}
}
