package publisher

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	batchSize = 256  // messages that a worker decodes at once
	pullSize  = 8192 // messages in flight from the server
	// maxFailures is how often a replay is continued without a message in between.
	maxFailures = 5
)

// errStalled is the cause when a replica does not get on.
var errStalled = errors.New("the server has stopped sending before the end")

// Recover gives the last event of every credential, each with the state after
// it. Fn is called by one goroutine at a time, in the order of the stream. An
// event appended meanwhile may be given too, so a credential can come twice: the
// later call counts. Whatever came after the highest sequence that was given is
// what Watch gives from there.
//
// A message that cannot be read is told to Config.OnBad and left out. An error
// of fn ends it and is returned.
func (r *Record) Recover(ctx context.Context, fn func(credential.Entry) error) error {
	const op = "read the last event of every credential"
	info, err := r.info(ctx)
	if err != nil {
		return readFault(op, err)
	}
	if info.State.LastSeq == 0 {
		return nil
	}
	// A credential that is appended to before the reader exists has its last event
	// above that sequence: the end is asked for again once the reader is there.
	refresh := func(ctx context.Context) (uint64, error) {
		info, err := r.info(ctx)
		if err != nil {
			return 0, err
		}
		return info.State.LastSeq, nil
	}
	return r.replay(ctx, op, info.State.LastSeq, refresh, jetstream.ConsumerConfig{
		FilterSubject: recordFilter,
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	}, fn)
}

// Replay gives every event of every credential that stands on the record when it
// begins, in the order of the stream. It calls fn as Recover does.
func (r *Record) Replay(ctx context.Context, fn func(credential.Entry) error) error {
	const op = "read every event of every credential"
	info, err := r.info(ctx)
	if err != nil {
		return readFault(op, err)
	}
	if info.State.LastSeq == 0 {
		return nil
	}
	return r.replay(ctx, op, info.State.LastSeq, nil, jetstream.ConsumerConfig{
		FilterSubject: recordFilter,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}, fn)
}

// History gives all events of one credential, the oldest first. It calls fn as
// Recover does.
func (r *Record) History(ctx context.Context, name credential.Name, fn func(credential.Entry) error) error {
	op := fmt.Sprintf("read the history of %s", name)
	if _, err := credential.ParseName(string(name)); err != nil {
		return permanent(op, "", err)
	}
	call, cancel := r.call(ctx)
	defer cancel()
	last, err := r.stream.GetLastMsgForSubject(call, RecordSubject(name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return readFault(op, err)
	}
	return r.replay(ctx, op, last.Sequence, nil, jetstream.ConsumerConfig{
		FilterSubject: RecordSubject(name),
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}, fn)
}

func (r *Record) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := r.call(ctx)
	defer cancel()
	return r.stream.Info(ctx)
}

// batch is decoded by one worker; done is closed when entries are there.
type batch struct {
	readings []reading
	entries  []credential.Entry
	done     chan struct{}
}

// replay reads up to the sequence last, decodes on all processors and calls fn
// in order. Refresh, if given, is asked for a later end after the first message. The end is that sequence, not "nothing is pending": the reader may
// live on a replica that lags.
func (r *Record) replay(ctx context.Context, op string, last uint64, refresh func(context.Context) (uint64, error), cfg jetstream.ConsumerConfig, fn func(credential.Entry) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := runtime.GOMAXPROCS(0)
	work := make(chan *batch)
	ordered := make(chan *batch, 2*workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for b := range work {
				b.entries = make([]credential.Entry, 0, len(b.readings))
				for _, m := range b.readings {
					if entry, ok := r.decode(m); ok {
						b.entries = append(b.entries, entry)
					}
				}
				b.readings = nil
				close(b.done)
			}
		})
	}
	var read error // set before ordered is closed
	group.Go(func() {
		defer close(ordered)
		defer close(work)
		read = r.collect(ctx, last, refresh, cfg, work, ordered)
	})
	complete, failed := deliver(ctx, ordered, fn, cancel)
	group.Wait()
	switch {
	case failed != nil:
		return failed
	case read != nil:
		return readFault(op, read)
	case !complete:
		return readFault(op, context.Cause(ctx))
	}
	return nil
}

// deliver calls fn for the entries of each batch. After an error of fn, which it
// returns, or the end of ctx it stops the reader and drains what is under way.
func deliver(ctx context.Context, ordered <-chan *batch, fn func(credential.Entry) error, cancel context.CancelCauseFunc) (complete bool, failed error) {
	complete = true
	for b := range ordered {
		<-b.done
		for _, entry := range b.entries {
			if failed != nil || ctx.Err() != nil {
				complete = false
				break
			}
			if failed = fn(entry); failed != nil {
				cancel(failed)
			}
		}
	}
	return complete, failed
}

// collect cuts the messages into batches until the sequence last is reached.
func (r *Record) collect(ctx context.Context, last uint64, refresh func(context.Context) (uint64, error), cfg jetstream.ConsumerConfig, work, ordered chan<- *batch) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := 4 * r.cfg.Timeout
	watchdog := time.AfterFunc(patience, func() { cancel(errStalled) })
	defer watchdog.Stop()

	b := &batch{done: make(chan struct{})}
	each := func(m reading) (bool, error) {
		if refresh != nil {
			later, err := refresh(ctx)
			if err != nil {
				return false, err
			}
			last, refresh = max(last, later), nil
		}
		if b.readings == nil {
			b.readings = make([]reading, 0, batchSize)
		}
		b.readings = append(b.readings, m)
		end := m.sequence >= last
		watchdog.Reset(patience)
		if !end && len(b.readings) < batchSize {
			return false, nil
		}
		watchdog.Stop() // fn may take its time
		// no worker waits for anything, so this ends; what stands in ordered is
		// always decoded
		work <- b
		ordered <- b
		b = &batch{done: make(chan struct{})}
		watchdog.Reset(patience)
		return end, nil
	}
	failures := 0
	pause := pauseMin
	for {
		at, err := r.follow(ctx, cfg, pullSize, each)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if at > 0 {
			cfg = from(cfg, at)
			failures, pause = 0, pauseMin
		}
		if failures++; failures >= maxFailures {
			return err
		}
		if wait(ctx, pause) != nil {
			return context.Cause(ctx)
		}
		pause = min(2*pause, pauseMax)
	}
}
