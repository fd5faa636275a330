package audit

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestAnAuditorNeedsTheRightsThatDocNames: with these and no others everything
// can be read, and nothing can be put on the record.
func TestAnAuditorNeedsTheRightsThatDocNames(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "daemon", Password: "d"},
			{Username: "auditor", Password: "a", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{
					"$JS.API.STREAM.INFO.KEYTURN", "$JS.API.STREAM.MSG.GET.KEYTURN", "$JS.API.CONSUMER.CREATE.KEYTURN.>",
					"$JS.API.CONSUMER.MSG.NEXT.KEYTURN.>",
				}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		}
	})
	_, js := natstest.Connect(t, s.ClientURL(), nats.UserInfo("daemon", "d"))
	if err := publisher.Setup(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	signer := newSigner(t)
	if err := publisher.PublishSigner(t.Context(), js, signer, "test", nil); err != nil {
		t.Fatal(err)
	}
	w := &world{js: js, signer: signer, heads: map[credential.Name]credential.Head{}, states: map[credential.Name]uint64{}}
	w.record = w.open(t, signer)
	for range 3 {
		w.append(t, mapKey)
	}
	if _, _, err := w.record.AppendCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}

	conn, reading := natstest.Connect(t, s.ClientURL(), nats.UserInfo("auditor", "a"))
	refused := make(chan error, 16)
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: reading, Unchecked: true, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	own, err := record.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := mustVerify(t, Stream{record}, Options{Checkpoints: []publisher.Checkpoint{own}})
	if !r.Intact || r.Events != 5 || r.Checkpoints != 2 {
		t.Errorf("%+v", r)
	}
	since := mustVerify(t, Stream{record}, Options{Since: stampsOf(t, Stream{record})[2]})
	if !since.Intact || since.Events != 3 || since.Unchecked != 0 {
		t.Errorf("since the third: %+v", since)
	}
	exported(t, Stream{record})
	select {
	case err := <-refused:
		t.Errorf("reading needs more than doc.go says: %v", err)
	default:
	}
	_, err = record.Append(t.Context(), mapKey, w.heads[mapKey], recordtest.Event(credential.Released{}), recordtest.State(mapKey, 4))
	if !credential.IsClass(err, credential.ClassPermanent) {
		t.Errorf("an append by the auditor: %v", err)
	}
	if err := conn.Publish("keyturn.record.team.maps", nil); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the server refuses the publish", func() bool { return len(refused) > 0 })
}
