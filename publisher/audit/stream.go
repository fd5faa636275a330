package audit

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/publisher"
)

// Stream reads a record from JetStream. Open the record Unchecked, so that one
// in a weaker stream can be verified too.
type Stream struct{ Record *publisher.Record }

// Span is what the stream says it holds.
func (s Stream) Span(ctx context.Context) (Span, error) {
	first, last, err := s.Record.Span(ctx)
	return Span{First: first, Last: last, Whole: true}, err
}

// Subject gives all messages of one subject.
func (s Stream) Subject(ctx context.Context, subject string, fn func(publisher.Raw) error) error {
	return s.Record.RawSubject(ctx, subject, fn)
}

// All gives the messages that were stored since an instant.
func (s Stream) All(ctx context.Context, since time.Time, fn func(publisher.Raw) error) error {
	return s.Record.Raw(ctx, since, fn)
}

// Message gives the message at a sequence.
func (s Stream) Message(ctx context.Context, sequence uint64) (publisher.Raw, bool, error) {
	return s.Record.RawMessage(ctx, sequence)
}
