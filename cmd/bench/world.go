package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/schedule"
	"github.com/keyturn/keyturn/vault"
)

const (
	inFlight = 64
	username = "keeper"
	password = "bench-password"
)

// world is a set of real parts.
type world struct {
	dir       string
	js        jetstream.JetStream
	conn      *nats.Conn
	vaultAddr string
	token     credential.Secret
	store     *vault.Client
	portal    *emulator.Portal
	portalURL string
	record    *publisher.Record
	signer    *publisher.Signer
	issuer    *arcgis.Portal
	engine    *engine.Engine
	calendar  *schedule.Calendar
	vaultOps  atomic.Int64
	calls     atomic.Int64 // nanoseconds of calls that were waited for one after the other
	// lax leaves the syncing of appends to the server's default: for loading.
	lax     bool
	closers []func()
}

func (w *world) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
}

func newWorld(ctx context.Context, roundTrip time.Duration) (*world, error) {
	w := &world{calendar: &schedule.Calendar{}}
	for _, part := range []func(context.Context) error{w.openDir, w.openNATS, w.openVault, func(context.Context) error { return w.openPortal(roundTrip) }, w.openEngine} {
		if err := part(ctx); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *world) openDir(context.Context) (err error) {
	w.dir, err = os.MkdirTemp("", "keyturn-bench-")
	w.closers = append(w.closers, func() { _ = os.RemoveAll(w.dir) })
	return err
}

func (w *world) openNATS(ctx context.Context) error {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: filepath.Join(w.dir, "nats"),
		SyncAlways: !w.lax, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return err
	}
	s.Start()
	w.closers = append(w.closers, func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("NATS does not start")
	}
	if w.conn, err = nats.Connect(s.ClientURL()); err != nil {
		return err
	}
	w.closers = append(w.closers, w.conn.Close)
	if w.js, err = jetstream.New(w.conn); err != nil {
		return err
	}
	if err := publisher.Setup(ctx, w.js, 1); err != nil {
		return err
	}
	if err := publisher.SetupRequests(ctx, w.js, 1); err != nil {
		return err
	}
	seed, _, err := publisher.GenerateSeed()
	if err != nil {
		return err
	}
	if w.signer, err = publisher.NewSigner(seed); err != nil {
		return err
	}
	if err := publisher.PublishSigner(ctx, w.js, w.signer, "bench", nil); err != nil {
		return err
	}
	w.record, err = publisher.Open(ctx, publisher.Config{JetStream: w.js, Signer: w.signer, Installation: "bench"})
	return err
}

func (w *world) openVault(ctx context.Context) error {
	cmd := exec.Command(filepath.Join("bin", "devvault"), "-dir", filepath.Join(w.dir, "vault"))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w (try: make bench)", err)
	}
	w.closers = append(w.closers, func() { _ = stdin.Close(); _ = cmd.Wait() })
	var ready struct{ Addr, Token string }
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &ready); err != nil {
		return err
	}
	w.vaultAddr, w.token = ready.Addr, credential.NewSecret(ready.Token)
	w.store, err = vault.New(vault.Config{
		Addr: ready.Addr, Concurrency: 2 * inFlight,
		Login:   vault.Login{Token: func() (credential.Secret, error) { return w.token, nil }},
		Observe: func(op string, took time.Duration, _ error) { w.vaultOps.Add(1); w.count(op, took) },
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.store.Close)
	return w.store.Login(ctx)
}

func (w *world) openPortal(roundTrip time.Duration) (err error) {
	w.portal, err = emulator.New(emulator.Config{
		Dir: filepath.Join(w.dir, "portal"), Users: map[string]string{username: password},
		MinLifetime: time.Second, MaxEvents: 1,
		Faults: emulator.Faults{Latency: roundTrip},
	})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.portal.Run(ctx, listener) }()
	w.closers = append(w.closers, func() { cancel(); <-ended })
	w.portalURL = "http://" + listener.Addr().String() + w.portal.BasePath()
	return nil
}

func (w *world) openEngine(context.Context) (err error) {
	w.issuer, err = arcgis.New(arcgis.Config{
		Name: "bench", URL: w.portalURL, Username: username, Concurrency: 2 * inFlight, Observe: func(op string, took time.Duration, _ error) { w.count(op, took) },
		Password: func() (credential.Secret, error) { return credential.NewSecret(password), nil },
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.issuer.Close)
	w.engine = engine.New(engine.Config{
		Record: counted{w.record, w}, Store: w.store, Issuers: map[string]engine.Issuer{"bench": w.issuer},
		Calendar: w.calendar, Installation: "bench", Daemon: "bench", Now: time.Now, Logger: zap.NewNop(),
	})
	return nil
}

// count adds up the calls in sequence: one that runs beside another is left out.
func (w *world) count(op string, took time.Duration) {
	switch op {
	case "read-item", "metadata", "destroy":
		return
	}
	w.calls.Add(int64(took))
}

// counted counts the calls of the record, but for the check of a signature,
// which runs beside a probe.
type counted struct {
	*publisher.Record
	world *world
}

func (c counted) Load(ctx context.Context, name credential.Name) (credential.State, credential.Head, error) {
	defer func(began time.Time) { c.world.count("load", time.Since(began)) }(time.Now())
	return c.Record.Load(ctx, name)
}

func (c counted) Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, after credential.State) (credential.Head, error) {
	defer func(began time.Time) { c.world.count("append", time.Since(began)) }(time.Now())
	return c.Record.Append(ctx, name, head, event, after)
}

// spec is that of every credential here: nothing is waited for.
func (w *world) spec(name credential.Name) (credential.Spec, error) {
	policy, err := credential.Policy{
		Lifetime: credential.Duration(24 * time.Hour), DrainSet: true, SettleSet: true,
	}.Resolve(time.Second, w.calendar, time.Now())
	return credential.Spec{
		Issuer: "bench", Policy: policy, Owner: "bench",
		Item: credential.ItemSpec{Title: string(name), Tags: []string{"bench"}, Privileges: []string{"premium:user:basemaps", "premium:user:geocode:temporary"}},
	}, err
}
