package publisher

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

func view() credential.View {
	return credential.View{Now: at(0), Daemon: "d-1", ID: uuid.NewString()}
}

func askedFreeze(id, reason string) credential.Asked {
	return credential.Asked{ID: id, Digest: "of " + id, Command: credential.PutHold{Actor: "ann", Reason: reason, Freeze: true}}
}

func askedThaw(id string) credential.Asked {
	return credential.Asked{ID: id, Digest: "of " + id, Command: credential.Release{Actor: "bob", Reason: "over", Freeze: true}}
}

// TestFreezeIsAFactOfTheInstallation: chained, signed, with who and why; no reader
// of credentials stumbles over it.
func TestFreezeIsAFactOfTheInstallation(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		r := s.open(t)
		frozen := func() *credential.Hold {
			t.Helper()
			hold, err := r.Frozen(limited(t))
			if err != nil {
				t.Fatal(err)
			}
			return hold
		}
		if hold := frozen(); hold != nil {
			t.Errorf("before anything it is frozen by %+v", hold)
		}
		state, err := r.Freeze(limited(t), askedFreeze("r-1", "incident"), view())
		if err != nil || state.Revision != 1 || state.Frozen == nil {
			t.Fatalf("%+v, %v", state, err)
		}
		if hold := frozen(); hold == nil || hold.Actor != "ann" || hold.Reason != "incident" || !hold.Since.Equal(at(0)) {
			t.Errorf("frozen by %+v", hold)
		}
		if state, err := r.Freeze(limited(t), askedFreeze("r-1", "incident"), view()); !errors.Is(err, credential.ErrRepeated) || state.Revision != 1 {
			t.Errorf("the repeat: %+v, %v", state, err)
		}
		if state, err = r.Freeze(limited(t), askedThaw("r-2"), view()); err != nil || state.Revision != 2 || frozen() != nil {
			t.Errorf("the thaw: %+v, %v, then frozen by %+v", state, err, frozen())
		}
		if _, err := r.Freeze(limited(t), askedFreeze("r-1", "incident"), view()); !errors.Is(err, credential.ErrRepeated) || frozen() != nil {
			t.Errorf("the replay of the freeze: %v, then frozen by %+v", err, frozen())
		}
		if _, err := r.Freeze(limited(t), askedThaw("r-3"), view()); !errors.Is(err, credential.ErrNothing) {
			t.Errorf("a thaw of nothing: %v", err)
		}
		for sequence, want := range map[uint64]struct{ kind, actor, reason, request string }{
			2: {TypeFrozen, "ann", "", "r-1"}, 3: {TypeThawed, "bob", "over", "r-2"},
		} {
			msg, found, err := r.get(limited(t), sequence)
			if err != nil || !found {
				t.Fatal(found, err)
			}
			fact, head, err := decodeFreeze(msg)
			if err != nil || !signed(head) || head.Signer != r.cfg.Signer.Public() || attribute(msg.Header, headerType) != want.kind ||
				fact.Actor != want.actor || fact.Reason != want.reason || fact.Request != want.request || fact.Daemon != "d-1" {
				t.Errorf("message %d: %+v, %v, %v", sequence, fact, msg.Header, err)
			}
			if after := attribute(msg.Header, headerAfter); (sequence == 3) != (after == "2") {
				t.Errorf("message %d follows %s", sequence, after)
			}
		}
		if err := r.Recover(limited(t), func(e credential.Entry) error { return fmt.Errorf("%s was given", e.Name) }); err != nil {
			t.Error(err)
		}
	})
}

