package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// storm is a whole run.
func storm(ctx context.Context, s shape, out, progress io.Writer) error {
	began := time.Now()
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(progress, "%7.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	say("seed %d: %d faults, %d credentials, keys live %s, lead time %s", s.seed, s.wanted, s.credentials, s.life, s.lead)
	w, err := open(ctx, s, say)
	if err != nil {
		return cause(ctx, err)
	}
	defer w.close()
	say("disks are filled by: %s", w.disks)
	r := newResult(s, w.disks)
	if err := w.storm(ctx, r); err != nil {
		if ctx.Err() != nil && s.dir == "" {
			err = errors.Join(err, w.removeDir())
		}
		return cause(ctx, fmt.Errorf("%w (see %s)", err, w.dir))
	}
	r.took = time.Since(began)
	if err := r.print(out); err != nil {
		return err
	}
	if len(r.violations) > 0 {
		_, _ = fmt.Fprintf(out, "\nlogs, faults and records of what failed: %s\n", w.dir)
		return errViolated
	}
	if s.dir == "" {
		return w.removeDir()
	}
	return nil
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// removeDir ends everything, and leaves nothing behind.
func (w *world) removeDir() error {
	w.close()
	w.closers = nil
	err := os.RemoveAll(w.dir)
	if w.disks == diskMount && err != nil {
		return nil //nolint:nilerr // its mount points go with our mount namespace
	}
	return err
}

// storm breaks things, lets all become quiet, and looks.
func (w *world) storm(ctx context.Context, r *result) error {
	log, err := os.Create(filepath.Join(w.dir, "faults.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	b := &breaker{world: w, result: r, log: log, deadline: time.Now().Add(w.duration)}
	if err := b.run(ctx); err != nil {
		return err
	}
	w.say("%d faults made; now everything is left to become quiet", r.faults)
	if err := w.settleDown(ctx); err != nil {
		r.violate(badQuiet, "", "%v", err)
	}
	return w.inspect(ctx, r)
}

// breaker makes the faults.
type breaker struct {
	*world
	result   *result
	log      io.Writer
	deadline time.Time

	deck []fault
	next int // number of the next fault

	mu sync.Mutex
}

// run makes rounds of faults until there were enough.
func (b *breaker) run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(b.seed, 0))
	said := time.Now()
	for tries := 0; b.result.faults < b.wanted && tries < 4*b.wanted+100; tries++ {
		if time.Now().After(b.deadline) {
			b.say("the time is over: no more faults")
			return nil
		}
		if err := b.gate(ctx); err != nil {
			return err
		}
		if err := b.round(ctx, b.draw(random)); err != nil {
			return err
		}
		if time.Since(said) > 20*time.Second {
			said = time.Now()
			u := b.apps.seen()
			b.say("%d faults, %d calls of applications, %d refused", b.result.faults, u.Accepted+len(u.Refused), len(u.Refused))
		}
		if err := pause(ctx, b.hold()/2); err != nil {
			return err
		}
	}
	return nil
}

// draw takes the faults of a round from a shuffled deck, in which each kind is
// once: up to five that do not get into each other's way.
func (b *breaker) draw(random *rand.Rand) (round []fault) {
	want := 1 + random.IntN(5)
	lanes := map[string]bool{}
	for len(round) < want && b.result.faults+len(round) < b.wanted {
		if len(b.deck) == 0 {
			b.deck = catalogue(b.disks != diskNone)
			slices.SortFunc(b.deck, func(a, b fault) int { return strings.Compare(a.kind, b.kind) })
			random.Shuffle(len(b.deck), func(i, j int) { b.deck[i], b.deck[j] = b.deck[j], b.deck[i] })
		}
		i := slices.IndexFunc(b.deck, func(f fault) bool {
			return (!f.long || len(round) == 0) && !slices.ContainsFunc(f.lanes, func(lane string) bool { return lanes[lane] })
		})
		if i < 0 {
			break
		}
		f := b.deck[i]
		b.deck = slices.Delete(b.deck, i, i+1)
		round = append(round, f)
		if f.long {
			break
		}
		for _, lane := range f.lanes {
			lanes[lane] = true
		}
	}
	return round
}

// round makes some faults at the same time, and undoes them.
func (b *breaker) round(ctx context.Context, round []fault) error {
	if err := b.whole(ctx, round); err != nil {
		return err
	}
	var group sync.WaitGroup
	failures := make([]error, len(round))
	for i, f := range round {
		number := b.next
		b.next++
		group.Go(func() { failures[i] = b.one(ctx, number, f) })
	}
	group.Wait()
	return errors.Join(failures...)
}

// one makes one fault and undoes it after a while. One that could not be made
// is undone and does not count.
func (b *breaker) one(ctx context.Context, number int, f fault) error {
	random := rand.New(rand.NewPCG(b.seed, uint64(number)+1))
	hold := b.hold()/4 + time.Duration(random.Int64N(int64(b.hold()*3/4)))
	if f.long {
		hold = b.longHold()
	}
	if err := pause(ctx, time.Duration(random.Int64N(int64(b.hold()/4)))); err != nil {
		return err
	}
	heal, made := f.begin(ctx, b.world, random)
	b.note("%d begin %s: %v", number, f.kind, made)
	if made == nil {
		if err := pause(ctx, hold); err != nil {
			return err
		}
	}
	err := until(ctx, startTime, f.kind+" is undone", heal)
	b.note("%d end %s: %v", number, f.kind, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if made == nil {
		b.result.faults++
		b.result.kinds[f.kind]++
	} else {
		b.result.unmade++
		b.deck = append(b.deck, f) // it gets another chance
	}
	return err
}

func (b *breaker) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = fmt.Fprintf(b.log, "%s %s\n", time.Now().Format(clockLayout), fmt.Sprintf(format, args...))
}

// whole waits until the servers that are to be broken serve: a cluster that was
// started again may still be electing.
func (w *world) whole(ctx context.Context, round []fault) error {
	for _, f := range round {
		var err error
		switch {
		case slices.Contains(f.lanes, laneNATS):
			err = until(ctx, startTime, "JetStream serves", func(ctx context.Context) error {
				_, err := w.cluster.js.Stream(ctx, publisher.StreamName)
				return err
			})
		case slices.Contains(f.lanes, laneVault):
			err = until(ctx, startTime, "Vault serves", func(ctx context.Context) error {
				return w.vault.call(ctx, http.MethodGet, "sys/policies/acl/"+daemonPolicy, nil, nil)
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gate keeps outages from being strung together to one that is longer than the
// lead time allows: nothing is broken while a primary is closer to its expiry
// than three fifths of that. What is left is longer than the longest outage, an
// election of NATS, which takes about ten seconds.
func (b *breaker) gate(ctx context.Context) error {
	began := time.Now()
	var late []credential.Name
	err := until(ctx, b.life, "all keys were renewed", func(context.Context) error {
		if late = b.witness.late(time.Now().Add(b.lead * 3 / 5)); len(late) > 0 {
			return fmt.Errorf("late: %s", late)
		}
		return nil
	})
	b.result.waited += time.Since(began)
	b.result.looked[badLate]++
	if err != nil && ctx.Err() == nil {
		b.result.violate(badLate, late[0], "%v", err)
		return nil
	}
	return err
}

// pause waits, unless the run ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// quietLife is how long the last keys live: nothing rotates while we look.
const quietLife = 6 * time.Hour

// settleDown gives every credential a last key that lives long, and waits until
// nothing is under way any more.
func (w *world) settleDown(ctx context.Context) error {
	if err := w.apply(ctx, quietLife); err != nil {
		return err
	}
	long := time.Now().Add(quietLife / 2)
	done := func(s credential.State) bool {
		primary, ok := s.Primary()
		return ok && primary.Expires.After(long) && s.Rotation == nil && s.Requested == nil && len(s.Seats) == 1 && len(s.Old) == 0 && s.Edit == nil
	}
	client := control.NewClient(w.cluster.conn, w.identity)
	bound := startTime + 4*w.lead + time.Duration(w.credentials)*100*time.Millisecond
	asked := map[credential.Name]time.Time{}
	if err := until(ctx, bound, "all is quiet", func(ctx context.Context) error {
		var open []credential.Name
		for _, name := range w.names {
			s := w.witness.state(name)
			if done(s) {
				continue
			}
			open = append(open, name)
			if primary, ok := s.Primary(); ok && primary.Expires.Before(long) && s.Rotation == nil && s.Requested == nil && time.Since(asked[name]) > 2*time.Second {
				asked[name] = time.Now()
				if _, err := client.Rotate(ctx, control.Rotate{Name: name, Now: true}); err != nil {
					return err
				}
			}
		}
		if len(open) > 0 {
			return fmt.Errorf("%d credentials are not, %s among them: %s", len(open), open[0], summary(w.witness.state(open[0])))
		}
		return nil
	}); err != nil {
		return err
	}
	// what a call without an answer has left is found by the sweeps, once it is old enough
	return until(ctx, 3*strayGrace+2*time.Minute, "no item is left", func(ctx context.Context) error {
		portal, err := w.portal.state(ctx)
		if err != nil {
			return err
		}
		if n := len(portal.Items); n > w.credentials {
			return fmt.Errorf("%d items for %d credentials", n, w.credentials)
		}
		return nil
	})
}

func summary(s credential.State) string {
	text := fmt.Sprintf("revision %d, seats %v, claims %v, drift %v", s.Revision, s.Seats, s.Claims, s.Drift)
	if s.Rotation != nil {
		text += fmt.Sprintf(", rotation %+v", *s.Rotation)
	}
	if len(s.Old) > 0 {
		text += fmt.Sprintf(", old items %+v", s.Old)
	}
	if s.Failure != nil {
		text += fmt.Sprintf(", failure %+v", *s.Failure)
	}
	return text
}
