package audit

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

var (
	mapSubject   = publisher.RecordSubject(mapKey)
	otherSubject = publisher.RecordSubject(otherKey)
)

// exported is a source as a file.
func exported(t testing.TB, source Source) *File {
	t.Helper()
	var file bytes.Buffer
	if _, err := Export(t.Context(), source, time.Time{}, "", &file); err != nil {
		t.Fatal(err)
	}
	return NewFile("export", bytes.NewReader(file.Bytes()))
}

// changedData is a message with another content under its old signature.
func changedData(m publisher.Raw) publisher.Raw {
	m.Data = bytes.Replace(m.Data, []byte(`"title":"maps"`), []byte(`"title":"mine"`), 1)
	return m
}

// TestTamperingShowsFromTheRecordAlone: what was done to a good record is named,
// and nothing else, on a stream and in an export of it.
func TestTamperingShowsFromTheRecordAlone(t *testing.T) {
	good := goodWorld(t).all(t)
	at := func(sequence int) publisher.Raw { return good[sequence-1] }
	with := func(change func(all []publisher.Raw) []publisher.Raw) []publisher.Raw {
		return change(slices.Clone(good))
	}
	type want struct {
		kind     Kind
		sequence uint64
		subject  string
		event    string
	}
	for _, c := range []struct {
		name     string
		messages []publisher.Raw
		want     []want
	}{
		{"nothing", good, nil},
		{"a changed event", with(func(all []publisher.Raw) []publisher.Raw {
			all[5] = changedData(all[5])
			return all
		}), []want{{Changed, 6, mapSubject, idOf(at(6))}}},
		{"a changed first event", with(func(all []publisher.Raw) []publisher.Raw {
			all[1] = changedData(all[1])
			return all
		}), []want{{Changed, 2, mapSubject, idOf(at(2))}}},
		{"a changed last event", with(func(all []publisher.Raw) []publisher.Raw {
			all[10] = changedData(all[10])
			return all
		}), []want{{Changed, 11, otherSubject, idOf(at(11))}}},
		{"an event removed from the stream", with(func(all []publisher.Raw) []publisher.Raw {
			all[5] = publisher.Raw{}
			return all
		}), []want{{Removed, 6, mapSubject, idOf(at(8))}}},
		{"an event removed, and all after it moved up", with(func(all []publisher.Raw) []publisher.Raw {
			return slices.Delete(all, 5, 6)
		}), []want{{Removed, 6, mapSubject, idOf(at(8))}, {Swapped, 6, otherSubject, idOf(at(7))}}},
		{"the last event of a credential removed", with(func(all []publisher.Raw) []publisher.Raw {
			all[9] = publisher.Raw{}
			return all
		}), []want{{Removed, 10, "", ""}}},
		{"the last event of all deleted", with(func(all []publisher.Raw) []publisher.Raw {
			all[10] = publisher.Raw{}
			return all
		}), []want{{Removed, 11, "", ""}}},
		{"an old event put there again", with(func(all []publisher.Raw) []publisher.Raw {
			return append(all, at(4))
		}), []want{{Inserted, 12, mapSubject, idOf(at(4))}}},
		{"an old event put in between", with(func(all []publisher.Raw) []publisher.Raw {
			all = slices.Insert(all, 8, at(4))
			return all
		}), []want{{Inserted, 9, mapSubject, idOf(at(4))}, {Swapped, 10, otherSubject, idOf(at(9))}}},
		{"two events of a credential swapped", with(func(all []publisher.Raw) []publisher.Raw {
			all[3], all[5] = all[5], all[3]
			return all
		}), []want{{Swapped, 4, mapSubject, idOf(at(6))}}},
		{"two events swapped with one between them", with(func(all []publisher.Raw) []publisher.Raw {
			all[3], all[7] = all[7], all[3]
			return all
		}), []want{{Swapped, 4, mapSubject, idOf(at(8))}}},
		{"events of two credentials swapped", with(func(all []publisher.Raw) []publisher.Raw {
			all[3], all[4] = all[4], all[3]
			return all
		}), []want{{Swapped, 4, otherSubject, idOf(at(5))}, {Swapped, 5, mapSubject, idOf(at(4))}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := load(t, c.messages)
			for what, source := range map[string]Source{"stream": stream, "file": exported(t, stream)} {
				r := mustVerify(t, source, Options{})
				for _, w := range c.want {
					wantFound(t, r, w.kind, w.sequence, w.subject, w.event)
				}
				wantOnly(t, r, len(c.want))
				if t.Failed() {
					t.Fatalf("over a %s", what)
				}
			}
		})
	}
}

