package config

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Warnings are what works but is unwise, each with its field. It looks at the
// files that the configuration names; one that is not there is no warning.
func (c *Config) Warnings() []string {
	var list []string
	warn := func(path, format string, args ...any) {
		list = append(list, path+": "+fmt.Sprintf(format, args...))
	}
	secret := func(path string, s Source) {
		if !s.Value.Empty() && !s.plain {
			warn(path, "the secret stands in the configuration file; use file, env or vault outside of development")
		}
		private(path, s.File, warn)
	}
	inline := false
	for _, field := range c.sources() {
		secret(field.path, field.source)
		inline = inline || !field.source.Value.Empty() && !field.source.plain
	}
	if inline {
		private("configuration", c.Path, warn)
	}
	private("nats.creds_file", c.NATS.CredsFile, warn)
	private("nats.tls.key", c.NATS.TLS.Key, warn)
	private("vault.tls.key", c.Vault.TLS.Key, warn)
	for _, name := range slices.Sorted(maps.Keys(c.Issuers)) {
		private("issuers."+name+".tls.key", c.Issuers[name].TLS.Key, warn)
	}
	c.clear(warn)
	return list
}

// clear warns of what crosses the network unencrypted.
func (c *Config) clear(warn func(path, format string, args ...any)) {
	if u, err := url.Parse(c.Vault.Addr); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		warn("vault.addr", "keys cross the network unencrypted; use https")
	}
	for text := range strings.SplitSeq(c.NATS.URL, ",") {
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		u, err := url.Parse(text)
		plain := err == nil && (u.Scheme == "nats" && !c.NATS.TLS.Given() || u.Scheme == "ws")
		if plain && !loopback(u.Hostname()) {
			warn("nats.url", "%s is reached unencrypted unless the server insists on TLS; use tls://", u.Host)
		}
	}
	if c.Daemon.AllowNonLoopback {
		warn("daemon.allow_non_loopback", "metrics and health are readable from the network")
	}
}

// field is a source with where it stands.
type field struct {
	path   string
	source Source
}

// sources are all secret sources of the configuration.
func (c *Config) sources() []field {
	list := []field{{"nats.nkey_seed", c.NATS.NKeySeed}, {"nats.password", c.NATS.Password}, {"nats.token", c.NATS.Token}, {"operator.seed", c.Operator.Seed}}
	list = append(list, c.Vault.Login.sources("vault.login")...)
	for _, name := range slices.Sorted(maps.Keys(c.Issuers)) {
		path := "issuers." + name
		list = append(list, field{path + ".password", c.Issuers[name].Password}, field{path + ".api_key", c.Issuers[name].APIKey})
	}
	list = append(list, c.BreakGlass.VaultLogin.sources("break_glass.vault_login")...)
	for _, name := range slices.Sorted(maps.Keys(c.BreakGlass.Issuers)) {
		path, account := "break_glass.issuers."+name, c.BreakGlass.Issuers[name]
		list = append(list, field{path + ".password", account.Password}, field{path + ".api_key", account.APIKey})
	}
	return list
}

func (l Login) sources(path string) (list []field) {
	if t := l.Token; t != nil {
		list = append(list, field{path + ".token", *t})
	}
	if a := l.AppRole; a != nil {
		list = append(list, field{path + ".approle.role_id", a.RoleID}, field{path + ".approle.secret_id", a.SecretID})
	}
	return list
}

// private warns of a secret file that others may read or change.
func private(path, name string, warn func(path, format string, args ...any)) {
	if why := Exposed(name); why != "" {
		warn(path, "%s", why)
	}
}

// Exposed says why a secret file is not safe from others; empty = it is, or is
// not there.
func Exposed(name string) string {
	if name == "" || runtime.GOOS == "windows" {
		return ""
	}
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	switch mode := info.Mode().Perm(); {
	case mode&0o022 != 0:
		return fmt.Sprintf("%s may be changed by others (mode %04o); try: chmod 600", name, mode)
	case mode&0o004 != 0:
		return fmt.Sprintf("%s may be read by everybody (mode %04o); try: chmod 600", name, mode)
	}
	return ""
}
