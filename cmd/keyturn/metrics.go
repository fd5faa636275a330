package main

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// metrics are what /metrics shows.
type metrics struct {
	registry  *prometheus.Registry
	rotations *prometheus.CounterVec
	steps     *prometheus.HistogramVec
	calls     *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	events    *prometheus.CounterVec
	conflicts *prometheus.CounterVec
	skew      *prometheus.GaugeVec
	manager   *prometheus.GaugeVec
	claimed   *prometheus.CounterVec
	differs   *prometheus.CounterVec
	reloads   *prometheus.CounterVec
	denied    *prometheus.CounterVec
	up        *prometheus.GaugeVec
	daemons   prometheus.Gauge
	claims    *holdings
	alarms    *alarms
	expiry    *expiries
	findings  *findings
	probes    *prometheus.CounterVec
	heals     *prometheus.CounterVec
	deleted   *prometheus.CounterVec
	unknown   *prometheus.GaugeVec
}

// note keeps what is shown of a credential.
func (m *metrics) note(name credential.Name, s credential.State) {
	m.expiry.note(name, s)
	m.claims.note(name, s)
	m.alarms.note(name, s)
	m.findings.note(name, s)
}

// expiries knows the expiry of each primary key, for the soonest of each issuer.
type expiries struct {
	mu   sync.Mutex
	keys map[credential.Name]expiring // credential → its primary's expiry
}

type expiring struct {
	issuer string
	at     time.Time
}

func expiryDesc() *prometheus.Desc {
	return prometheus.NewDesc("keyturn_next_expiry_seconds",
		"Seconds until the first primary key of an issuer expires.", []string{"issuer"}, nil)
}

// Describe implements prometheus.Collector.
func (e *expiries) Describe(out chan<- *prometheus.Desc) { out <- expiryDesc() }

// Collect implements prometheus.Collector.
func (e *expiries) Collect(out chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := map[string]time.Time{}
	for _, key := range e.keys {
		if soonest, ok := first[key.issuer]; !ok || key.at.Before(soonest) {
			first[key.issuer] = key.at
		}
	}
	for issuer, at := range first {
		out <- prometheus.MustNewConstMetric(expiryDesc(), prometheus.GaugeValue, at.Sub(wallClock()).Seconds(), issuer)
	}
}

func (e *expiries) note(name credential.Name, s credential.State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	primary, ok := s.Primary()
	if !ok || s.Status != credential.StatusRegistered {
		delete(e.keys, name)
		return
	}
	e.keys[name] = expiring{s.Spec.Issuer, primary.Expires}
}

func newMetrics(scheduler *schedule.Scheduler) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(), expiry: &expiries{keys: map[credential.Name]expiring{}},
		claims: &holdings{claims: map[credential.Name]held{}}, alarms: &alarms{now: map[credential.Name]string{}},
		findings: &findings{now: map[credential.Name]found{}},
	}
	m.probes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_probes_total", Help: "Probes of primary keys by result (clean, differs, suspected: it is looked at again at once, failed: the record was not to be read or written).",
	}, []string{"issuer", "result"})
	m.heals = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_heals_total", Help: "Keys that were dead at the issuer and were replaced, by what took over (new-key, draining-key).",
	}, []string{"issuer", "by"})
	m.deleted = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_items_deleted_total", Help: "Items that were left and are deleted; stray ones are what a call without an answer left.",
	}, []string{"issuer", "stray"})
	m.unknown = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "keyturn_unknown_items", Help: "Items with the mark of this installation whose credential has no record, as the daemon sees it that lists them.",
	}, []string{"issuer"})
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	m.rotations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_rotations_total", Help: "Rotations by result (started, promoted, ended, abandoned, attempt_failed) and reason.",
	}, []string{"result", "reason"})
	m.steps = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "keyturn_step_duration_seconds", Help: "Duration of each step by its result.", Buckets: buckets,
	}, []string{"step", "issuer", "result"})
	m.calls = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "keyturn_call_duration_seconds", Help: "Duration of calls to issuers and to Vault.", Buckets: buckets,
	}, []string{"system", "op"})
	m.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_call_failures_total", Help: "Failed calls to issuers and to Vault by class.",
	}, []string{"system", "op", "class"})
	m.events = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_events_appended_total", Help: "Events appended to the record by type.",
	}, []string{"type"})
	m.conflicts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_conflicts_total", Help: "Appends and Vault writes that met another writer.",
	}, []string{"system"})
	m.skew = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "keyturn_issuer_clock_skew_seconds", Help: "The issuer's clock less this one.",
	}, []string{"issuer"})
	m.manager = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "keyturn_manager_key_expiry_timestamp_seconds", Help: "When the API key that manages an issuer expires.",
	}, []string{"issuer"})
	m.claimed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_claims_total", Help: "Claims by result: won, or lost to another daemon (or another writer) that was first.",
	}, []string{"result"})
	m.differs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_peer_differences_total", Help: "Other daemons met that are not like this one, by kind: another config, or a newer record schema.",
	}, []string{"kind"})
	m.reloads = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_config_reloads_total", Help: "Times that the configuration was read again (read, refused).",
	}, []string{"result"})
	m.denied = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_denied_requests_total", Help: "Requests that were denied, by reason, and whether the denial was kept in the stream KEYTURN_DENIED.",
	}, []string{"reason", "kept"})
	m.up = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "keyturn_issuer_up", Help: "0 while the issuer does not answer and is spared, else 1.",
	}, []string{"issuer"})
	m.daemons = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "keyturn_daemons", Help: "Daemons of this installation that live, this one included.",
	})
	m.daemons.Set(1)
	m.registry.MustRegister(m.claimed, m.denied, m.differs, m.reloads, m.up, m.daemons, m.claims, m.alarms, m.findings, m.probes, m.heals, m.deleted, m.unknown, lanesCollector{scheduler},
		m.rotations, m.steps, m.calls, m.failures, m.events, m.conflicts, m.skew, m.manager, m.expiry,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keyturn_schedule_lag_seconds", Help: "How long the most overdue credential has waited for its turn.",
		}, func() float64 { return scheduler.Lag().Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keyturn_credentials", Help: "Credentials that this daemon watches.",
		}, func() float64 { return float64(scheduler.Len()) }),
	)
	return m
}

