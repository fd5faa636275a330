package main

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/peers"
	"github.com/keyturn/keyturn/rotator/schedule"
)

const (
	// shortestDelay is what a daemon always leaves to the one before it.
	shortestDelay = 250 * time.Millisecond
	// urgentDelay is the most that it leaves to it when somebody waits.
	urgentDelay = 5 * time.Second
)

// peerService tells the other daemons of this one, and this one of them.
func (d *daemon) peerService(conn *nats.Conn) *peers.Service {
	return peers.New(peers.Config{
		Conn: conn, Beat: d.beat, Now: wallClock, Logger: d.logger,
		Changed: func(fleet peers.Fleet) {
			d.fleet.Store(&fleet)
			d.metrics.daemons.Set(float64(fleet.Size()))
			d.share()
		},
		Differs: func(_ peers.Heartbeat, kind string) { d.metrics.differs.WithLabelValues(kind).Inc() },
	})
}

// beat is what this daemon says of itself.
func (d *daemon) beat() peers.Heartbeat {
	beat := peers.Heartbeat{
		ID: d.id, Version: version, Digest: d.settings.Load().digest, Schema: credential.Schema, Lanes: map[string]peers.Load{},
	}
	holds := d.metrics.claims.heldBy(d.id)
	for name, load := range d.scheduler.Loads() {
		beat.Lanes[name] = peers.Load{Holds: holds[name], Running: load.Running, Queued: load.Queued}
	}
	return beat
}

// share takes this daemon's part of each issuer's limits, which are those of the
// installation, and asks anew whose turn it is.
func (d *daemon) share() {
	fleet, c := *d.fleet.Load(), d.settings.Load()
	for name, lane := range d.issuers {
		d.scheduler.Limit(name, fleet.Share(c.Issuers[name].Concurrency))
		if lane.limiter != nil {
			lane.limiter.set(fleet.Portion(c.Issuers[name].RateLimit))
		}
	}
	d.scheduler.Rebalance()
}

// leave is how long this daemon leaves a credential to others.
func (d *daemon) leave(name credential.Name, turn schedule.Turn) time.Duration {
	return leave(*d.fleet.Load(), name, turn)
}

func leave(fleet peers.Fleet, name credential.Name, turn schedule.Turn) time.Duration {
	ahead := fleet.Ahead(name, turn.Holder, turn.Attempts)
	wait := time.Duration(ahead) * turn.Delay
	if ahead > 0 && fleet.Has(turn.Holder) {
		wait += turn.Patience
	}
	return wait
}

// turnOf says who is to begin what comes next. By is the daemon whose pass
// appended the last event; empty = none.
func turnOf(s credential.State, next credential.Step, by string, now time.Time) schedule.Turn {
	t := schedule.Turn{Delay: max(s.Spec.Policy.ClaimWindow(), shortestDelay), Patience: s.Spec.Policy.Settle.Std()}
	if _, ok := s.Primary(); !ok || pressing(s, now) || (s.Requested != nil && s.Requested.Now) {
		t.Delay = min(t.Delay, urgentDelay)
	}
	var last credential.Claim
	for _, c := range s.Claims {
		if last.ID == "" || c.Opened.After(last.Opened) {
			last = c
		}
	}
	switch f := s.Failure; {
	case f != nil && !f.Last.Before(last.Opened):
		t.Attempts = f.Attempts
	case last.ID != "":
		t.Holder = last.Daemon
	case next.Kind != credential.StepWait:
		t.Holder = by
	}
	return t
}

// hurried is the turn of an emergency: any daemon may begin, and leaves the one
// before it just enough time to be first, or all would race for each of many.
func hurried(t schedule.Turn) schedule.Turn {
	t.Delay, t.Patience = shortestDelay, 0
	return t
}

// pressing reports whether the primary's end is near.
func pressing(s credential.State, now time.Time) bool {
	primary, ok := s.Primary()
	return ok && !now.Before(s.Spec.Policy.WarnAt(primary.Expires))
}

// retried reports whether the next attempt is one that failed at the issuer.
func retried(s credential.State) bool {
	f := s.Failure
	return f != nil && (f.Class == credential.ClassRetryable || f.Class == credential.ClassUnknown) &&
		slices.Contains([]credential.StepKind{credential.StepItem, credential.StepIssue, credential.StepVerify, credential.StepRevoke}, f.Step)
}

// passOf is the daemon whose pass appended an event, and which goes on with the
// credential; empty for what an operator wanted, and for an end.
func passOf(event credential.Event) string {
	switch event.Fact.(type) {
	case credential.Started, credential.StepClaimed, credential.Issued, credential.Promoted, credential.Retiring,
		credential.Invalidated, credential.Abandoned, credential.Expiring, credential.Expired:
		return event.Daemon
	}
	return ""
}
