// Package deploy tests the NATS configuration that users get, on a real server
// that reads the very files.
package deploy

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// site is a shipped server with a stream, and the users.
type site struct {
	*natstest.Shipped
	daemon *natstest.User
	record *publisher.Record
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Shipped: natstest.StartShipped(t, ".")}
	s.daemon = s.As(t, "KEY_DAEMON", "_INBOX")
	s.setup(t)
	_, err := s.daemon.JetStream.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEYTURN_DENIED", Subjects: []string{"keyturn.denied.>"}})
	must(t, err)
	must(t, publisher.SetupRequests(t.Context(), s.daemon.JetStream, 1))
	_, err = s.daemon.JetStream.CreateConsumer(t.Context(), publisher.StreamName, read[jetstream.ConsumerConfig](t, "consumer.json"))
	must(t, err)
	return s
}

// setup makes the stream and opens the record as a daemon does.
func (s *site) setup(t *testing.T) {
	t.Helper()
	must(t, publisher.Setup(t.Context(), s.daemon.JetStream, 1))
	s.record = s.open(t)
}

// open is the record of a daemon with a signer of its own.
func (s *site) open(t *testing.T) *publisher.Record {
	t.Helper()
	seed, _, err := publisher.GenerateSeed()
	must(t, err)
	signer, err := publisher.NewSigner(seed)
	must(t, err)
	must(t, publisher.PublishSigner(t.Context(), s.daemon.JetStream, signer, "test", nil))
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: s.daemon.JetStream, Signer: signer, Installation: "test"})
	must(t, err)
	return record
}

// append adds events to a credential's record and returns its head.
func (s *site) append(t *testing.T, name credential.Name, head credential.Head, from, to uint64) credential.Head {
	t.Helper()
	for revision := from; revision <= to; revision++ {
		var err error
		head, err = s.record.Append(t.Context(), name, head, recordtest.Event(credential.Released{}), recordtest.State(name, revision))
		must(t, err)
	}
	return head
}

func (s *site) operator(t *testing.T) *natstest.User {
	return s.As(t, "KEY_OPERATOR", "_INBOX_operator")
}
func (s *site) auditor(t *testing.T) *natstest.User { return s.As(t, "KEY_AUDITOR", "_INBOX_auditor") }
func (s *site) shop(t *testing.T) *natstest.User    { return s.As(t, "KEY_SHOP", "_INBOX_shop") }

// look is what the server holds: streams and their consumers.
func (s *site) look(t *testing.T) map[string][]any {
	t.Helper()
	seen := map[string][]any{}
	streams := s.daemon.JetStream.ListStreams(t.Context())
	for info := range streams.Info() {
		config, err := json.Marshal(info.Config)
		must(t, err)
		seen[info.Config.Name] = []any{string(config), info.State.FirstSeq, info.State.LastSeq, info.State.Msgs}
		stream, err := s.daemon.JetStream.Stream(t.Context(), info.Config.Name)
		must(t, err)
		consumers := stream.ListConsumers(t.Context())
		for c := range consumers.Info() {
			config, err := json.Marshal(c.Config)
			must(t, err)
			seen[info.Config.Name+"/"+c.Name] = []any{string(config), c.AckFloor.Stream, c.Delivered.Stream}
		}
		must(t, consumers.Err())
	}
	must(t, streams.Err())
	return seen
}

// read decodes a shipped JSON file, and refuses a field that nobody reads.
func read[T any](t *testing.T, path string) T {
	t.Helper()
	file, err := os.Open(path)
	must(t, err)
	defer func() { _ = file.Close() }()
	var value T
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	must(t, decoder.Decode(&value))
	return value
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