// lanesCollector shows what there is in each lane.
type lanesCollector struct{ *schedule.Scheduler }

func laneDesc() *prometheus.Desc {
	return prometheus.NewDesc("keyturn_lane_credentials",
		"Credentials in a lane: queued, running, silent (waiting for the issuer to answer), and limit, this daemon's share.", []string{"issuer", "kind"}, nil)
}

func lateDesc() *prometheus.Desc {
	return prometheus.NewDesc("keyturn_probe_lag_seconds",
		"How long the most overdue probe of a lane has waited: by so much the interval is longer than planned.", []string{"issuer"}, nil)
}

// Describe implements prometheus.Collector.
func (lanesCollector) Describe(out chan<- *prometheus.Desc) {
	out <- laneDesc()
	out <- lateDesc()
}

// Collect implements prometheus.Collector.
func (l lanesCollector) Collect(out chan<- prometheus.Metric) {
	for name, load := range l.Loads() {
		out <- prometheus.MustNewConstMetric(lateDesc(), prometheus.GaugeValue, load.Late.Seconds(), name)
		for kind, n := range map[string]int{"queued": load.Queued, "running": load.Running, "silent": load.Silent, "limit": load.Limit} {
			out <- prometheus.MustNewConstMetric(laneDesc(), prometheus.GaugeValue, float64(n), name, kind)
		}
	}
}

// call is the hook of the adapters.
func (m *metrics) call(system string) func(op string, took time.Duration, err error) {
	return func(op string, took time.Duration, err error) {
		op = word(op)
		m.calls.WithLabelValues(system, op).Observe(took.Seconds())
		if err != nil {
			m.failures.WithLabelValues(system, op, string(credential.ClassOf(err))).Inc()
		}
	}
}

// deniedRequest is a hook of the control service.
func (m *metrics) deniedRequest(reason control.Reason, kept bool) {
	m.denied.WithLabelValues(string(reason), strconv.FormatBool(kept)).Inc()
}

// word is the first word of an operation, so that labels stay few.
func word(op string) string {
	first, _, _ := strings.Cut(op, " ")
	return first
}

// committed counts what an event means.
func (m *metrics) committed(event credential.Event, after credential.State) {
	m.events.WithLabelValues(string(event.Fact.Type())).Inc()
	defer m.note(after.Name, after)
	switch f := event.Fact.(type) {
	case credential.ItemDeleted:
		m.deleted.WithLabelValues(after.Spec.Issuer, yesNo(m.findings.stray(after.Name, f.Item))).Inc()
	case credential.Started:
		m.rotations.WithLabelValues("started", string(f.Rotation.Reason)).Inc()
		if f.Rotation.Reason == credential.ReasonRefused {
			m.heals.WithLabelValues(after.Spec.Issuer, "new-key").Inc()
		}
	case credential.Promoted:
		reason := "first-key"
		if after.Rotation != nil {
			reason = string(after.Rotation.Reason)
		}
		m.rotations.WithLabelValues("promoted", reason).Inc()
		if after.Healed.Equal(event.At) {
			m.heals.WithLabelValues(after.Spec.Issuer, "draining-key").Inc()
		}
	case credential.Abandoned:
		m.rotations.WithLabelValues("abandoned", "settings-changed").Inc()
	case credential.Failed:
		m.rotations.WithLabelValues("attempt_failed", string(f.Failure.Step)).Inc()
	case credential.Invalidated:
		if after.Rotation == nil {
			m.rotations.WithLabelValues("ended", string(f.How)).Inc()
		}
	}
}

// errNotReady is the base of what /readyz says.
var errNotReady = errors.New("not ready")
