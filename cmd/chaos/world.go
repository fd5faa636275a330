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

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// world is a whole installation, and who looks at it.
type world struct {
	shape
	dir, bin, logs string
	disks          diskMode
	cluster        *cluster
	vault          *vaultServer
	portal         *portalServer
	daemons        []*daemon
	operator       string // config of the operator's commands
	identity       control.Identity
	names          []credential.Name
	variants       map[credential.Name]*variant // what is declared; one fault at a time changes it
	witness        *witness
	apps           *apps
	say            func(string, ...any)
	stalls         *stalls
	closers        []func()
}

// variant is what a declaration says beside the usual.
type variant struct {
	places bool // one more privilege
	words  int  // in the description
}

func (w *world) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
}

// open builds everything, and waits until each credential has its first key.
func open(ctx context.Context, s shape, say func(string, ...any)) (*world, error) {
	w := &world{shape: s, say: say, variants: map[credential.Name]*variant{}}
	for i := range s.credentials {
		name := credential.Name(fmt.Sprintf("chaos/c%04d", i))
		w.names, w.variants[name] = append(w.names, name), &variant{}
	}
	for _, part := range []struct {
		what string
		open func(context.Context) error
	}{
		{"directories", w.openDir}, {"NATS", w.openNATS}, {"Vault", w.openVault}, {"the portal", w.openPortal},
		{"daemons", w.openDaemons}, {"the witness", w.openWitness}, {"credentials", w.declare}, {"applications", w.openApps},
	} {
		began := time.Now()
		if err := part.open(ctx); err != nil {
			w.close()
			return nil, fmt.Errorf("%s: %w (see %s)", part.what, err, w.dir)
		}
		say("%s ready after %s", part.what, time.Since(began).Round(time.Millisecond))
	}
	return w, nil
}

// serverDirs are the directories that may become full.
func serverDirs() []string { return []string{"n1", "n2", "n3", "vault", "portal"} }

