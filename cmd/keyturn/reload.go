package main

import (
	"context"
	"maps"
	"os"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// settings are the configuration in use.
type settings struct {
	*config.Config
	digest    string // of it, for the other daemons
	operators control.Operators
}

func newSettings(c *config.Config) *settings { return &settings{c, c.Digest(), operatorsOf(c)} }

// watchReloads reads the configuration again at each signal, until ctx ends.
func (d *daemon) watchReloads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.options.reloads:
			d.reload()
			select { // a new signing key is looked for, too
			case d.rekey <- struct{}{}:
			default:
			}
		}
	}
}

// reload reads the configuration again. A broken file changes nothing.
func (d *daemon) reload() {
	before := d.settings.Load()
	read, err := config.Load(before.Path, d.calendar)
	if err != nil {
		d.metrics.reloads.WithLabelValues("refused").Inc()
		d.logger.Error("the configuration was read again and refused; the one in use stays", zap.Error(err))
		return
	}
	now, taken, later := merge(before.Config, read)
	d.settings.Store(newSettings(now))
	d.metrics.reloads.WithLabelValues("read").Inc()
	d.logger.Info("the configuration was read again", zap.Strings(logkey.Changed, taken), zap.String(logkey.Digest, d.settings.Load().digest))
	for _, field := range later {
		d.logger.Warn("this change of the configuration needs a restart; until then the old value stays", zap.String(logkey.Field, field))
	}
	for _, warning := range read.Warnings() {
		d.logger.Warn("configuration: " + warning)
	}
	if d.options.level != nil {
		if level, err := zapcore.ParseLevel(now.Daemon.LogLevel); err == nil {
			d.options.level.SetLevel(level)
		}
	}
	if now.Daemon.Sweep != before.Daemon.Sweep {
		select {
		case <-d.specs: // one that nobody has taken yet is old
		default:
		}
		d.specs <- now.Daemon.Sweep
	}
	if now.Daemon.ProbeInterval != before.Daemon.ProbeInterval {
		d.sweepSoon() // which plans each probe anew
	}
	d.share()
}

// merge takes over what can change while the daemon runs: the operators, the
// issuers' limits (but not whether there is a rate limit at all), the sweeps, the probes and the log level.
// Secrets are not among it, since they are read anew whenever they are needed.
func merge(before, read *config.Config) (now *config.Config, taken, later []string) {
	merged := *before
	merged.Issuers = maps.Clone(before.Issuers)
	taken, later = []string{}, []string{}
	for _, field := range config.Diff(before, read) {
		switch name, limit := cutIssuer(field); {
		case field == "daemon.log_level":
			merged.Daemon.LogLevel = read.Daemon.LogLevel
		case field == "daemon.sweep":
			merged.Daemon.Sweep = read.Daemon.Sweep
		case field == "daemon.probe_interval":
			merged.Daemon.ProbeInterval = read.Daemon.ProbeInterval
		case field == "daemon.stray_grace":
			merged.Daemon.StrayGrace = read.Daemon.StrayGrace
		case strings.HasPrefix(field, "operators."):
			merged.Operators = read.Operators
		case field == "operator.seed": // of the command line
			merged.Operator = read.Operator
		case limit == "concurrency":
			issuer := merged.Issuers[name]
			issuer.Concurrency = read.Issuers[name].Concurrency
			merged.Issuers[name] = issuer
		case limit == "rate_limit" && before.Issuers[name].RateLimit > 0 && read.Issuers[name].RateLimit > 0:
			issuer := merged.Issuers[name]
			issuer.RateLimit = read.Issuers[name].RateLimit
			merged.Issuers[name] = issuer
		default:
			later = append(later, field)
			continue
		}
		taken = append(taken, field)
	}
	return &merged, taken, later
}

// cutIssuer splits issuers.NAME.FIELD.
func cutIssuer(path string) (name, field string) {
	rest, ok := strings.CutPrefix(path, "issuers.")
	if !ok {
		return "", ""
	}
	name, field, _ = strings.Cut(rest, ".")
	return name, field
}

// serveOptions are what a daemon may be given besides its configuration.
type serveOptions struct {
	// ready is called once when everything serves; nil = nobody.
	ready func()
	// level is the logger's, to be changed while it runs; nil = it stays.
	level *zap.AtomicLevel
	// reloads asks for the configuration to be read again; nil = never.
	reloads <-chan os.Signal
}
