package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// kept are both kinds of checkpoint of a record: a daemon's, which is then on
// it, and an auditor's own. Both come back from their bytes.
func (w *world) kept(t *testing.T) (daemons, own publisher.Checkpoint) {
	t.Helper()
	own, err := w.record.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := w.record.AppendCheckpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if daemons, err = publisher.DecodeCheckpoint(text); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(own); err != nil {
		t.Fatal(err)
	}
	if own, err = publisher.DecodeCheckpoint(text); err != nil {
		t.Fatal(err)
	}
	if daemons.Root != own.Root || !daemons.Signed() || own.Signed() || daemons.Heads != nil {
		t.Fatalf("checkpoints %+v and %+v", daemons, own)
	}
	return daemons, own
}

// sources are a stream and an export of it.
func sources(t *testing.T, s Stream) []Source { return []Source{s, exported(t, s)} }

func TestAGoodRecordHoldsAgainstItsCheckpoints(t *testing.T) {
	w := goodWorld(t)
	daemons, own := w.kept(t)
	w.append(t, mapKey)
	later, _ := w.kept(t)
	w.append(t, otherKey)
	for _, s := range sources(t, Stream{w.record}) {
		r := mustVerify(t, s, Options{Checkpoints: []publisher.Checkpoint{later, own, daemons}})
		wantOnly(t, r, 0)
		if r.Checkpoints != 5 { // two on the record, three from elsewhere
			t.Errorf("%d checkpoints hold", r.Checkpoints)
		}
	}
}

// TestACutTailShowsAgainstACheckpoint: from the stream alone it does not.
func TestACutTailShowsAgainstACheckpoint(t *testing.T) {
	w := goodWorld(t)
	good := w.all(t)
	daemons, own := w.kept(t)
	for _, s := range sources(t, load(t, good[:9])) {
		wantOnly(t, mustVerify(t, s, Options{}), 0)
		for _, c := range []publisher.Checkpoint{daemons, own} {
			r := mustVerify(t, s, Options{Checkpoints: []publisher.Checkpoint{c}})
			wantFound(t, r, Against, 11, "", "")
			if !strings.Contains(r.Findings[0].What, "ends at 9: its tail was cut off") {
				t.Error(r.Findings[0])
			}
		}
	}
}

// TestAnExportOlderThanACheckpoint is no proof, and is told in other words.
func TestAnExportOlderThanACheckpoint(t *testing.T) {
	w := goodWorld(t)
	older := exported(t, Stream{w.record})
	w.append(t, mapKey)
	_, own := w.kept(t)
	r := mustVerify(t, older, Options{Checkpoints: []publisher.Checkpoint{own}})
	wantOnly(t, r, 1)
	if !strings.Contains(r.Findings[0].String(), "this export ends at 11: it was made before that") {
		t.Error(r.Findings[0])
	}
}

// TestARebuiltStreamShowsAgainstACheckpoint: somebody made all anew, with keys
// of his own, and it is sound by itself.
func TestARebuiltStreamShowsAgainstACheckpoint(t *testing.T) {
	daemons, own := goodWorld(t).kept(t)
	rebuilt := goodWorld(t)
	now := rebuilt.all(t)
	for _, s := range sources(t, Stream{rebuilt.record}) {
		wantOnly(t, mustVerify(t, s, Options{}), 0)
		r := mustVerify(t, s, Options{Checkpoints: []publisher.Checkpoint{daemons}})
		wantFound(t, r, Against, 11, "", "")
		if !strings.Contains(r.Findings[0].What, "built anew") {
			t.Error(r.Findings[0])
		}
		r = mustVerify(t, s, Options{Checkpoints: []publisher.Checkpoint{own}})
		wantFound(t, r, Against, 10, mapSubject, idOf(now[9]))
		wantFound(t, r, Against, 11, otherSubject, idOf(now[10]))
		wantFound(t, r, Against, 1, now[0].Subject, idOf(now[0]))
		wantOnly(t, r, 3)
	}
}

