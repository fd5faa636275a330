package deploy

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestTheArchiveIsTheRecord: the copy on another server catches up, is the same
// to the byte and the sequence, outlives the origin, and proves itself.
func TestTheArchiveIsTheRecord(t *testing.T) {
	s := &site{Shipped: natstest.StartShipped(t, ".")}
	s.daemon = s.As(t, "KEY_DAEMON", "_INBOX")
	s.setup(t)
	_, err := s.daemon.JetStream.CreateConsumer(t.Context(), "KEYTURN", read[jetstream.ConsumerConfig](t, "consumer.json"))
	must(t, err)
	first := s.append(t, "shop/a", head(), 1, 1000)

	status, err := s.Varz(nil)
	must(t, err)
	at, err := url.Parse(fmt.Sprintf("nats-leaf://127.0.0.1:%d", status.LeafNode.Port))
	must(t, err)
	t.Setenv("KEYTURN_ARCHIVE_SEED", s.Seeds["KEY_ARCHIVE"])
	archive := &natstest.Shipped{Seeds: s.Seeds, Server: natstest.StartWith(t, natstest.Configure(t, ".", "archive.conf", s.Seeds), func(o *server.Options) {
		o.LeafNode.Remotes[0].URLs = []*url.URL{at}
	})}
	keeper := archive.As(t, "KEY_ARCHIVE", "_INBOX")
	stream, err := keeper.JetStream.CreateStream(t.Context(), read[jetstream.StreamConfig](t, "archive.json"))
	must(t, err)

	s.append(t, "shop/a", first, 1001, 1500) // while it catches up
	s.append(t, "team/b", head(), 1, 500)
	last := s.last(t)
	natstest.Eventually(t, "the archive has caught up", func() bool {
		info, err := stream.Info(t.Context())
		must(t, err)
		return info.State.LastSeq == last && info.Mirror.Lag == 0
	})
	origin, err := s.daemon.JetStream.Stream(t.Context(), "KEYTURN")
	must(t, err)
	for seq := uint64(1); seq <= last; seq++ {
		want, err := origin.GetMsg(t.Context(), seq)
		must(t, err)
		have, err := stream.GetMsg(t.Context(), seq)
		must(t, err)
		maps.DeleteFunc(want.Header, func(name string, _ []string) bool { // what was asked of the stream, not of the event
			return strings.HasPrefix(name, "Nats-Expected-")
		})
		if have.Subject != want.Subject || !bytes.Equal(have.Data, want.Data) || !maps.EqualFunc(have.Header, want.Header, slices.Equal) {
			t.Fatalf("message %d is\n%s %v %s\nnot\n%s %v %s", seq, have.Subject, have.Header, have.Data, want.Subject, want.Header, want.Data)
		}
	}

	s.onlyCopies(t, keeper)
	must(t, s.daemon.JetStream.DeleteStream(t.Context(), "KEYTURN"))
	s.Shutdown()
	s.WaitForShutdown()
	auditor := archive.As(t, "KEY_AUDITOR", "_INBOX_auditor")
	verified := chain(t, auditor.JetStream)
	if want := map[string]int{"keyturn.record._system.signers": 1, "keyturn.record.shop.a": 1500, "keyturn.record.team.b": 500}; !maps.Equal(verified, want) {
		t.Errorf("verified %v, want %v", verified, want)
	}
	if refused := auditor.Refusals(); len(refused) > 0 {
		t.Errorf("the auditor was refused %v", refused)
	}
	if err := stream.Purge(t.Context()); err == nil {
		t.Error("the archive can be purged")
	}
	if err := stream.DeleteMsg(t.Context(), 3); err == nil {
		t.Error("a message of the archive can be deleted")
	}
}

