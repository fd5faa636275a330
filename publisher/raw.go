package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Raw is a stored message, byte for byte as it stands in the stream.
type Raw struct {
	// Sequence is its place in the stream.
	Sequence uint64
	Subject  string
	// Time is when the server stored it; no signature covers it.
	Time   time.Time
	Header nats.Header
	Data   []byte
}

// Examined is what one message says of itself, and whether its signature holds.
type Examined struct {
	// Raw is the message, without its content.
	Raw Raw
	// ID, Type and At are those of the event.
	ID, Type string
	At       time.Time
	// Name is the credential; empty for a fact of the installation.
	Name credential.Name
	// Hash is that of this event, Prev the one that it gives of its predecessor,
	// which stands at After; both zero in the first event of a subject.
	Hash, Prev [sha256.Size]byte
	After      uint64
	// Signer is whom it names; Signed says that the signature is its own.
	Signer string
	Signed bool
	// Revision is that of the state; zero for a fact of the installation.
	Revision uint64
	// Announces is the public key in an announcement of a signer.
	Announces string
	// Checkpoint is what an event on the subject of checkpoints carries.
	Checkpoint *Checkpoint
	// Err says why it cannot be read; the rest is filled in as far as it can be.
	Err error
}

// Examine looks at one message by itself. What it takes is mostly the check of
// the signature, so it may be called by many goroutines at once.
func Examine(raw Raw) Examined {
	e := Examined{
		Raw: Raw{Sequence: raw.Sequence, Subject: raw.Subject, Time: raw.Time},
		ID:  attribute(raw.Header, headerID), Type: attribute(raw.Header, headerType), Signer: attribute(raw.Header, headerSigner),
	}
	var err error
	if e.Hash, err = digest(raw.Subject, raw.Header, raw.Data); err != nil {
		e.Err = err
		return e
	}
	signature, err := base64.RawURLEncoding.DecodeString(attribute(raw.Header, headerSignature))
	e.Signed = err == nil && verify(e.Signer, e.Hash[:], signature)
	if e.Err = e.link(raw); e.Err != nil {
		return e
	}
	if strings.HasPrefix(raw.Subject, systemPrefix) {
		e.Err = e.fact(raw)
		return e
	}
	// what its fact is makes no difference to the record's soundness
	var b body
	e.Name, e.At, b, e.Err = decodeState(raw.Subject, raw.Header, raw.Data)
	e.Revision = b.State.Revision
	return e
}

// link reads what a message says that it follows.
func (e *Examined) link(raw Raw) error {
	var err error
	if e.After, err = strconv.ParseUint(attribute(raw.Header, headerAfter), 10, 64); err != nil {
		return errors.New("it does not say what it follows")
	}
	prev := attribute(raw.Header, headerPrev)
	if (e.After == 0) != (prev == "") {
		return errors.New("it does not say what it follows")
	}
	if prev == "" {
		return nil
	}
	if n, err := hex.Decode(e.Prev[:], []byte(prev)); err != nil || n != len(e.Prev) || len(prev) != 2*len(e.Prev) {
		return errors.New("what it gives as the hash of its predecessor is none")
	}
	return nil
}

// fact reads a fact of the installation, as far as its kind is known here.
func (e *Examined) fact(raw Raw) error {
	var err error
	if e.At, err = time.Parse(timeLayout, attribute(raw.Header, headerTime)); err != nil {
		return fmt.Errorf("its time: %w", err)
	}
	switch raw.Subject {
	case signerSubject:
		var a announcement
		if err := json.Unmarshal(raw.Data, &a); err != nil || e.Type != TypeSigner || a.Public == "" {
			return errors.New("it is no announcement of a signer")
		}
		if a.Schema > credential.Schema {
			return newerSchema(a.Schema)
		}
		e.Announces = a.Public
	case checkpointSubject:
		if e.Type != TypeCheckpoint {
			return errors.New("it is no checkpoint")
		}
		c, err := DecodeCheckpoint(raw.Data)
		if err != nil {
			return err
		}
		e.Checkpoint = &c
	}
	return nil
}

// Span tells the sequences that the stream says it holds: from the first that
// it was made for (not the first that is still there) to the last it ever gave.
func (r *Record) Span(ctx context.Context) (first, last uint64, err error) {
	info, err := r.info(ctx)
	if err != nil {
		return 0, 0, readFault("look at the stream "+StreamName, err)
	}
	return max(info.Config.FirstSeq, 1), info.State.LastSeq, nil
}

// lastStored is the sequence of the last message that is there; zero = none. A
// weaker stream may have lost some after it.
func (r *Record) lastStored(ctx context.Context) (uint64, error) {
	ctx, cancel := r.call(ctx)
	defer cancel()
	msg, err := r.stream.GetLastMsgForSubject(ctx, recordFilter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return msg.Sequence, nil
}

// Raw gives every message of the stream that the server stored since an
// instant (zero = all), in order, up to the last one there is when it is
// called. It needs no right to publish. An error of fn ends it and is returned.
func (r *Record) Raw(ctx context.Context, since time.Time, fn func(Raw) error) error {
	const op = "read the record"
	cfg := jetstream.ConsumerConfig{FilterSubject: recordFilter, DeliverPolicy: jetstream.DeliverAllPolicy}
	last, err := r.lastStored(ctx)
	if err != nil {
		return readFault(op, err)
	}
	if !since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
		msg, found, err := r.get(ctx, last)
		if err != nil {
			return readFault(op, err)
		}
		if !found || msg.Time.Before(since) {
			return nil
		}
	}
	if last == 0 {
		return nil
	}
	return r.raw(ctx, op, last, cfg, fn)
}

// RawSubject gives every message of one subject as Raw does.
func (r *Record) RawSubject(ctx context.Context, subject string, fn func(Raw) error) error {
	op := "read " + subject
	call, cancel := r.call(ctx)
	defer cancel()
	last, err := r.stream.GetLastMsgForSubject(call, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return readFault(op, err)
	}
	return r.raw(ctx, op, last.Sequence, jetstream.ConsumerConfig{FilterSubject: subject, DeliverPolicy: jetstream.DeliverAllPolicy}, fn)
}

func (r *Record) raw(ctx context.Context, op string, last uint64, cfg jetstream.ConsumerConfig, fn func(Raw) error) error {
	err := r.collect(ctx, last, nil, cfg, func(m Raw, _ bool) error {
		if m.Sequence > last { // appended meanwhile, in place of one that is gone
			return nil
		}
		if err := fn(m); err != nil {
			return &callerError{err}
		}
		return nil
	})
	var own *callerError
	switch {
	case errors.As(err, &own):
		return own.error
	case err != nil:
		return readFault(op, err)
	}
	return nil
}

// RawMessage gives the message at a sequence; found is false if there is none.
func (r *Record) RawMessage(ctx context.Context, sequence uint64) (raw Raw, found bool, err error) {
	msg, found, err := r.get(ctx, sequence)
	if err != nil {
		return Raw{}, false, readFault(fmt.Sprintf("read message %d", sequence), err)
	}
	if !found {
		return Raw{}, false, nil
	}
	return Raw{msg.Sequence, msg.Subject, msg.Time, msg.Header, msg.Data}, true, nil
}
