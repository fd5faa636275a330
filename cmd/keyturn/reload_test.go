package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/rotator/peers"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// write replaces parts of the configuration: old, new, …
func write(t *testing.T, path string, pairs ...string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(pairs...).Replace(string(text))
	if changed == string(text) {
		t.Fatalf("nothing changed in\n%s", text)
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSIGHUPReadsTheConfigurationAgain: what can change does, what cannot is named,
// and a broken file says where and changes nothing.
func TestSIGHUPReadsTheConfigurationAgain(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.vault(t)
	p.nats(t)
	p.setup(t)
	write(t, p.config, "password: {env: PORTAL_PASSWORD}", "password: {env: PORTAL_PASSWORD}, concurrency: 8, rate_limit: 10")
	daemon := start(t, []string{"PORTAL_PASSWORD=x"}, "serve", "--config", p.config)
	health := daemon.httpOf(t)
	eventually(t, "it is ready", func() bool { status, _ := get(t, health+"/readyz"); return status == 200 })
	says := func(what string, words ...string) {
		t.Helper()
		eventually(t, what, func() bool {
			for line := range strings.Lines(daemon.output.String()) {
				if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
					return true
				}
			}
			return false
		})
	}

	write(t, p.config, "concurrency: 8, rate_limit: 10", "concurrency: 4, rate_limit: 20", "username: keeper", "username: other",
		`daemon: {http: "127.0.0.1:0"`, `daemon: {http: "127.0.0.1:1", log_level: debug, sweep: "*/5 * * * *"`)
	daemon.signal(syscall.SIGHUP)
	says("it names what it took over", "read again", "daemon.log_level", "daemon.sweep", "issuers.portal.concurrency", "issuers.portal.rate_limit")
	says("it names what needs a restart", "needs a restart", `"daemon.http"`)
	says("it names what needs a restart", "needs a restart", `"issuers.portal.username"`)

	write(t, p.config, "username:", "usrname:")
	daemon.signal(syscall.SIGHUP)
	says("it says where the file is broken", "refused", filepath.Base(p.config)+":5:", "usrname", "the one in use stays")
	if status, body := get(t, health+"/readyz"); status != 200 {
		t.Errorf("after a broken file /readyz says %d: %s", status, body)
	}
	if err := os.Remove(p.config); err != nil {
		t.Fatal(err)
	}
	daemon.signal(syscall.SIGHUP)
	eventually(t, "a missing file is refused, too", func() bool { return strings.Count(daemon.output.String(), "the one in use stays") == 2 })
	_, metrics := get(t, health+"/metrics")
	for _, want := range []string{`keyturn_config_reloads_total{result="read"} 1`, `keyturn_config_reloads_total{result="refused"} 2`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	daemon.signal(syscall.SIGTERM)
	if code := daemon.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit %d after SIGTERM, want 0", code)
	}
}

// TestAReloadChangesWhatIsInUse: limits, level, spec, and the digest that others
// compare; nothing else.
func TestAReloadChangesWhatIsInUse(t *testing.T) {
	t.Parallel()
	w := newTown(t, ", concurrency: 8, rate_limit: 10", "")
	d := w.daemon(t)
	w.apply(t, "team/app", "portal", short(time.Hour, time.Second)) // so that there is a lane
	other := w.daemon(t)
	eventually(t, "both know each other", func() bool { return d.fleet.Load().Size() == 2 && other.fleet.Load().Size() == 2 })
	before := d.settings.Load()
	w.issued(t, d, "team/app", 1)
	write(t, w.path, "concurrency: 8, rate_limit: 10", "concurrency: 3, rate_limit: 7", "timeout: 5s", "timeout: 6s", `daemon: {`, `daemon: {sweep: "0 4 * * *", probe_interval: 1s, stray_grace: 2h, `)
	d.reload()
	after := d.settings.Load()
	if got := d.scheduler.Loads()["portal"].Limit; got != 1 && got != 2 {
		t.Errorf("%d passes at a time, want a half of 3", got)
	}
	if got := float64(d.issuers["portal"].limiter.rate.Limit()); got != 3.5 {
		t.Errorf("%v calls a second, want a half of 7", got)
	}
	eventually(t, "the other daemon has noticed that it is configured differently", func() bool {
		return other.logs.FilterMessageSnippet("configured differently").Len() == 1 &&
			counted(t, other.metrics, "keyturn_peer_differences_total", peers.DiffersConfig) == 1
	})
	if err := other.end(); err != nil {
		t.Error(err)
	}
	eventually(t, "the limits are those of the file", func() bool {
		return d.scheduler.Loads()["portal"].Limit == 3 && float64(d.issuers["portal"].limiter.rate.Limit()) == 7
	})
	if after.Daemon.Sweep != "0 4 * * *" || after.Issuers["portal"].Timeout != before.Issuers["portal"].Timeout {
		t.Errorf("in use: sweep %q, timeout %v", after.Daemon.Sweep, after.Issuers["portal"].Timeout)
	}
	if after.Daemon.StrayGrace.Value != 2*time.Hour {
		t.Errorf("in use: a grace of %v", after.Daemon.StrayGrace.Value)
	}
	eventually(t, "probes come in the new interval", func() bool { return counted(t, d.metrics, "keyturn_probes_total", "portal", "clean") > 1 })
	if after.digest == before.digest || d.beat().Digest != after.digest {
		t.Errorf("digest %s, before %s, told to others %s", after.digest, before.digest, d.beat().Digest)
	}
	if before.Issuers["portal"].Concurrency != 8 {
		t.Error("the configuration that was in use has changed under those who read it")
	}
}

// TestWhetherThereIsARateLimitNeedsARestart, and so does an issuer more or less.
func TestWhetherThereIsARateLimitNeedsARestart(t *testing.T) {
	const text = `installation: test
nats: {url: "nats://127.0.0.1:4222"}
vault: {addr: "http://127.0.0.1:8200", login: {token: {env: X}}}
issuers:
  a: {type: arcgis, url: "http://127.0.0.1:9/sharing/rest", username: u, password: {env: P}%s}
%s`
	read := func(limit, more string) *config.Config {
		c, err := config.Parse("k.yaml", fmt.Appendf(nil, text, limit, more), &schedule.Calendar{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const ann = `{key: UARCD3JUA22FDV23U7FR2JWWMEL7CALX4NVJZJZVAWEHGMEZ3G6L7RI5, roles: [{role: viewer, namespaces: [a]}]}`
	const b = `  b: {type: arcgis, url: "http://127.0.0.1:9/sharing/rest", username: u, password: {env: P}}`
	for _, c := range []struct {
		before, after *config.Config
		taken, later  string
	}{
		{read("", ""), read("", ""), "[]", "[]"},
		{read("", ""), read(", rate_limit: 5", ""), "[]", "[issuers.a.rate_limit]"},
		{read(", rate_limit: 5", ""), read("", ""), "[]", "[issuers.a.rate_limit]"},
		{read(", rate_limit: 5", ""), read(", rate_limit: 6, concurrency: 3", ""), "[issuers.a.concurrency issuers.a.rate_limit]", "[]"},
		{read("", ""), read("", b), "[]", "[issuers.b]"},
		{read("", b), read("", ""), "[]", "[issuers.b]"},
		{read("", ""), read("", "operators: {ann: "+ann+"}"), "[operators.ann]", "[]"},
		{read("", "operators: {ann: "+ann+"}"), read("", "operators: {bob: "+ann+"}"), "[operators.ann operators.bob]", "[]"},
		{read("", "operators: {ann: "+ann+"}"), read("", "operators: {ann: "+strings.Replace(ann, "viewer", "admin", 1)+"}"), "[operators.ann.roles]", "[]"},
		{read("", ""), read("", "operator: {seed: {file: x}}"), "[operator.seed]", "[]"},
	} {
		now, taken, later := merge(c.before, c.after)
		if fmt.Sprint(taken) != c.taken || fmt.Sprint(later) != c.later {
			t.Errorf("taken %v, later %v; want %s and %s", taken, later, c.taken, c.later)
		}
		if left := config.Diff(now, c.after); fmt.Sprint(left) != c.later {
			t.Errorf("what is not in use: %v, want %s", left, c.later)
		}
	}
}