// onlyCopies sends from the archive's server what its login must not, and checks
// that none of it has any effect where the record is.
func (s *site) onlyCopies(t *testing.T, keeper *natstest.User) {
	t.Helper()
	before, heard := s.look(t), s.listen(t)
	for _, subject := range append([]string{
		"$JS.keyturn.API.STREAM.DELETE.KEYTURN", "$JS.keyturn.API.STREAM.PURGE.KEYTURN", "$JS.keyturn.API.STREAM.UPDATE.KEYTURN",
		"$JS.keyturn.API.STREAM.MSG.GET.KEYTURN", "$JS.keyturn.API.CONSUMER.DELETE.KEYTURN.shop", "$JS.keyturn.API.CONSUMER.PAUSE.KEYTURN.shop",
		"keyturn.control.rotate", "keyturn.ack.shop",
	}, changing...) {
		if !strings.HasPrefix(subject, "$JS.API.") { // which means the archive's own
			must(t, keeper.Publish(subject, nil))
		}
	}
	// what was sent before this has arrived when this is answered
	answer, err := keeper.SubscribeSync("$JSC.R.fence")
	must(t, err)
	must(t, keeper.PublishRequest("$JS.keyturn.API.CONSUMER.CREATE.KEYTURN.fence.keyturn.record.>", answer.Subject, []byte("bad")))
	_, err = answer.NextMsg(10 * time.Second)
	must(t, err)
	s.nothingHeard(t, heard)
	if diff := cmp.Diff(before, s.look(t)); diff != "" {
		t.Errorf("the archive's server has changed what is held:\n%s", diff)
	}
}

// last is the last sequence of the record.
func (s *site) last(t *testing.T) uint64 {
	t.Helper()
	stream, err := s.daemon.JetStream.Stream(t.Context(), "KEYTURN")
	must(t, err)
	return stream.CachedInfo().State.LastSeq
}

// chain reads the archive as an auditor may, and checks hash, predecessor and
// signature of each event with nothing but what the documentation of publisher
// says. It counts them by subject.
func chain(t *testing.T, js jetstream.JetStream) map[string]int {
	t.Helper()
	stream, err := js.Stream(t.Context(), "KEYTURN_ARCHIVE")
	must(t, err)
	end := stream.CachedInfo().State.LastSeq
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{FilterSubject: "keyturn.record.>", AckPolicy: jetstream.AckNonePolicy})
	must(t, err)
	messages, err := consumer.Messages()
	must(t, err)
	defer messages.Stop()
	heads, counts := map[string]credential.Head{}, map[string]int{}
	for seq := uint64(0); seq < end; {
		msg, err := messages.Next(jetstream.NextContext(t.Context()))
		must(t, err)
		meta, err := msg.Metadata()
		must(t, err)
		seq = meta.Sequence.Stream
		header, before := msg.Headers(), heads[msg.Subject()]
		hashed := "keyturn-record-1\n" + msg.Subject() + "\n"
		for _, name := range slices.Sorted(maps.Keys(header)) {
			if strings.HasPrefix(name, "ce-") && name != "ce-keyturnsignature" {
				hashed += name + ":" + header[name][0] + "\n"
			}
		}
		sum := sha256.Sum256([]byte(hashed + "\n" + string(msg.Data())))
		signature, err := base64.RawURLEncoding.DecodeString(header["ce-keyturnsignature"][0])
		must(t, err)
		signer, err := nkeys.FromPublicKey(header["ce-keyturnsigner"][0])
		must(t, err)
		if err := signer.Verify(sum[:], signature); err != nil {
			t.Fatalf("message %d: %v", seq, err)
		}
		prev := ""
		if values := header["ce-keyturnprev"]; len(values) > 0 {
			prev = values[0]
		}
		if header["ce-keyturnafter"][0] != fmt.Sprint(before.Sequence) || prev != before.Hash {
			t.Fatalf("message %d does not follow message %d", seq, before.Sequence)
		}
		heads[msg.Subject()] = credential.Head{Sequence: seq, Hash: hex.EncodeToString(sum[:])}
		counts[msg.Subject()]++
	}
	return counts
}
