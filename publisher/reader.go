package publisher

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	heartbeat   = 5 * time.Second
	idleAbandon = time.Minute // the server drops a reader that is silent for so long
	pauseMin    = 100 * time.Millisecond
	pauseMax    = 5 * time.Second
)

// errReconnected and errGap end a session; the next one goes on where it was.
var (
	errReconnected = errors.New("the connection to NATS was lost and is back")
	errGap         = errors.New("a message went missing between server and reader")
)

// from is the configuration of a reader that goes on after a sequence.
func from(cfg jetstream.ConsumerConfig, sequence uint64) jetstream.ConsumerConfig {
	cfg.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
	cfg.OptStartSeq = sequence + 1
	cfg.OptStartTime = nil
	return cfg
}

// follow is one session of an ordered reader. It ends with nil when each says
// so, else with an error. It returns the last sequence that each accepted, 0
// for none.
//
// The ordered consumer of the client library is not used: while it recovers it
// does not heed a context.
func (r *Record) follow(ctx context.Context, cfg jetstream.ConsumerConfig, inFlight int, each func(Raw) (end bool, err error)) (last uint64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// from before the reader exists, so that no reconnect falls in between
	status := r.js.Conn().StatusChanged(nats.CONNECTED)
	defer r.js.Conn().RemoveStatusListener(status)
	cfg.AckPolicy = jetstream.AckNonePolicy
	cfg.MemoryStorage = true
	cfg.Replicas = 1
	cfg.InactiveThreshold = idleAbandon
	call, cancelCall := r.call(ctx)
	consumer, err := r.stream.CreateConsumer(call, cfg)
	cancelCall()
	if err != nil {
		return 0, err
	}
	defer r.forget(ctx, consumer.CachedInfo().Name)
	iter, err := consumer.Messages(jetstream.PullMaxMessages(inFlight), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return 0, err
	}
	defer iter.Stop()
	go func() {
		select {
		case <-ctx.Done():
		case <-status:
			cancel(errReconnected)
		}
	}()
	for delivered := uint64(1); ; delivered++ {
		msg, err := iter.Next(jetstream.NextContext(ctx))
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return last, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return last, err
		}
		if meta.Sequence.Consumer != delivered {
			return last, errGap
		}
		end, err := each(Raw{meta.Sequence.Stream, msg.Subject(), meta.Timestamp, msg.Headers(), msg.Data()})
		if err != nil {
			return last, err
		}
		last = meta.Sequence.Stream
		if end {
			return last, nil
		}
	}
}

// forget removes a reader from the server, which would do so later by itself.
// Who only reads may not remove any: it could not be said whose.
func (r *Record) forget(ctx context.Context, consumer string) {
	if r.cfg.Signer == nil || !connected(r.js) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.stream.DeleteConsumer(ctx, consumer)
}

// decode reads a message of a record. The facts of the installation are passed
// over; what cannot be read is told.
func (r *Record) decode(m Raw) (credential.Entry, bool) {
	if strings.HasPrefix(m.Subject, systemPrefix) {
		return credential.Entry{}, false
	}
	entry, err := decode(m.Subject, m.Sequence, m.Header, m.Data)
	if err != nil {
		r.cfg.OnBad(m.Subject, m.Sequence, err)
		return credential.Entry{}, false
	}
	return entry, true
}
