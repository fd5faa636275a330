package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The CloudEvents types of the installation's freeze.
const (
	TypeFrozen = "io.keyturn.system.frozen"
	TypeThawed = "io.keyturn.system.thawed"
)

const (
	freezeFacts   = "freeze"
	freezeSubject = systemPrefix + freezeFacts
	opFreeze      = "freeze or thaw the installation"
)

// freezing is the data of an event on the subject of the freeze.
type freezing struct {
	Schema  int    `json:"schema"`
	Actor   string `json:"actor"`
	Daemon  string `json:"daemon"`
	Request string `json:"request"`
	Reason  string `json:"reason,omitempty"`
	// Frozen is the hold that new credentials begin under; nil = none.
	Frozen   *credential.Hold      `json:"frozen,omitempty"`
	Revision uint64                `json:"revision"`
	Answered []credential.Answered `json:"answered,omitempty"`
}

// Freeze decides a PutHold or Release with Freeze set, as credential.Decide does
// for a credential, and appends it as a fact of the installation. It returns the
// state after it, in which only Frozen, Answered and Revision mean something; an
// error of credential.Decide comes as it is, with the state before.
func (r *Record) Freeze(ctx context.Context, asked credential.Asked, view credential.View) (credential.State, error) {
	if r.cfg.Signer == nil {
		return credential.State{}, permanent(opFreeze, "", errors.New("this record was opened without a signer, for reading only"))
	}
	pause := firstPause
	for range maxPublish {
		before, head, err := r.freeze(ctx)
		if err != nil {
			return credential.State{}, err
		}
		event, err := credential.Decide(before, asked, view)
		if err != nil {
			return before, err
		}
		after := credential.Evolve(before, event)
		err = r.appendFreeze(ctx, head, event, after)
		if !credential.IsClass(err, credential.ClassConflict) {
			return after, err
		}
		if err := wait(ctx, pause); err != nil { // the winner may still be on its way
			break
		}
		pause *= 2
	}
	return credential.State{}, &credential.Fault{Class: credential.ClassConflict, System: system, Op: opFreeze}
}

// Frozen is the hold that new credentials begin under; nil = none. It may have
// ended.
func (r *Record) Frozen(ctx context.Context) (*credential.Hold, error) {
	state, _, err := r.freeze(ctx)
	return state.Frozen, err
}

// freeze reads the last fact, from the leader, and checks it as Verify does.
func (r *Record) freeze(ctx context.Context) (credential.State, credential.Head, error) {
	const op = "read the freeze of the installation"
	state := credential.State{Status: credential.StatusRegistered}
	call, cancel := r.call(ctx)
	defer cancel()
	msg, err := r.stream.GetLastMsgForSubject(call, freezeSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return state, credential.Head{}, nil
	}
	if err != nil {
		return state, credential.Head{}, readFault(op, err)
	}
	fact, head, err := decodeFreeze(msg)
	if err != nil {
		return state, head, permanent(op, "", fmt.Errorf("message %d: %w", msg.Sequence, err))
	}
	untrusted := func(format string, args ...any) error {
		return permanent(op, "keyturn audit", fmt.Errorf("%w: message %d: "+format, append([]any{ErrUntrusted, msg.Sequence}, args...)...))
	}
	if !signed(head) {
		return state, head, untrusted("its signature is not that of its content")
	}
	known, err := r.known(ctx, head.Signer)
	switch {
	case err != nil:
		return state, head, err
	case !known:
		return state, head, untrusted("nobody vouches for its signer %s", head.Signer)
	}
	state.Frozen, state.Revision, state.Answered = fact.Frozen, fact.Revision, fact.Answered
	return state, head, r.verifyLink(ctx, op, msg, untrusted)
}

func decodeFreeze(msg *jetstream.RawStreamMsg) (fact freezing, head credential.Head, err error) {
	if head, err = headOf(msg.Subject, msg.Sequence, msg.Header, msg.Data); err != nil {
		return fact, head, err
	}
	if err := json.Unmarshal(msg.Data, &fact); err != nil {
		return fact, head, fmt.Errorf("its data: %w", err)
	}
	if fact.Schema > credential.Schema {
		return fact, head, newerSchema(fact.Schema)
	}
	switch kind := attribute(msg.Header, headerType); {
	case kind != TypeFrozen && kind != TypeThawed:
		return fact, head, fmt.Errorf("%q is neither a freeze nor a thaw", kind)
	case (kind == TypeFrozen) != (fact.Frozen != nil):
		return fact, head, fmt.Errorf("it does not hold what %s says", kind)
	}
	return fact, head, nil
}

func (r *Record) appendFreeze(ctx context.Context, head credential.Head, event credential.Event, after credential.State) error {
	fact := freezing{
		Schema: credential.Schema, Actor: event.Actor, Daemon: event.Daemon, Request: event.Request,
		Frozen: after.Frozen, Revision: after.Revision, Answered: after.Answered,
	}
	kind := TypeFrozen
	if released, ok := event.Fact.(credential.Released); ok {
		kind, fact.Reason = TypeThawed, released.Reason
	}
	data, err := json.Marshal(fact)
	if err != nil {
		return permanent(opFreeze, "", err)
	}
	msg := newMessage(freezeSubject, systemToken+"/"+freezeFacts, r.source, kind, event.ID, event.At, head, data)
	next, err := seal(msg, r.cfg.Signer)
	if err != nil {
		return permanent(opFreeze, "", err)
	}
	a := appender{js: r.js, stream: r.stream, timeout: r.cfg.Timeout, op: opFreeze, msg: msg, id: event.ID, hash: next.Hash, after: head.Sequence}
	if _, err = a.run(ctx); err != nil {
		return err
	}
	r.cfg.OnAppend(kind)
	return nil
}
