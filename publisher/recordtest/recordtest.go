// Package recordtest is what every implementation of the engine's Record port
// must keep, as tests: the one on NATS, and the one in memory that the engine
// is tested with.
package recordtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Port is what is tested.
type Port interface {
	Load(ctx context.Context, name credential.Name) (credential.State, credential.Head, error)
	Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, state credential.State) (credential.Head, error)
	Verify(ctx context.Context, name credential.Name, head credential.Head) error
}

// limit is how long one test may take on a busy machine.
const limit = 2 * time.Minute

// Run runs the suite; open gives an empty record to each test.
func Run(t *testing.T, open func(t *testing.T) Port) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, port Port)
	}{
		{"a credential without events has no state and no head", nothingYet},
		{"what was appended is what is loaded", roundTrip},
		{"an append to an old head is a conflict and changes nothing", staleHead},
		{"an append to a head from the future is a conflict", futureHead},
		{"the same append again succeeds with the same head", sameAgain},
		{"the same append again succeeds also after another one followed", sameAfterOther},
		{"an id that another credential used is refused for good", usedID},
		{"credentials do not disturb each other", apart},
		{"of many writers exactly one wins", race},
		{"an event that was appended can be verified", verifies},
		{"a head that was changed cannot be verified", changedHead},
		{"an event without a fact is refused for good", noFact},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// Event makes an event with an id of its own.
func Event(fact credential.Fact) credential.Event {
	return credential.Event{
		ID: uuid.NewString(), At: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC),
		Actor: "policy", Daemon: "test", Fact: fact,
	}
}

// State makes a state of a credential with that many events.
func State(name credential.Name, revision uint64) credential.State {
	return credential.State{
		Schema: credential.Schema, Name: name, Status: credential.StatusRegistered, Revision: revision,
		Spec: credential.Spec{Issuer: "portal", Item: credential.ItemSpec{Title: "maps"}},
	}
}

const name = credential.Name("team/maps")

