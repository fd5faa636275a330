package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// Source gives the raw messages of a record.
type Source interface {
	// Span tells what there must be.
	Span(ctx context.Context) (Span, error)
	// Subject gives all messages of one subject, in order.
	Subject(ctx context.Context, subject string, fn func(publisher.Raw) error) error
	// All gives the messages that were stored since an instant (zero = all), in
	// order; it may give older ones, too.
	All(ctx context.Context, since time.Time, fn func(publisher.Raw) error) error
	// Message gives the message at a sequence; found is false if it is gone. A
	// source that cannot look returns errUnread.
	Message(ctx context.Context, sequence uint64) (m publisher.Raw, found bool, err error)
}

// errUnread says that a source reads from the beginning only.
var errUnread = errors.New("this source is read from its beginning only")

// Span is what a source has of a record.
type Span struct {
	// First and Last are the sequences of the whole record there.
	First, Last uint64
	// Whole says that every message between them must be there.
	Whole bool
	// Since is from when on there are messages other than of signers; zero = all.
	Since time.Time
	// Exported is when an export was made, as it says; zero = it is none.
	Exported time.Time
}

// Options say what is verified.
type Options struct {
	// Roots are the public keys of the first signers, as setup printed them;
	// none = the first one that is announced is believed, with a warning.
	Roots []string
	// Since leaves out what the server stored before; zero = nothing.
	Since time.Time
	// Name limits the report to one credential; everything is verified anyway.
	Name credential.Name
	// Checkpoints were kept outside of the record. They cover all of it, so none
	// may be given together with Since.
	Checkpoints []publisher.Checkpoint
	// Grace is how long a signer may sign after it was replaced; zero = 1 h.
	Grace time.Duration
}

const defaultGrace = time.Hour

// verifier is one run of Verify.
type verifier struct {
	Options
	source Source
	report *Report

	whole    bool      // messages are expected without a gap
	started  bool      // the first one since Since was seen
	exported time.Time // of the source's Span
	last     uint64
	until    uint64         // what was appended since it began is left out
	gaps     map[uint64]int // sequence that is missing → its finding

	heads   map[string]*place // subject → what is last on it
	missing map[string]int    // hash of an event that was not there → its finding
	drift   int64             // by how much the last moved event stands elsewhere
	moved   int               // its finding; -1 = none

	signers map[string]*Signer
	roots   checkpoints
}

// Verify reads a record and reports everything that is wrong with it. An error
// says that it could not be read.
func Verify(ctx context.Context, source Source, o Options) (*Report, error) {
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	v := &verifier{
		Options: o, source: source, report: &Report{Findings: []Finding{}, Signers: []Signer{}},
		gaps: map[uint64]int{}, heads: map[string]*place{}, missing: map[string]int{}, moved: -1,
		signers: map[string]*Signer{},
	}
	span, err := source.Span(ctx)
	if err != nil {
		return nil, err
	}
	v.whole, v.exported, v.last, v.until = span.Whole, span.Exported, span.First-1, span.Last
	if v.Since.Before(span.Since) {
		v.Since = span.Since
	}
	if len(o.Checkpoints) > 0 && (!v.Since.IsZero() || !v.whole) {
		return nil, errors.New("a checkpoint covers the whole record, and only a part of it would be read (try: without --since, or an export without --since and --name)")
	}
	if v.Since.IsZero() && v.whole {
		if err := v.wanted(ctx); err != nil {
			return nil, err
		}
	}
	if !v.Since.IsZero() {
		if err := v.earlierSigners(ctx); err != nil {
			return nil, err
		}
	}
	err = examineAll(ctx,
		func(ctx context.Context, fn func(publisher.Raw) error) error { return source.All(ctx, v.Since, fn) },
		func(m *publisher.Examined) error { return v.fold(ctx, m) })
	if err != nil {
		return nil, err
	}
	if v.whole && (v.started || v.Since.IsZero()) && span.Last > v.last {
		v.gap(v.last+1, span.Last)
	}
	v.end()
	return v.report, nil
}

