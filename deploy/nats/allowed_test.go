package deploy

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/peers"
)

// TestADaemonMayAllThatARecordNeeds runs the record's conformance suite as the
// daemons' user.
func TestADaemonMayAllThatARecordNeeds(t *testing.T) {
	s := newSite(t)
	recordtest.Run(t, func(t *testing.T) recordtest.Port {
		must(t, s.daemon.JetStream.DeleteStream(t.Context(), publisher.StreamName))
		s.setup(t)
		return s.record
	})
	if refused := s.daemon.Refusals(); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}

// TestDaemonsKeepWhatBecameOfRequests for each other; an operator sees that the
// stream is there.
func TestDaemonsKeepWhatBecameOfRequests(t *testing.T) {
	s := newSite(t)
	_, err := publisher.NewRequests(s.daemon.JetStream).Keep(t.Context(), "r-1", []byte("unchanged"))
	must(t, err)
	other, operator := s.As(t, "KEY_DAEMON", "_INBOX"), s.operator(t)
	outcome, err := publisher.NewRequests(other.JetStream).Outcome(t.Context(), "r-1")
	must(t, err)
	if string(outcome) != "unchanged" {
		t.Errorf("the other daemon reads %q", outcome)
	}
	problems, err := publisher.CheckRequests(t.Context(), operator.JetStream)
	must(t, err)
	if refused := append(s.daemon.Refusals(), operator.Refusals()...); len(problems)+len(refused) > 0 {
		t.Errorf("problems %v, refused %v", problems, refused)
	}
}

// TestDaemonsMeet: heartbeats go from daemon to daemon, and nobody else hears any.
func TestDaemonsMeet(t *testing.T) {
	s := newSite(t)
	met := make(chan peers.Fleet, 16)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for _, id := range []string{"d-1", "d-2"} {
		service := peers.New(peers.Config{
			Conn: s.As(t, "KEY_DAEMON", "_INBOX").Conn, Beat: func() peers.Heartbeat { return peers.Heartbeat{ID: id} },
			Changed: func(f peers.Fleet) { met <- f }, Now: time.Now, Logger: zap.NewNop(),
		})
		go func() { ended <- service.Run(ctx) }()
	}
	for range 2 {
		select {
		case <-met:
		case <-time.After(20 * time.Second):
			t.Fatal("the daemons do not meet")
		}
	}
	stop()
	for range 2 {
		must(t, <-ended)
	}
}

// TestWhoMayReadReadsAll: an operator and an auditor load, recover, follow and
// verify the record with what they are allowed.
func TestWhoMayReadReadsAll(t *testing.T) {
	s := newSite(t)
	a := s.append(t, "shop/a", head(), 1, 300)
	s.append(t, "team/b", head(), 1, 3)
	for who, user := range map[string]*natstest.User{"operator": s.operator(t), "auditor": s.auditor(t)} {
		record, err := publisher.Open(t.Context(), publisher.Config{JetStream: user.JetStream})
		must(t, err)
		state, last, err := record.Load(t.Context(), "shop/a")
		must(t, err)
		if state.Revision != 300 || last != a {
			t.Errorf("%s loads revision %d, head %+v", who, state.Revision, last)
		}
		must(t, record.Verify(t.Context(), "shop/a", a))
		names, events := map[credential.Name]bool{}, 0
		must(t, record.Recover(t.Context(), func(e credential.Entry) error { names[e.Name] = true; return nil }))
		must(t, record.History(t.Context(), "shop/a", func(credential.Entry) error { events++; return nil }))
		if len(names) != 2 || events != 300 {
			t.Errorf("%s reads %d credentials, %d events", who, len(names), events)
		}
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		watched := 0
		must(t, record.Watch(ctx, 0, func(credential.Entry) {
			if watched++; watched == 303 {
				stop()
			}
		}))
		stop()
		if watched != 303 {
			t.Errorf("%s watches %d events", who, watched)
		}
		if _, err := record.Append(t.Context(), "shop/a", a, recordtest.Event(credential.Released{}), recordtest.State("shop/a", 301)); err == nil {
			t.Errorf("%s appends", who)
		}
		if refused := user.Refusals(); len(refused) > 0 {
			t.Errorf("%s is refused %v", who, refused)
		}
	}
}

