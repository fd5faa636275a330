package publisher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TypeCheckpoint is the CloudEvents type of a checkpoint on the record.
const TypeCheckpoint = "io.keyturn.system.checkpoint"

const (
	checkpointFacts   = "checkpoints"
	checkpointSubject = systemPrefix + checkpointFacts
	checkpointVersion = "keyturn-checkpoint-1\n"
)

// Checkpoint says what the record was up to a sequence. A daemon's is signed
// and small; an auditor's own carries all heads, so that a difference can be
// named.
type Checkpoint struct {
	Schema       int       `json:"schema"`
	Installation string    `json:"installation,omitempty"`
	At           time.Time `json:"at"`
	// Last is the sequence up to which it counts.
	Last uint64 `json:"last"`
	// Subjects is how many there are, Root the hash over their heads.
	Subjects int    `json:"subjects"`
	Root     string `json:"root"`
	// Signer and Signature are empty in an auditor's own.
	Signer    string `json:"signer,omitempty"`
	Signature string `json:"signature,omitempty"`
	// Heads are sorted by subject; nil in a daemon's.
	Heads []SubjectHead `json:"heads,omitempty"`
}

// SubjectHead is the last message of a subject.
type SubjectHead struct {
	Subject  string `json:"subject"`
	Sequence uint64 `json:"sequence"`
	Hash     Hash   `json:"hash"`
}

// Hash is that of an event; 64 hexadecimal characters as text.
type Hash [sha256.Size]byte

// MarshalText writes the hash as text.
func (h Hash) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads it again.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("a hash has %d characters, not %d", 2*len(h), len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// RootOf is the hash over heads in the order of their subjects: the SHA-256
// over a line "subject sequence hash" LF for each.
func RootOf(heads func(yield func(SubjectHead) bool)) string {
	sum := sha256.New()
	line := make([]byte, 0, 256)
	for h := range heads {
		line = append(append(line[:0], h.Subject...), ' ')
		line = append(strconv.AppendUint(line, h.Sequence, 10), ' ')
		line = append(hex.AppendEncode(line, h.Hash[:]), '\n')
		_, _ = sum.Write(line) // never fails
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// digest is what is signed.
func (c Checkpoint) digest() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%s%s\n%s\n%d\n%d\n%s\n%s\n", checkpointVersion,
		c.Installation, c.At.UTC().Format(timeLayout), c.Last, c.Subjects, c.Root, c.Signer))
}

// Signed reports whether it carries the signature of its signer. Whether that
// signer is vouched for is another question.
func (c Checkpoint) Signed() bool {
	sum := c.digest()
	signature, err := base64.RawURLEncoding.DecodeString(c.Signature)
	return err == nil && verify(c.Signer, sum[:], signature)
}

// DecodeCheckpoint reads a checkpoint of either kind. One that contradicts
// itself is refused.
func DecodeCheckpoint(data []byte) (Checkpoint, error) {
	var c Checkpoint
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&c); err != nil {
		return Checkpoint{}, fmt.Errorf("not a checkpoint, or one that was cut: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Checkpoint{}, errors.New("not a checkpoint: something follows it")
	}
	root, err := hex.DecodeString(c.Root)
	switch {
	case c.Schema > credential.Schema:
		return Checkpoint{}, newerSchema(c.Schema)
	case c.Schema == 0 || err != nil || len(root) != sha256.Size || c.Subjects < 0:
		return Checkpoint{}, errors.New("not a checkpoint: want schema, at, last, subjects and root")
	case c.Heads == nil && c.Signature == "" && c.Subjects > 0:
		return Checkpoint{}, errors.New("the checkpoint is neither signed nor does it list the heads")
	case c.Heads == nil:
		return c, nil
	case len(c.Heads) != c.Subjects || !slices.IsSortedFunc(c.Heads, bySubject) || RootOf(slices.Values(c.Heads)) != c.Root:
		return Checkpoint{}, errors.New("the heads in the checkpoint are not those of its root: the file was changed or cut")
	}
	return c, nil
}

func bySubject(a, b SubjectHead) int { return strings.Compare(a.Subject, b.Subject) }

// Checkpoint reads the heads of all subjects as they are at one sequence. It is
// not signed, and needs no right to publish.
func (r *Record) Checkpoint(ctx context.Context) (Checkpoint, error) {
	const op = "read the heads of the record"
	last, err := r.lastStored(ctx)
	if err != nil {
		return Checkpoint{}, readFault(op, err)
	}
	c := Checkpoint{Schema: credential.Schema, At: time.Now().UTC(), Last: last, Heads: []SubjectHead{}}
	var heads []SubjectHead
	if c.Last > 0 {
		err = r.collect(ctx, c.Last, r.lastStored, jetstream.ConsumerConfig{FilterSubject: recordFilter, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy},
			func(m Raw, _ bool) error {
				head, found, err := r.headAt(ctx, m, c.Last)
				if found {
					heads = append(heads, head)
				}
				if err != nil {
					return &callerError{err}
				}
				return nil
			})
	}
	if err != nil {
		return Checkpoint{}, readFault(op, err)
	}
	// what was appended meanwhile came twice
	slices.SortFunc(heads, func(a, b SubjectHead) int {
		if order := bySubject(a, b); order != 0 {
			return order
		}
		return int(b.Sequence) - int(a.Sequence) //nolint:gosec // sequences are far below that
	})
	c.Heads = append(c.Heads, slices.CompactFunc(heads, func(a, b SubjectHead) bool { return a.Subject == b.Subject })...)
	c.Subjects, c.Root = len(c.Heads), RootOf(slices.Values(c.Heads))
	return c, nil
}

