// Package config reads keyturn's one configuration file.
//
// The file is strict: an unknown field, a bad value or a rule that two fields
// break is an error with file, line and column, and all of them are reported
// at once. Secrets do not stand in it but for development: they come from a
// file, the environment or Vault, and are read anew whenever they are needed,
// so that a changed one is noticed.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/yamlfile"
	"github.com/keyturn/keyturn/rotator/credential"
)

// Config is the file.
type Config struct {
	// Installation names this set of daemons; it marks items at the issuers.
	Installation string            `yaml:"installation"`
	NATS         NATS              `yaml:"nats"`
	Vault        Vault             `yaml:"vault"`
	Issuers      map[string]Issuer `yaml:"issuers"`
	Daemon       Daemon            `yaml:"daemon"`

	// Path is where it was read from.
	Path string `yaml:"-"`
}

// NATS is the message server that keeps the record.
type NATS struct {
	URL       string `yaml:"url"`
	CredsFile string `yaml:"creds_file"`
	NKeySeed  Source `yaml:"nkey_seed"`
	User      string `yaml:"user"`
	Password  Source `yaml:"password"`
	Token     Source `yaml:"token"`
	TLS       TLS    `yaml:"tls"`
	// Replicas of the stream that setup makes; zero = 1.
	Replicas int `yaml:"replicas"`
	// SignerRoot is the public key that setup printed; empty = the first one
	// announced in the stream.
	SignerRoot string `yaml:"signer_root"`
}

// Vault is where applications read keys.
type Vault struct {
	Addr      string `yaml:"addr"`
	Namespace string `yaml:"namespace"`
	Mount     string `yaml:"mount"`
	Prefix    string `yaml:"prefix"`
	Login     Login  `yaml:"login"`
	TLS       TLS    `yaml:"tls"`
}

// Login is how to log in to Vault; exactly one.
type Login struct {
	Token      *Source     `yaml:"token"`
	AppRole    *AppRole    `yaml:"approle"`
	Kubernetes *Kubernetes `yaml:"kubernetes"`
}

// AppRole is the AppRole login.
type AppRole struct {
	Mount    string `yaml:"mount"`
	RoleID   Source `yaml:"role_id"`
	SecretID Source `yaml:"secret_id"`
}

// Kubernetes is the Kubernetes login.
type Kubernetes struct {
	Mount     string `yaml:"mount"`
	Role      string `yaml:"role"`
	TokenPath string `yaml:"token_path"`
}

// Issuer is a portal.
type Issuer struct {
	Type     string `yaml:"type"`
	URL      string `yaml:"url"`
	Username string `yaml:"username"`
	Password Source `yaml:"password"`
	APIKey   Source `yaml:"api_key"`
	// MinLifetime is the shortest life that the portal gives a key; zero = 24 h.
	MinLifetime yamlfile.Duration `yaml:"min_lifetime"`
	// Concurrency is how many credentials are worked on at a time; zero = 8.
	Concurrency int `yaml:"concurrency"`
	// Timeout of each call; zero = 15 s.
	Timeout yamlfile.Duration `yaml:"timeout"`
	TLS     TLS               `yaml:"tls"`
}

// Daemon is what concerns this process.
type Daemon struct {
	// HTTP is the listener of /metrics, /healthz and /readyz; "" = 127.0.0.1:9464.
	HTTP string `yaml:"http"`
	// AllowNonLoopback lets HTTP listen elsewhere.
	AllowNonLoopback bool `yaml:"allow_non_loopback"`
	// Sweep is the cron spec of the sweeps; "" = every ten minutes.
	Sweep string `yaml:"sweep"`
	// MaxClockSkew is the difference of this clock and an issuer's beyond which
	// no old key is invalidated; zero = 5 m.
	MaxClockSkew yamlfile.Duration `yaml:"max_clock_skew"`
	// LogLevel is debug, info, warn or error; "" = info.
	LogLevel string `yaml:"log_level"`
}

