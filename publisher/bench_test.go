package publisher

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// benchState is a state of the usual size, in the middle of a rotation.
func benchState(name credential.Name) credential.State {
	state := goldenState()
	state.Name = name
	return state
}

func benchEvent() credential.Event {
	event := recordtest.Event(nil)
	event.Daemon = "keyturn-7c9f"
	event.Fact = goldenFacts()[8]
	return event
}

// fill stores one event for each of n credentials.
func fill(b *testing.B, s *site, signer *Signer, n int) {
	b.Helper()
	js, err := jetstream.New(s.nc, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		b.Fatal(err)
	}
	size := 0
	for i := range n {
		name := credential.Name(fmt.Sprintf("team-%d/key-%d", i%100, i))
		msg, _, err := encode(name, "keyturn/bench", credential.Head{}, benchEvent(), benchState(name), signer)
		if err != nil {
			b.Fatal(err)
		}
		size = len(msg.Data)
		if _, err := js.PublishMsgAsync(msg); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(5 * time.Minute):
		b.Fatal("the events are not stored")
	}
	b.Logf("%d events of %d bytes of data", n, size)
}

func benchRecover(b *testing.B, n int) {
	s := oneNode(b)
	r := s.open(b)
	fill(b, s, r.cfg.Signer, n)
	for b.Loop() {
		seen := 0
		if err := r.Recover(b.Context(), func(credential.Entry) error { seen++; return nil }); err != nil {
			b.Fatal(err)
		}
		if seen != n {
			b.Fatalf("%d entries, want %d", seen, n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/entry")
}

func BenchmarkRecover100k(b *testing.B) { benchRecover(b, 100_000) }

// BenchmarkRecover1M needs 3 GB of disk and several minutes.
func BenchmarkRecover1M(b *testing.B) { benchRecover(b, 1_000_000) }

func BenchmarkEncode(b *testing.B) {
	signer := newSigner(b)
	event, state := benchEvent(), benchState(mapKey)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := encode(mapKey, "keyturn/bench", credential.Head{}, event, state, signer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	msg, _, err := encode(mapKey, "keyturn/bench", credential.Head{}, benchEvent(), benchState(mapKey), newSigner(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(msg.Subject, 1, msg.Header, msg.Data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSDK is what building and validating with the CloudEvents SDK costs in
// each append. Reading does without it.
func BenchmarkSDK(b *testing.B) {
	msg, _, err := encode(mapKey, "keyturn/bench", credential.Head{}, benchEvent(), benchState(mapKey), newSigner(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cloudEvent(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s := oneNode(b)
	r := s.open(b)
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		name := credential.Name(fmt.Sprintf("bench/w-%d", n.Add(1)))
		head := credential.Head{}
		for pb.Next() {
			event := benchEvent()
			next, err := r.Append(b.Context(), name, head, event, benchState(name))
			if err != nil {
				b.Error(err)
				return
			}
			head = next
		}
	})
}
