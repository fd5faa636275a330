package publisher

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Verify checks the event that a head stands for: it is stored on the record of
// that name with that content, signed by a signer that is vouched for, and it
// follows the very event that it names as its predecessor. A fault whose cause
// is ErrUntrusted says that one of these is not so; any other fault says that
// the record could not be read.
func (r *Record) Verify(ctx context.Context, name credential.Name, head credential.Head) error {
	op := fmt.Sprintf("verify message %d of %s", head.Sequence, name)
	subject := RecordSubject(name)
	untrusted := func(format string, args ...any) error {
		return permanent(op, "keyturn audit", fmt.Errorf("%w: "+format, append([]any{ErrUntrusted}, args...)...))
	}
	if head.Sequence == 0 {
		return untrusted("there is no event yet")
	}
	msg, found, err := r.get(ctx, head.Sequence)
	switch {
	case err != nil:
		return readFault(op, err)
	case !found:
		return untrusted("it is gone")
	case msg.Subject != subject:
		return untrusted("it stands on %s", msg.Subject)
	}
	stored, err := headOf(msg.Subject, msg.Sequence, msg.Header, msg.Data)
	switch {
	case err != nil:
		return untrusted("%w", err)
	case stored != head:
		return untrusted("it is not the event that was read before")
	case !signed(stored):
		return untrusted("its signature is not that of its content")
	}
	known, err := r.known(ctx, stored.Signer)
	if err != nil {
		return err
	}
	if !known {
		return untrusted("nobody vouches for its signer %s", stored.Signer)
	}
	return r.verifyLink(ctx, op, msg, untrusted)
}

// verifyLink checks that nothing was cut out before a message and that it is
// not an old one put there again.
func (r *Record) verifyLink(ctx context.Context, op string, msg *jetstream.RawStreamMsg, untrusted func(string, ...any) error) error {
	prev := attribute(msg.Header, headerPrev)
	after, err := strconv.ParseUint(attribute(msg.Header, headerAfter), 10, 64)
	if err != nil || after >= msg.Sequence || (after == 0) != (prev == "") {
		return untrusted("it does not say what it follows")
	}
	first, found, err := r.firstAfter(ctx, msg.Subject, after)
	switch {
	case err != nil:
		return readFault(op, err)
	case !found || first.Sequence != msg.Sequence:
		return untrusted("it says that it follows message %d, which another event does", after)
	case after == 0:
		return nil
	}
	before, found, err := r.get(ctx, after)
	switch {
	case err != nil:
		return readFault(op, err)
	case !found || before.Subject != msg.Subject:
		return untrusted("its predecessor, message %d, is gone", after)
	}
	predecessor, err := headOf(before.Subject, before.Sequence, before.Header, before.Data)
	if err != nil || predecessor.Hash != prev {
		return untrusted("its predecessor, message %d, was changed", after)
	}
	return nil
}

// known reports whether a signer is vouched for. It reads the announcements
// again when it does not know one.
func (r *Record) known(ctx context.Context, public string) (bool, error) {
	r.mu.Lock()
	_, ok := r.signers[public]
	r.mu.Unlock()
	if ok {
		return true, nil
	}
	signers, err := r.Signers(ctx)
	if err != nil {
		return false, err
	}
	_, ok = signers[public]
	return ok, nil
}
