package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const daemons = 3

// daemon is one `keyturn serve`, with its own links to everything.
type daemon struct {
	name, binary, config, logs string
	nats                       []*link
	vault, portal              *link
	process                    *process

	mu     sync.Mutex
	asked  bool     // the end of its process was asked for
	deaths []string // ends that nobody asked for
}

func (d *daemon) links() []*link { return append([]*link{d.vault, d.portal}, d.nats...) }

// newDaemon makes its links and writes its configuration.
func newDaemon(name, binary, dir, logs string, c *cluster, v *vaultServer, p *portalServer, roleID, secretID, operatorKey string, timeout time.Duration) (*daemon, error) {
	d := &daemon{name: name, binary: binary, config: filepath.Join(dir, name+".yaml"), logs: logs}
	var err error
	if d.vault, err = newLink(v.addr()); err != nil {
		return nil, err
	}
	if d.portal, err = newLink(p.addr); err != nil {
		return nil, err
	}
	var urls []string
	for _, n := range c.nodes {
		l, err := newLink(strings.TrimPrefix(n.url(), "nats://"))
		if err != nil {
			return nil, err
		}
		d.nats, urls = append(d.nats, l), append(urls, "nats://"+l.addr)
	}
	secretFile := filepath.Join(dir, name+".secret-id")
	if err := os.WriteFile(secretFile, []byte(secretID), 0o600); err != nil {
		return nil, err
	}
	login := fmt.Sprintf("{approle: {role_id: %q, secret_id: {file: %q}}}", roleID, secretFile)
	return d, writeConfig(d.config, strings.Join(urls, ","), d.vault.addr, login, d.portal.addr, operatorKey, timeout)
}

// installation is the name of it all.
const installation = "chaos"

// passwordEnv is the variable that holds the portal manager's password.
const passwordEnv = "CHAOS_PORTAL_PASSWORD"

// seedFile holds the seed of the operator, beside the configurations.
const seedFile = "operator.nk"

// strayGrace is how old an item must be before a sweep takes it for one that a call
// without an answer has left.
const strayGrace = 30 * time.Second

func writeConfig(path, natsURL, vaultAddr, login, portalAddr, operatorKey string, timeout time.Duration) error {
	text := fmt.Sprintf(`installation: %s
nats: {url: %q, replicas: 3}
vault: {addr: "http://%s", login: %s}
issuers:
  portal:
    type: arcgis
    url: "http://%s/sharing/rest"
    username: %s
    password: {env: %s}
    min_lifetime: 1s
    concurrency: 16
    timeout: %s
daemon: {http: "127.0.0.1:0", sweep: "* * * * *", stray_grace: %s, workers: 32}
operators: {storm: {key: %s, roles: [{role: admin, namespaces: ["*"]}]}}
operator: {seed: {file: %s}}
`, installation, natsURL, vaultAddr, login, portalAddr, portalUser, passwordEnv, timeout, strayGrace, operatorKey, seedFile)
	return os.WriteFile(path, []byte(text), 0o600)
}

// start runs it; when it ends without being asked to, it is started again, as
// a service manager would.
func (d *daemon) start() error {
	p, err := launch(d.name, filepath.Join(d.logs, d.name+".log"), d.binary, "serve", "--config", d.config)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.process, d.asked = p, false
	d.mu.Unlock()
	go d.watch(p)
	return nil
}

func (d *daemon) watch(p *process) {
	<-p.ended
	d.mu.Lock()
	asked := d.asked || d.process != p
	if !asked {
		d.deaths = append(d.deaths, fmt.Sprintf("%s %s: %s", time.Now().Format(clockLayout), d.name, lastLine(filepath.Join(d.logs, d.name+".log"))))
	}
	d.mu.Unlock()
	if !asked {
		time.AfterFunc(time.Second, func() {
			d.mu.Lock()
			again := !d.asked && d.process == p
			d.mu.Unlock()
			if again {
				_ = d.start() // one that cannot be started shows at the end
			}
		})
	}
}

// stop ends it by a signal, and waits.
func (d *daemon) stop(signal string) error {
	d.mu.Lock()
	d.asked = true
	p := d.process
	d.mu.Unlock()
	p.signal(signal)
	return p.wait(endTime)
}

func (d *daemon) signal(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process.signal(name)
}

func (d *daemon) close() {
	d.mu.Lock()
	d.asked = true
	p := d.process
	d.mu.Unlock()
	if p != nil {
		p.end()
	}
	for _, l := range d.links() {
		l.close()
	}
}

// unasked are the ends that nobody asked for.
func (d *daemon) unasked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.deaths...)
}

func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// command runs a command of keyturn to its end.
func command(ctx context.Context, binary, config string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append(args, "--config", config)...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("keyturn %s: %w: %s", args[0], err, strings.TrimSpace(output.String()))
	}
	return nil
}
