package main

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// strays looks for items that calls without an answer left at an issuer, and tells
// the credentials that have one to delete now. One daemon of the fleet does: two
// would do no harm, but a large portal is listed for a while.
func (d *daemon) strays(ctx context.Context, issuer string, of schedule.Recorded) ([]credential.Name, error) {
	if d.fleet.Load().Owner(credential.Name("sweep/"+issuer)) != d.id {
		d.unknown.tell(issuer, nil)
		d.metrics.unknown.DeleteLabelValues(issuer)
		return nil, nil
	}
	names, unknown, err := d.engine.Strays(ctx, issuer, of.Names, of.Items, d.settings.Load().Daemon.StrayGrace.Value)
	if err != nil {
		return names, err
	}
	d.metrics.unknown.WithLabelValues(issuer).Set(float64(len(unknown)))
	for _, item := range d.unknown.tell(issuer, unknown) {
		d.logger.Warn("an item carries the mark of this installation, and there is no record of its credential: nothing is deleted (try: look at it in the portal, and delete it there if it is nobody's)",
			zap.String(logkey.Issuer, issuer), zap.String(logkey.Item, item.Item), zap.String(logkey.Title, item.Title), zap.Time(logkey.Since, item.Created))
	}
	return names, nil
}

// toldItems are those that people were told of.
type toldItems struct {
	mu    sync.Mutex
	items map[string]map[string]bool // issuer → the items that were there when it was listed last
}

// tell takes what an issuer's list has now, and returns what it had not before.
func (t *toldItems) tell(issuer string, now []credential.MarkedItem) (fresh []credential.MarkedItem) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.items[issuer]
	items := make(map[string]bool, len(now))
	for _, item := range now {
		items[item.Item] = true
		if !before[item.Item] {
			fresh = append(fresh, item)
		}
	}
	t.items[issuer] = items
	return fresh
}
