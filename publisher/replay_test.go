package publisher

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestReplay: every event of every credential, in the order of the stream; what
// stands on subjects of the installation, and what cannot be read, is left out.
func TestReplay(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		var bad bads
		r := s.open(t, bad.hook)
		replayed := func() (ids []string) {
			t.Helper()
			last := uint64(0)
			if err := r.Replay(limited(t), func(e credential.Entry) error {
				if e.Head.Sequence <= last {
					t.Errorf("%d comes after %d", e.Head.Sequence, last)
				}
				last = e.Head.Sequence
				ids = append(ids, e.Event.ID)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return ids
		}
		if ids := replayed(); len(ids) != 0 {
			t.Errorf("a record without events gives %v", ids)
		}
		var want []string
		heads := map[credential.Name]credential.Head{}
		for i := range 2*batchSize + 1 {
			name := credential.Name(fmt.Sprintf("team/key-%d", i%3))
			event := recordtest.Event(credential.Released{})
			next, err := r.Append(t.Context(), name, heads[name], event, recordtest.State(name, uint64(i)))
			if err != nil {
				t.Fatal(err)
			}
			heads[name] = next
			want = append(want, event.ID)
		}
		s.forge(t, &nats.Msg{Subject: RecordSubject(mapKey), Data: []byte("nonsense")})
		if diff := cmp.Diff(want, replayed()); diff != "" {
			t.Error(diff)
		}
		if n := len(bad.get()); n != 1 {
			t.Errorf("told of %d bad messages, want 1", n)
		}
		enough := errors.New("enough")
		seen := 0
		if err := r.Replay(limited(t), func(credential.Entry) error { seen++; return enough }); !errors.Is(err, enough) || seen != 1 {
			t.Errorf("after an error of the caller: %d more, %v", seen, err)
		}
	})
}
