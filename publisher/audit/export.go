package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// exportVersion is that of the form of a file.
const exportVersion = 1

// header is the first line of an export.
type header struct {
	Export int             `json:"keyturn_export"`
	At     time.Time       `json:"at"`
	First  uint64          `json:"first"`
	Last   uint64          `json:"last"`
	Since  time.Time       `json:"since,omitzero"`
	Name   credential.Name `json:"name,omitempty"`
}

// line is a message in an export.
type line struct {
	Number   int         `json:"n"`
	Sequence uint64      `json:"sequence"`
	Subject  string      `json:"subject"`
	Time     time.Time   `json:"time"`
	Headers  nats.Header `json:"headers"`
	Data     []byte      `json:"data"`
}

// footer is the last line of an export.
type footer struct {
	Lines *int `json:"lines"`
}

// Export writes the messages of a source as lines. Since (zero = all) and name
// ("" = all) leave messages out; the facts of the installation are always there,
// so that what was exported can be verified. It returns how many messages were
// written.
func Export(ctx context.Context, source Source, since time.Time, name credential.Name, out io.Writer) (int, error) {
	span, err := source.Span(ctx)
	if err != nil {
		return 0, err
	}
	buffer := bufio.NewWriterSize(out, 1<<16)
	encoder := encoderTo(buffer)
	if err := encoder.Encode(header{Export: exportVersion, At: time.Now().UTC(), First: span.First, Last: span.Last, Since: since.UTC(), Name: name}); err != nil {
		return 0, fmt.Errorf("write the export: %w", err)
	}
	lines, written := 0, uint64(0)
	write := func(m publisher.Raw) error {
		if m.Sequence > span.Last || m.Sequence <= written {
			return nil // appended since the header was written, or a signer that is there already
		}
		if name != "" && m.Subject != publisher.RecordSubject(name) && !system(m.Subject) {
			return nil
		}
		lines, written = lines+1, m.Sequence
		if err := encoder.Encode(line{lines, m.Sequence, m.Subject, m.Time, m.Header, m.Data}); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		return nil
	}
	if !since.IsZero() {
		err := source.Subject(ctx, publisher.SystemSubject("signers"), func(m publisher.Raw) error {
			if m.Time.Before(since) {
				return write(m)
			}
			return nil
		})
		if err != nil {
			return lines, err
		}
	}
	if err := source.All(ctx, since, write); err != nil {
		return lines, err
	}
	if err := encoder.Encode(footer{&lines}); err != nil {
		return lines, fmt.Errorf("write the export: %w", err)
	}
	if err := buffer.Flush(); err != nil {
		return lines, fmt.Errorf("write the export: %w", err)
	}
	return lines, nil
}

// encoderTo writes lines in the one form that an export has.
func encoderTo(out io.Writer) *json.Encoder {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder
}
