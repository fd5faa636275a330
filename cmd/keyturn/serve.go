package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/logkey"
	"github.com/keyturn/keyturn/rotator/peers"
	"github.com/keyturn/keyturn/rotator/schedule"
	"github.com/keyturn/keyturn/vault"
)

func serveCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the daemon", Args: cobra.NoArgs,
		Long: `Run the daemon. It needs a stream and a signing key: run keyturn setup once.

While Vault or NATS is away it waits and says so; /readyz tells what it waits for.
Any number of daemons may run with the same configuration: they share the work
and the limits of the issuers.
SIGTERM lets the steps that are under way finish, for at most ten seconds; what is
left over goes on at another daemon, or at the next start.
SIGHUP reads the configuration again: the operators, the issuers' limits, the sweeps,
the probes and the log level change at once, a new signing key is looked for; for the rest it says which
field needs a restart.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, calendar, err := o.load()
			if err != nil {
				return err
			}
			logger, level, err := newLeveledLogger(c.Daemon.LogLevel, false)
			if err != nil {
				return err
			}
			defer func() { _ = logger.Sync() }()
			reloads := make(chan os.Signal, 1)
			signal.Notify(reloads, syscall.SIGHUP)
			defer signal.Stop(reloads)
			return serveWith(cmd.Context(), c, calendar, logger, serveOptions{level: level, reloads: reloads})
		},
	}
}

// daemon is a running daemon and its parts.
type daemon struct {
	settings atomic.Pointer[settings]
	fleet    atomic.Pointer[peers.Fleet]
	options  serveOptions
	calendar *schedule.Calendar
	logger   *zap.Logger
	id       string
	status   *status
	rekey    chan struct{} // one slot: look for a new signing key now
	specs    chan string   // one slot: a new spec of the sweeps
	soon     chan struct{} // one slot: a sweep that cannot wait

	vault     *vault.Client
	record    *publisher.Record
	issuers   map[string]*lane
	engine    *engine.Engine
	scheduler *schedule.Scheduler
	metrics   *metrics
	unknown   toldItems
}

// serve runs the daemon until ctx ends. Ready, if given, is called once when
// everything serves.
func serve(ctx context.Context, c *config.Config, calendar *schedule.Calendar, logger *zap.Logger, ready func()) error {
	return serveWith(ctx, c, calendar, logger, serveOptions{ready: ready})
}

func newDaemon(c *config.Config, calendar *schedule.Calendar, logger *zap.Logger, o serveOptions) *daemon {
	d := &daemon{
		options: o, calendar: calendar, logger: logger, id: "d-" + engine.NewID()[:8],
		status: newStatus("vault", "nats", "record"), issuers: map[string]*lane{}, unknown: toldItems{items: map[string]map[string]bool{}},
		specs: make(chan string, 1), soon: make(chan struct{}, 1), rekey: make(chan struct{}, 1),
	}
	d.settings.Store(newSettings(c))
	alone := peers.NewFleet(d.id)
	d.fleet.Store(&alone)
	d.scheduler = schedule.New(schedule.Config{
		Pass: d.pass, Probe: d.probe, Lanes: lanes(c), Defer: d.leave, Jumped: d.jumped, Failing: d.passes, Now: wallClock, Logger: logger,
	})
	d.metrics = newMetrics(d.scheduler)
	return d
}

func serveWith(ctx context.Context, c *config.Config, calendar *schedule.Calendar, logger *zap.Logger, o serveOptions) error {
	return newDaemon(c, calendar, logger, o).serve(ctx)
}

// serve runs all parts until ctx ends or one fails.
func (d *daemon) serve(ctx context.Context) error {
	c, logger := d.settings.Load(), d.logger
	logger.Info("keyturn starts", zap.String(logkey.Version, version), zap.String(logkey.Daemon, d.id), zap.String(logkey.Config, c.Path), zap.String(logkey.Digest, c.Digest()))
	for _, warning := range c.Warnings() {
		logger.Warn("configuration: " + warning)
	}
	if len(c.Operators) == 0 {
		logger.Warn("no operators are configured, so every request is denied (try: keyturn operator new NAME)")
	}
	var err error
	d.vault, err = openVault(c.Vault, c.Daemon.Workers, d.metrics.call("vault"), d.loggedIn)
	if err != nil {
		return err
	}
	defer d.vault.Close()
	for _, name := range slices.Sorted(maps.Keys(c.Issuers)) {
		issuer, err := openIssuer(name, c.Issuers[name], d.vault.Get, d.metrics.call("issuer "+name), logger)
		if err != nil {
			return err
		}
		defer issuer.Close()
		issuer.changed = d.issuerChanged
		d.issuers[name] = issuer
		d.metrics.up.WithLabelValues(name).Set(1)
	}
	group := newGroup(ctx)
	group.run("http", func(ctx context.Context) error {
		return serveHTTP(ctx, c.Daemon.HTTP, d.metrics.registry, d.status, logger)
	})
	group.run("vault", d.vault.Run)
	group.run("reload", d.watchReloads)
	for name, issuer := range d.issuers {
		group.run("issuer "+name, issuer.Run)
	}
	group.run("daemon", d.run)
	err = group.wait()
	logger.Info("keyturn has ended")
	return err
}

// run waits for what the daemon needs, then starts the rest.
func (d *daemon) run(ctx context.Context) error {
	c := d.settings.Load()
	if e := c.NATS.Embedded; e != nil { // /readyz serves already: a large record takes its time
		_, stopNATS, err := startNATS(e.StoreDir, e.Listen)
		if err != nil {
			return err
		}
		defer stopNATS()
	}
	if err := d.vault.WaitReady(ctx); err != nil {
		return stopped(ctx, err)
	}
	conn, err := connectNATS(ctx, c.NATS, d.vault.Get, true,
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			d.status.set("nats", "disconnected")
			if err != nil {
				d.logger.Warn("NATS is away; nothing is lost, it is tried again", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { d.status.set("nats", ""); d.logger.Info("NATS is back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			d.logger.Warn("NATS refused something", zap.Error(err))
		}),
	)
	if err != nil {
		return err
	}
	defer func() {
		if err := conn.Drain(); err != nil {
			conn.Close()
		}
		for deadline := time.Now().Add(3 * time.Second); !conn.IsClosed() && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		conn.Close()
	}()
	if err := d.awaitNATS(ctx, conn); err != nil {
		return stopped(ctx, err)
	}
	if err := d.open(ctx, conn); err != nil {
		return stopped(ctx, err)
	}
	last, err := d.recover(ctx)
	if err != nil {
		return stopped(ctx, err)
	}
	inner := newGroup(ctx)
	fellows := d.peerService(conn)
	inner.run("peers", fellows.Run)
	inner.run("watch", func(ctx context.Context) error { return d.record.Watch(ctx, last, d.seen) })
	inner.run("scheduler", func(ctx context.Context) error {
		select { // who begins what is known before anything begins
		case <-fellows.Joined():
		case <-ctx.Done():
		}
		return d.scheduler.Run(ctx)
	})
	inner.run("sweeper", func(ctx context.Context) error { return d.sweeper().Run(inBackground(ctx)) })
	inner.run("vault health", d.watchVault)
	inner.run("record health", d.watchRecord)
	inner.run("signer", d.watchSigner)
	inner.run("checkpoints", d.keepCheckpoints)
	inner.run("issuer health", d.watchIssuers)
	inner.run("usage", d.keepUsage)
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	d.checkBeside(ctx, js)
	inner.run("control", control.New(control.Config{
		Conn: conn, Commander: d.engine, Freezer: d.record, Outcomes: publisher.NewRequests(js), Check: d.checkSpec, Prove: d.prove, Viewers: d.viewers(), Version: semantic(version), Logger: d.logger,
		Installation: c.Installation, Daemon: d.id, Now: wallClock, Limits: limits(c.Config),
		Operators: func() control.Operators { return d.settings.Load().operators },
		Keep:      keepDenials(js), Denied: d.metrics.deniedRequest,
		Started: func() {
			d.status.set("record", "")
			d.logger.Info("keyturn is ready", zap.Int(logkey.Credentials, d.scheduler.Len()))
			if d.options.ready != nil {
				d.options.ready()
			}
		},
		Changed: func(name credential.Name, after credential.State) { d.scheduler.Set(name, d.plan(name, after, "")) },
	}).Run)
	return inner.wait()
}

// stopped turns the end of the context into a clean end.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // asked to end: that is no failure
	}
	return err
}

// awaitNATS waits for the first connection.
func (d *daemon) awaitNATS(ctx context.Context, conn *nats.Conn) error {
	said := false
	for !conn.IsConnected() {
		if !said {
			said = true
			d.logger.Warn("waiting for NATS", zap.String(logkey.URL, d.settings.Load().NATS.URL), zap.Error(conn.LastError()))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	d.status.set("nats", "")
	return nil
}

// open opens the record with the signing key from Vault. What is missing is an
// error; what is away is waited for.
func (d *daemon) open(ctx context.Context, conn *nats.Conn) error {
	return d.retry(ctx, "record", func() error {
		keys, err := d.vault.SigningKeys(ctx)
		if credential.IsClass(err, credential.ClassNotFound) {
			return permanent{fmt.Errorf("there is no signing key in Vault (try: keyturn setup)")}
		}
		if err != nil {
			return err
		}
		signer, err := publisher.NewSigner(keys.Current)
		if err != nil {
			return permanent{err}
		}
		record, err := openRecord(ctx, d.settings.Load().Config, conn, publisher.Config{
			Signer: signer,
			OnBad: func(subject string, sequence uint64, err error) {
				d.logger.Error("an event cannot be read; the others go on", zap.String(logkey.Subject, subject), zap.Uint64(logkey.Sequence, sequence), zap.Error(err))
			},
			OnRetry: func(err error) { d.logger.Warn("the watch of the record is opened again", zap.Error(err)) },
		})
		if err != nil {
			if class := credential.ClassOf(err); class == credential.ClassRetryable || class == credential.ClassUnknown {
				return err
			}
			return permanent{err}
		}
		d.record = record
		ports := map[string]engine.Issuer{}
		for name, issuer := range d.issuers {
			ports[name] = issuer
		}
		d.engine = engine.New(engine.Config{
			Record: claiming{record, d.metrics.claimed}, Store: d.vault, Issuers: ports, Calendar: d.calendar,
			Installation: d.settings.Load().Installation, Daemon: d.id, MaxSkew: skews(d.settings.Load().Config),
			Now: wallClock, Logger: d.logger, Hooks: engine.Hooks{
				Committed: d.metrics.committed,
				Conflict:  func(system string) { d.metrics.conflicts.WithLabelValues(system).Inc() },
				Step: func(step credential.StepKind, issuer string, took time.Duration, result string) {
					d.metrics.steps.WithLabelValues(string(step), issuer, result).Observe(took.Seconds())
				},
			},
		})
		return nil
	})
}

// recover plans every credential of the record, and tells the last sequence.
func (d *daemon) recover(ctx context.Context) (last uint64, err error) {
	err = d.retry(ctx, "record", func() error {
		return d.record.Recover(ctx, func(entry credential.Entry) error {
			last = max(last, entry.Head.Sequence)
			d.metrics.note(entry.Name, entry.State)
			d.scheduler.Set(entry.Name, d.plan(entry.Name, entry.State, passOf(entry.Event)))
			return nil
		})
	})
	return last, err
}

// permanent marks an error that waiting does not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retry tries again while something is away, and says so now and then.
func (d *daemon) retry(ctx context.Context, part string, try func() error) error {
	var said time.Time
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := try()
		var final permanent
		switch {
		case err == nil:
			return nil
		case errors.As(err, &final):
			return final.error
		}
		d.status.set(part, err.Error())
		if wallClock().Sub(said) > 30*time.Second {
			said = wallClock()
			d.logger.Warn("waiting for the "+part, zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// group runs parts until one fails or ctx ends; a panic is an error.
type group struct {
	*errgroup.Group
	ctx context.Context
}

func newGroup(ctx context.Context) *group {
	g, ctx := errgroup.WithContext(ctx)
	return &group{g, ctx}
}

func (g *group) run(name string, part func(context.Context) error) {
	g.Go(func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("%s panicked: %v\n%s", name, r, debug.Stack())
			}
		}()
		return part(g.ctx)
	})
}

func (g *group) wait() error { return g.Wait() }
