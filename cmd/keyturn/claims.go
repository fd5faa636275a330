package main

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// claiming is the record, with its claims counted: won, or lost to another
// writer that was first.
type claiming struct {
	*publisher.Record
	count *prometheus.CounterVec
}

// Append implements engine.Record.
func (c claiming) Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, after credential.State) (credential.Head, error) {
	head, err := c.Record.Append(ctx, name, head, event, after)
	if opens(event.Fact) {
		switch {
		case err == nil:
			c.count.WithLabelValues("won").Inc()
		case credential.IsClass(err, credential.ClassConflict):
			c.count.WithLabelValues("lost").Inc()
		}
	}
	return head, err
}

// opens reports whether a fact opens a claim.
func opens(fact credential.Fact) bool {
	switch fact.(type) {
	case credential.Started, credential.StepClaimed, credential.Retiring:
		return true
	}
	return false
}

// holdings knows the open claims of all daemons, as far as this one has read.
type holdings struct {
	mu     sync.Mutex
	claims map[credential.Name]held // only those that have one
}

// held is who holds what of a credential.
type held struct {
	issuer string
	open   []credential.Claim
}

func (h *holdings) note(name credential.Name, s credential.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(s.Claims) == 0 {
		delete(h.claims, name)
		return
	}
	h.claims[name] = held{s.Spec.Issuer, append([]credential.Claim(nil), s.Claims...)}
}

// heldBy counts a daemon's open claims by issuer.
func (h *holdings) heldBy(daemon string) map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	counts := map[string]int{}
	for _, held := range h.claims {
		for _, claim := range held.open {
			if claim.Daemon == daemon {
				counts[held.issuer]++
			}
		}
	}
	return counts
}

func claimLabels() []string { return []string{"issuer", "daemon", "operation"} }

func openClaimsDesc() *prometheus.Desc {
	return prometheus.NewDesc("keyturn_claims_open", "Claims that are open, by who holds them.", claimLabels(), nil)
}

func oldestClaimDesc() *prometheus.Desc {
	return prometheus.NewDesc("keyturn_claim_oldest_timestamp_seconds", "When the oldest of the open claims was opened.", claimLabels(), nil)
}

// Describe implements prometheus.Collector.
func (h *holdings) Describe(out chan<- *prometheus.Desc) {
	out <- openClaimsDesc()
	out <- oldestClaimDesc()
}

// Collect implements prometheus.Collector.
func (h *holdings) Collect(out chan<- prometheus.Metric) {
	type key struct{ issuer, daemon, operation string }
	counts, oldest := map[key]int{}, map[key]time.Time{}
	h.mu.Lock()
	for _, held := range h.claims {
		for _, claim := range held.open {
			k := key{held.issuer, claim.Daemon, string(claim.Op)}
			counts[k]++
			if first, ok := oldest[k]; !ok || claim.Opened.Before(first) {
				oldest[k] = claim.Opened
			}
		}
	}
	h.mu.Unlock()
	for k, n := range counts {
		out <- prometheus.MustNewConstMetric(openClaimsDesc(), prometheus.GaugeValue, float64(n), k.issuer, k.daemon, k.operation)
		out <- prometheus.MustNewConstMetric(oldestClaimDesc(), prometheus.GaugeValue, float64(oldest[k].UnixMilli())/1000, k.issuer, k.daemon, k.operation)
	}
}