func context1(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func registered() credential.Fact {
	return credential.Registered{Spec: credential.Spec{Issuer: "portal", Item: credential.ItemSpec{Title: "maps"}}}
}

func mustAppend(t *testing.T, port Port, name credential.Name, head credential.Head, event credential.Event, state credential.State) credential.Head {
	t.Helper()
	next, err := port.Append(context1(t), name, head, event, state)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return next
}

func wantClass(t *testing.T, err error, class credential.Class) {
	t.Helper()
	if !credential.IsClass(err, class) {
		t.Fatalf("error %v, want class %s", err, class)
	}
}

func wantLoaded(t *testing.T, port Port, name credential.Name, state credential.State, head credential.Head) {
	t.Helper()
	gotState, gotHead, err := port.Load(context1(t), name)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if diff := cmp.Diff(state, gotState); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(head, gotHead); diff != "" {
		t.Errorf("head (-want +got):\n%s", diff)
	}
}

func nothingYet(t *testing.T, port Port) {
	wantLoaded(t, port, name, credential.State{}, credential.Head{})
}

func roundTrip(t *testing.T, port Port) {
	first := mustAppend(t, port, name, credential.Head{}, Event(registered()), State(name, 1))
	if first.Sequence == 0 || first.Hash == "" {
		t.Fatalf("head %+v has no sequence or no hash", first)
	}
	wantLoaded(t, port, name, State(name, 1), first)
	second := mustAppend(t, port, name, first, Event(credential.Released{}), State(name, 2))
	if second.Sequence <= first.Sequence || second.Hash == first.Hash {
		t.Fatalf("head %+v does not come after %+v", second, first)
	}
	wantLoaded(t, port, name, State(name, 2), second)
}

func staleHead(t *testing.T, port Port) {
	first := mustAppend(t, port, name, credential.Head{}, Event(registered()), State(name, 1))
	second := mustAppend(t, port, name, first, Event(credential.Released{}), State(name, 2))
	for _, head := range []credential.Head{{}, first} {
		got, err := port.Append(context1(t), name, head, Event(credential.Released{}), State(name, 3))
		wantClass(t, err, credential.ClassConflict)
		if got != (credential.Head{}) {
			t.Errorf("a lost append gave the head %+v", got)
		}
	}
	wantLoaded(t, port, name, State(name, 2), second)
}

func futureHead(t *testing.T, port Port) {
	first := mustAppend(t, port, name, credential.Head{}, Event(registered()), State(name, 1))
	future := first
	future.Sequence += 10
	_, err := port.Append(context1(t), name, future, Event(credential.Released{}), State(name, 2))
	wantClass(t, err, credential.ClassConflict)
	wantLoaded(t, port, name, State(name, 1), first)
}

func sameAgain(t *testing.T, port Port) {
	event := Event(registered())
	first := mustAppend(t, port, name, credential.Head{}, event, State(name, 1))
	again := mustAppend(t, port, name, credential.Head{}, event, State(name, 1))
	if first != again {
		t.Errorf("the same append gave %+v and then %+v", first, again)
	}
	wantLoaded(t, port, name, State(name, 1), first)
}

// sameAfterOther: the answer to "did my event get there" does not change when
// the record has moved on; whoever asks loads anyway before the next append.
func sameAfterOther(t *testing.T, port Port) {
	mine := Event(registered())
	first := mustAppend(t, port, name, credential.Head{}, mine, State(name, 1))
	other := Event(credential.Released{})
	second := mustAppend(t, port, name, first, other, State(name, 2))
	if again := mustAppend(t, port, name, credential.Head{}, mine, State(name, 1)); again != first {
		t.Errorf("the same append gave %+v and then %+v", first, again)
	}
	_, err := port.Append(context1(t), name, first, Event(credential.Released{}), State(name, 2))
	wantClass(t, err, credential.ClassConflict)
	wantLoaded(t, port, name, State(name, 2), second)
}

func usedID(t *testing.T, port Port) {
	event := Event(registered())
	mustAppend(t, port, name, credential.Head{}, event, State(name, 1))
	const other = credential.Name("team/other")
	_, err := port.Append(context1(t), other, credential.Head{}, event, State(other, 1))
	wantClass(t, err, credential.ClassPermanent)
	wantLoaded(t, port, other, credential.State{}, credential.Head{})
}

func apart(t *testing.T, port Port) {
	heads := map[credential.Name]credential.Head{}
	names := []credential.Name{"a/x", "a/y", "b/x", "a-b/x"}
	for revision := uint64(1); revision <= 3; revision++ {
		for _, name := range names {
			heads[name] = mustAppend(t, port, name, heads[name], Event(registered()), State(name, revision))
		}
	}
	for _, name := range names {
		wantLoaded(t, port, name, State(name, 3), heads[name])
	}
}

// race: 8 writers append to what they loaded, 25 times over.
func race(t *testing.T, port Port) {
	const writers, rounds = 8, 25
	head := credential.Head{}
	for round := uint64(1); round <= rounds; round++ {
		heads := make([]credential.Head, writers)
		errs := make([]error, writers)
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				state := State(name, round)
				state.Settings = fmt.Sprint(w)
				heads[w], errs[w] = port.Append(context1(t), name, head, Event(registered()), state)
			})
		}
		group.Wait()
		winner := -1
		for w, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = w
			case err == nil:
				t.Fatalf("round %d: writers %d and %d both won", round, winner, w)
			case !credential.IsClass(err, credential.ClassConflict):
				t.Fatalf("round %d: writer %d: %v, want a conflict", round, w, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won: %v", round, errs)
		}
		head = heads[winner]
		state := State(name, round)
		state.Settings = fmt.Sprint(winner)
		wantLoaded(t, port, name, state, head)
	}
}

func verifies(t *testing.T, port Port) {
	head := credential.Head{}
	for revision := uint64(1); revision <= 3; revision++ {
		head = mustAppend(t, port, name, head, Event(registered()), State(name, revision))
		if err := port.Verify(context1(t), name, head); err != nil {
			t.Fatalf("Verify of event %d: %v", revision, err)
		}
	}
	_, loaded, err := port.Load(context1(t), name)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if err := port.Verify(context1(t), name, loaded); err != nil {
		t.Fatalf("Verify of what was loaded: %v", err)
	}
}

func changedHead(t *testing.T, port Port) {
	head := mustAppend(t, port, name, credential.Head{}, Event(registered()), State(name, 1))
	for what, change := range map[string]func(*credential.Head){
		"no event":         func(h *credential.Head) { *h = credential.Head{} },
		"another sequence": func(h *credential.Head) { h.Sequence++ },
		"another hash":     func(h *credential.Head) { h.Hash = "00" + h.Hash[2:] + "00" },
	} {
		changed := head
		change(&changed)
		if err := port.Verify(context1(t), name, changed); !credential.IsClass(err, credential.ClassPermanent) {
			t.Errorf("%s: Verify says %v, want a permanent fault", what, err)
		}
	}
}

func noFact(t *testing.T, port Port) {
	event := Event(nil)
	_, err := port.Append(context1(t), name, credential.Head{}, event, State(name, 1))
	wantClass(t, err, credential.ClassPermanent)
	wantLoaded(t, port, name, credential.State{}, credential.Head{})
}
