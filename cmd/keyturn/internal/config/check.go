package config

import (
	"fmt"
	"maps"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/credential"
)

// The patterns of the schema; a test compares them.
var (
	installationID = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	issuerName     = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	vaultPath      = regexp.MustCompile(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$`)
	dotsInPath     = regexp.MustCompile(`(^|/)\.{1,2}(/|$)`)
	inboxPrefix    = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	signerKey      = regexp.MustCompile(`^U[A-Z2-7]{55}$`)
)

// checker holds the rules of the file.
type checker struct {
	*strict.Report
	calendar credential.Calendar
	filled   map[string]string // field → the variable of the environment that it comes from
}

// Addf adds a problem with a field; one that does not stand in the file says
// where it comes from.
func (k *checker) Addf(path, format string, args ...any) {
	if variable := k.filled[path]; variable != "" {
		format = "from " + variable + ": " + format
	}
	k.Report.Addf(path, format, args...)
}

// config checks all of it. The rules that cross fields:
//
//	nats            one of url, urls and embedded; at most one way to log in;
//	                user and password go together
//	vault.login     at most one way; none of its secrets comes from Vault
//	issuers.*       exactly one of password and api_key
//	daemon.http     on the loopback unless allow_non_loopback
//	daemon.stray_grace  ten minutes at least unless every issuer is on the loopback
//	operators       no key stands there twice
//	every tls       cert and key go together
//	every secret    exactly one of value, file, env and vault
func (k *checker) config(c *Config) {
	if c.Installation != "" && !installationID.MatchString(c.Installation) {
		k.Addf("installation", "%q is not a name: want a-z, 0-9 and -, 1 to 32 characters", c.Installation)
	}
	k.nats(&c.NATS)
	k.vault(c.Vault)
	if len(c.Issuers) == 0 {
		k.Addf("issuers", "no issuer is configured")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Issuers)) {
		k.issuer("issuers."+name, c.Issuers[name])
	}
	k.daemon(c.Daemon)
	k.strayGrace(c)
	k.operators(c.Operators)
	k.source("operator.seed", c.Operator.Seed, true)
	k.breakGlass(c)
}

func (k *checker) nats(n *NATS) {
	k.addresses(n)
	logins := []string{}
	for _, way := range []struct {
		name  string
		given bool
	}{
		{"creds_file", n.CredsFile != ""}, {"nkey_seed", n.NKeySeed.Given()}, {"user", n.User != ""}, {"token", n.Token.Given()},
	} {
		if way.given {
			logins = append(logins, way.name)
		}
	}
	if len(logins) > 1 {
		k.Addf("nats."+logins[1], "want one way to log in, not %s", strings.Join(logins, " and "))
	}
	switch {
	case n.User != "" && !n.Password.Given() && !k.Given("nats.password"):
		k.Addf("nats.user", "password is missing beside it")
	case n.User == "" && n.Password.Given():
		k.Addf("nats.password", "user is missing beside it")
	}
	k.source("nats.nkey_seed", n.NKeySeed, true)
	k.source("nats.password", n.Password, true)
	k.source("nats.token", n.Token, true)
	k.tls("nats.tls", n.TLS)
	if n.InboxPrefix != "" && !inboxPrefix.MatchString(n.InboxPrefix) {
		k.Addf("nats.inbox_prefix", "%q is not the beginning of a subject: want such as _INBOX_ops", n.InboxPrefix)
	}
	if n.Replicas != 1 && n.Replicas != 3 && n.Replicas != 5 {
		k.Addf("nats.replicas", "want 1, 3 or 5")
	}
	if n.SignerRoot != "" && !signerKey.MatchString(n.SignerRoot) {
		k.Addf("nats.signer_root", "not the public key that `keyturn setup` printed: it begins with U and has 56 characters")
	}
}

// addresses checks where NATS is and joins the list.
func (k *checker) addresses(n *NATS) {
	var given []string
	for _, name := range []string{"url", "urls", "embedded"} {
		if k.Given("nats." + name) {
			given = append(given, name)
		}
	}
	path := "nats.url"
	switch {
	case len(given) > 1:
		k.Addf("nats."+given[1], "want one of url, urls and embedded, not %s", strings.Join(given, " and "))
		return
	case n.Embedded != nil:
		e := n.Embedded
		switch host, port, err := net.SplitHostPort(e.Listen); {
		case err != nil || !portNumber(port):
			k.Addf("nats.embedded.listen", "%q is not an address: want host:port such as %s", e.Listen, DefaultListen)
		case strings.Trim(port, "0") == "":
			k.Addf("nats.embedded.listen", "%q has no fixed port: other processes look for it there", e.Listen)
		case !loopback(host):
			k.Addf("nats.embedded.listen", "%q is not on the loopback: the embedded server is for a single node; for more, run a NATS server and give its url", e.Listen)
		}
		n.URL = "nats://" + e.Listen
		return
	case n.URL == "" && len(n.URLs) == 0:
		k.Addf("nats.url", "missing: give url, urls or embedded, or set KEYTURN_NATS_URL")
		return
	}
	list := n.URLs
	if len(list) == 0 {
		list = strings.Split(n.URL, ",")
	} else {
		path = "nats.urls"
	}
	for i, text := range list {
		at := path
		if path == "nats.urls" {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		list[i] = strings.TrimSpace(text)
		k.natsURL(at, list[i])
	}
	n.URL = strings.Join(list, ",")
}

// natsURL checks one address; the client takes one without a scheme, too.
func (k *checker) natsURL(path, text string) {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || strings.Contains(text, ","):
		k.Addf(path, "not an address: want nats://host:4222")
	case u.User != nil:
		k.Addf(path, "carries a login: give user and password, or token, instead")
	case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		k.Addf(path, "%q is not a scheme of NATS: want nats, tls, ws or wss", u.Scheme)
	case u.Port() != "" && !portNumber(u.Port()):
		k.Addf(path, "%s is not a port", u.Port())
	}
}

func (k *checker) vault(v Vault) {
	if v.Addr == "" {
		k.Addf("vault.addr", "missing: give the address, or set VAULT_ADDR")
	} else {
		k.webURL("vault.addr", v.Addr, "https://vault.example.com:8200")
	}
	k.vaultPath("vault.mount", v.Mount)
	k.vaultPath("vault.prefix", v.Prefix)
	k.login("vault.login", v.Login, "for the variable VAULT_TOKEN")
	k.tls("vault.tls", v.TLS)
}

// login checks a way to log in to Vault; without says what leaving it out means.
func (k *checker) login(path string, l Login, without string) {
	var ways []string
	if t := l.Token; t != nil {
		ways = append(ways, "token")
		k.present(path+".token", *t, false)
	}
	if a := l.AppRole; a != nil {
		ways = append(ways, "approle")
		k.vaultPath(path+".approle.mount", a.Mount)
		k.present(path+".approle.role_id", a.RoleID, false)
		k.present(path+".approle.secret_id", a.SecretID, false)
	}
	if n := l.Kubernetes; n != nil {
		ways = append(ways, "kubernetes")
		k.vaultPath(path+".kubernetes.mount", n.Mount)
	}
	if len(ways) > 1 {
		k.Addf(path+"."+ways[1], "want one way to log in, not %s", strings.Join(ways, " and "))
	}
	for _, way := range []string{"token", "approle", "kubernetes"} {
		if k.Hollow(path + "." + way) {
			k.Addf(path+"."+way, "empty: fill it in, or leave it out %s", without)
		}
	}
}

func (k *checker) vaultPath(path, text string) {
	if !vaultPath.MatchString(text) || dotsInPath.MatchString(text) {
		k.Addf(path, "%q is not a path in Vault: want words with / between them", text)
	}
}

// webURL checks an http or https address and returns it; nil = it is wrong.
func (k *checker) webURL(path, text, example string) *url.URL {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		k.Addf(path, "not an address: want %s", example)
	case u.User != nil:
		k.Addf(path, "carries a login: leave it out")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		k.Addf(path, "has something after ? or #: leave it out")
	case u.Port() != "" && !portNumber(u.Port()):
		k.Addf(path, "%s is not a port", u.Port())
	default:
		return u
	}
	return nil
}

func (k *checker) issuer(path string, i Issuer) {
	if !issuerName.MatchString(i.Name) {
		k.Addf(path, "not a name: want a-z, 0-9 and -, 1 to 63 characters")
	}
	if i.URL != "" {
		const example = "https://www.arcgis.com/sharing/rest"
		if u := k.webURL(path+".url", i.URL, example); u != nil {
			switch {
			case !strings.HasSuffix(u.Path, "/sharing/rest"):
				k.Addf(path+".url", "not the REST root of a portal: it ends in /sharing/rest, such as %s", example)
			case u.Scheme != "https" && !loopback(u.Hostname()):
				k.Addf(path+".url", "would send passwords in the clear: want https")
			}
		}
	}
	k.manager(path, i.Password, i.APIKey)
	if i.Concurrency < 1 || i.Concurrency > 1024 {
		k.Addf(path+".concurrency", "want 1 to 1024")
	}
	if i.RateLimit < 0 || math.IsNaN(i.RateLimit) || i.RateLimit > 1e6 {
		k.Addf(path+".rate_limit", "want calls a second, 0 for no limit")
	}
	k.between(path+".min_lifetime", i.MinLifetime.Value, time.Second, credential.MaxLifetime)
	k.between(path+".timeout", i.Timeout.Value, 100*time.Millisecond, 10*time.Minute)
	if k.Given(path + ".max_clock_skew") { // else it is the daemon's
		k.between(path+".max_clock_skew", i.MaxClockSkew.Value, time.Second, 24*time.Hour)
	}
	k.tls(path+".tls", i.TLS)
}

// manager checks how a manager logs in at an issuer.
func (k *checker) manager(path string, password, apiKey Source) {
	switch {
	case password.Given() && apiKey.Given():
		k.Addf(path+".api_key", "want one of password and api_key, not both")
	case !password.Given() && !apiKey.Given() && !k.Given(path+".password") && !k.Given(path+".api_key"):
		k.Addf(path+".password", "missing: want it or api_key")
	}
	k.source(path+".password", password, true)
	k.source(path+".api_key", apiKey, true)
}

// breakGlass checks the operator's own rights.
func (k *checker) breakGlass(c *Config) {
	k.login("break_glass.vault_login", c.BreakGlass.VaultLogin, "for that of vault.login")
	for _, name := range slices.Sorted(maps.Keys(c.BreakGlass.Issuers)) {
		path, account := "break_glass.issuers."+name, c.BreakGlass.Issuers[name]
		if _, ok := c.Issuers[name]; !ok {
			k.Addf(path, "there is no such issuer%s", strict.DidYouMean(name, slices.Sorted(maps.Keys(c.Issuers))))
		}
		k.manager(path, account.Password, account.APIKey)
	}
}

func (k *checker) between(path string, d, low, high time.Duration) {
	if d < low || d > high {
		k.Addf(path, "want %s to %s", credential.Short(low), credential.Short(high))
	}
}

func (k *checker) daemon(d Daemon) {
	switch host, port, err := net.SplitHostPort(d.HTTP); {
	case err != nil || !portNumber(port):
		k.Addf("daemon.http", "%q is not an address: want host:port such as %s", d.HTTP, DefaultHTTP)
	case !loopback(host) && !d.AllowNonLoopback:
		k.Addf("daemon.http", "%q is not on the loopback: everybody could read it; if that is wanted, set allow_non_loopback: true", d.HTTP)
	}
	k.cron("daemon.sweep", d.Sweep)
	if d.Workers < 1 || d.Workers > 1024 {
		k.Addf("daemon.workers", "want 1 to 1024")
	}
	if d.ProbeInterval.Value != 0 {
		k.between("daemon.probe_interval", d.ProbeInterval.Value, time.Second, 24*time.Hour)
	}
	k.between("daemon.max_clock_skew", d.MaxClockSkew.Value, time.Second, 24*time.Hour)
	k.between("daemon.checkpoint_every", d.CheckpointEvery.Value, time.Second, 7*24*time.Hour)
}

// strayGrace: an item that is being made must never look as if it were left over.
func (k *checker) strayGrace(c *Config) {
	least := 10 * time.Minute
	if !slices.ContainsFunc(slices.Collect(maps.Values(c.Issuers)), remote) {
		least = 0 // emulated portals: there is nothing to lose
	}
	k.between("daemon.stray_grace", c.Daemon.StrayGrace.Value, least, 30*24*time.Hour)
}

func remote(i Issuer) bool {
	u, err := url.Parse(i.URL)
	return err != nil || !loopback(u.Hostname())
}

// cron checks a cron spec.
func (k *checker) cron(path, spec string) {
	if parser, ok := k.calendar.(interface{ Parse(spec string) error }); ok {
		if err := parser.Parse(spec); err != nil {
			k.Addf(path, "%v", err)
			return
		}
	}
	if _, ok := k.calendar.Next(spec, time.Unix(0, 0)); !ok {
		k.Addf(path, "%q never fires", spec)
	}
}

// loopback reports whether a host is this machine only.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func portNumber(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && (n > 0 || text == "0")
}
