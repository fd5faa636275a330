package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

// RequestsStream is the JetStream stream of what became of requests that left
// nothing on the record. It is no part of the record, and forgets what no daemon
// would take for fresh any more.
const RequestsStream = "KEYTURN_REQUESTS"

const (
	requestsPrefix = "keyturn.requests."
	requestsFilter = requestsPrefix + "*"

	maxRequests     = 256 << 20 // bytes of them all
	maxRequestsEach = 256 << 10 // bytes of one
	// lookTimeout leaves time to answer that it could not be found out.
	lookTimeout = 2 * time.Second
	// codeStoreFailed is the server's when a stream takes no more.
	codeStoreFailed jetstream.ErrorCode = 10077
)

// RequestsStreamConfig is how setup makes the stream: one subject for each
// request. A full one takes no more, since what it dropped could be replayed.
func RequestsStreamConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              RequestsStream,
		Description:       "keyturn: what became of requests that changed nothing, for as long as they are fresh",
		Subjects:          []string{requestsFilter},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxAge:            credential.KeepAnswers,
		MaxConsumers:      -1,
		MaxMsgs:           -1,
		MaxBytes:          maxRequests,
		MaxMsgSize:        maxRequestsEach,
		MaxMsgsPerSubject: 1,
		Storage:           jetstream.FileStorage,
		Replicas:          max(replicas, 1),
		DenyDelete:        true,
		DenyPurge:         true,
		AllowDirect:       false,
	}
}

// SetupRequests creates the stream if it is missing; an existing one is left as
// it is.
func SetupRequests(ctx context.Context, js jetstream.JetStream, replicas int) error {
	return setupBeside(ctx, js, RequestsStreamConfig(replicas))
}

// CheckRequests says what is wrong with the stream; an error means that it could
// not be found out.
func CheckRequests(ctx context.Context, js jetstream.JetStream) ([]Problem, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, RequestsStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return []Problem{{"the stream " + RequestsStream + " is missing: requests are refused, since a replay would not be noticed", hintSetup}}, nil
	}
	if err != nil {
		return nil, readFault("look at the stream "+RequestsStream, err)
	}
	have, want := stream.CachedInfo().Config, RequestsStreamConfig(1)
	var problems []Problem
	bad := func(wrong bool, flags, what string) {
		if wrong {
			problems = append(problems, Problem{"the stream " + RequestsStream + " " + what, "nats stream edit " + RequestsStream + " " + flags})
		}
	}
	bad(!slices.Equal(have.Subjects, want.Subjects), "--subjects '"+requestsFilter+"'", fmt.Sprintf("has the subjects %q, not %q: requests are refused", have.Subjects, want.Subjects))
	bad(have.MaxAge != 0 && have.MaxAge < want.MaxAge, "--max-age 15m", "forgets requests while they are fresh: they could be replayed")
	bad(have.MaxAge == 0, "--max-age 15m", "forgets nothing, and is full once and for all when its limit is reached")
	bad(have.Discard != want.Discard, "--discard new", "drops requests while they are fresh: they could be replayed")
	bad(have.MaxBytes <= 0, fmt.Sprintf("--max-bytes %d", maxRequests), "has no limit")
	bad(have.AllowDirect, "--no-allow-direct", "allows direct reads: a daemon may not see what another one kept")
	if have.Storage != want.Storage {
		problems = append(problems, Problem{"the stream " + RequestsStream + " is not stored in files: after a restart of NATS requests could be replayed", "nats stream rm " + RequestsStream + ", then keyturn setup"})
	}
	return problems, nil
}

// Requests keeps what became of requests that left nothing on the record. Its
// methods may be called by several goroutines at once.
type Requests struct {
	js     jetstream.JetStream
	stream atomic.Pointer[jetstream.Stream] // nil until it was found
}

// NewRequests makes no call: a stream that is missing is told by the methods.
func NewRequests(js jetstream.JetStream) *Requests { return &Requests{js: js} }

// requestSubject is that of a request. An id may have dots, and in any place.
func requestSubject(id string) string { return requestsPrefix + strings.ReplaceAll(id, ".", "=") }

// Outcome is what was kept of a request with that id; nil = nothing. It is asked
// of the stream's leader, so it knows what any daemon has kept.
func (r *Requests) Outcome(ctx context.Context, id string) ([]byte, error) {
	op := "look whether request " + id + " was answered before"
	if !connected(r.js) {
		return nil, readFault(op, errDisconnected)
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	stream := r.stream.Load()
	if stream == nil {
		found, err := r.js.Stream(ctx, RequestsStream)
		if err != nil {
			return nil, requestFault(op, err)
		}
		stream = &found
		r.stream.Store(stream)
	}
	msg, err := (*stream).GetLastMsgForSubject(ctx, requestSubject(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, requestFault(op, err)
	}
	return msg.Data, nil
}

// Keep keeps what became of a request, unless something is kept of that id
// already. It returns what is kept then: of several daemons one wins.
func (r *Requests) Keep(ctx context.Context, id string, outcome []byte) ([]byte, error) {
	op := "keep what became of request " + id
	pause := firstPause
	var why error
	for range maxPublish {
		if !connected(r.js) {
			return nil, readFault(op, errDisconnected)
		}
		call, cancel := context.WithTimeout(ctx, defaultTimeout)
		_, why = r.js.Publish(call, requestSubject(id), outcome, jetstream.WithExpectStream(RequestsStream),
			jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithRetryAttempts(0))
		cancel()
		switch {
		case why == nil:
			return outcome, nil
		case errors.Is(why, jetstream.ErrNoStreamResponse): // a leader is being chosen
			pause = leaderPause
		case !isConflict(why) && !isSilence(why):
			return nil, requestFault(op, why)
		default: // another one was first, or is about to be; or the answer was lost
			if kept, err := r.Outcome(ctx, id); err == nil && kept != nil {
				return kept, nil
			}
		}
		if err := wait(ctx, pause); err != nil {
			break
		}
		pause *= 2
	}
	return nil, requestFault(op, why)
}

func requestFault(op string, err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == codeStoreFailed {
		return &credential.Fault{
			Class: credential.ClassRetryable, System: system, Op: op, Err: fmt.Errorf("the stream %s is full: %w", RequestsStream, err),
			Hint: "again in some minutes: what is kept there is dropped after " + credential.Short(credential.KeepAnswers),
		}
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return permanent(op, hintSetup, fmt.Errorf("the stream %s is missing, or has no leader", RequestsStream))
	}
	return readFault(op, err)
}
