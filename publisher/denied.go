package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// DeniedStream is the JetStream stream of requests that were denied. It is no
// part of the record: it is limited, and drops what is old.
const DeniedStream = "KEYTURN_DENIED"

const (
	deniedPrefix = "keyturn.denied."
	deniedFilter = deniedPrefix + ">"

	maxDenied           = 64 << 20 // bytes of them all
	maxDeniedEach       = 4 << 10  // bytes of one
	maxDeniedOfEndpoint = 20_000   // so that a flood at one does not push out those of the others
)

// DeniedStreamConfig is how setup makes the stream.
func DeniedStreamConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              DeniedStream,
		Description:       "keyturn: requests that were denied; old ones are dropped",
		Subjects:          []string{deniedFilter},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		MaxConsumers:      -1,
		MaxMsgs:           -1,
		MaxBytes:          maxDenied,
		MaxMsgSize:        maxDeniedEach,
		MaxMsgsPerSubject: maxDeniedOfEndpoint,
		Storage:           jetstream.FileStorage,
		Replicas:          max(replicas, 1),
		DenyDelete:        true,
		DenyPurge:         true,
	}
}

// SetupDenied creates the stream if it is missing; an existing one is left as it
// is.
func SetupDenied(ctx context.Context, js jetstream.JetStream, replicas int) error {
	return setupBeside(ctx, js, DeniedStreamConfig(replicas))
}

// setupBeside creates a stream beside that of the record if it is missing.
func setupBeside(ctx context.Context, js jetstream.JetStream, config jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 4*defaultTimeout)
	defer cancel()
	_, err := js.CreateStream(ctx, config)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return readFault("set up the stream "+config.Name, err)
	}
	return nil
}

// CheckDenied says what is wrong with the stream; an error means that it could
// not be found out.
func CheckDenied(ctx context.Context, js jetstream.JetStream) ([]Problem, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, DeniedStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return []Problem{{"the stream " + DeniedStream + " is missing: denied requests are not kept", hintSetup}}, nil
	}
	if err != nil {
		return nil, readFault("look at the stream "+DeniedStream, err)
	}
	var problems []Problem
	have := stream.CachedInfo().Config
	if len(have.Subjects) != 1 || have.Subjects[0] != deniedFilter {
		problems = append(problems, Problem{
			fmt.Sprintf("the subjects of the stream %s are %q, not %q: denied requests are not kept", DeniedStream, have.Subjects, deniedFilter),
			fmt.Sprintf("nats stream edit %s --subjects '%s'", DeniedStream, deniedFilter),
		})
	}
	if have.MaxBytes <= 0 || have.Discard != jetstream.DiscardOld {
		problems = append(problems, Problem{
			"the stream " + DeniedStream + " has no limit, or is full once and for all when it is reached",
			fmt.Sprintf("nats stream edit %s --discard old --max-bytes %d", DeniedStream, maxDenied),
		})
	}
	return problems, nil
}

// PublishDenied keeps what is told of a denied request of an endpoint, a word.
func PublishDenied(ctx context.Context, js jetstream.JetStream, endpoint string, data []byte) error {
	op := "keep a denied request"
	if !connected(js) {
		return readFault(op, errDisconnected)
	}
	_, err := js.Publish(ctx, deniedPrefix+endpoint, data, jetstream.WithExpectStream(DeniedStream), jetstream.WithRetryAttempts(0))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return permanent(op, hintSetup, fmt.Errorf("the stream %s is missing, or has no leader", DeniedStream))
	}
	if err != nil {
		return readFault(op, err)
	}
	return nil
}

// ReadDenied gives what was kept of denied requests since an instant, the oldest
// first; the zero time is the beginning. It ends with the last one that was there
// when it began.
func ReadDenied(ctx context.Context, js jetstream.JetStream, since time.Time, fn func(data []byte) error) error {
	const op = "read the denied requests"
	call, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	stream, err := js.Stream(call, DeniedStream)
	if err != nil {
		return readFault(op, err)
	}
	last := stream.CachedInfo().State.LastSeq
	config := jetstream.OrderedConsumerConfig{FilterSubjects: []string{deniedFilter}, InactiveThreshold: idleAbandon}
	if !since.IsZero() {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	consumer, err := stream.OrderedConsumer(ctx, config) // the server removes it soon; readers need no right to
	if err != nil {
		return readFault(op, err)
	}
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	iter, err := consumer.Messages()
	if err != nil {
		return readFault(op, err)
	}
	defer iter.Stop()
	for {
		msg, err := iter.Next(jetstream.NextContext(ctx))
		if err != nil {
			return readFault(op, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return readFault(op, err)
		}
		if meta.Sequence.Stream <= last {
			if err := fn(msg.Data()); err != nil {
				return err
			}
		}
		if meta.Sequence.Stream >= last {
			return nil
		}
	}
}
