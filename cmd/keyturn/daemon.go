package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/cmd/keyturn/internal/declare"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
	"github.com/keyturn/keyturn/rotator/schedule"
	"github.com/keyturn/keyturn/vault"
)

// pass is what the scheduler calls when a credential has something to do.
func (d *daemon) pass(ctx context.Context, name credential.Name) (schedule.Wake, error) {
	result, err := d.engine.Pass(ctx, name)
	if err != nil {
		return schedule.Wake{}, err
	}
	return d.wake(result.State, result.Next, d.id), nil
}

// probe is what the scheduler calls between the passes.
func (d *daemon) probe(ctx context.Context, name credential.Name) (schedule.Wake, error) {
	var state credential.State
	again, err := d.engine.Inspect(inBackground(ctx), name)
	if err == nil {
		state, err = d.engine.Look(ctx, name)
	}
	if ctx.Err() == nil {
		d.metrics.probed(state, again, err)
	}
	if err != nil {
		return schedule.Wake{}, err
	}
	w := d.plan(name, state, "")
	w.Again = again
	return w, nil
}

// probeEvery is how often a primary is probed: more often where the lead time
// before its expiry is short.
func (d *daemon) probeEvery(s credential.State) time.Duration {
	_, ok := s.Primary() // a removal may wait for what somebody does to an item
	if s.Status != credential.StatusRegistered || (!ok && s.Removing == nil) {
		return 0
	}
	return min(d.settings.Load().Daemon.ProbeInterval.Value, s.Spec.Policy.RotateBefore.Std()/8)
}

// plan says when to look at a credential whose state was read elsewhere. By is
// the daemon whose pass appended the last event; empty = none.
func (d *daemon) plan(name credential.Name, state credential.State, by string) schedule.Wake {
	return d.wake(state, d.engine.Plan(name, state), by)
}

func (d *daemon) wake(s credential.State, next credential.Step, by string) schedule.Wake {
	now := wallClock()
	w := schedule.Wake{
		At: next.At, Lane: s.Spec.Issuer, Silent: s.Failure != nil && s.Failure.Silent,
		Retry: retried(s), Pressing: pressing(s, now), Turn: turnOf(s, next, by, now),
		Every: d.probeEvery(s), Mine: next.Reason == credential.ReasonInFlight,
	}
	if next.Kind == credential.StepWait && next.At.IsZero() && s.Status == credential.StatusRemoved {
		w.Gone = len(s.Old) == 0
	}
	if next.Kind != credential.StepWait {
		w.At = now
	}
	if primary, ok := s.Primary(); ok {
		w.Urgency = primary.Expires
	}
	if s.Emergency() {
		w.Emergency, w.Turn = true, hurried(w.Turn)
	}
	return w
}

// seen takes an event from the record's watch. Our own passes plan themselves.
func (d *daemon) seen(entry credential.Entry) {
	if entry.Event.Daemon == d.id {
		return
	}
	d.metrics.note(entry.Name, entry.State)
	d.scheduler.Set(entry.Name, d.plan(entry.Name, entry.State, passOf(entry.Event)))
}

func (d *daemon) sweeper() *schedule.Sweeper {
	listers := map[string]schedule.Lister{}
	for name, issuer := range d.issuers {
		listers[name] = issuer
	}
	return &schedule.Sweeper{
		Spec: d.settings.Load().Daemon.Sweep, Specs: d.specs, Soon: d.soon, Calendar: d.calendar, Recover: d.record.Recover,
		Plan:    func(e credential.Entry) schedule.Wake { return d.plan(e.Name, e.State, passOf(e.Event)) },
		Strays:  d.strays,
		Issuers: listers, Scheduler: d.scheduler, Now: wallClock, Logger: d.logger,
	}
}

// checkSpec refuses what no declaration could say and what this installation
// cannot carry out: whoever asks may have checked nothing.
func (d *daemon) checkSpec(spec credential.Spec) (credential.Spec, error) {
	issuer, ok := d.settings.Load().Issuers[spec.Issuer]
	if !ok {
		return spec, fmt.Errorf("no issuer %q is configured at this daemon", spec.Issuer)
	}
	if err := declare.Check(spec); err != nil {
		return spec, err
	}
	policy, err := spec.Policy.Resolve(issuer.MinLifetime.Value, d.calendar, wallClock())
	spec.Policy = policy
	return spec, err
}

// viewers are the issuers, for the control service.
func (d *daemon) viewers() map[string]control.Viewer {
	viewers := map[string]control.Viewer{}
	for name, issuer := range d.issuers {
		viewers[name] = issuer
	}
	return viewers
}

func limits(c *config.Config) control.Limits {
	l := control.Limits{Issuers: map[string]control.IssuerLimits{}}
	for name, issuer := range c.Issuers {
		l.Issuers[name] = control.IssuerLimits{MinLifetime: issuer.MinLifetime.Value}
	}
	return l
}

func lanes(c *config.Config) map[string]int {
	lanes := map[string]int{}
	for name, issuer := range c.Issuers {
		lanes[name] = issuer.Concurrency
	}
	return lanes
}

