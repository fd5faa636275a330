package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// usedFor knows what credentials were used for, for the metrics.
type usedFor struct {
	mu sync.Mutex
	of map[credential.Name]usedCredential
}

type usedCredential struct {
	issuer   string
	items    []string
	services map[string]usageTotal // service → the last whole day of UTC; nil = not asked
}

func (u *usedFor) note(name credential.Name, s credential.State) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.Status != credential.StatusRegistered {
		delete(u.of, name)
		return
	}
	one := u.of[name]
	one.issuer, one.items = s.Spec.Issuer, itemsOf(s)
	u.of[name] = one
}

// set keeps what was asked, if the credential is still there.
func (u *usedFor) set(name credential.Name, services map[string]usageTotal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if one, ok := u.of[name]; ok {
		one.services = services
		u.of[name] = one
	}
}

func (u *usedFor) all() map[credential.Name]usedCredential {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.of)
}

func usedDescs() (requests, credits *prometheus.Desc) {
	labels := []string{"credential", "issuer", "service"}
	return prometheus.NewDesc("keyturn_usage_requests", "Requests with the keys of a credential in the last whole day of UTC, as the issuer counts; both keys together.", labels, nil),
		prometheus.NewDesc("keyturn_usage_credits", "Credits that a credential used in the last whole day of UTC, as the issuer counts.", labels, nil)
}

// Describe implements prometheus.Collector.
func (u *usedFor) Describe(out chan<- *prometheus.Desc) {
	requests, credits := usedDescs()
	out <- requests
	out <- credits
}

// Collect implements prometheus.Collector.
func (u *usedFor) Collect(out chan<- prometheus.Metric) {
	requests, credits := usedDescs()
	for name, one := range u.all() {
		for service, total := range one.services {
			out <- prometheus.MustNewConstMetric(requests, prometheus.GaugeValue, float64(total.Requests), string(name), one.issuer, oneLine(service))
			out <- prometheus.MustNewConstMetric(credits, prometheus.GaugeValue, total.Credits, string(name), one.issuer, oneLine(service))
		}
	}
}

// usageLook is how often a daemon looks whether usage is to be asked for.
const usageLook = 10 * time.Second

// keepUsage asks for usage as often as the configuration says, which may change.
func (d *daemon) keepUsage(ctx context.Context) error {
	asked := time.Time{}
	return every(ctx, usageLook, func() { asked = d.askIfDue(ctx, asked) })
}

// askIfDue returns when usage was last asked for.
func (d *daemon) askIfDue(ctx context.Context, asked time.Time) time.Time {
	interval, now := d.settings.Load().Daemon.UsageInterval.Value, wallClock()
	if interval == 0 {
		for name := range d.metrics.used.all() {
			d.metrics.used.set(name, nil)
		}
		return time.Time{}
	}
	if now.Sub(asked).Abs() < interval {
		return asked
	}
	d.askUsage(ctx)
	return now
}

// askUsage asks each issuer for the credentials that are this daemon's to begin,
// one after the other, and for none while a credential waits in its lane.
func (d *daemon) askUsage(ctx context.Context) {
	all := d.metrics.used.all()
	of := map[string][]credential.Name{} // issuer → credentials
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if d.fleet.Load().Owner(name) != d.id {
			d.metrics.used.set(name, nil) // another daemon shows it
			continue
		}
		of[all[name].issuer] = append(of[all[name].issuer], name)
	}
	var group sync.WaitGroup
	for issuer, names := range of {
		portal, ok := d.issuers[issuer]
		if !ok {
			continue
		}
		group.Go(func() {
			for _, name := range names {
				if !d.lull(ctx, issuer) {
					return
				}
				services, err := lastDay(ctx, portal, all[name].items)
				if err != nil {
					if ctx.Err() == nil {
						d.logger.Warn("usage is not told; it is asked for again after the interval", zap.String(logkey.Issuer, issuer), zap.Error(err))
					}
					return
				}
				d.metrics.used.set(name, services)
			}
		})
	}
	group.Wait()
}

// lull waits until nothing is queued in a lane; false = ctx has ended.
func (d *daemon) lull(ctx context.Context, issuer string) bool {
	for d.scheduler.Loads()[issuer].Queued > 0 {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Second):
		}
	}
	return ctx.Err() == nil
}

// lastDay adds up the last whole day of some items, by service.
func lastDay(ctx context.Context, portal *lane, items []string) (map[string]usageTotal, error) {
	today := wallClock().UTC().Truncate(24 * time.Hour)
	services := map[string]usageTotal{}
	for _, item := range items {
		used, err := portal.Usage(ctx, item, today.AddDate(0, 0, -1), today)
		if credential.IsClass(err, credential.ClassNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, u := range used {
			services[u.Service] = services[u.Service].plus(usageTotal{Requests: u.Requests, Credits: u.Credits})
		}
	}
	return services, nil
}