// Defaults.
const (
	DefaultHTTP        = "127.0.0.1:9464"
	DefaultSweep       = "*/10 * * * *"
	DefaultMinLifetime = 24 * time.Hour
	DefaultSkew        = 5 * time.Minute
	// EnvPath is the variable that names the file.
	EnvPath = "KEYTURN_CONFIG"
)

var namePattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// Load reads and checks a file. Calendar checks cron specs.
func Load(path string, calendar credential.Calendar) (*Config, error) {
	if path == "" {
		path = os.Getenv(EnvPath)
	}
	if path == "" {
		return nil, fmt.Errorf("no configuration file (try: --config FILE, or %s; `keyturn dev` writes one)", EnvPath)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w (try: --config FILE)", err)
	}
	return Parse(path, data, calendar)
}

// Parse is Load without the file system.
func Parse(path string, data []byte, calendar credential.Calendar) (*Config, error) {
	file, err := yamlfile.Parse(path, data)
	if err != nil {
		return nil, err
	}
	if file.Documents() != 1 {
		return nil, fmt.Errorf("%s:1:1: want one document", path)
	}
	c := &Config{Path: path}
	if err := file.Decode(0, c); err != nil {
		return nil, err
	}
	c.fromEnvironment()
	var mistakes []error
	c.check(calendar, func(field, format string, args ...any) {
		mistakes = append(mistakes, file.Errorf(0, "$."+field, format, args...))
	})
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	c.defaults()
	return c, nil
}

// fromEnvironment fills in what users of the tools expect, where the file is
// silent.
func (c *Config) fromEnvironment() {
	fill := func(field *string, variable string) {
		if *field == "" {
			*field = os.Getenv(variable)
		}
	}
	fill(&c.NATS.URL, "KEYTURN_NATS_URL")
	fill(&c.Vault.Addr, "VAULT_ADDR")
	fill(&c.Vault.Namespace, "VAULT_NAMESPACE")
	fill(&c.Vault.TLS.CA, "VAULT_CACERT")
	if l := &c.Vault.Login; l.Token == nil && l.AppRole == nil && l.Kubernetes == nil {
		l.Token = &Source{Env: "VAULT_TOKEN"}
	}
}

func (c *Config) defaults() {
	if c.NATS.Replicas == 0 {
		c.NATS.Replicas = 1
	}
	if c.Daemon.HTTP == "" {
		c.Daemon.HTTP = DefaultHTTP
	}
	if c.Daemon.Sweep == "" {
		c.Daemon.Sweep = DefaultSweep
	}
	if c.Daemon.MaxClockSkew.Value == 0 {
		c.Daemon.MaxClockSkew.Value = DefaultSkew
	}
	if c.Daemon.LogLevel == "" {
		c.Daemon.LogLevel = "info"
	}
	for name, issuer := range c.Issuers {
		if issuer.MinLifetime.Value == 0 {
			issuer.MinLifetime.Value = DefaultMinLifetime
		}
		if issuer.Concurrency == 0 {
			issuer.Concurrency = 8
		}
		c.Issuers[name] = issuer
	}
}

type complain func(field, format string, args ...any)

func (c *Config) check(calendar credential.Calendar, wrong complain) {
	if !namePattern.MatchString(c.Installation) {
		wrong("installation", "%q is not a name (want a-z, 0-9 and -, 1 to 32 characters)", c.Installation)
	}
	c.NATS.check(wrong)
	c.Vault.check(wrong)
	if len(c.Issuers) == 0 {
		wrong("issuers", "no issuer is configured")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Issuers)) {
		if !namePattern.MatchString(name) {
			wrong("issuers", "%q is not a name (want a-z, 0-9 and -, 1 to 32 characters)", name)
		}
		issuer := c.Issuers[name]
		issuer.check("issuers."+name, wrong)
	}
	d := c.Daemon
	if d.HTTP != "" {
		host, _, err := net.SplitHostPort(d.HTTP)
		if err != nil {
			wrong("daemon.http", "%q is not an address (want e.g. %s)", d.HTTP, DefaultHTTP)
		} else if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && !d.AllowNonLoopback {
			wrong("daemon.http", "%q is not a loopback address (if that is wanted: allow_non_loopback: true)", d.HTTP)
		}
	}
	if d.Sweep != "" {
		if _, ok := calendar.Next(d.Sweep, time.Now()); !ok {
			wrong("daemon.sweep", "%q is not a cron spec that ever fires", d.Sweep)
		}
	}
	if !slices.Contains([]string{"", "debug", "info", "warn", "error"}, d.LogLevel) {
		wrong("daemon.log_level", "%q is none of debug, info, warn, error", d.LogLevel)
	}
}

