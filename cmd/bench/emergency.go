package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

const listeners = 1000

// crowd is many subscribers, a connection each, that hear the same.
type crowd struct {
	conns []*nats.Conn
	left  atomic.Int64
	heard chan struct{} // told when the last of them has heard
}

func gather(url, subject string) (*crowd, error) {
	c := &crowd{heard: make(chan struct{}, 1)}
	for range listeners {
		conn, err := nats.Connect(url)
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns = append(c.conns, conn)
		for _, s := range []string{subject, "bare.>"} {
			if _, err := conn.Subscribe(s, func(*nats.Msg) {
				if c.left.Add(-1) == 0 {
					c.heard <- struct{}{}
				}
			}); err != nil {
				c.close()
				return nil, err
			}
		}
		if err := conn.Flush(); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *crowd) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

// until runs f, and tells how long it took until all have heard of it.
func (c *crowd) until(ctx context.Context, f func() error) (time.Duration, error) {
	c.left.Store(listeners)
	began := time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	select {
	case <-c.heard:
		return time.Since(began), nil
	case <-time.After(10 * time.Second):
		return 0, fmt.Errorf("%d subscribers heard nothing within 10 s", c.left.Load())
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// alarm measures from an operator's command, its connection included, to
// key.compromised at the last of the subscribers, against a bare publish of as
// many bytes to the same; the two take turns.
func alarm(ctx context.Context, n int) ([]row, error) {
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
	names := make([]credential.Name, n)
	for i := range names {
		names[i] = credential.Name(fmt.Sprintf("bench/key-%d", i))
		if err := w.appendPromoted(ctx, names[i]); err != nil {
			return nil, err
		}
	}
	url := w.conn.ConnectedUrl()
	all, err := gather(url, "keyturn.events.>")
	if err != nil {
		return nil, err
	}
	defer all.close()
	bare := all.conns[0]
	payload := make([]byte, 2048)
	var ours, theirs []time.Duration
	for _, name := range names {
		took, err := all.until(ctx, func() error {
			conn, err := nats.Connect(url)
			if err != nil {
				return err
			}
			defer conn.Close()
			answer, err := control.NewClient(conn, identity).Invalidate(ctx, control.Invalidate{Name: name, Key: credential.KeyPrimary, Reason: "bench"})
			if err == nil && answer.Result != control.ResultCompromised {
				err = errors.New("the daemon answered " + string(answer.Result))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		ours = append(ours, took)
		time.Sleep(pace)
		if took, err = all.until(ctx, func() error { return bare.Publish("bare.x", payload) }); err != nil {
			return nil, err
		}
		theirs = append(theirs, took)
		time.Sleep(pace)
	}
	return []row{{
		fmt.Sprintf("invalidate, to key.compromised at the last of %d subscribers", listeners), show(ours), show(theirs) + " bare publish to the same",
		float64(quantile(ours, .99)) / float64(quantile(theirs, .99)), "p99 <= 100 ms",
	}}, nil
}

// bulk says that the primary of every credential leaked, and measures until all
// of them are replaced and dead.
func (w *world) bulk(ctx context.Context, names []credential.Name, generation uint64) ([]row, error) {
	w.calls.Store(0)
	began := time.Now()
	if err := parallel(ctx, names, func(name credential.Name) error {
		_, err := w.engine.Command(ctx, name, credential.Compromise{Actor: "bench", Reason: "bench", Key: credential.KeyPrimary})
		return err
	}); err != nil {
		return nil, err
	}
	if _, err := w.drive(ctx, names, generation); err != nil {
		return nil, err
	}
	took := time.Since(began)
	const lane = inFlight + inFlight/4 // emergencies have a quarter more
	rate := float64(len(names)) / took.Seconds()
	each := time.Duration(w.calls.Load() / int64(len(names)))
	ceiling := lane / each.Seconds()
	return []row{{
		fmt.Sprintf("%d keys leaked at once, portal round trip %s: replaced and dead/s", len(names), backlogTrip), fmt.Sprintf("%.0f", rate),
		fmt.Sprintf("%.0f = %d / %s of calls in sequence", ceiling, lane, each.Round(time.Millisecond)), rate / ceiling, ">= 0.80",
	}}, nil
}