func (w *world) openDir(context.Context) (err error) {
	w.dir = w.shape.dir
	if w.dir == "" {
		w.dir, err = os.MkdirTemp("", "keyturn-chaos-")
	}
	if err == nil {
		w.dir, err = filepath.Abs(w.dir)
	}
	if err != nil {
		return err
	}
	w.logs = filepath.Join(w.dir, "logs")
	for _, name := range append(serverDirs(), "logs", "bin") {
		if err := os.MkdirAll(filepath.Join(w.dir, name), 0o700); err != nil {
			return err
		}
	}
	w.disks = diskLimit
	if w.shape.disks != "limit" {
		mode, err := openDisks(w.dir, serverDirs())
		if err != nil && w.shape.disks == "mount" {
			return err
		}
		w.disks = mode
	}
	// copies: whoever builds during the run does not change what is tested
	w.bin = filepath.Join(w.dir, "bin")
	for _, name := range []string{"keyturn", "devvault"} {
		if err := copyProgram(w.shape.bin, name, filepath.Join(w.bin, name)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) openNATS(ctx context.Context) (err error) {
	if w.cluster, err = newCluster(w.dir, w.logs); err != nil {
		return err
	}
	for _, n := range w.cluster.nodes {
		n.disk.mode = w.disks
	}
	w.closers = append(w.closers, w.cluster.close)
	return w.cluster.open(ctx)
}

func (w *world) openVault(ctx context.Context) (err error) {
	if w.vault, err = newVaultServer(filepath.Join(w.bin, "devvault"), w.dir, w.logs); err != nil {
		return err
	}
	w.vault.disk.mode = w.disks
	w.closers = append(w.closers, func() {
		if w.vault.process != nil {
			w.vault.process.end()
		}
	})
	path, err := inRepo(filepath.Join("deploy", "vault", "daemon.hcl"))
	if err != nil {
		return err
	}
	rules, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return w.vault.open(ctx, string(rules))
}

func (w *world) openPortal(context.Context) error {
	w.portal = newPortalServer(w.dir, w.logs)
	w.portal.disk.mode = w.disks
	w.closers = append(w.closers, func() {
		if w.portal.process != nil {
			w.portal.process.end()
		}
	})
	return w.portal.open()
}

func (w *world) openDaemons(ctx context.Context) error {
	if err := os.Setenv(passwordEnv, portalPassword); err != nil { // for the processes
		return err
	}
	var urls []string
	for _, n := range w.cluster.nodes {
		urls = append(urls, n.url())
	}
	tokenFile := filepath.Join(w.dir, "root-token")
	if err := os.WriteFile(tokenFile, []byte(rootToken), 0o600); err != nil {
		return err
	}
	seed, _, err := publisher.GenerateSeed()
	if err != nil {
		return err
	}
	if w.identity, err = control.NewIdentity(installation, seed); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, seedFile), []byte(seed.Reveal()), 0o600); err != nil {
		return err
	}
	w.operator = filepath.Join(w.dir, "operator.yaml")
	login := fmt.Sprintf("{token: {file: %q}}", tokenFile)
	if err := writeConfig(w.operator, strings.Join(urls, ","), w.vault.addr(), login, w.portal.addr, w.identity.Public(), w.timeout()); err != nil {
		return err
	}
	if err := until(ctx, startTime, "setup succeeds", func(ctx context.Context) error {
		return w.command(ctx, "setup")
	}); err != nil {
		return err
	}
	for i := range daemons {
		roleID, secretID, err := w.vault.login(ctx)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("d%d", i+1)
		d, err := newDaemon(name, filepath.Join(w.bin, "keyturn"), w.dir, w.logs, w.cluster, w.vault, w.portal, roleID, secretID, w.identity.Public(), w.timeout())
		if err != nil {
			return err
		}
		w.daemons = append(w.daemons, d)
		w.closers = append(w.closers, d.close)
		if err := d.start(); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) command(ctx context.Context, args ...string) error {
	return command(ctx, filepath.Join(w.bin, "keyturn"), w.operator, args...)
}

func (w *world) openWitness(ctx context.Context) (err error) {
	w.witness, err = newWitness(ctx, w.cluster)
	if err == nil {
		w.closers = append(w.closers, w.witness.close)
	}
	return err
}

// declare declares the credentials and waits for their first keys.
func (w *world) declare(ctx context.Context) error {
	if err := w.apply(ctx, w.life); err != nil {
		return err
	}
	return until(ctx, startTime+time.Duration(w.credentials)*200*time.Millisecond, "each credential has a key", func(context.Context) error {
		if n := w.witness.count(func(s credential.State) bool { return s.Generation > 0 }); n < w.credentials {
			return fmt.Errorf("%d of %d have", n, w.credentials)
		}
		return nil
	})
}

// apply declares all credentials with keys that live that long.
func (w *world) apply(ctx context.Context, lifetime time.Duration) error {
	var text strings.Builder
	text.WriteString("credentials:\n")
	for _, name := range w.names {
		privileges := "premium:user:basemaps"
		if w.variants[name].places {
			privileges += ", premium:user:places"
		}
		fmt.Fprintf(&text, `  - name: %s
    issuer: portal
    title: %s
    folder: chaos
    description: %d words
    privileges: [%s]
    policy: {lifetime: %s, rotate_before: %s, drain: %s, settle: %s}
`, name, name, w.variants[name].words, privileges, lifetime, w.lead, w.drain(), w.settle())
	}
	path := filepath.Join(w.dir, "credentials.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return err
	}
	return until(ctx, 2*time.Minute, "the declarations are accepted", func(context.Context) error {
		err := w.command(ctx, "apply", "-f", path)
		if err != nil && strings.Contains(err.Error(), "exit status 3") {
			return nil // nothing differs: an earlier try got through
		}
		return err
	})
}

func (w *world) openApps(context.Context) error {
	w.stalls = watchStalls()
	w.apps = newApps(w)
	w.closers = append(w.closers, w.stalls.stop, w.apps.stop)
	return nil
}

// copyProgram copies a program that make build has built.
func copyProgram(dir, name, to string) error {
	path := filepath.Join(dir, name)
	if dir == "" {
		var err error
		if path, err = inRepo(filepath.Join("bin", name)); err != nil {
			return fmt.Errorf("%w (try: make build)", err)
		}
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return errors.Join(err, out.Close())
}

// inRepo finds a file of the repository, from any directory in it.
func inRepo(path string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		_, errModule := os.Stat(filepath.Join(dir, "go.mod"))
		found := filepath.Join(dir, path)
		if _, err := os.Stat(found); err == nil && errModule == nil {
			return found, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("%s is not there", path)
		}
		dir = parent
	}
}
