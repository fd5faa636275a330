package deploy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// changing are requests that nobody but an administrator of NATS may make.
var changing = []string{
	"keyturn.record.shop.a", "keyturn.record._system.signers", "keyturn.events.shop.a", "keyturn.daemons.d-1", "keyturn.denied.x", "keyturn.requests.r-1",
	"$JS.API.STREAM.DELETE.KEYTURN_REQUESTS", "$JS.API.STREAM.PURGE.KEYTURN_REQUESTS", "$JS.API.STREAM.MSG.DELETE.KEYTURN_REQUESTS", "$JS.API.STREAM.UPDATE.KEYTURN_REQUESTS",
	"$JS.API.STREAM.MSG.GET.KEYTURN_REQUESTS", "$JS.API.CONSUMER.CREATE.KEYTURN_REQUESTS.x.keyturn.requests.*", "$JS.API.CONSUMER.MSG.NEXT.KEYTURN_REQUESTS.x",
	"$JS.API.STREAM.CREATE.KEYTURN", "$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.UPDATE.KEYTURN", "$JS.API.STREAM.DELETE.KEYTURN",
	"$JS.API.STREAM.PURGE.KEYTURN", "$JS.API.STREAM.MSG.DELETE.KEYTURN", "$JS.API.STREAM.RESTORE.KEYTURN", "$JS.API.STREAM.SNAPSHOT.KEYTURN",
	"$JS.API.STREAM.DELETE.KEYTURN_DENIED", "$JS.API.STREAM.PURGE.KEYTURN_ARCHIVE", "$JS.API.STREAM.LEADER.STEPDOWN.KEYTURN",
	"$JS.API.CONSUMER.DELETE.KEYTURN.shop", "$JS.API.CONSUMER.DELETE.KEYTURN.any", "$JS.API.CONSUMER.PAUSE.KEYTURN.shop", "$JS.API.CONSUMER.RESET.KEYTURN.shop",
	"$JS.API.CONSUMER.CREATE.KEYTURN", "$JS.API.CONSUMER.CREATE.KEYTURN.shop", "$JS.API.CONSUMER.CREATE.KEYTURN.shop.keyturn.record.shop.*",
	"$JS.API.CONSUMER.DURABLE.CREATE.KEYTURN.shop", "$JS.API.CONSUMER.CREATE.KEYTURN.x.keyturn.other", "$SYS.REQ.SERVER.PING",
}

// TestWhatIsNotAllowedIsRefusedAndChangesNothing goes through all that each user
// must not send. The server tells a refusal only afterwards; so each is awaited,
// and then nothing has changed.
func TestWhatIsNotAllowedIsRefusedAndChangesNothing(t *testing.T) {
	s := newSite(t)
	s.append(t, "team/b", head(), 1, 3)
	commands := []string{"keyturn.control.apply", "keyturn.control.rotate", "keyturn.control.anything"}
	asService := []string{"$JS.API.CONSUMER.MSG.NEXT.KEYTURN.shop", "$JS.ACK.KEYTURN.shop.1.1.1.1.0", "keyturn.ack.shop"}
	for who, c := range map[string]struct {
		user   *natstest.User
		forbid []string
	}{
		"an operator": {s.operator(t), slices.Concat(changing, asService)},
		"an auditor":  {s.auditor(t), slices.Concat(changing, asService, commands, []string{"$SRV.PING"})},
		"a service": {s.shop(t), slices.Concat(changing, commands, []string{
			"keyturn.ack.other", "keyturn.ack", "keyturn.ack.shop.more", "$SRV.PING",
			"$JS.API.CONSUMER.MSG.NEXT.KEYTURN.other", "$JS.ACK.KEYTURN.other.1.1.1.1.0", "$JS.API.CONSUMER.INFO.KEYTURN.other",
			"$JS.API.STREAM.MSG.GET.KEYTURN", "$JS.API.STREAM.INFO.KEYTURN", "$JS.API.CONSUMER.CREATE.KEYTURN.other.keyturn.record.>",
		})},
	} {
		t.Run(who, func(t *testing.T) {
			heard := s.listen(t)
			before := s.look(t)
			for _, subject := range c.forbid {
				must(t, c.user.Publish(subject, []byte(`{}`)))
				c.user.Refused(t, fmt.Sprintf("Publish to %q", subject))
			}
			s.nothingHeard(t, heard)
			if diff := cmp.Diff(before, s.look(t)); diff != "" {
				t.Errorf("what the server holds has changed:\n%s", diff)
			}
		})
	}
}

// listen hears all that arrives where daemons listen.
func (s *site) listen(t *testing.T) []*nats.Subscription {
	t.Helper()
	var heard []*nats.Subscription
	for _, subject := range []string{"keyturn.>", "$SRV.>"} {
		sub, err := s.daemon.SubscribeSync(subject)
		must(t, err)
		t.Cleanup(func() { _ = sub.Unsubscribe() })
		heard = append(heard, sub)
	}
	must(t, s.daemon.Flush())
	return heard
}