// headAt is the head of a message's subject as it was at a sequence. A message
// after that names its predecessor.
func (r *Record) headAt(ctx context.Context, m Raw, last uint64) (SubjectHead, bool, error) {
	for m.Sequence > last {
		e := Examined{}
		if err := e.link(m); err != nil {
			return SubjectHead{}, false, fmt.Errorf("message %d: %w", m.Sequence, err)
		}
		switch {
		case e.After == 0 || e.After >= m.Sequence:
			return SubjectHead{}, false, nil
		case e.After <= last:
			return SubjectHead{m.Subject, e.After, e.Prev}, true, nil
		}
		before, found, err := r.get(ctx, e.After)
		if err != nil {
			return SubjectHead{}, false, err
		}
		if !found {
			return SubjectHead{}, false, fmt.Errorf("message %d, which message %d follows, is gone", e.After, m.Sequence)
		}
		m = Raw{Sequence: before.Sequence, Subject: before.Subject, Header: before.Header, Data: before.Data}
	}
	sum, err := digest(m.Subject, m.Header, m.Data)
	if err != nil {
		return SubjectHead{}, false, fmt.Errorf("message %d: %w", m.Sequence, err)
	}
	return SubjectHead{m.Subject, m.Sequence, sum}, true, nil
}

// LastCheckpoint gives the last checkpoint on the record, whoever wrote it, and
// its bytes; nil bytes if there is none. Alone says that nothing was
// appended after it.
func (r *Record) LastCheckpoint(ctx context.Context) (c Checkpoint, data []byte, alone bool, err error) {
	const op = "read the last checkpoint"
	_, msg, err := r.lastCheckpoint(ctx)
	if err != nil || msg == nil {
		return Checkpoint{}, nil, false, err
	}
	info, err := r.info(ctx)
	if err != nil {
		return Checkpoint{}, nil, false, readFault(op, err)
	}
	c, err = DecodeCheckpoint(msg.Data)
	if err != nil {
		return Checkpoint{}, nil, false, permanent(op, "keyturn audit verify", fmt.Errorf("message %d: %w", msg.Sequence, err))
	}
	return c, msg.Data, info.State.LastSeq == msg.Sequence, nil
}

func (r *Record) lastCheckpoint(ctx context.Context) (credential.Head, *jetstream.RawStreamMsg, error) {
	const op = "read the last checkpoint"
	ctx, cancel := r.call(ctx)
	defer cancel()
	msg, err := r.stream.GetLastMsgForSubject(ctx, checkpointSubject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return credential.Head{}, nil, nil
	case err != nil:
		return credential.Head{}, nil, readFault(op, err)
	}
	head, err := headOf(msg.Subject, msg.Sequence, msg.Header, msg.Data)
	if err != nil {
		return credential.Head{}, nil, permanent(op, "keyturn audit verify", fmt.Errorf("message %d: %w", msg.Sequence, err))
	}
	return head, msg, nil
}

// AppendCheckpoint puts a signed checkpoint on the record and returns it with
// its bytes. It is a conflict when another daemon's was put there meanwhile.
func (r *Record) AppendCheckpoint(ctx context.Context) (Checkpoint, []byte, error) {
	const op = "append a checkpoint"
	signer := r.signer.Load()
	if signer == nil {
		return Checkpoint{}, nil, permanent(op, "", errors.New("this record was opened without a signer, for reading only"))
	}
	last, _, err := r.lastCheckpoint(ctx) // before the heads are read: only one of several daemons gets past it
	if err != nil {
		return Checkpoint{}, nil, err
	}
	c, err := r.Checkpoint(ctx)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	c.Heads, c.Installation, c.Signer = nil, r.cfg.Installation, signer.public
	sum := c.digest()
	c.Signature = base64.RawURLEncoding.EncodeToString(signer.sign(sum[:]))
	data, err := json.Marshal(c)
	if err != nil {
		return Checkpoint{}, nil, permanent(op, "", err)
	}
	id := uuid.NewString()
	msg := newMessage(checkpointSubject, systemToken+"/"+checkpointFacts, r.source, TypeCheckpoint, id, c.At, last, data)
	head, err := seal(msg, signer)
	if err != nil {
		return Checkpoint{}, nil, permanent(op, "", err)
	}
	a := appender{js: r.js, stream: r.stream, timeout: r.cfg.Timeout, op: op, msg: msg, id: id, hash: head.Hash, after: last.Sequence}
	_, err = a.run(ctx)
	return c, data, err
}
