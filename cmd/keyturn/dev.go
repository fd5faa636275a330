package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/cmd/keyturn/internal/declare"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// devOptions are the flags of dev.
type devOptions struct {
	stateDir    string
	credentials int
	lifetime    time.Duration
	duration    time.Duration
	latency     time.Duration
}

func devCommand(o *options) *cobra.Command {
	d := devOptions{}
	cmd := &cobra.Command{
		Use: "dev", Short: "Run everything on this machine and watch keys rotate", Args: cobra.NoArgs,
		Long: `Run everything on this machine: NATS JetStream in this process, a real Vault core
as a child process, an emulated ArcGIS portal, and the daemon, with a few sample
credentials whose keys live a minute. Listens on 127.0.0.1 only.

When all is ready it writes STATE-DIR/dev.env; then, in a second terminal:

  . .keyturn/dev.env
  keyturn list

Stopped and started again on the same directory, it goes on where it was.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.credentials < 0 || d.lifetime < time.Second || d.lifetime > credential.MaxLifetime {
				return usage(errors.New("want --credentials of at least 0 and a --key-lifetime of 1s to 8760h"))
			}
			return dev(cmd.Context(), d, cmd.OutOrStdout(), o.output)
		},
	}
	cmd.Flags().StringVar(&d.stateDir, "state-dir", ".keyturn", "where everything is kept")
	cmd.Flags().IntVar(&d.credentials, "credentials", 3, "how many sample credentials")
	cmd.Flags().DurationVar(&d.lifetime, "key-lifetime", time.Minute, "how long their keys live")
	cmd.Flags().DurationVar(&d.duration, "duration", 0, "stop by itself after this time (0: run until interrupted)")
	cmd.Flags().DurationVar(&d.latency, "latency", 0, "round trip of the emulated portal")
	return cmd
}

// dev runs everything until ctx or the duration ends.
func dev(ctx context.Context, o devOptions, out io.Writer, output string) error {
	dir, err := filepath.Abs(o.stateDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	env := filepath.Join(dir, "dev.env") // there while all is ready, and only then
	if err := os.Remove(env); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	defer func() { _ = os.Remove(env) }()
	logger, err := newLogger("info", true)
	if err != nil {
		return err
	}
	defer func() { _ = logger.Sync() }()
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}

	// Servers outlive the daemon: they stop after it has.
	servers, stopServers := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopServers(nil)
	vault, err := startVault(servers, filepath.Join(dir, "vault"), stopServers)
	if err != nil {
		return stopped(ctx, err)
	}
	defer vault.stop()
	natsURL, stopNATS, err := startNATS(filepath.Join(dir, "nats"), "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer stopNATS()
	portal, err := startPortal(dir, o, stopServers)
	if err != nil {
		return err
	}
	defer portal.stop()

	operator, err := keptOperator(filepath.Join(dir, "operator.nk"), devInstallation)
	if err != nil {
		return err
	}
	place := devPlace{
		dir: dir, operator: operator, natsURL: natsURL, vaultAddr: vault.addr, vaultToken: vault.token,
		portalURL: portal.url, portalUser: emulator.DefaultUser, portalPassword: portal.password,
	}
	if err := place.writeConfig(); err != nil {
		return err
	}
	calendar := &schedule.Calendar{}
	c, err := config.Load(place.configPath(), calendar)
	if err != nil {
		return err
	}
	if err := (setting{}).run(ctx, c, io.Discard, "table"); err != nil {
		return stopped(ctx, err)
	}

	group := newGroup(ctx)
	ready := make(chan struct{})
	group.run("daemon", func(ctx context.Context) error {
		if err := serve(ctx, c, calendar, logger, func() { close(ready) }); err != nil {
			return err
		}
		return errDone
	})
	group.run("servers", func(ctx context.Context) error {
		select {
		case <-servers.Done():
			return context.Cause(servers)
		case <-ctx.Done():
			return nil
		}
	})
	group.run("guide", func(ctx context.Context) error {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
		return stopped(ctx, place.guide(ctx, o, c, calendar, out, output, logger))
	})
	if err := group.wait(); !errors.Is(err, errDone) {
		return err
	}
	return nil
}

// errDone ends the group of dev without a failure.
var errDone = errors.New("done")

// devPlace is where everything listens.
type devPlace struct {
	dir, natsURL, vaultAddr, vaultToken   string
	portalURL, portalUser, portalPassword string
	operator                              control.Identity
}

// devInstallation is the name of what dev runs.
const devInstallation = "dev"

func (p devPlace) configPath() string { return filepath.Join(p.dir, "keyturn.yaml") }

// writeConfig writes the configuration, and the secrets to files beside it.
func (p devPlace) writeConfig() error {
	tokenFile := filepath.Join(p.dir, "vault-token")
	if err := os.WriteFile(tokenFile, []byte(p.vaultToken), 0o600); err != nil {
		return err
	}
	text := fmt.Sprintf(`# Written by keyturn dev at each start.
installation: %s
nats:
  url: %q
vault:
  addr: %q
  login:
    token: {file: %q}
issuers:
  portal:
    type: arcgis
    url: %q
    username: %q
    password: {file: %q}
    min_lifetime: 1s
    concurrency: 64
daemon:
  http: 127.0.0.1:0
  sweep: "* * * * *"
  stray_grace: 30s
  workers: 128
operators:
  dev: {key: %s, roles: [{role: admin, namespaces: ["*"]}]}
operator:
  seed: {file: operator.nk}
`, devInstallation, p.natsURL, p.vaultAddr, tokenFile, p.portalURL, p.portalUser, filepath.Join(p.dir, "portal-password"), p.operator.Public())
	return os.WriteFile(p.configPath(), []byte(text), 0o600)
}

// writeEnv writes dev.env in one piece: it is there when all is ready, and only then.
func (p devPlace) writeEnv() error {
	var text strings.Builder
	for _, pair := range [][2]string{
		{"VAULT_ADDR", p.vaultAddr}, {"VAULT_TOKEN", p.vaultToken}, {"KEYTURN_NATS_URL", p.natsURL},
		{"KEYTURN_PORTAL_URL", p.portalURL}, {"KEYTURN_PORTAL_USER", p.portalUser},
		{"KEYTURN_PORTAL_PASSWORD", p.portalPassword}, {config.EnvPath, p.configPath()},
	} {
		_, _ = fmt.Fprintf(&text, "export %s=%s\n", pair[0], quote(pair[1]))
	}
	path := filepath.Join(p.dir, "dev.env")
	if err := os.WriteFile(path+".new", []byte(text.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// quote quotes a value for a shell where it needs it.
func quote(s string) string {
	if strings.ContainsAny(s, " '\"$`\\!&;<>()*?[]#~|\t\n") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// guide declares the samples, says that all is ready, and shows what happens.
func (p devPlace) guide(ctx context.Context, o devOptions, c *config.Config, calendar *schedule.Calendar, out io.Writer, output string, logger *zap.Logger) error {
	conn, err := connectNATS(ctx, c.NATS, nil, false)
	if err != nil {
		return err
	}
	defer conn.Close()
	declared, err := p.samples(o, calendar)
	if err != nil {
		return err
	}
	if _, err := send(ctx, control.NewClient(conn, p.operator), declared, false); err != nil {
		return err
	}
	record, err := openRecord(ctx, c, conn, publisher.Config{})
	if err != nil {
		return err
	}
	if err := p.writeEnv(); err != nil {
		return err
	}
	rel := p.dir
	if wd, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(wd, p.dir); err == nil {
			rel = short
		}
	}
	logger.Info("everything is ready")
	if output != "json" {
		_, _ = fmt.Fprintf(out, `
  Keys rotate here every %s. %s

  In a second terminal:
    . %s
    bin/keyturn list
    bin/keyturn rotate demo/web --now
    bin/keyturn show demo/web

`, credential.Short((o.lifetime * 2 / 3).Round(time.Second)), emulator.Banner, filepath.Join(rel, "dev.env"))
	}
	return watch(ctx, record, "", output, out)
}

// samples writes the declarations of the sample credentials, as a user would.
func (p devPlace) samples(o devOptions, calendar *schedule.Calendar) ([]declare.Declaration, error) {
	if o.credentials == 0 {
		return nil, nil
	}
	var text strings.Builder
	_, _ = fmt.Fprintln(&text, "# Written by keyturn dev at each start.\ncredentials:")
	names := []string{"web", "mobile", "batch"}
	for i := range o.credentials {
		name := fmt.Sprintf("app-%d", i+1)
		if i < len(names) {
			name = names[i]
		}
		_, _ = fmt.Fprintf(&text, `  - name: demo/%s
    issuer: portal
    title: Sample %s
    folder: keyturn
    tags: [sample]
    owner: dev
    privileges: [premium:user:basemaps, premium:user:geocode:temporary]
    policy: {lifetime: %s, settle: 0s}
`, name, name, o.lifetime)
	}
	path := filepath.Join(p.dir, "credentials.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	return declare.Parse(path, []byte(text.String()), declare.Context{
		Issuers: map[string]declare.Issuer{"portal": {MinLifetime: time.Second}}, Calendar: calendar, Now: wallClock(),
	})
}