// TestOneOfManyFreezesWins, the others decide again; none is lost or doubled.
func TestOneOfManyFreezesWins(t *testing.T) {
	s := oneNode(t)
	r := s.open(t)
	const many = 3 // as often as an append is tried
	var group sync.WaitGroup
	for i := range many {
		other := s.openAs(t, r.cfg.Signer)
		group.Go(func() {
			if _, err := other.Freeze(t.Context(), askedFreeze(fmt.Sprint("r-", i), fmt.Sprint("reason ", i)), view()); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	group.Wait()
	state, _, err := r.freeze(t.Context())
	if err != nil || state.Revision != many || len(state.Answered) != many {
		t.Errorf("%+v, %v", state, err)
	}
}

// TestAForgedFreezeIsNotBelieved: by a signer nobody vouches for, altered, of an
// earlier place, or not one at all.
func TestAForgedFreezeIsNotBelieved(t *testing.T) {
	put := func(t *testing.T, s *site, kind string, fact any, by *Signer, head credential.Head, change func([]byte) []byte) {
		t.Helper()
		data, err := json.Marshal(fact)
		if err != nil {
			t.Fatal(err)
		}
		msg := newMessage(freezeSubject, systemToken+"/"+freezeFacts, "keyturn/"+installation, kind, uuid.NewString(), time.Now(), head, data)
		if _, err := seal(msg, by); err != nil {
			t.Fatal(err)
		}
		msg.Data = change(msg.Data)
		if _, err := s.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	same := func(data []byte) []byte { return data }
	hold := &credential.Hold{Actor: "ann", Reason: "incident"}
	for what, c := range map[string]struct {
		kind      string
		fact      freezing
		stranger  bool
		detached  bool // it does not name what it follows
		change    func([]byte) []byte
		untrusted bool
		want      string
	}{
		"a stranger's":     {TypeThawed, freezing{Schema: 1}, true, false, same, true, "nobody vouches"},
		"an altered one":   {TypeFrozen, freezing{Schema: 1, Frozen: hold}, false, false, func(d []byte) []byte { return []byte(strings.Replace(string(d), "incident", "Incident", 1)) }, true, "signature"},
		"one out of place": {TypeThawed, freezing{Schema: 1}, false, true, same, true, "follows message 0"},
		"another fact":     {TypeSigner, freezing{Schema: 1}, false, false, same, false, "neither a freeze nor a thaw"},
		"a hollow one":     {TypeFrozen, freezing{Schema: 1}, false, false, same, false, "does not hold"},
		"a newer one":      {TypeThawed, freezing{Schema: 99}, false, false, same, false, "upgrade keyturn"},
		"no JSON":          {TypeThawed, freezing{Schema: 1}, false, false, func([]byte) []byte { return []byte("x") }, false, "invalid character"},
	} {
		t.Run(what, func(t *testing.T) {
			s := oneNode(t)
			r := s.open(t)
			if _, err := r.Freeze(t.Context(), askedFreeze("r-1", "incident"), view()); err != nil {
				t.Fatal(err)
			}
			_, head, err := r.freeze(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			by := r.cfg.Signer
			if c.stranger {
				by = newSigner(t)
			}
			if c.detached {
				head = credential.Head{}
			}
			put(t, s, c.kind, c.fact, by, head, c.change)
			held, err := r.Frozen(t.Context())
			if held != nil || err == nil || errors.Is(err, ErrUntrusted) != c.untrusted || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v; want %q", held, err, c.want)
			}
			if _, err := r.Freeze(t.Context(), askedFreeze("r-2", "other"), view()); err == nil {
				t.Error("it is built upon")
			}
		})
	}
}

// TestAReaderDoesNotFreeze, and a record that is gone says so.
func TestAReaderDoesNotFreeze(t *testing.T) {
	s := oneNode(t)
	r := s.openAs(t, nil)
	if _, err := r.Freeze(t.Context(), askedFreeze("r", "x"), view()); err == nil || !strings.Contains(err.Error(), "for reading only") {
		t.Errorf("got %v", err)
	}
}

// FuzzFreeze: what is read is a freeze that holds one, or a thaw that does not.
func FuzzFreeze(f *testing.F) {
	f.Add(TypeFrozen, []byte(`{"schema":1,"frozen":{"actor":"ann","reason":"x"},"answered":[{"id":"r","digest":"d"}]}`))
	f.Add(TypeThawed, []byte(`{"schema":1,"reason":"over"}`))
	f.Add(TypeFrozen, []byte(`{"schema":1,"frozen":null}`))
	f.Add(TypeSigner, []byte(`{"schema":99}`))
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		msg := &jetstream.RawStreamMsg{Subject: freezeSubject, Sequence: 3, Data: data}
		msg.Header = newMessage(freezeSubject, "x", "keyturn/test", kind, "id", at(0), credential.Head{}, data).Header
		fact, head, err := decodeFreeze(msg)
		if err != nil {
			return
		}
		if head.Sequence != 3 || fact.Schema > credential.Schema || (kind == TypeFrozen) != (fact.Frozen != nil) {
			t.Fatalf("%s %+v", kind, fact)
		}
	})
}