// TestForgeriesAreNamed: what a stranger or a holder of a key puts there while
// the record lives.
func TestForgeriesAreNamed(t *testing.T) {
	w := goodWorld(t)
	good := w.all(t)
	forger := newWorld(t, newSigner(t))
	forger.append(t, mapKey)
	forged := forger.all(t)[1] // by a signer that nobody here vouches for

	r := mustVerify(t, load(t, append(slices.Clone(good), forged)), Options{})
	wantFound(t, r, Inserted, 12, mapSubject, idOf(forged))

	changed := changedData(good[9])
	inserted := append(slices.Clone(good[:9]), changed, good[9])
	r = mustVerify(t, load(t, inserted), Options{})
	wantFound(t, r, Inserted, 10, mapSubject, idOf(changed))
	wantOnly(t, r, 1)

	// a holder of the key puts one there that looks right, and the daemon goes on
	theirs := branch(t, w, good, 1)
	ours := branch(t, w, append(slices.Clone(good), good[2]), 2) // something stands at 12
	forked := append(append(slices.Clone(good), theirs...), ours[0])
	r = mustVerify(t, load(t, forked), Options{}) // which one is right is not known yet
	wantFound(t, r, Inserted, 13, mapSubject, idOf(ours[0]))
	wantOnly(t, r, 1)
	r = mustVerify(t, load(t, append(forked, ours[1])), Options{})
	wantFound(t, r, Inserted, 12, mapSubject, idOf(theirs[0]))
	wantOnly(t, r, 1)

	signer := good[0]
	signer.Data = bytes.Replace(signer.Data, []byte(w.signer.Public()), []byte(forger.signer.Public()), 1)
	r = mustVerify(t, load(t, append([]publisher.Raw{signer}, good[1:]...)), Options{})
	wantFound(t, r, Changed, 1, signer.Subject, idOf(signer))
	if len(r.Findings) != 11 || len(r.Signers) != 0 || len(r.Warnings) == 0 {
		t.Errorf("without a signer: %d findings, %v", len(r.Findings), r.Warnings)
	}
}

// branch appends events to a copy of a record by its own signer, as if the
// credential stood where it does in that world, and returns them.
func branch(t *testing.T, w *world, earlier []publisher.Raw, n int) []publisher.Raw {
	t.Helper()
	other := newWorld(t, w.signer)
	for _, m := range earlier[1:] {
		publish(t, other, m)
	}
	other.heads, other.states = maps.Clone(w.heads), maps.Clone(w.states)
	for range n {
		other.append(t, mapKey)
	}
	return other.all(t)[len(earlier):]
}

// TestRootsArePinned: a record of another installation does not pass for ours.
func TestRootsArePinned(t *testing.T) {
	w := goodWorld(t)
	if r := mustVerify(t, Stream{w.record}, Options{Roots: []string{w.signer.Public()}}); !r.Intact || len(r.Warnings) > 0 || r.Events != 11 || r.Subjects != 3 {
		t.Errorf("with the right root: %+v", r)
	}
	if r := mustVerify(t, Stream{w.record}, Options{}); !r.Intact || len(r.Warnings) != 1 {
		t.Errorf("without a root: %+v", r)
	}
	r := mustVerify(t, Stream{w.record}, Options{Roots: []string{newSigner(t).Public()}})
	if len(r.Findings) != 11 {
		t.Errorf("with another root: %d findings", len(r.Findings))
	}
}

