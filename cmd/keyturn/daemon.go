package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
	"github.com/keyturn/keyturn/rotator/schedule"
	"github.com/keyturn/keyturn/vault"
)

// pass is what the scheduler calls.
func (d *daemon) pass(ctx context.Context, name credential.Name, inspect bool) (schedule.Wake, error) {
	if inspect {
		if err := d.engine.Inspect(ctx, name); err != nil {
			return schedule.Wake{}, err
		}
	}
	result, err := d.engine.Pass(ctx, name)
	if err != nil {
		return schedule.Wake{}, err
	}
	return wake(result.State, result.Next), nil
}

// plan says when to look at a credential whose state was read elsewhere.
func (d *daemon) plan(name credential.Name, state credential.State) schedule.Wake {
	return wake(state, d.engine.Plan(name, state))
}

func wake(s credential.State, next credential.Step) schedule.Wake {
	w := schedule.Wake{At: next.At, Lane: s.Spec.Issuer, Silent: s.Failure != nil && s.Failure.Silent}
	if next.Kind != credential.StepWait {
		w.At = wallClock()
	}
	if primary, ok := s.Primary(); ok {
		w.Urgency = primary.Expires
	}
	return w
}

// seen takes an event from the record's watch. Our own passes plan themselves.
func (d *daemon) seen(entry credential.Entry) {
	if entry.Event.Daemon == d.id {
		return
	}
	d.metrics.expiry.note(entry.Name, entry.State)
	d.scheduler.Set(entry.Name, d.plan(entry.Name, entry.State))
}

func (d *daemon) sweeper() *schedule.Sweeper {
	listers := map[string]schedule.Lister{}
	for name, portal := range d.issuers {
		listers[name] = portal
	}
	return &schedule.Sweeper{
		Spec: d.config.Daemon.Sweep, Calendar: d.calendar, Recover: d.record.Recover,
		Plan:    func(e credential.Entry) schedule.Wake { return d.plan(e.Name, e.State) },
		Issuers: listers, Scheduler: d.scheduler, Now: wallClock, Logger: d.logger,
	}
}

// checkSpec refuses what this installation cannot carry out.
func (d *daemon) checkSpec(spec credential.Spec) (credential.Spec, error) {
	issuer, ok := d.config.Issuers[spec.Issuer]
	if !ok {
		return spec, fmt.Errorf("no issuer %q is configured at this daemon", spec.Issuer)
	}
	policy, err := spec.Policy.Resolve(issuer.MinLifetime.Value, d.calendar, wallClock())
	spec.Policy = policy
	return spec, err
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

const healthEvery = 5 * time.Second

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

// managerWarning is how long before its expiry a manager's API key is warned of.
const managerWarning = 14 * 24 * time.Hour

// watchIssuers keeps an eye on the clocks and on the managers' own keys.
func (d *daemon) watchIssuers(ctx context.Context) error {
	warned := map[string]time.Time{}
	asked := time.Time{}
	return every(ctx, healthEvery, func() {
		for name, portal := range d.issuers {
			if skew, _, ok := portal.Skew(); ok {
				d.metrics.skew.WithLabelValues(name).Set(skew.Seconds())
				bound := d.config.Issuers[name].MaxClockSkew.Value
				if skew.Abs() > bound && wallClock().Sub(warned[name+"/clock"]) > time.Minute {
					warned[name+"/clock"] = wallClock()
					d.logger.Error("this clock and the issuer's differ too much; no old key is invalidated until they agree",
						zap.String(logkey.Issuer, name), zap.Duration(logkey.Skew, skew), zap.Duration(logkey.Bound, bound))
				}
			}
		}
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
