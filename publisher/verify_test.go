package publisher

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// forge publishes what a stranger with the right to publish could.
func (s *site) forge(t *testing.T, msg *nats.Msg) {
	t.Helper()
	if _, err := s.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatalf("forge: %v", err)
	}
}

// copyOf is a stored message to be published again.
func (s *site) copyOf(t *testing.T, sequence uint64) *nats.Msg {
	t.Helper()
	stream, err := s.js.Stream(t.Context(), StreamName)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := stream.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	msg := &nats.Msg{Subject: raw.Subject, Header: nats.Header{}, Data: raw.Data}
	for name, values := range raw.Header {
		if strings.HasPrefix(name, attributePrefix) {
			msg.Header[name] = values
		}
	}
	return msg
}

func TestVerifyFindsForgeries(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  string
		forge func(t *testing.T, s *site, r *Record, heads []credential.Head)
	}{
		{"changed data under the old signature", "signature", func(t *testing.T, s *site, _ *Record, heads []credential.Head) {
			msg := s.copyOf(t, heads[1].Sequence)
			msg.Data = bytes.Replace(msg.Data, []byte(`"revision":2`), []byte(`"revision":9`), 1)
			s.forge(t, msg)
		}},
		{"a signer that nobody vouches for", "vouches", func(t *testing.T, s *site, _ *Record, heads []credential.Head) {
			stranger := s.openAs(t, newSigner(t))
			mustAppend(t, stranger, mapKey, heads[1], 3)
		}},
		{"no signature at all", "signature", func(t *testing.T, s *site, _ *Record, heads []credential.Head) {
			msg := s.copyOf(t, heads[1].Sequence)
			delete(msg.Header, headerSignature)
			s.forge(t, msg)
		}},
		{"an old event put at the end again", "which another event does", func(t *testing.T, s *site, _ *Record, heads []credential.Head) {
			s.forge(t, s.copyOf(t, heads[0].Sequence))
		}},
		{"the last event put there twice", "which another event does", func(t *testing.T, s *site, _ *Record, heads []credential.Head) {
			s.forge(t, s.copyOf(t, heads[1].Sequence))
		}},
		{"a predecessor that was another one", "was changed", func(t *testing.T, s *site, r *Record, heads []credential.Head) {
			head := heads[1]
			head.Hash = strings.Repeat("00", 32)
			mustAppend(t, r, mapKey, head, 3)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := oneNode(t)
			r := s.open(t)
			first := mustAppend(t, r, mapKey, credential.Head{}, 1)
			second := mustAppend(t, r, mapKey, first, 2)
			if err := r.Verify(limited(t), mapKey, second); err != nil {
				t.Fatalf("Verify of a sound record: %v", err)
			}
			c.forge(t, s, r, []credential.Head{first, second})
			_, head := mustLoad(t, r, mapKey)
			if head.Sequence <= second.Sequence {
				t.Fatal("the forgery is not the last event")
			}
			err := r.Verify(limited(t), mapKey, head)
			if !errors.Is(err, ErrUntrusted) || !credential.IsClass(err, credential.ClassPermanent) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Verify says %v, want a permanent ErrUntrusted with %q", err, c.want)
			}
			if err := r.Verify(limited(t), mapKey, second); err != nil {
				t.Errorf("Verify of the event before the forgery: %v", err)
			}
		})
	}
}

func TestVerifyOfAnotherCredentialsEvent(t *testing.T) {
	r := oneNode(t).open(t)
	head := mustAppend(t, r, mapKey, credential.Head{}, 1)
	if err := r.Verify(limited(t), "team/other", head); !errors.Is(err, ErrUntrusted) {
		t.Errorf("Verify says %v, want ErrUntrusted", err)
	}
}

func TestVerifyThatCannotReadIsNotDistrust(t *testing.T) {
	s := oneNode(t)
	r := s.open(t)
	head := mustAppend(t, r, mapKey, credential.Head{}, 1)
	s.nc.Close()
	err := r.Verify(limited(t), mapKey, head)
	if errors.Is(err, ErrUntrusted) || !credential.IsClass(err, credential.ClassRetryable) {
		t.Errorf("Verify says %v, want a retryable fault", err)
	}
}

