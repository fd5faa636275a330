package deploy

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/credential"
)

func head() credential.Head { return credential.Head{} }

// tempting are subjects to which an attacker would have somebody else's answer
// sent.
var tempting = []string{
	"keyturn.record.team.b", "keyturn.record.x.y", "keyturn.events.team.b", "$JS.API.STREAM.DELETE.KEYTURN", "$JS.API.STREAM.PURGE.KEYTURN_DENIED",
	"$JS.API.STREAM.DELETE.KEYTURN_DENIED", "$JS.API.CONSUMER.DELETE.KEYTURN.shop", "$JS.API.CONSUMER.DELETE.KEYTURN.any", "$JS.API.CONSUMER.PAUSE.KEYTURN.any",
	"keyturn.requests.r-1", "$JS.API.STREAM.DELETE.KEYTURN_REQUESTS", "$JS.API.STREAM.CREATE.OTHER", "$JS.API.CONSUMER.DURABLE.CREATE.KEYTURN.any",
}

// TestInOneAccountAnAnswerIsAWeapon shows what the second account is for. Who may
// ask for anything chooses where the answer goes, and the server does not look
// whether he may publish there: with the right to pull from one consumer alone,
// one user of the account writes onto the record and deletes the stream. Should
// this fail one day, the server has learnt to look.
func TestInOneAccountAnAnswerIsAWeapon(t *testing.T) {
	s := natstest.Start(t)
	conn, js := natstest.Connect(t, s.ClientURL())
	must(t, publisher.Setup(t.Context(), js, 1))
	_, err := js.CreateConsumer(t.Context(), publisher.StreamName, jetstream.ConsumerConfig{Durable: "shop"})
	must(t, err)
	const next = "$JS.API.CONSUMER.MSG.NEXT.KEYTURN.shop"
	must(t, conn.PublishRequest(next, "keyturn.record.team.b", []byte(`{"no_wait":true}`)))
	natstest.Eventually(t, "the answer stands on the record", func() bool {
		stream, err := js.Stream(t.Context(), publisher.StreamName)
		must(t, err)
		return stream.CachedInfo().State.Msgs == 1
	})
	consumer, err := js.Consumer(t.Context(), publisher.StreamName, "shop")
	must(t, err)
	batch, err := consumer.Fetch(1)
	must(t, err)
	for msg := range batch.Messages() {
		must(t, msg.DoubleAck(t.Context()))
	}
	must(t, conn.PublishRequest(next, "$JS.API.STREAM.DELETE.KEYTURN", []byte(`{"no_wait":true}`)))
	natstest.Eventually(t, "the stream is gone", func() bool {
		_, err := js.Stream(t.Context(), publisher.StreamName)
		return err != nil
	})
}

// TestNoAnswerIsAWeapon: in the shipped configuration the answers of daemons and
// of the server stay in the account of those who asked, wherever they are sent.
func TestNoAnswerIsAWeapon(t *testing.T) {
	s := newSite(t)
	s.append(t, "shop/a", head(), 1, 3)
	s.append(t, "team/b", head(), 1, 3)
	echo(t, s, "keyturn.control.>", `{}`)
	echo(t, s, "keyturn.ack.*", ``)
	echo(t, s, "$SRV.>", `{}`)
	before := s.look(t)
	delete(before, "KEYTURN/shop") // its own service moves it
	for who, c := range map[string]struct {
		user *natstest.User
		ask  map[string]string // subject → request
	}{
		"an operator": {s.operator(t), map[string]string{
			"keyturn.control.limits": "", "$SRV.PING": "", "$JS.API.STREAM.INFO.KEYTURN": "",
			"$JS.API.STREAM.MSG.GET.KEYTURN": `{"last_by_subj":"keyturn.record.shop.a"}`, "$JS.API.CONSUMER.CREATE.KEYTURN.x.keyturn.record.>": "bad",
		}},
		"an auditor": {s.auditor(t), map[string]string{"$JS.API.STREAM.INFO.KEYTURN": "", "$JS.API.STREAM.MSG.GET.KEYTURN_DENIED": `{"seq":1}`}},
		"a service": {s.shop(t), map[string]string{
			"keyturn.ack.shop": "{}", "$JS.API.CONSUMER.INFO.KEYTURN.shop": "", "$JS.API.CONSUMER.MSG.NEXT.KEYTURN.shop": `{"no_wait":true,"batch":1}`,
		}},
	} {
		for subject, request := range c.ask {
			for _, reply := range tempting {
				must(t, c.user.PublishRequest(subject, reply, []byte(request)))
			}
		}
		// what was sent before this is done when this is answered
		own, err := c.user.SubscribeSync(c.user.NewRespInbox())
		must(t, err)
		for subject, request := range c.ask {
			must(t, c.user.PublishRequest(subject, own.Subject, []byte(request)))
		}
		for range c.ask {
			if _, err := own.NextMsg(10 * time.Second); err != nil {
				t.Fatalf("%s gets no answer: %v", who, err)
			}
		}
		if refused := c.user.Refusals(); len(refused) > 0 {
			t.Errorf("%s was refused what he may ask: %v", who, refused)
		}
		after := s.look(t)
		delete(after, "KEYTURN/shop")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s has changed what the server holds:\n%s", who, diff)
		}
	}
}

// echo answers like a daemon.
func echo(t *testing.T, s *site, subject, answer string) {
	t.Helper()
	sub, err := s.daemon.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte(answer)) })
	must(t, err)
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	must(t, s.daemon.Flush())
}

// TestAReaderCannotAimAtTheRecord: who may make a consumer may have the server
// push genuine events somewhere. Onto the record it refuses to; elsewhere in the
// daemons' account they arrive where nobody takes them for anything: README.md.
func TestAReaderCannotAimAtTheRecord(t *testing.T) {
	s := newSite(t)
	s.append(t, "team/b", head(), 1, 3)
	before := s.look(t)
	for _, user := range []*natstest.User{s.operator(t), s.auditor(t)} {
		for _, target := range tempting {
			request, err := json.Marshal(map[string]any{"stream_name": "KEYTURN", "config": jetstream.ConsumerConfig{
				Name: "aimed", FilterSubject: "keyturn.record.>", DeliverSubject: target, HeadersOnly: true, AckPolicy: jetstream.AckNonePolicy,
			}})
			must(t, err)
			answer, err := user.Request("$JS.API.CONSUMER.CREATE.KEYTURN.aimed.keyturn.record.>", request, 10*time.Second)
			must(t, err)
			var made struct {
				Error *struct {
					Code int `json:"err_code"`
				}
			}
			must(t, json.Unmarshal(answer.Data, &made))
			if made.Error == nil {
				must(t, s.daemon.JetStream.DeleteConsumer(t.Context(), publisher.StreamName, "aimed"))
			}
			const cycle = 10081
			if onRecord := target == "keyturn.record.team.b" || target == "keyturn.record.x.y"; onRecord && (made.Error == nil || made.Error.Code != cycle) {
				t.Errorf("%s: %s", target, answer.Data)
			}
		}
	}
	if diff := cmp.Diff(before, s.look(t)); diff != "" {
		t.Errorf("what the server holds has changed:\n%s", diff)
	}
}
