package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/keyturn/keyturn/publisher"
)

// maxLine is the longest line that is read; NATS limits a message to far less.
const maxLine = 64 << 20

// File reads a record from an export. It is read from its beginning each time,
// so that a large one needs no memory.
type File struct {
	name string
	file io.ReadSeeker
}

// NewFile reads an export; name is for errors.
func NewFile(name string, file io.ReadSeeker) *File { return &File{name, file} }

// Span is what the header says.
func (f *File) Span(ctx context.Context) (Span, error) {
	var span Span
	err := f.read(ctx, func(h header) error {
		span = Span{First: h.First, Last: h.Last, Whole: h.Name == "" && h.Since.IsZero(), Since: h.Since, Exported: h.At}
		return errEnough
	}, nil, nil)
	return span, err
}

// Subject gives all messages of one subject.
func (f *File) Subject(ctx context.Context, subject string, fn func(publisher.Raw) error) error {
	text, err := json.Marshal(subject)
	if err != nil {
		return err
	}
	return f.read(ctx, nil, func(line []byte) bool { return bytes.Contains(line, text) }, func(m publisher.Raw) error {
		if m.Subject != subject {
			return nil
		}
		return fn(m)
	})
}

// All gives all messages, also those that were stored before an instant. An
// export without signers, or one that was cut, is an error that names the line.
func (f *File) All(ctx context.Context, _ time.Time, fn func(publisher.Raw) error) error {
	signers := publisher.SystemSubject("signers")
	signed := false
	return f.read(ctx, nil, nil, func(m publisher.Raw) error {
		signed = signed || m.Subject == signers
		if !signed {
			return fmt.Errorf("message %d stands before any announcement of a signer: the signers are missing from the export (try: export it again)", m.Sequence)
		}
		return fn(m)
	})
}

// Message looks for no message: an export may be large and have none of it.
func (f *File) Message(context.Context, uint64) (publisher.Raw, bool, error) {
	return publisher.Raw{}, false, errUnread
}

// errEnough ends a reading early.
var errEnough = errors.New("enough was read")

// read goes over the lines. Wanted, if given, says of a line whether it is to be
// decoded; then nothing is said of missing lines, which All tells better.
func (f *File) read(ctx context.Context, head func(header) error, wanted func([]byte) bool, fn func(publisher.Raw) error) error {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	lines := bufio.NewReaderSize(f.file, 1<<16)
	n := 0
	at := func(err error) error { return fmt.Errorf("%s: line %d: %w", f.name, n, err) }
	messages, last := 0, uint64(0)
	for {
		text, err := readLine(lines)
		n++
		torn := len(text) > 0 && text[len(text)-1] != '\n'
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return at(err)
		case len(text) == 0 && n == 1:
			return at(errors.New("the file is empty: it is no export"))
		case len(text) == 0:
			return at(fmt.Errorf("the export ends without its last line, after %d messages: it was cut (try: export it again)", messages))
		case torn:
			return at(errors.New("the line is torn: the export was cut (try: export it again)"))
		case ctx.Err() != nil:
			return ctx.Err()
		case n == 1:
			h, err := decodeHeader(text)
			if err != nil {
				return at(err)
			}
			last = h.Last
			if head != nil {
				if err := head(h); err != nil {
					return enough(err)
				}
			}
			continue
		}
		if count, ok := decodeFooter(text); ok {
			if count != messages && wanted == nil {
				return at(fmt.Errorf("the export has %d messages, and its end counts %d: lines are missing", messages, count))
			}
			if _, err := lines.ReadByte(); !errors.Is(err, io.EOF) {
				n++
				return at(errors.New("something follows the end of the export"))
			}
			return nil
		}
		messages++
		if wanted != nil && !wanted(text) {
			continue
		}
		l, err := decodeLine(text)
		if err == nil && l.Number != messages && wanted == nil {
			err = fmt.Errorf("it is message %d of the export where number %d is expected: lines are missing or in another order (try: export it again)", l.Number, messages)
		}
		if err == nil && l.Sequence > last {
			err = fmt.Errorf("message %d is beyond %d, the last one by the header", l.Sequence, last)
		}
		if err == nil && fn != nil {
			err = fn(publisher.Raw{Sequence: l.Sequence, Subject: l.Subject, Time: l.Time, Header: l.Headers, Data: l.Data})
		}
		if err != nil {
			return at(err)
		}
	}
}

func enough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// readLine reads a line with its end; the last one may have none.
func readLine(r *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(whole)+len(part) > maxLine {
			return nil, fmt.Errorf("the line is longer than %d bytes", maxLine)
		}
		if whole == nil && err == nil {
			return part, nil
		}
		whole = append(whole, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return whole, err
		}
	}
}

func decodeHeader(text []byte) (header, error) {
	var h header
	switch err := json.Unmarshal(text, &h); {
	case err != nil || h.Export == 0:
		return h, errors.New("it is no export of keyturn, or its first line is missing (make one with: keyturn audit export --format jsonl)")
	case h.Export > exportVersion:
		return h, fmt.Errorf("the export has form %d, newer than the %d that this keyturn reads (try: upgrade keyturn)", h.Export, exportVersion)
	case h.First == 0:
		return h, errors.New("the header names no first message")
	}
	return h, nil
}

// decodeFooter reads the end of an export; ok is false for any other line.
func decodeFooter(text []byte) (lines int, ok bool) {
	if !bytes.HasPrefix(text, []byte(`{"lines":`)) {
		return 0, false
	}
	var f footer
	if err := json.Unmarshal(text, &f); err != nil || f.Lines == nil {
		return 0, false
	}
	return *f.Lines, true
}

func decodeLine(text []byte) (line, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return l, fmt.Errorf("not a message: %w", err)
	}
	if l.Number == 0 || l.Sequence == 0 || l.Subject == "" {
		return l, errors.New("not a message: want n, sequence, subject, time, headers and data")
	}
	var written bytes.Buffer
	if err := encoderTo(&written).Encode(l); err != nil {
		return l, fmt.Errorf("not a message: %w", err)
	}
	// a field twice, or in capitals, would be verified here and be read in another way elsewhere
	if !bytes.Equal(bytes.TrimRight(text, "\r\n"), bytes.TrimRight(written.Bytes(), "\n")) {
		return l, errors.New("it is not written as an export writes it: the line was changed (try: export it again)")
	}
	return l, nil
}