// earlierSigners takes the announcements that stand before Since.
func (v *verifier) earlierSigners(ctx context.Context) error {
	return v.source.Subject(ctx, publisher.SystemSubject("signers"), func(raw publisher.Raw) error {
		if raw.Time.Before(v.Since) {
			m := publisher.Examine(raw)
			v.follow(&m)
		}
		return nil
	})
}

// fold takes the next message of the record.
func (v *verifier) fold(ctx context.Context, m *publisher.Examined) error {
	if m.Raw.Sequence > v.until {
		return nil
	}
	if !v.started {
		if m.Raw.Time.Before(v.Since) {
			return nil
		}
		if !v.Since.IsZero() { // what comes before was not read
			v.last = m.Raw.Sequence - 1
		}
		v.started = true
	}
	switch at := m.Raw.Sequence; {
	case at <= v.last:
		v.add(Swapped, m, "it stands after message %d", v.last)
	case v.whole && at > v.last+1:
		v.gap(v.last+1, at-1)
	}
	v.snapshots(m.Raw.Sequence)
	v.last = max(v.last, m.Raw.Sequence)
	v.report.Events++
	if v.heads[m.Raw.Subject] == nil && m.After > 0 && !v.Since.IsZero() {
		if err := v.before(ctx, m); err != nil {
			return err
		}
	}
	v.follow(m)
	return nil
}

// before reads the predecessor of the first message that is seen on a subject.
func (v *verifier) before(ctx context.Context, m *publisher.Examined) error {
	raw, found, err := v.source.Message(ctx, m.After)
	switch {
	case errors.Is(err, errUnread):
		v.report.Unchecked++
		return nil
	case err != nil:
		return err
	case !found || raw.Subject != m.Raw.Subject:
		v.removed(m)
		return nil
	}
	e := publisher.Examine(raw)
	v.heads[m.Raw.Subject] = placeOf(&e)
	return nil
}

// gap tells messages that the stream does not have.
func (v *verifier) gap(from, to uint64) {
	const most = 10_000 // each is named; beyond that they are counted
	if to-from >= most {
		v.report.Findings = append(v.report.Findings, Finding{Kind: Removed, Sequence: from, What: fmt.Sprintf("messages %d to %d are gone from the stream", from, to)})
		return
	}
	for by := range to - from + 1 {
		at := from + by
		v.gaps[at] = len(v.report.Findings)
		v.report.Findings = append(v.report.Findings, Finding{Kind: Removed, Sequence: at, What: "it is gone from the stream"})
	}
}

// add adds a finding about a message and returns its place.
func (v *verifier) add(kind Kind, m *publisher.Examined, format string, args ...any) int {
	v.report.Findings = append(v.report.Findings, Finding{
		Kind: kind, Sequence: m.Raw.Sequence, Subject: m.Raw.Subject, Event: m.ID, What: fmt.Sprintf(format, args...),
	})
	return len(v.report.Findings) - 1
}

// end completes the report.
func (v *verifier) end() {
	v.outside()
	r := v.report
	r.Last, r.Subjects = v.last, len(v.heads)
	for _, s := range v.signers {
		r.Signers = append(r.Signers, *s)
	}
	slices.SortFunc(r.Signers, func(a, b Signer) int { return int(a.Sequence) - int(b.Sequence) }) //nolint:gosec // sequences are far below that
	switch {
	case len(v.Roots) == 0 && len(r.Signers) > 0:
		r.Warnings = append(r.Warnings, "no root is pinned: the first signer that is announced, "+r.Signers[0].Public+", was believed")
	case len(r.Signers) == 0 && r.Events > 0:
		r.Warnings = append(r.Warnings, "the record announces no signer that is vouched for: is the pinned root its own?")
	}
	if !v.whole {
		r.Warnings = append(r.Warnings, "by its first line this is an export of a part of the record: what was left out of it does not show")
	}
	if r.Unchecked > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d events were not compared with the ones before them, which are not in this part", r.Unchecked))
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return int(a.Sequence) - int(b.Sequence) }) //nolint:gosec // sequences are far below that
	if v.Name != "" {
		r.only(v.Name, publisher.RecordSubject(v.Name))
	}
	r.Intact = len(r.Findings) == 0
}

// system reports whether a subject is that of a fact of the installation.
func system(subject string) bool { return strings.HasPrefix(subject, publisher.SystemSubject("")) }