func (n NATS) check(wrong complain) {
	if n.URL == "" {
		wrong("nats.url", "missing (or set KEYTURN_NATS_URL)")
	}
	ways := 0
	for _, given := range []bool{n.CredsFile != "", n.NKeySeed.Given(), n.User != "", n.Token.Given()} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		wrong("nats", "more than one of creds_file, nkey_seed, user and token")
	}
	if n.Replicas < 0 || n.Replicas > 5 {
		wrong("nats.replicas", "want 1 to 5")
	}
	n.NKeySeed.check("nats.nkey_seed", true, wrong)
	n.Password.check("nats.password", true, wrong)
	n.Token.check("nats.token", true, wrong)
	n.TLS.check("nats.tls", wrong)
}

func (v Vault) check(wrong complain) {
	if address, err := url.Parse(v.Addr); v.Addr == "" || err != nil || address.Host == "" {
		wrong("vault.addr", "%q is not an address (want e.g. https://vault.example.com:8200, or set VAULT_ADDR)", v.Addr)
	}
	ways := 0
	if v.Login.Token != nil {
		ways++
		v.Login.Token.check("vault.login.token", false, wrong)
	}
	if a := v.Login.AppRole; a != nil {
		ways++
		a.RoleID.check("vault.login.approle.role_id", false, wrong)
		a.SecretID.check("vault.login.approle.secret_id", false, wrong)
		if !a.RoleID.Given() || !a.SecretID.Given() {
			wrong("vault.login.approle", "want role_id and secret_id")
		}
	}
	if k := v.Login.Kubernetes; k != nil {
		ways++
		if k.Role == "" {
			wrong("vault.login.kubernetes.role", "missing")
		}
	}
	if ways != 1 {
		wrong("vault.login", "want exactly one of token, approle and kubernetes")
	}
	v.TLS.check("vault.tls", wrong)
}

func (i Issuer) check(field string, wrong complain) {
	if i.Type != "arcgis" {
		wrong(field+".type", "%q is not a type of issuer (want arcgis)", i.Type)
	}
	address, err := url.Parse(i.URL)
	switch {
	case err != nil || address.Host == "" || !strings.HasSuffix(address.Path, "/sharing/rest"):
		wrong(field+".url", "%q is not a portal's REST root (want e.g. https://www.arcgis.com/sharing/rest)", i.URL)
	case address.Scheme != "https" && !loopback(address.Hostname()):
		wrong(field+".url", "%q would send passwords in the clear (want https)", i.URL)
	}
	if i.Username == "" {
		wrong(field+".username", "missing: it stands in the path of every item, with an API key as well")
	}
	if i.Password.Given() == i.APIKey.Given() {
		wrong(field, "want exactly one of password and api_key")
	}
	i.Password.check(field+".password", true, wrong)
	i.APIKey.check(field+".api_key", true, wrong)
	if i.Concurrency < 0 || i.Concurrency > 1024 {
		wrong(field+".concurrency", "want 1 to 1024")
	}
	if l := i.MinLifetime; l.Set && (l.Value < time.Second || l.Value > credential.MaxLifetime) {
		wrong(field+".min_lifetime", "want 1s to 365d")
	}
	i.TLS.check(field+".tls", wrong)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
