package publisher

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

// system is how faults of this package name who failed.
const system = "record"

// ErrUntrusted is the cause of every fault of Verify that says that a record
// is not what keyturn wrote, as opposed to one that could not be read.
var ErrUntrusted = errors.New("the record cannot be trusted")

const (
	hintReach = "is NATS reachable, and may this user use the subject? a refused publish looks like silence"
	hintSetup = "keyturn setup"
	hintNewer = "upgrade keyturn"
)

func permanent(op, hint string, err error) *credential.Fault {
	return &credential.Fault{Class: credential.ClassPermanent, System: system, Op: op, Hint: hint, Err: err}
}

// isConflict knows both codes of "wrong last sequence". The second one is given
// by replicated streams while another write on the subject is in flight.
func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
			api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// isSilence reports that no answer came.
func isSilence(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) ||
		isNotSent(err)
}

// isNotSent reports that the client refused to send.
func isNotSent(err error) bool {
	return errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionDraining) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrInvalidConnection) ||
		errors.Is(err, errDisconnected)
}

// errDisconnected is told before a publish that would only be buffered.
var errDisconnected = errors.New("not connected to NATS")

// readFault classifies a failed read or administration call: nothing happened.
func readFault(op string, err error) *credential.Fault {
	fault := &credential.Fault{Class: credential.ClassRetryable, System: system, Op: op, Err: err}
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		fault.Class, fault.Hint = credential.ClassPermanent, hintSetup
	case errors.As(err, &api):
		if api.Code < 500 {
			fault.Class = credential.ClassPermanent
		}
	case isSilence(err):
		fault.Silent, fault.Hint = true, hintReach
	}
	return fault
}
