package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// pace is the time between two requests: latency is measured, not throughput.
const pace = 2 * time.Millisecond

// latency measures from a request to rotate now to its event at a plain NATS
// subscriber, against a bare append and its delivery; the two take turns.
func latency(ctx context.Context, n int) ([]row, error) {
	w, err := newWorld(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer w.close()
	identity, stop, err := w.serve(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stop() }()
	asker, err := nats.Connect(w.conn.ConnectedUrl())
	if err != nil {
		return nil, err
	}
	defer asker.Close()
	events := make(chan *nats.Msg, 16)
	subscription, err := asker.ChanSubscribe("keyturn.events.>", events)
	if err != nil {
		return nil, err
	}
	defer func() { _ = subscription.Unsubscribe() }()
	client := control.NewClient(asker, identity)
	if err := await(ctx, func() error { _, err := client.Limits(ctx); return err }); err != nil {
		return nil, err
	}
	js, err := jetstream.New(asker)
	if err != nil {
		return nil, err
	}
	// a record remembers who asked of late, so the requests go to many
	names := make([]credential.Name, 40)
	var first *nats.Msg
	for i := range names {
		names[i] = credential.Name(fmt.Sprintf("bench/key-%d", i))
		if err := w.appendPromoted(ctx, names[i]); err != nil {
			return nil, err
		}
		first = <-events
	}
	payload := first.Data
	var ours, theirs []time.Duration
	sequence := uint64(0)
	for i := range n {
		began := time.Now()
		if _, err := client.Rotate(ctx, control.Rotate{Name: names[i%len(names)], Now: true}); err != nil {
			return nil, err
		}
		if err := receive(ctx, events); err != nil {
			return nil, err
		}
		ours = append(ours, time.Since(began))
		time.Sleep(pace)

		began = time.Now()
		message := &nats.Msg{Subject: publisher.RecordSubject("bare/key-0"), Data: payload, Header: first.Header}
		ack, err := js.PublishMsg(ctx, message, jetstream.WithExpectLastSequencePerSubject(sequence), jetstream.WithMsgID(engine.NewID()))
		if err != nil {
			return nil, err
		}
		sequence = ack.Sequence
		if err := receive(ctx, events); err != nil {
			return nil, err
		}
		theirs = append(theirs, time.Since(began))
		time.Sleep(pace)
	}
	if err := stop(); err != nil {
		return nil, err
	}
	return []row{{
		"request to rotate now, to its event at a subscriber", show(ours), show(theirs) + " bare append and delivery",
		float64(quantile(ours, .99)) / float64(quantile(theirs, .99)), "p99 <= 5x",
	}}, nil
}

// serve runs a control service; stop ends it, once or twice.
func (w *world) serve(ctx context.Context) (identity control.Identity, stop func() error, err error) {
	seed, _, err := publisher.GenerateSeed()
	if err != nil {
		return identity, nil, err
	}
	identity, err = control.NewIdentity("bench", seed)
	if err != nil {
		return identity, nil, err
	}
	operators := control.Operators{identity.Public(): {Name: "bench", Grants: []control.Grant{{Role: control.RoleAdmin, Namespaces: []string{"*"}}}}}
	service := control.New(control.Config{
		Conn: w.conn, Commander: w.engine, Version: "0.0.0", Logger: zap.NewNop(), Installation: identity.Installation, Now: time.Now,
		Operators: func() control.Operators { return operators }, Outcomes: publisher.NewRequests(w.js),
		Check:   func(s credential.Spec) (credential.Spec, error) { return s, nil },
		Changed: func(credential.Name, credential.State) {},
	})
	serving, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- service.Run(serving) }()
	return identity, sync.OnceValue(func() error { cancel(); return <-ended }), nil
}

func receive(ctx context.Context, events <-chan *nats.Msg) error {
	select {
	case <-events:
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("no event within 10 s")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func await(ctx context.Context, try func() error) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := try()
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func show(d []time.Duration) string {
	return fmt.Sprintf("p50 %d us, p99 %d us", quantile(d, .5).Microseconds(), quantile(d, .99).Microseconds())
}

func quantile(d []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
