package main

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyturn/keyturn/rotator/credential"
)

// alarms knows the credentials with a leaked key that lives, or whose
// applications have none because it was killed.
type alarms struct {
	mu  sync.Mutex
	now map[credential.Name]string // credential → its issuer
}

func alarmsDesc() *prometheus.Desc {
	return prometheus.NewDesc("keyturn_emergencies",
		"Credentials with a leaked key that is not dead yet, or without a key because it was killed.", []string{"issuer"}, nil)
}

// Describe implements prometheus.Collector.
func (e *alarms) Describe(out chan<- *prometheus.Desc) { out <- alarmsDesc() }

// Collect implements prometheus.Collector.
func (e *alarms) Collect(out chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	count := map[string]float64{}
	for _, issuer := range e.now {
		count[issuer]++
	}
	for issuer, n := range count {
		out <- prometheus.MustNewConstMetric(alarmsDesc(), prometheus.GaugeValue, n, issuer)
	}
}

func (e *alarms) note(name credential.Name, s credential.State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !s.Emergency() {
		delete(e.now, name)
		return
	}
	e.now[name] = s.Spec.Issuer
}