func TestSigners(t *testing.T) {
	s := oneNode(t)
	first, second, stranger := newSigner(t), newSigner(t), newSigner(t)
	announce := func(signer, predecessor *Signer) error {
		return PublishSigner(t.Context(), s.js, signer, installation, predecessor)
	}
	for range 2 {
		if err := announce(first, nil); err != nil {
			t.Fatalf("announce the first: %v", err)
		}
	}
	if err := announce(second, nil); !credential.IsClass(err, credential.ClassPermanent) {
		t.Errorf("a second without predecessor: %v, want a permanent fault", err)
	}
	if err := announce(second, stranger); !credential.IsClass(err, credential.ClassPermanent) {
		t.Errorf("a second by a stranger: %v, want a permanent fault", err)
	}
	r := s.openAs(t, first)
	byFirst := mustAppend(t, r, mapKey, credential.Head{}, 1)
	later := s.openAs(t, second)
	bySecond := mustAppend(t, later, mapKey, byFirst, 2)
	if err := r.Verify(limited(t), mapKey, bySecond); !errors.Is(err, ErrUntrusted) {
		t.Errorf("before it is announced: %v, want ErrUntrusted", err)
	}
	for range 2 {
		if err := announce(second, first); err != nil {
			t.Fatalf("announce the second: %v", err)
		}
	}
	if err := r.Verify(limited(t), mapKey, bySecond); err != nil {
		t.Errorf("after it was announced: %v", err)
	}
	signers, err := r.Signers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(signers) != 2 || signers[first.Public()].VouchedBy != first.Public() || signers[second.Public()].VouchedBy != first.Public() {
		t.Errorf("signers %+v", signers)
	}
	if since := signers[second.Public()].Since; time.Since(since) > time.Hour || since.IsZero() {
		t.Errorf("the second is announced at %s", since)
	}

	var mu sync.Mutex
	var bad []string
	collectBad := func(cfg *Config) {
		cfg.OnBad = func(subject string, sequence uint64, err error) {
			mu.Lock()
			defer mu.Unlock()
			bad = append(bad, fmt.Sprintf("%s: %v", subject, err))
		}
	}
	// what a stranger puts there is told and left out, and stops nobody
	forged := newMessage(signerSubject, "x", "keyturn/x", TypeSigner, "f-1", time.Now(), credential.Head{}, []byte(`{"schema":1,"public":"`+stranger.Public()+`"}`))
	if _, err := seal(forged, stranger); err != nil {
		t.Fatal(err)
	}
	s.forge(t, forged)
	s.forge(t, &nats.Msg{Subject: signerSubject, Data: []byte("nonsense")})
	signers, err = s.openAs(t, first, collectBad).Signers(t.Context())
	if err != nil || len(signers) != 2 || len(bad) != 2 {
		t.Errorf("with forgeries: %d signers, told %q, %v", len(signers), bad, err)
	}
	third := newSigner(t)
	if err := announce(third, second); err != nil {
		t.Errorf("announce a third after forgeries: %v", err)
	}
	signers, err = s.openAs(t, first, collectBad).Signers(t.Context())
	if err != nil || signers[third.Public()].VouchedBy != second.Public() {
		t.Errorf("the third: %+v, %v", signers, err)
	}

	pinned := s.openAs(t, first, func(cfg *Config) { cfg.Root = first.Public() }, collectBad)
	if err := pinned.Verify(limited(t), mapKey, bySecond); err != nil {
		t.Errorf("with the right root pinned: %v", err)
	}
	wrong := s.openAs(t, first, func(cfg *Config) { cfg.Root = stranger.Public() }, collectBad)
	if err := wrong.Verify(limited(t), mapKey, bySecond); !errors.Is(err, ErrUntrusted) {
		t.Errorf("with another root pinned: %v, want ErrUntrusted", err)
	}
}

func TestManyAnnounceAtOnce(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		signer := newSigner(t)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if err := PublishSigner(t.Context(), s.js, signer, installation, nil); err != nil {
					t.Errorf("PublishSigner: %v", err)
				}
			})
		}
		group.Wait()
		stream, err := s.js.Stream(t.Context(), StreamName)
		if err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(signerSubject))
		if err != nil || info.State.Subjects[signerSubject] != 1 {
			t.Errorf("%d announcements, want 1 (%v)", info.State.Subjects[signerSubject], err)
		}
	})
}

func TestSignerKeepsItsSeed(t *testing.T) {
	seed, public, err := GenerateSeed()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(seed)
	if err != nil || signer.Public() != public {
		t.Fatalf("NewSigner: %v, public %s, want %s", err, signer.Public(), public)
	}
	cfg := Config{Signer: signer}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if text := fmt.Sprintf(verb, signer) + fmt.Sprintf("%v", cfg.Signer); text != public+public {
			t.Errorf("%s prints %q", verb, text)
		}
	}
	for _, bad := range []string{"", "SU", "not a seed", public, seed.Reveal() + "A"} {
		if _, err := NewSigner(credential.NewSecret(bad)); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("NewSigner of a bad seed says %v", err)
		}
	}
}

func TestLoadOfAnUnreadableEvent(t *testing.T) {
	s := oneNode(t)
	r := s.open(t)
	head := mustAppend(t, r, mapKey, credential.Head{}, 1)
	msg := s.copyOf(t, head.Sequence)
	msg.Data = bytes.Replace(msg.Data, []byte(`"schema":1`), []byte(`"schema":7`), 1)
	s.forge(t, msg)
	_, _, err := r.Load(limited(t), mapKey)
	if !credential.IsClass(err, credential.ClassPermanent) || !strings.Contains(err.Error(), "upgrade keyturn") {
		t.Errorf("Load says %v, want a permanent fault about the schema", err)
	}
	_, err = r.Append(limited(t), mapKey, head, recordtest.Event(credential.Released{}), recordtest.State(mapKey, 2))
	if !credential.IsClass(err, credential.ClassConflict) {
		t.Errorf("Append before it says %v, want a conflict", err)
	}
}
