package audit

import (
	"context"
	"runtime"
	"sync"

	"github.com/keyturn/keyturn/publisher"
)

// batchSize is how many messages a worker takes at once.
const batchSize = 64

// batch is examined by one worker; done is closed when examined is there.
type batch struct {
	raw      []publisher.Raw
	examined []publisher.Examined
	done     chan struct{}
}

// examineAll gives what read gives, examined on all processors, to fold, in
// order and by this goroutine.
func examineAll(ctx context.Context, read func(ctx context.Context, fn func(publisher.Raw) error) error, fold func(*publisher.Examined) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	work := make(chan *batch)
	ordered := make(chan *batch, 4*workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for b := range work {
				b.examined = make([]publisher.Examined, len(b.raw))
				for i, raw := range b.raw {
					b.examined[i] = publisher.Examine(raw)
				}
				b.raw = nil
				close(b.done)
			}
		})
	}
	var failed error // set before ordered is closed
	group.Go(func() {
		defer close(ordered)
		defer close(work)
		b := &batch{done: make(chan struct{})}
		send := func() {
			if len(b.raw) > 0 {
				work <- b
				ordered <- b
				b = &batch{done: make(chan struct{})}
			}
		}
		failed = read(ctx, func(m publisher.Raw) error {
			if b.raw == nil {
				b.raw = make([]publisher.Raw, 0, batchSize)
			}
			if b.raw = append(b.raw, m); len(b.raw) == batchSize {
				send()
			}
			return ctx.Err()
		})
		send()
	})
	var refused error
	for b := range ordered {
		<-b.done
		for i := range b.examined {
			if refused != nil {
				break
			}
			if refused = fold(&b.examined[i]); refused != nil {
				cancel()
			}
		}
	}
	group.Wait()
	if refused != nil {
		return refused
	}
	return failed
}