// TestAnAuditorReadsTheCopyAndTheDenied on the same server, each message of both.
func TestAnAuditorReadsTheCopyAndTheDenied(t *testing.T) {
	s := newSite(t)
	s.append(t, "shop/a", head(), 1, 300)
	config := read[jetstream.StreamConfig](t, "archive.json")
	config.Mirror.External = nil
	_, err := s.daemon.JetStream.CreateStream(t.Context(), config)
	must(t, err)
	_, err = s.daemon.JetStream.Publish(t.Context(), "keyturn.denied.rotate", []byte("{}"))
	must(t, err)
	auditor := s.auditor(t)
	natstest.Eventually(t, "the copy has caught up", func() bool {
		stream, err := auditor.JetStream.Stream(t.Context(), "KEYTURN_ARCHIVE")
		must(t, err)
		return stream.CachedInfo().State.LastSeq == s.last(t)
	})
	if verified := chain(t, auditor.JetStream); verified["keyturn.record.shop.a"] != 300 {
		t.Errorf("verified %v", verified)
	}
	denied, err := auditor.JetStream.CreateConsumer(t.Context(), "KEYTURN_DENIED", jetstream.ConsumerConfig{FilterSubject: "keyturn.denied.>", AckPolicy: jetstream.AckNonePolicy})
	must(t, err)
	msg, err := denied.Next(jetstream.FetchMaxWait(20 * time.Second))
	must(t, err)
	if msg.Subject() != "keyturn.denied.rotate" || len(auditor.Refusals()) > 0 {
		t.Errorf("%s, refused %v", msg.Subject(), auditor.Refusals())
	}
}

// TestAnOperatorAsksAndTheDaemonAnswers also with what `nats micro` asks.
func TestAnOperatorAsksAndTheDaemonAnswers(t *testing.T) {
	s := newSite(t)
	echo(t, s, "keyturn.control.>", "yes")
	echo(t, s, "$SRV.>", "yes")
	operator := s.operator(t)
	for _, subject := range []string{"keyturn.control.rotate", "$SRV.PING", "$SRV.INFO.keyturn", "$SRV.STATS"} {
		answer, err := operator.Request(subject, []byte(`{}`), 10*time.Second)
		must(t, err)
		if string(answer.Data) != "yes" {
			t.Errorf("%s: %s", subject, answer.Data)
		}
	}
}

// TestAServiceHearsItsOwn: live events of its namespace, and its acknowledgement
// arrives under its own name.
func TestAServiceHearsItsOwn(t *testing.T) {
	s := newSite(t)
	shop := s.shop(t)
	live, err := shop.SubscribeSync("keyturn.events.shop.*")
	must(t, err)
	must(t, shop.Flush())
	acks, err := s.daemon.SubscribeSync("keyturn.ack.*")
	must(t, err)
	must(t, s.daemon.Flush())
	s.append(t, "team/b", head(), 1, 1)
	s.append(t, "shop/a", head(), 1, 2)
	for revision := 1; revision <= 2; revision++ {
		msg, err := live.NextMsg(10 * time.Second)
		must(t, err)
		if msg.Subject != "keyturn.events.shop.a" || msg.Header["ce-subject"][0] != "shop/a" {
			t.Errorf("heard %s %v", msg.Subject, msg.Header)
		}
	}
	must(t, shop.PublishMsg(&nats.Msg{Subject: "keyturn.ack.shop", Data: []byte(`{}`)}))
	msg, err := acks.NextMsg(10 * time.Second)
	must(t, err)
	if consumer := strings.TrimPrefix(msg.Subject, "keyturn.ack."); consumer != "shop" {
		t.Errorf("the acknowledgement is of %q", consumer)
	}
	if refused := shop.Refusals(); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}
