package publisher

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

const watchInFlight = 512

// Watch gives every event of every credential with a sequence above after, in
// order and each once, until ctx ends; after 0 gives all there ever was. It
// opens its reader again after a disconnect, from where it was. It returns nil
// when ctx ends, and an error only if the stream is gone.
//
// A message that cannot be read is told to Config.OnBad and left out.
func (r *Record) Watch(ctx context.Context, after uint64, fn func(credential.Entry)) error {
	return r.watch(ctx, from(jetstream.ConsumerConfig{FilterSubject: recordFilter}, after), fn)
}

// WatchSince is Watch from an instant; the zero time is now.
func (r *Record) WatchSince(ctx context.Context, since time.Time, fn func(credential.Entry)) error {
	if since.IsZero() {
		// "new" would be a later instant after each reconnect before the first
		// event; the sequence stays what it is
		info, err := r.info(ctx)
		if err != nil {
			return readFault("watch the record", err)
		}
		return r.Watch(ctx, info.State.LastSeq, fn)
	}
	return r.watch(ctx, jetstream.ConsumerConfig{
		FilterSubject: recordFilter,
		DeliverPolicy: jetstream.DeliverByStartTimePolicy,
		OptStartTime:  &since,
	}, fn)
}

func (r *Record) watch(ctx context.Context, cfg jetstream.ConsumerConfig, fn func(credential.Entry)) error {
	each := func(m Raw) (bool, error) {
		if entry, ok := r.decode(m); ok {
			fn(entry)
		}
		return false, nil
	}
	pause := pauseMin
	for {
		last, err := r.follow(ctx, cfg, watchInFlight, each)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to end
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return readFault("watch the record", err)
		}
		r.cfg.OnRetry(err)
		if last > 0 {
			cfg = from(cfg, last)
			pause = pauseMin
		}
		if wait(ctx, pause) != nil {
			return nil //nolint:nilerr // asked to end
		}
		pause = min(2*pause, pauseMax)
	}
}