// nothingHeard checks that nothing came before a message that was sent now.
func (s *site) nothingHeard(t *testing.T, heard []*nats.Subscription) {
	t.Helper()
	for _, sub := range heard {
		end := strings.TrimSuffix(sub.Subject, ">") + "end-of-test"
		must(t, s.daemon.Publish(end, nil))
		msg, err := sub.NextMsg(10 * time.Second)
		must(t, err)
		if msg.Subject != end {
			t.Errorf("%s received %q %s", msg.Subject, msg.Header, msg.Data)
		}
	}
}

// TestNobodyHearsWhatIsNotHis: subscriptions to others' inboxes, to others'
// events, or to all, are refused.
func TestNobodyHearsWhatIsNotHis(t *testing.T) {
	s := newSite(t)
	all := []string{">", "_INBOX.>", "keyturn.>", "keyturn.record.>", "keyturn.control.>", "keyturn.requests.*", "keyturn.daemons.*", "keyturn.ack.*", "$JS.>", "$SYS.>"}
	for who, c := range map[string]struct {
		user   *natstest.User
		forbid []string
	}{
		"an operator": {s.operator(t), append(all, "_INBOX_auditor.>", "_INBOX_shop.>", "_INBOX_shop.abc")},
		"an auditor":  {s.auditor(t), append(all, "_INBOX_operator.>", "_INBOX_shop.>")},
		"a service":   {s.shop(t), append(all, "_INBOX_operator.>", "_INBOX_auditor.>", "keyturn.events.>", "keyturn.events.team.*", "keyturn.events.*.a")},
	} {
		var subs []*nats.Subscription
		for _, subject := range c.forbid {
			sub, err := c.user.SubscribeSync(subject)
			must(t, err)
			subs = append(subs, sub)
			c.user.Refused(t, fmt.Sprintf("Subscription to %q", subject))
		}
		s.append(t, credential.Name("shop/"+strings.ReplaceAll(who, " ", "-")), head(), 1, 1)
		s.append(t, credential.Name("team/"+strings.ReplaceAll(who, " ", "-")), head(), 1, 1)
		must(t, c.user.Flush()) // what was on its way is here
		for _, sub := range subs {
			if waiting, _, err := sub.Pending(); err != nil || waiting > 0 {
				t.Errorf("%s hears %d messages on %s (%v)", who, waiting, sub.Subject, err)
			}
		}
	}
}

// TestTheArchiveMayOnlyCopy: its login changes nothing as a client; for what comes
// from its server see TestTheArchiveIsTheRecord.
func TestTheArchiveMayOnlyCopy(t *testing.T) {
	s := newSite(t)
	s.append(t, "shop/a", head(), 1, 1)
	before, archive := s.look(t), s.As(t, "KEY_ARCHIVE", "_INBOX_archive")
	forbid := append([]string{
		"$JS.keyturn.API.STREAM.DELETE.KEYTURN", "$JS.keyturn.API.STREAM.PURGE.KEYTURN", "$JS.keyturn.API.STREAM.UPDATE.KEYTURN",
		"$JS.keyturn.API.CONSUMER.DELETE.KEYTURN.shop", "$JS.keyturn.API.CONSUMER.MSG.NEXT.KEYTURN.shop", "$JS.keyturn.API.CONSUMER.PAUSE.KEYTURN.shop",
		"keyturn.control.rotate", "keyturn.ack.shop", "$JS.ACK.OTHER.x.1.1.1.1.0",
	}, changing...)
	for _, subject := range forbid {
		must(t, archive.Publish(subject, nil))
		archive.Refused(t, fmt.Sprintf("Publish to %q", strings.Replace(subject, "$JS.keyturn.", "$JS.", 1))) // the server's own name for it
	}
	if _, err := archive.SubscribeSync("keyturn.>"); err != nil {
		t.Fatal(err)
	}
	archive.Refused(t, `Subscription to "keyturn.>"`)
	if diff := cmp.Diff(before, s.look(t)); diff != "" {
		t.Errorf("what the server holds has changed:\n%s", diff)
	}
}

// TestTheStreamItselfTakesNothingFromOthers: with the names of another account
// in front, or by a domain, there is no way in either.
func TestTheStreamItselfTakesNothingFromOthers(t *testing.T) {
	s := newSite(t)
	before := s.look(t)
	for _, user := range []*natstest.User{s.operator(t), s.auditor(t), s.shop(t)} {
		for _, subject := range []string{"$JS.keyturn.API.STREAM.DELETE.KEYTURN", "$JS.keyturn.API.STREAM.PURGE.KEYTURN", "$JS.keyturn.API.CONSUMER.CREATE.KEYTURN.x.keyturn.record.>"} {
			must(t, user.Publish(subject, nil))
			user.Refused(t, subject)
		}
	}
	if diff := cmp.Diff(before, s.look(t)); diff != "" {
		t.Errorf("what the server holds has changed:\n%s", diff)
	}
	if before[publisher.StreamName] == nil {
		t.Fatal("the stream was not seen")
	}
}
