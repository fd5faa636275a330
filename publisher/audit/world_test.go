package audit

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mapKey   = credential.Name("team/maps")
	otherKey = credential.Name("team/other")
)

// world is a good record on a real stream.
type world struct {
	js     jetstream.JetStream
	signer *publisher.Signer
	record *publisher.Record
	heads  map[credential.Name]credential.Head
	states map[credential.Name]uint64
}

func newSigner(t testing.TB) *publisher.Signer {
	t.Helper()
	seed, _, err := publisher.GenerateSeed()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := publisher.NewSigner(seed)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// newWorld makes a stream with a signer and no event.
func newWorld(t testing.TB, signer *publisher.Signer) *world {
	t.Helper()
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	if err := publisher.Setup(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	if err := publisher.PublishSigner(t.Context(), js, signer, "test", nil); err != nil {
		t.Fatal(err)
	}
	w := &world{js: js, signer: signer, heads: map[credential.Name]credential.Head{}, states: map[credential.Name]uint64{}}
	w.record = w.open(t, signer)
	return w
}

// goodWorld has message 1, the signer, and the events of two credentials in
// turn: 2, 4, 6, 8, 10 of one and 3, 5, 7, 9, 11 of the other.
func goodWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, newSigner(t))
	for range 5 {
		w.append(t, mapKey)
		w.append(t, otherKey)
	}
	return w
}

func (w *world) open(t testing.TB, signer *publisher.Signer) *publisher.Record {
	t.Helper()
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: w.js, Signer: signer, Installation: "test", Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func (w *world) append(t testing.TB, name credential.Name) {
	t.Helper()
	w.appendBy(t, w.record, name, time.Now())
}

func (w *world) appendBy(t testing.TB, record *publisher.Record, name credential.Name, at time.Time) {
	t.Helper()
	w.states[name]++
	event := recordtest.Event(credential.Released{})
	event.ID, event.At = uuid.NewString(), at
	head, err := record.Append(t.Context(), name, w.heads[name], event, recordtest.State(name, w.states[name]))
	if err != nil {
		t.Fatal(err)
	}
	w.heads[name] = head
}

// all reads the raw messages.
func (w *world) all(t testing.TB) []publisher.Raw {
	t.Helper()
	var all []publisher.Raw
	if err := w.record.Raw(t.Context(), time.Time{}, func(m publisher.Raw) error {
		all = append(all, m)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// load puts messages into a new stream, in that order and with no check by the
// server. One without a subject leaves its place empty.
func load(t testing.TB, messages []publisher.Raw) Stream {
	t.Helper()
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: publisher.StreamName, Subjects: []string{"keyturn.record.>"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		msg := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
		if m.Subject == "" {
			msg.Subject = "keyturn.record.x.y"
		}
		for name, values := range m.Header {
			if strings.HasPrefix(name, "ce-") {
				msg.Header[name] = values
			}
		}
		ack, err := js.PublishMsg(t.Context(), msg)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == "" {
			if err := stream.DeleteMsg(t.Context(), ack.Sequence); err != nil {
				t.Fatal(err)
			}
		}
	}
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: js, Unchecked: true, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return Stream{record}
}

func mustVerify(t testing.TB, source Source, o Options) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := Verify(ctx, source, o)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	if r.Intact != (len(r.Findings) == 0) {
		t.Errorf("intact is %v with %d findings", r.Intact, len(r.Findings))
	}
	return r
}

func wantFound(t testing.TB, r *Report, kind Kind, sequence uint64, subject, id string) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Kind == kind && f.Sequence == sequence && f.Subject == subject && f.Event == id && f.What != "" {
			return
		}
	}
	t.Errorf("no finding %s of message %d on %s (event %s) among:", kind, sequence, subject, id)
	for _, f := range r.Findings {
		t.Log(f)
	}
}

func wantOnly(t testing.TB, r *Report, n int) {
	t.Helper()
	if len(r.Findings) != n {
		t.Errorf("%d findings, want %d:", len(r.Findings), n)
		for _, f := range r.Findings {
			t.Log(f)
		}
	}
}

func idOf(m publisher.Raw) string { return m.Header["ce-id"][0] }

// publish puts a message at the end of a world's stream as it is.
func publish(t testing.TB, w *world, m publisher.Raw) {
	t.Helper()
	msg := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
	for name, values := range m.Header {
		if strings.HasPrefix(name, "ce-") {
			msg.Header[name] = values
		}
	}
	if _, err := w.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}
