package publisher

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestLesson06OfThreeWritersAtOneHeadOneIsBelieved: who lost is told so, and
// what it meant to write stands nowhere.
func TestLesson06OfThreeWritersAtOneHeadOneIsBelieved(t *testing.T) {
	s := oneNode(t)
	r := s.open(t)
	head := mustAppend(t, r, mapKey, credential.Head{}, 1)
	won := 0
	for revision := uint64(2); revision <= 4; revision++ {
		_, err := r.Append(limited(t), mapKey, head, recordtest.Event(credential.Released{}), recordtest.State(mapKey, revision))
		switch {
		case err == nil:
			won++
		case !credential.IsClass(err, credential.ClassConflict):
			t.Errorf("writer %d: %v, want a conflict", revision, err)
		}
	}
	if state, _ := mustLoad(t, r, mapKey); won != 1 || state.Revision != 2 {
		t.Errorf("%d won, revision %d", won, state.Revision)
	}
}

// TestTrapEventsWithoutADeliveryGuarantee: whoever was away gets each event once
// and in order; whoever listens hears of no append that was rejected.
func TestTrapEventsWithoutADeliveryGuarantee(t *testing.T) {
	s := oneNode(t)
	r := s.open(t)
	heard := make(chan string, 64)
	listener, err := s.nc.Subscribe(EventSubject(mapKey), func(m *nats.Msg) { heard <- attribute(m.Header, headerID) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Unsubscribe() }()
	var want []string
	head := credential.Head{}
	for revision := uint64(1); revision <= 5; revision++ {
		stale := head
		event := recordtest.Event(credential.Released{})
		if head, err = r.Append(limited(t), mapKey, head, event, recordtest.State(mapKey, revision)); err != nil {
			t.Fatal(err)
		}
		want = append(want, event.ID)
		rejected := recordtest.Event(credential.Released{})
		if _, err := r.Append(limited(t), mapKey, stale, rejected, recordtest.State(mapKey, revision)); !credential.IsClass(err, credential.ClassConflict) {
			t.Fatalf("an append to an old head: %v", err)
		}
	}
	natstest.Eventually(t, "all were heard", func() bool { return len(heard) >= len(want) })
	var got []string
	for range len(heard) {
		got = append(got, <-heard)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("heard on the event subject (-want +got):\n%s", diff)
	}
	away := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.Watch(ctx, 0, fn) })
	away.wait(t, want)
	half := watch(t, func(ctx context.Context, fn func(credential.Entry)) error { return r.Watch(ctx, head.Sequence-2, fn) })
	half.wait(t, want[len(want)-2:])
}
