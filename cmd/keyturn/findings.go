package main

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyturn/keyturn/rotator/credential"
)

// findings knows what differs between record, Vault and issuers and is not healed,
// and the items that wait to be deleted.
type findings struct {
	mu  sync.Mutex
	now map[credential.Name]found // only those that have any
}

// found is what there is of a credential.
type found struct {
	issuer string
	kinds  []credential.FindingKind
	old    []credential.OldItem
}

func findingsDesc() *prometheus.Desc {
	return prometheus.NewDesc("keyturn_findings",
		"Differences between record, Vault and issuer that stand, by kind.", []string{"issuer", "kind"}, nil)
}

func oldItemsDesc() *prometheus.Desc {
	return prometheus.NewDesc("keyturn_old_items",
		"Items that were left and wait to be deleted; stray ones are what a call without an answer left.", []string{"issuer", "stray"}, nil)
}

// Describe implements prometheus.Collector.
func (f *findings) Describe(out chan<- *prometheus.Desc) {
	out <- findingsDesc()
	out <- oldItemsDesc()
}

// Collect implements prometheus.Collector.
func (f *findings) Collect(out chan<- prometheus.Metric) {
	type key struct{ issuer, label string }
	kinds, old := map[key]float64{}, map[key]float64{}
	f.mu.Lock()
	for _, c := range f.now {
		for _, kind := range c.kinds {
			kinds[key{c.issuer, string(kind)}]++
		}
		for _, item := range c.old {
			old[key{c.issuer, yesNo(item.Stray)}]++
		}
	}
	f.mu.Unlock()
	for k, n := range kinds {
		out <- prometheus.MustNewConstMetric(findingsDesc(), prometheus.GaugeValue, n, k.issuer, k.label)
	}
	for k, n := range old {
		out <- prometheus.MustNewConstMetric(oldItemsDesc(), prometheus.GaugeValue, n, k.issuer, k.label)
	}
}

func (f *findings) note(name credential.Name, s credential.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(s.Drift) == 0 && len(s.Old) == 0 {
		delete(f.now, name)
		return
	}
	kinds := make([]credential.FindingKind, len(s.Drift))
	for i, d := range s.Drift {
		kinds[i] = d.Kind
	}
	f.now[name] = found{s.Spec.Issuer, kinds, append([]credential.OldItem(nil), s.Old...)}
}

// stray reports whether an item is one that a sweep found.
func (f *findings) stray(name credential.Name, item string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, old := range f.now[name].old {
		if old.Item == item {
			return old.Stray
		}
	}
	return false
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// probed counts a probe by what came of it.
func (m *metrics) probed(after credential.State, again time.Duration, err error) {
	result := "clean"
	switch {
	case err != nil:
		result = "failed"
	case again > 0:
		result = "suspected"
	case len(after.Drift) > 0:
		result = "differs"
	}
	m.probes.WithLabelValues(after.Spec.Issuer, result).Inc()
}