func skews(c *config.Config) map[string]time.Duration {
	skews := map[string]time.Duration{}
	for name, issuer := range c.Issuers {
		skews[name] = issuer.MaxClockSkew.Value
	}
	return skews
}

// semantic makes a version that the micro framework accepts.
func semantic(v string) string {
	v = strings.TrimPrefix(v, "v")
	if strings.Count(strings.SplitN(v, "-", 2)[0], ".") != 2 {
		return "0.0.0-" + strings.NewReplacer("+", "-", "_", "-").Replace(v)
	}
	return v
}

// loggedIn is told of each login at Vault.
func (d *daemon) loggedIn(state vault.LoginState) {
	if state.Up {
		d.status.set("vault", "")
		return
	}
	if state.Err == nil {
		return
	}
	d.status.set("vault", state.Err.Error())
	d.logger.Warn("waiting for Vault", zap.Int(logkey.Attempt, state.Attempt), zap.Error(state.Err))
}

const healthEvery = 2 * time.Second

// watchVault asks how Vault is, so that an outage during a drain is noticed.
func (d *daemon) watchVault(ctx context.Context) error {
	return every(ctx, healthEvery, func() {
		health, err := d.vault.Health(ctx)
		up := err == nil && !health.Sealed
		if ctx.Err() != nil {
			return
		}
		d.engine.StoreReachable(up, wallClock())
		switch {
		case err != nil:
			d.status.set("vault", err.Error())
		case health.Sealed:
			d.status.set("vault", "Vault is sealed (try: unseal it)")
		case d.vault.LoginState().Up:
			d.status.set("vault", "")
		}
	})
}

// watchRecord reads the record now and then, so that /readyz knows of a trouble
// before a credential is due.
func (d *daemon) watchRecord(ctx context.Context) error {
	return every(ctx, healthEvery, func() {
		_, _, err := d.record.Load(ctx, "keyturn/health") // nobody's name, or anybody's: it is only read
		switch {
		case ctx.Err() != nil:
		case err != nil:
			d.status.set("record", err.Error())
		default:
			d.status.set("record", "")
		}
	})
}

// passes is told of passes that could not read or write the record, and of the
// end of that.
func (d *daemon) passes(err error) {
	if err != nil {
		d.status.set("passes", err.Error())
		return
	}
	d.status.set("passes", "")
}

// jumped is told that the clock has jumped. What is due by the new one is under
// way already; the sweep finds what changed meanwhile.
func (d *daemon) jumped(by time.Duration) {
	d.logger.Warn("the clock has jumped, or this machine has slept: everything is planned anew", zap.Duration(logkey.By, by))
	d.sweepSoon()
}

// sweepSoon asks for a sweep that does not wait for its time.
func (d *daemon) sweepSoon() {
	select {
	case d.soon <- struct{}{}:
	default:
	}
}

// issuerChanged is told that an issuer went or came back.
func (d *daemon) issuerChanged(name string, up bool) {
	if !up {
		d.metrics.up.WithLabelValues(name).Set(0)
		d.scheduler.Away(name)
		return
	}
	d.metrics.up.WithLabelValues(name).Set(1)
	d.scheduler.Answered(name)
}

// managerWarning is how long before its expiry a manager's API key is warned of.
const managerWarning = 14 * 24 * time.Hour

// watchIssuers keeps an eye on the clocks and on the managers' own keys.
func (d *daemon) watchIssuers(ctx context.Context) error {
	warned := map[string]time.Time{}
	asked := time.Time{}
	return every(ctx, healthEvery, func() {
		d.compareClocks(wallClock(), warned)
		if wallClock().Sub(asked) < time.Hour {
			return
		}
		asked = wallClock()
		for name, portal := range d.issuers {
			expires, err := portal.ManagerExpiry(ctx)
			if err != nil || expires.IsZero() {
				continue // a failing login is told by the steps that need it
			}
			d.metrics.manager.WithLabelValues(name).Set(float64(expires.Unix()))
			if left := expires.Sub(wallClock()); left < managerWarning {
				d.logger.Error("the API key that manages this issuer expires; nothing else renews it",
					zap.String(logkey.Issuer, name), zap.Time(logkey.Expires, expires), zap.Duration(logkey.Left, left))
			}
		}
	})
}

// compareClocks tells how far our clock and the issuers' differ at an instant of
// ours. Warned is issuer → when that was last an error.
func (d *daemon) compareClocks(now time.Time, warned map[string]time.Time) {
	for name, portal := range d.issuers {
		skew, answered, ok := portal.Skew()
		if !ok {
			continue
		}
		skew = credential.SkewAt(now, skew, answered)
		d.metrics.skew.WithLabelValues(name).Set(skew.Seconds())
		bound := d.settings.Load().Issuers[name].MaxClockSkew.Value
		if skew.Abs() > bound && now.Sub(warned[name]) > time.Minute {
			warned[name] = now
			d.logger.Error("this clock and the issuer's differ too much; no old key is invalidated until they agree",
				zap.String(logkey.Issuer, name), zap.Duration(logkey.Skew, skew), zap.Duration(logkey.Bound, bound))
		}
	}
}

// every calls f now and then until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
