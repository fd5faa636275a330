package emulator

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const journalName = "portal.jsonl"

// journal appends one JSON line per commit: an array of the changed entities, so that a commit is there as a
// whole or not at all. It is one write to the file: a killed process loses nothing that was answered; a
// machine that loses power may lose the last lines.
type journal struct {
	file *os.File
	size int64 // of the file, up to the last whole commit
	lock io.Closer
	buf  bytes.Buffer
}

// openJournal reads the journal in dir into s, writes it anew without history, and opens it for appending.
func openJournal(dir string, s *state) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("emulator: state folder: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	j := &journal{lock: lock}
	path := filepath.Join(dir, journalName)
	if err := load(path, s); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := j.compact(path, s); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return j, nil
}

// load applies every whole line. A last line that was cut off by a kill is dropped; anything else that
// cannot be read is an error, for it means that somebody else wrote to the file.
func load(path string, s *state) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("emulator: journal: %w", err)
	}
	defer func() { _ = f.Close() }()
	in := bufio.NewReaderSize(f, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil // what stands after the last newline is torn
		}
		if err != nil {
			return fmt.Errorf("emulator: journal: %w", err)
		}
		var recs []record
		if err := json.Unmarshal(line, &recs); err != nil {
			return fmt.Errorf("emulator: journal %s, line %d: %w", path, n, err)
		}
		for _, r := range recs {
			s.apply(r, time.Time{})
		}
	}
}

func (j *journal) compact(path string, s *state) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("emulator: journal: %w", err)
	}
	out := bufio.NewWriterSize(f, 1<<16)
	enc := json.NewEncoder(out)
	for _, r := range s.records() {
		if err = enc.Encode([]record{r}); err != nil {
			break
		}
	}
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("emulator: journal: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("emulator: journal: %w", err)
	}
	j.file, err = os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("emulator: journal: %w", err)
	}
	j.size, err = j.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("emulator: journal: %w", errors.Join(err, j.file.Close()))
	}
	return nil
}

// records are the fewest records that make up the state, in an order that keeps every order in it.
func (s *state) records() []record {
	recs := []record{{Meta: &s.meta}}
	for _, ids := range s.ofUser {
		for _, id := range ids {
			recs = append(recs, record{Folder: s.folders[id]})
		}
	}
	for _, id := range s.order {
		recs = append(recs, record{Item: s.items[id]})
		if a := s.apps[s.items[id].ClientID]; a != nil {
			recs = append(recs, record{App: a})
		}
	}
	return recs
}

// write appends the records with one write.
func (j *journal) write(recs []record) error {
	j.buf.Reset()
	if err := json.NewEncoder(&j.buf).Encode(recs); err != nil {
		return fmt.Errorf("emulator: journal: %w", err)
	}
	n, err := j.file.Write(j.buf.Bytes())
	if err != nil {
		// What came half onto the disk must not stand before the next line.
		return fmt.Errorf("emulator: journal: %w", errors.Join(err, j.file.Truncate(j.size)))
	}
	j.size += int64(n)
	return nil
}

func (j *journal) close() error {
	return errors.Join(j.file.Sync(), j.file.Close(), j.lock.Close())
}