// TestNameAndSince: what is left out is left out of the report, and the first
// event that is seen is compared with the one before it.
func TestNameAndSince(t *testing.T) {
	good := goodWorld(t).all(t)
	bad := slices.Clone(good)
	bad[1], bad[6] = changedData(bad[1]), changedData(bad[6])
	stream := load(t, bad)
	wantOnly(t, mustVerify(t, stream, Options{}), 2)
	r := mustVerify(t, stream, Options{Name: mapKey})
	wantFound(t, r, Changed, 2, mapSubject, idOf(good[1]))
	wantOnly(t, r, 1)

	times := stampsOf(t, stream)
	r = mustVerify(t, stream, Options{Since: times[4]}) // from message 5
	wantFound(t, r, Changed, 7, otherSubject, idOf(good[6]))
	wantOnly(t, r, 1)
	if r.Events != 7 || r.Unchecked != 0 {
		t.Errorf("%d events, %d unchecked", r.Events, r.Unchecked)
	}
	r = mustVerify(t, stream, Options{Since: times[7]}) // message 9 follows the changed one
	wantFound(t, r, Changed, 7, otherSubject, idOf(good[6]))
	wantOnly(t, r, 1)
	if r = mustVerify(t, exported(t, stream), Options{Since: times[9]}); !r.Intact || r.Events != 2 || r.Unchecked != 2 {
		t.Errorf("an export since message 10: %+v", r)
	}
	if r = mustVerify(t, stream, Options{Since: time.Now().Add(time.Hour)}); !r.Intact || r.Events != 0 {
		t.Errorf("since the future: %+v", r)
	}
}

func stampsOf(t *testing.T, s Source) (times []time.Time) {
	t.Helper()
	if err := s.All(t.Context(), time.Time{}, func(m publisher.Raw) error {
		times = append(times, m.Time)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return times
}

// TestReplacedSigners: two replacements leave all intact; the first seed used
// long after is told.
func TestReplacedSigners(t *testing.T) {
	w := goodWorld(t)
	first, second, third := w.signer, newSigner(t), newSigner(t)
	for _, step := range [][2]*publisher.Signer{{second, first}, {third, second}} {
		if err := publisher.PublishSigner(t.Context(), w.js, step[0], "test", step[1]); err != nil {
			t.Fatal(err)
		}
		w.append(t, mapKey) // the daemon still signs with the one before
		if err := w.record.SignWith(t.Context(), step[0]); err != nil {
			t.Fatal(err)
		}
		w.append(t, mapKey)
		w.append(t, otherKey)
	}
	if err := w.record.SignWith(t.Context(), newSigner(t)); !credential.IsClass(err, credential.ClassPermanent) {
		t.Errorf("a signer that is not announced: %v", err)
	}
	r := mustVerify(t, Stream{w.record}, Options{Roots: []string{first.Public()}})
	wantOnly(t, r, 0)
	if len(r.Signers) != 3 || r.Signers[0].Replaced.IsZero() || r.Signers[1].Replaced.IsZero() || !r.Signers[2].Replaced.IsZero() {
		t.Errorf("signers %+v", r.Signers)
	}
	w.appendBy(t, w.open(t, first), mapKey, time.Now().Add(50*time.Minute))
	wantOnly(t, mustVerify(t, Stream{w.record}, Options{}), 0)
	w.appendBy(t, w.open(t, first), mapKey, time.Now().Add(70*time.Minute))
	r = mustVerify(t, Stream{w.record}, Options{})
	all := w.all(t)
	wantFound(t, r, Late, all[len(all)-1].Sequence, mapSubject, idOf(all[len(all)-1]))
	wantOnly(t, r, 1)
	if !strings.Contains(r.Findings[0].What, first.Public()) {
		t.Errorf("it does not name the signer: %s", r.Findings[0])
	}
}

// TestRevisionsGoUpByOne: a holder of the key who skips one is told.
func TestRevisionsGoUpByOne(t *testing.T) {
	w := goodWorld(t)
	w.states[mapKey]++
	w.append(t, mapKey)
	all := w.all(t)
	r := mustVerify(t, Stream{w.record}, Options{})
	wantFound(t, r, Order, 12, mapSubject, idOf(all[11]))
	wantOnly(t, r, 1)
}
