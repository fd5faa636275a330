package deploy

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// line is what the example says of an event.
type line struct {
	sequence          uint64
	id, kind, subject string
}

// subscriber is the example in deploy/examples, running.
type subscriber struct {
	cmd   *exec.Cmd
	lines chan line
}

func subscribe(t *testing.T, binary, url string, login ...string) *subscriber {
	t.Helper()
	run := &subscriber{exec.Command(binary, append([]string{"-url", url, "-name", "shop"}, login...)...), make(chan line, 1024)}
	run.cmd.Stderr = os.Stderr
	out, err := run.cmd.StdoutPipe()
	must(t, err)
	must(t, run.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		for text := bufio.NewScanner(out); text.Scan(); {
			var l line
			if _, err := fmt.Sscan(text.Text(), &l.sequence, &l.id, &l.kind, &l.subject); err != nil {
				t.Errorf("the example says %q: %v", text.Text(), err)
			}
			run.lines <- l
		}
	}()
	t.Cleanup(func() { _ = run.cmd.Process.Kill(); <-read; _ = run.cmd.Wait() })
	return run
}

// example builds it.
func example(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "subscribe")
	if out, err := exec.Command("go", "build", "-o", binary, "../examples/subscribe").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// TestTheExampleNeedsNoLogin where the server asks for none, as that of keyturn dev.
func TestTheExampleNeedsNoLogin(t *testing.T) {
	server := natstest.Start(t)
	_, js := natstest.Connect(t, server.ClientURL())
	must(t, publisher.Setup(t.Context(), js, 1))
	_, err := js.CreateConsumer(t.Context(), publisher.StreamName, jetstream.ConsumerConfig{Durable: "shop", AckPolicy: jetstream.AckExplicitPolicy})
	must(t, err)
	_, err = js.PublishMsg(t.Context(), &nats.Msg{Subject: "keyturn.record.team.a", Header: nats.Header{"ce-id": {"1"}, "ce-type": {"kind"}, "ce-subject": {"team/a"}}})
	must(t, err)
	if got, want := subscribe(t, example(t), server.ClientURL()).take(t, 1)[0], (line{1, "1", "kind", "team/a"}); got != want {
		t.Errorf("%+v", got)
	}
}

// take waits for that many events.
func (r *subscriber) take(t *testing.T, n int) (got []line) {
	t.Helper()
	for deadline := time.After(time.Minute); len(got) < n; {
		select {
		case l := <-r.lines:
			got = append(got, l)
		case <-deadline:
			t.Fatalf("%d of %d events after a minute", len(got), n)
		}
	}
	return got
}

// settled waits until all that was delivered is acknowledged, and says up to where.
func (s *site) settled(t *testing.T) (last uint64) {
	t.Helper()
	natstest.Eventually(t, "the subscriber has confirmed all", func() bool {
		consumer, err := s.daemon.JetStream.Consumer(t.Context(), "KEYTURN", "shop")
		must(t, err)
		info := consumer.CachedInfo()
		last = info.AckFloor.Stream
		return info.NumPending == 0 && info.NumAckPending == 0
	})
	return last
}

// TestASubscriberThatWasAwayMissesNothing: the example is killed, 500 events pass,
// and it finds each of them once, in order, when it runs again. It sees nothing of
// other namespaces.
func TestASubscriberThatWasAwayMissesNothing(t *testing.T) {
	s := newSite(t)
	binary, seed := example(t), filepath.Join(t.TempDir(), "shop.nk")
	must(t, os.WriteFile(seed, []byte(s.Seeds["KEY_SHOP"]), 0o600))
	acks, err := s.daemon.SubscribeSync("keyturn.ack.*")
	must(t, err)

	names := []credential.Name{"shop/a", "shop/b", "shop/c", "team/other"}
	heads := map[credential.Name]credential.Head{}
	var wanted []line
	add := func(from, to uint64) {
		for revision := from; revision <= to; revision++ {
			for _, name := range names {
				fact := credential.Fact(credential.Released{})
				if name == "shop/a" && revision == to {
					fact = credential.Issued{Fingerprint: credential.Fingerprint(fmt.Sprintf("%016x", revision)), Seat: credential.SeatID{Item: "i", Slot: 1}}
				}
				event := recordtest.Event(fact)
				var err error
				heads[name], err = s.record.Append(t.Context(), name, heads[name], event, recordtest.State(name, revision))
				must(t, err)
				if name.Namespace() == "shop" {
					wanted = append(wanted, line{heads[name].Sequence, event.ID, string(fact.Type()), string(name)})
				}
			}
		}
	}
	add(1, 3)
	first := subscribe(t, binary, s.ClientURL(), "-seed", seed)
	got := first.take(t, len(wanted))
	s.settled(t)
	must(t, first.cmd.Process.Kill())

	names = names[:2] // 250 of each
	add(4, 253)
	second := subscribe(t, binary, s.ClientURL(), "-seed", seed)
	got = append(got, second.take(t, 500)...)
	s.settled(t)
	if len(second.lines) > 0 || !slices.Equal(got, wanted) {
		t.Errorf("%d events, and %d more; want %d, each once and in order", len(got), len(second.lines), len(wanted))
	}
	for _, revision := range []uint64{3, 253} {
		word, err := acks.NextMsg(10 * time.Second)
		must(t, err)
		if want := fmt.Sprintf(`{"fingerprint":"%016x","name":"shop/a"}`, revision); word.Subject != "keyturn.ack.shop" || string(word.Data) != want {
			t.Errorf("%s %s, want %s", word.Subject, word.Data, want)
		}
	}
}

// TestASubscriberIsGivenAgainWhatItDidNotConfirm: what was taken and not
// acknowledged comes first when the service is back, under the same id.
func TestASubscriberIsGivenAgainWhatItDidNotConfirm(t *testing.T) {
	s := newSite(t)
	s.append(t, "shop/a", head(), 1, 3)
	take := func(n int) (ids []string) {
		consumer, err := s.shop(t).JetStream.Consumer(t.Context(), "KEYTURN", "shop")
		must(t, err)
		for range n {
			batch, err := consumer.Fetch(1, jetstream.FetchMaxWait(time.Minute))
			must(t, err)
			msg := <-batch.Messages()
			if msg == nil {
				t.Fatalf("no message: %v", batch.Error())
			}
			id := msg.Headers().Get("ce-id")
			if _, err := uuid.Parse(id); err != nil {
				t.Errorf("id %q: %v", id, err)
			}
			if ids = append(ids, id); len(ids) < n {
				must(t, msg.DoubleAck(t.Context()))
			} else {
				must(t, msg.Nak()) // as after its death, but sooner
			}
		}
		return ids
	}
	before := take(2)
	after := take(1)
	if before[1] != after[0] {
		t.Errorf("%v, then %v", before, after)
	}
}
