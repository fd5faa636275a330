package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/credential"
)

// Load reads and checks a file; an empty path = KEYTURN_CONFIG. Calendar reads
// cron specs. What is wrong with the content is a strict.Problems.
func Load(path string, calendar credential.Calendar) (*Config, error) {
	if path == "" {
		path = os.Getenv(EnvPath)
	}
	if path == "" {
		return nil, fmt.Errorf("no configuration file is named (try: --config FILE, or set %s)", EnvPath)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w (try: --config FILE, or set %s)", err, EnvPath)
	}
	return Parse(path, data, calendar)
}

// Parse is Load of a file that was read already.
func Parse(path string, data []byte, calendar credential.Calendar) (*Config, error) {
	return parse(path, data, calendar, os.Getenv)
}

func parse(path string, data []byte, calendar credential.Calendar, getenv func(string) string) (*Config, error) {
	docs, err := strict.Documents(path, data)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, strict.Problems{{Pos: strict.Pos{File: path}, Message: fmt.Sprintf("want one YAML document, not %d", len(docs))}}
	}
	c := &Config{Path: path}
	r := docs[0].Decode(c)
	filled := c.fromEnvironment(getenv)
	c.defaults()
	c.locate(filepath.Dir(path))
	(&checker{r, calendar, filled}).config(c)
	c.NATS.URLs = nil
	if err := r.Problems.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// fromEnvironment fills in what users of the tools expect where the file is
// silent, and returns what it filled in: field → variable.
func (c *Config) fromEnvironment(getenv func(string) string) map[string]string {
	filled := map[string]string{}
	fill := func(path string, field *string, variable string) {
		if *field != "" {
			return
		}
		if *field = getenv(variable); *field != "" {
			filled[path] = variable
		}
	}
	if len(c.NATS.URLs) == 0 && c.NATS.Embedded == nil {
		fill("nats.url", &c.NATS.URL, "KEYTURN_NATS_URL")
	}
	fill("vault.addr", &c.Vault.Addr, "VAULT_ADDR")
	fill("vault.namespace", &c.Vault.Namespace, "VAULT_NAMESPACE")
	if c.Vault.TLS.CA == "" {
		if ca := getenv("VAULT_CACERT"); ca != "" {
			if absolute, err := filepath.Abs(ca); err == nil {
				ca = absolute // not relative to the configuration
			}
			c.Vault.TLS.CA = ca
		}
	}
	if !c.Operator.Seed.Given() {
		if file := getenv("KEYTURN_OPERATOR_SEED_FILE"); file != "" {
			if absolute, err := filepath.Abs(file); err == nil {
				file = absolute // not relative to the configuration
			}
			c.Operator.Seed.File = file
		} else if getenv("KEYTURN_OPERATOR_SEED") != "" {
			c.Operator.Seed.Env = "KEYTURN_OPERATOR_SEED"
		}
	}
	if l := &c.Vault.Login; l.Token == nil && l.AppRole == nil && l.Kubernetes == nil {
		l.Token = &Source{Env: "VAULT_TOKEN"}
	}
	return filled
}

// defaults fills in what neither file nor environment says.
func (c *Config) defaults() {
	text := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	whole := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	duration := func(field *Duration, value Duration) {
		if !field.Set {
			*field = value
		}
	}
	text(&c.Vault.Mount, DefaultMount)
	text(&c.Vault.Prefix, DefaultPrefix)
	for _, l := range []Login{c.Vault.Login, c.BreakGlass.VaultLogin} {
		if l.AppRole != nil {
			text(&l.AppRole.Mount, "approle")
		}
		if l.Kubernetes != nil {
			text(&l.Kubernetes.Mount, "kubernetes")
		}
	}
	text(&c.Daemon.HTTP, DefaultHTTP)
	text(&c.Daemon.Sweep, DefaultSweep)
	text(&c.Daemon.LogLevel, DefaultLogLevel)
	whole(&c.Daemon.Workers, DefaultWorkers)
	duration(&c.Daemon.MaxClockSkew, Duration{Value: DefaultSkew, Set: true})
	duration(&c.Daemon.ProbeInterval, Duration{Value: DefaultProbe, Set: true})
	duration(&c.Daemon.StrayGrace, Duration{Value: DefaultStrayGrace, Set: true})
	duration(&c.Daemon.CheckpointEvery, Duration{Value: DefaultCheckpoint, Set: true})
	whole(&c.NATS.Replicas, 1)
	if e := c.NATS.Embedded; e != nil {
		text(&e.Listen, DefaultListen)
	}
	for name, issuer := range c.Issuers {
		issuer.URL = strings.TrimSuffix(issuer.URL, "/")
		whole(&issuer.Concurrency, DefaultConcurrency)
		duration(&issuer.MinLifetime, Duration{Value: DefaultMinLifetime, Set: true})
		duration(&issuer.Timeout, Duration{Value: DefaultTimeout, Set: true})
		duration(&issuer.MaxClockSkew, c.Daemon.MaxClockSkew)
		c.Issuers[name] = issuer
	}
}

// locate makes file names relative to the folder of the configuration.
func (c *Config) locate(folder string) {
	at := func(names ...*string) {
		for _, name := range names {
			if *name != "" && !filepath.IsAbs(*name) {
				*name = filepath.Join(folder, *name)
			}
		}
	}
	certificates := func(t *TLS) { at(&t.CA, &t.Cert, &t.Key) }
	at(&c.NATS.CredsFile, &c.NATS.NKeySeed.File, &c.NATS.Password.File, &c.NATS.Token.File, &c.Operator.Seed.File)
	certificates(&c.NATS.TLS)
	if e := c.NATS.Embedded; e != nil {
		at(&e.StoreDir)
	}
	certificates(&c.Vault.TLS)
	for _, l := range []Login{c.Vault.Login, c.BreakGlass.VaultLogin} {
		if l.Token != nil {
			at(&l.Token.File)
		}
		if l.AppRole != nil {
			at(&l.AppRole.RoleID.File, &l.AppRole.SecretID.File)
		}
		if l.Kubernetes != nil {
			at(&l.Kubernetes.TokenPath)
		}
	}
	for name, account := range c.BreakGlass.Issuers {
		at(&account.Password.File, &account.APIKey.File)
		c.BreakGlass.Issuers[name] = account
	}
	for name, issuer := range c.Issuers {
		at(&issuer.Password.File, &issuer.APIKey.File)
		certificates(&issuer.TLS)
		c.Issuers[name] = issuer
	}
}
