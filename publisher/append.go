package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	// maxPublish is how often one append is sent at most.
	maxPublish = 3
	// firstPause doubles with each further look.
	firstPause = 25 * time.Millisecond
	// leaderPause is how long a stream without a leader is given, each time.
	leaderPause = 250 * time.Millisecond
)

// Append commits an event: it stands on the record, as the successor of head,
// with the state after it, or it does not stand there at all.
//
// A Fault of class conflict says that another event stands there instead (or
// is about to): load and decide again. Class retryable says that nothing was
// stored, class permanent that nothing will be. Class outcome-unknown says that
// the event may be stored now or later; the same call with the same event finds
// out, and never stores it twice.
func (r *Record) Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, state credential.State) (credential.Head, error) {
	kind := "event"
	if event.Fact != nil {
		kind = string(event.Fact.Type())
	}
	op := fmt.Sprintf("append %s to %s after %d", kind, name, head.Sequence)
	signer := r.signer.Load()
	if signer == nil {
		return credential.Head{}, permanent(op, "", errors.New("this record was opened without a signer, for reading only"))
	}
	if _, err := credential.ParseName(string(name)); err != nil {
		return credential.Head{}, permanent(op, "", err)
	}
	msg, next, err := encode(name, r.source, head, event, state, signer)
	if err != nil {
		return credential.Head{}, permanent(op, "", err)
	}
	a := appender{js: r.js, stream: r.stream, timeout: r.cfg.Timeout, op: op, msg: msg, id: event.ID, hash: next.Hash, after: head.Sequence}
	next.Sequence, err = a.run(ctx)
	if err != nil {
		if credential.IsClass(err, credential.ClassConflict) {
			r.cfg.OnConflict()
		}
		return credential.Head{}, err
	}
	r.cfg.OnAppend(kind)
	return next, nil
}

// appender is one append of one message.
type appender struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	timeout time.Duration
	op      string
	msg     *nats.Msg
	id      string
	hash    string
	after   uint64 // the last sequence of the subject that is expected
}

// answer is what became of one publish.
type answer int

const (
	stored    answer = iota
	duplicate        // acknowledged as a repetition of some message
	conflict         // another message is last on the subject
	refused          // the server or the client said no
	notSent          // nobody received it
	silence          // it may have been stored, now or later
)

// run publishes until it is known what stands on the subject after the expected
// sequence, within a bounded number of tries.
func (a *appender) run(ctx context.Context) (uint64, error) {
	lost := false // an earlier publish may be stored
	pause := firstPause
	var why error
	for try := range maxPublish {
		if try > 0 {
			if err := wait(ctx, pause); err != nil {
				break
			}
			pause *= 2
		}
		sequence, what, err := a.publish(ctx)
		why = err
		switch what {
		case stored:
			return sequence, nil
		case duplicate:
			sequence, err := a.duplicateOf(ctx, sequence)
			if err == nil || !credential.IsClass(err, credential.ClassUnknown) {
				return sequence, err
			}
			lost, why = true, err
			continue
		case refused:
			if !lost {
				return 0, a.refusal(err)
			}
		case notSent:
			if !lost && !errors.Is(err, jetstream.ErrNoStreamResponse) {
				return 0, a.unsent(err)
			}
			if !lost { // a leader is being chosen
				pause = leaderPause
				continue
			}
		case silence:
			lost = true
		case conflict:
		}
		sequence, found, err := a.look(ctx)
		switch {
		case found:
			return sequence, nil
		case credential.IsClass(err, credential.ClassConflict):
			return 0, err
		case what == conflict && !lost:
			return 0, a.lostTo(why)
		case err != nil:
			why = errors.Join(why, err)
		}
	}
	if !lost {
		return 0, a.unsent(why)
	}
	return 0, a.unknown(why)
}

// publish sends the message once.
func (a *appender) publish(ctx context.Context) (uint64, answer, error) {
	if err := ctx.Err(); err != nil {
		return 0, notSent, err
	}
	if !connected(a.js) {
		return 0, notSent, errDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	ack, err := a.js.PublishMsg(ctx, a.msg,
		jetstream.WithMsgID(a.id),
		jetstream.WithExpectStream(StreamName),
		jetstream.WithExpectLastSequencePerSubject(a.after),
		// run tries again, for it knows whether an earlier try is in doubt
		jetstream.WithRetryAttempts(0))
	var api *jetstream.APIError
	switch {
	case err == nil && ack.Duplicate:
		return ack.Sequence, duplicate, nil
	case err == nil:
		return ack.Sequence, stored, nil
	case isConflict(err):
		return 0, conflict, err
	case errors.As(err, &api):
		return 0, refused, err
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrHeadersNotSupported):
		return 0, refused, err
	case errors.Is(err, jetstream.ErrNoStreamResponse), isNotSent(err):
		return 0, notSent, err
	}
	return 0, silence, err
}

// look says whether our message is the first of the subject after the expected
// sequence. Another one there is a conflict; none yet is neither.
func (a *appender) look(ctx context.Context) (sequence uint64, ours bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	msg, found, err := firstAfter(ctx, a.stream, a.msg.Subject, a.after)
	if err != nil || !found {
		return 0, false, err
	}
	if err := a.same(msg); err != nil {
		return 0, false, a.lostTo(err)
	}
	return msg.Sequence, true, nil
}

// same is nil when a stored message is the one that was sent.
func (a *appender) same(msg *jetstream.RawStreamMsg) error {
	id := attribute(msg.Header, headerID)
	if id != a.id {
		return fmt.Errorf("%s %s was first, as message %d", attribute(msg.Header, headerType), id, msg.Sequence)
	}
	if head, err := headOf(msg.Subject, msg.Sequence, msg.Header, msg.Data); err != nil || head.Hash != a.hash {
		return fmt.Errorf("message %d has the id of this event and another content", msg.Sequence)
	}
	return nil
}

// duplicateOf looks at the message that a duplicate acknowledgement names:
// message ids count for the whole stream, so it may belong to another subject.
func (a *appender) duplicateOf(ctx context.Context, sequence uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	msg, err := a.stream.GetMsg(ctx, sequence)
	if err != nil {
		return 0, a.unknown(fmt.Errorf("read message %d, named as the same: %w", sequence, err))
	}
	if msg.Subject != a.msg.Subject {
		return 0, permanent(a.op, "give each event an id of its own",
			fmt.Errorf("id %s was used already, by message %d on %s", a.id, sequence, msg.Subject))
	}
	if err := a.same(msg); err != nil {
		return 0, a.lostTo(err)
	}
	return sequence, nil
}

// refusal is the fault of a publish that the server or the client refused.
func (a *appender) refusal(err error) error {
	fault := readFault(a.op, err)
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		fault.Class = credential.ClassPermanent
	}
	return fault
}

// unsent is the fault of a publish that nobody received.
func (a *appender) unsent(err error) error {
	fault := &credential.Fault{Class: credential.ClassRetryable, System: system, Op: a.op, Err: err}
	if !errors.Is(err, context.Canceled) {
		fault.Silent, fault.Hint = true, hintReach
	}
	return fault
}

func (a *appender) lostTo(err error) error {
	return &credential.Fault{Class: credential.ClassConflict, System: system, Op: a.op, Err: err}
}

func (a *appender) unknown(err error) error {
	return &credential.Fault{Class: credential.ClassUnknown, System: system, Op: a.op, Hint: hintReach, Silent: true, Err: err}
}

// wait pauses, or returns the end of the context.
func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
