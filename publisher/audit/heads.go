package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/keyturn/keyturn/publisher"
)

// checkpoints is what is needed to compare a record with checkpoints.
type checkpoints struct {
	wanted []uint64          // sequences at which a root is asked for, ascending
	roots  map[uint64]rooted // those that were passed
	sorted []string          // the subjects, without those in fresh
	fresh  []string
}

// rooted is what the record was at a sequence.
type rooted struct {
	root     string
	subjects int
	heads    []publisher.SubjectHead // only where a checkpoint lists them
}

// wanted finds out at which sequences roots are asked for.
func (v *verifier) wanted(ctx context.Context) error {
	v.roots.roots = map[uint64]rooted{}
	err := v.source.Subject(ctx, publisher.SystemSubject("checkpoints"), func(raw publisher.Raw) error {
		if c, err := publisher.DecodeCheckpoint(raw.Data); err == nil {
			v.roots.wanted = append(v.roots.wanted, c.Last)
		}
		return nil
	})
	for _, c := range v.Checkpoints {
		v.roots.wanted = append(v.roots.wanted, c.Last)
	}
	slices.Sort(v.roots.wanted)
	v.roots.wanted = slices.Compact(v.roots.wanted)
	return err
}

// put makes a place the last one of its subject.
func (v *verifier) put(subject string, p *place) {
	if v.heads[subject] == nil && v.roots.roots != nil {
		v.roots.fresh = append(v.roots.fresh, subject)
	}
	v.heads[subject] = p
}

// snapshots computes the roots that are asked for before a sequence.
func (v *verifier) snapshots(sequence uint64) {
	r := &v.roots
	for len(r.wanted) > 0 && r.wanted[0] < sequence {
		at := r.wanted[0]
		r.wanted = r.wanted[1:]
		if at > v.last {
			continue // there is nothing up to there
		}
		if len(r.fresh) > 0 {
			r.sorted = append(r.sorted, r.fresh...)
			slices.Sort(r.sorted)
			r.fresh = nil
		}
		root := rooted{subjects: len(r.sorted)}
		each := func(yield func(publisher.SubjectHead) bool) {
			for _, subject := range r.sorted {
				p := v.heads[subject]
				if !yield(publisher.SubjectHead{Subject: subject, Sequence: p.sequence, Hash: p.hash}) {
					return
				}
			}
		}
		root.root = publisher.RootOf(each)
		for _, c := range v.Checkpoints {
			if c.Last == at && c.Heads != nil && root.heads == nil {
				root.heads = slices.Collect(each)
			}
		}
		r.roots[at] = root
	}
}

// recorded compares the record with a checkpoint on it.
func (v *verifier) recorded(m *publisher.Examined) {
	c := *m.Checkpoint
	switch seen, ok := v.roots.roots[c.Last]; {
	case v.roots.roots == nil: // the record is not read as a whole
	case !c.Signed() || v.signers[c.Signer] == nil:
		v.add(Against, m, "the checkpoint in it is signed by nobody who is vouched for")
	case c.Last >= m.Raw.Sequence || !ok:
		v.add(Against, m, "the checkpoint in it covers messages up to %d, which was not there before it", c.Last)
	case seen.root != c.Root || seen.subjects != c.Subjects:
		v.add(Against, m, "the record up to message %d is not what this checkpoint saw", c.Last)
	default:
		v.report.Checkpoints++
	}
}

// outside compares the record with the checkpoints that were kept elsewhere.
func (v *verifier) outside() {
	v.snapshots(v.last + 1)
	slices.SortStableFunc(v.Checkpoints, func(a, b publisher.Checkpoint) int { return int(a.Last) - int(b.Last) }) //nolint:gosec // sequences are far below that
	good := uint64(0)
	for _, c := range v.Checkpoints {
		found := v.against(c, good)
		if len(found) == 0 {
			good = c.Last
			v.report.Checkpoints++
		}
		v.report.Findings = append(v.report.Findings, found...)
	}
}

// against compares the record with one checkpoint. Good is up to where an
// earlier one held.
func (v *verifier) against(c publisher.Checkpoint, good uint64) []Finding {
	of := "the checkpoint of " + c.At.UTC().Format("2006-01-02 15:04:05 MST")
	one := func(format string, args ...any) []Finding {
		return []Finding{{Kind: Against, Sequence: c.Last, What: fmt.Sprintf(format, args...)}}
	}
	if c.Heads == nil {
		switch {
		case !c.Signed():
			return one("the signature of %s does not hold: it is no evidence", of)
		case v.signers[c.Signer] == nil:
			return one("nobody on this record vouches for %s, which signed %s: the stream was built anew, or the checkpoint is of another one", c.Signer, of)
		}
	}
	seen, ok := v.roots.roots[c.Last]
	switch {
	case c.Last > v.last && !v.exported.IsZero() && c.At.After(v.exported):
		return one("%s covers messages up to %d, and this export ends at %d: it was made before that, or its tail was cut off (try: a checkpoint from before the export, or a new export)", of, c.Last, v.last)
	case !ok || c.Last > v.last:
		return one("%s covers messages up to %d, and the record ends at %d: its tail was cut off, or it was built anew", of, c.Last, v.last)
	case seen.root == c.Root:
		return nil
	case c.Heads == nil:
		return one("%s saw something else in messages %d to %d: the history was written again", of, good+1, c.Last)
	}
	return v.differences(of, c.Heads, seen.heads)
}

// differences names each subject in which two sorted lists differ.
func (v *verifier) differences(of string, want, have []publisher.SubjectHead) (found []Finding) {
	add := func(h publisher.SubjectHead, what string) {
		f := Finding{Kind: Against, Sequence: h.Sequence, Subject: h.Subject, What: what}
		if p := v.heads[h.Subject]; p != nil && p.sequence == h.Sequence {
			f.Event = p.id // of the one that stands there now
		}
		found = append(found, f)
	}
	for len(want) > 0 || len(have) > 0 {
		switch {
		case len(have) == 0 || len(want) > 0 && want[0].Subject < have[0].Subject:
			add(want[0], of+" saw an event there; the record has none on this subject")
			want = want[1:]
		case len(want) == 0 || have[0].Subject < want[0].Subject:
			add(have[0], of+" saw no event on this subject")
			have = have[1:]
		default:
			w, h := want[0], have[0]
			switch {
			case w.Sequence != h.Sequence:
				add(w, of+" saw the last event of this subject there; in the record it is message "+number(h.Sequence))
			case w.Hash != h.Hash:
				add(w, "it is not the event that "+of+" saw there: the history was written again")
			}
			want, have = want[1:], have[1:]
		}
	}
	return found
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