// TestAHistorySignedAgainShowsAgainstACheckpoint: a holder of the key writes the
// life of one credential again; its signatures and its chain are sound.
func TestAHistorySignedAgainShowsAgainstACheckpoint(t *testing.T) {
	w := goodWorld(t)
	good := w.all(t)
	early, own := w.kept(t)
	again := newWorld(t, w.signer)
	for range 5 {
		again.append(t, mapKey)
		again.append(t, otherKey)
	}
	// the announcement is the old one: only what follows was written again
	all := append(slices.Clone(good[:1]), again.all(t)[1:]...)
	for _, s := range sources(t, load(t, all)) {
		wantOnly(t, mustVerify(t, s, Options{}), 0)
		r := mustVerify(t, s, Options{Checkpoints: []publisher.Checkpoint{early}})
		wantFound(t, r, Against, 11, "", "")
		if !strings.Contains(r.Findings[0].What, "messages 1 to 11: the history was written again") {
			t.Error(r.Findings[0])
		}
		r = mustVerify(t, s, Options{Checkpoints: []publisher.Checkpoint{own}})
		wantFound(t, r, Against, 10, mapSubject, idOf(all[9]))
		wantFound(t, r, Against, 11, otherSubject, idOf(all[10]))
		wantOnly(t, r, 2)
	}
}

// TestALieInACheckpointOnTheRecordIsNamed: it is verified like what it vouches for.
func TestALieInACheckpointOnTheRecordIsNamed(t *testing.T) {
	w := goodWorld(t)
	w.kept(t)
	good := w.all(t)
	// a record that differs before it: one credential's last event is another one
	bad := slices.Clone(good)
	bad[10] = changedData(bad[10])
	r := mustVerify(t, load(t, bad), Options{})
	wantFound(t, r, Changed, 11, otherSubject, idOf(good[10]))
	wantFound(t, r, Against, 12, good[11].Subject, idOf(good[11]))
	wantOnly(t, r, 2)
}

// TestCheckpointsThatAreNoEvidence: a forged one says nothing, and one for a part
// of the record is refused.
func TestCheckpointsThatAreNoEvidence(t *testing.T) {
	w := goodWorld(t)
	daemons, own := w.kept(t)
	forged := daemons
	forged.Subjects++
	r := mustVerify(t, Stream{w.record}, Options{Checkpoints: []publisher.Checkpoint{forged}})
	if len(r.Findings) != 1 || !strings.Contains(r.Findings[0].What, "no evidence") {
		t.Errorf("a forged one: %v", r.Findings)
	}
	if _, err := Verify(t.Context(), Stream{w.record}, Options{Since: time.Now(), Checkpoints: []publisher.Checkpoint{own}}); err == nil {
		t.Error("a checkpoint with --since is taken")
	}
	own.Heads = slices.Clone(own.Heads)
	own.Heads[1].Sequence++
	text, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publisher.DecodeCheckpoint(text); err == nil || !strings.Contains(err.Error(), "changed or cut") {
		t.Errorf("heads that are not those of the root: %v", err)
	}
}

// TestACheckpointIsOfOneInstant: taken while others append, it is the record's
// at exactly its sequence; and of many daemons one makes one at a time.
func TestACheckpointIsOfOneInstant(t *testing.T) {
	w := goodWorld(t)
	done := make(chan struct{})
	var writers, makers sync.WaitGroup
	for _, name := range []credential.Name{"a/x", "a/y", "b/x"} {
		writers.Go(func() {
			head := credential.Head{}
			for revision := uint64(1); ; revision++ {
				select {
				case <-done:
					return
				default:
				}
				var err error
				head, err = w.record.Append(t.Context(), name, head, recordtest.Event(credential.Released{}), recordtest.State(name, revision))
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var mu sync.Mutex
	var made []publisher.Checkpoint
	for range 3 {
		makers.Go(func() {
			for range 10 {
				c, err := w.record.Checkpoint(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				signed, _, err := w.record.AppendCheckpoint(t.Context())
				mu.Lock()
				made = append(made, c)
				if err == nil {
					made = append(made, signed)
				} else if !credential.IsClass(err, credential.ClassConflict) {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	for range 5 {
		wantOnly(t, mustVerify(t, Stream{w.record}, Options{}), 0) // of a record that lives
	}
	makers.Wait()
	close(done)
	writers.Wait()
	r := mustVerify(t, Stream{w.record}, Options{Checkpoints: made})
	wantOnly(t, r, 0)
	if r.Checkpoints <= len(made) || len(made) <= 30 {
		t.Errorf("%d of %d given hold", r.Checkpoints, len(made))
	}
}
