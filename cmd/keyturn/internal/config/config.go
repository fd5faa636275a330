package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
)

// Defaults of the file.
const (
	DefaultHTTP        = "127.0.0.1:9464"
	DefaultSweep       = "*/10 * * * *"
	DefaultListen      = "127.0.0.1:4222"
	DefaultMount       = "secret"
	DefaultPrefix      = "keyturn"
	DefaultMinLifetime = 24 * time.Hour
	DefaultTimeout     = 15 * time.Second
	DefaultSkew        = 5 * time.Minute
	DefaultConcurrency = 8
	DefaultWorkers     = 16
	DefaultLogLevel    = "info"
	DefaultCheckpoint  = time.Hour
	DefaultProbe       = 5 * time.Minute
	DefaultStrayGrace  = time.Hour
	// EnvPath is the variable that names the file.
	EnvPath = "KEYTURN_CONFIG"
)

// Duration is a duration in the file: Go's units, and d and w.
type Duration = strict.Duration

// Config is the file, with the environment and the defaults filled in.
type Config struct {
	// Installation names this set of daemons; it marks items at the issuers.
	// 1 to 32 of a-z, 0-9 and -; required.
	Installation string `yaml:"installation,required"`
	NATS         NATS   `yaml:"nats"`
	Vault        Vault  `yaml:"vault"`
	// Issuers are where keys are made: name → issuer. In the file either a
	// mapping or a list; at least one.
	Issuers map[string]Issuer `yaml:"issuers,named,required"`
	Daemon  Daemon            `yaml:"daemon"`
	// Operators may send requests to the daemons: name → operator. In the file
	// either a mapping or a list; none = every request is denied.
	Operators map[string]Operator `yaml:"operators,named"`
	// Operator is who runs the command line. It is no matter of the daemons, so it
	// does not count for Digest.
	Operator Self `yaml:"operator" json:"-"`
	// BreakGlass is with what an operator goes to issuer and Vault without the
	// daemons. It is no matter of theirs either.
	BreakGlass BreakGlass `yaml:"break_glass" json:"-"`

	// Path is where it was read from.
	Path string `yaml:"-" json:"-"`
}

// NATS is the message server that keeps the record: one that runs elsewhere, or
// one within the daemon.
type NATS struct {
	// URL of the servers, with commas between them. In the file either url or
	// urls; empty in both = KEYTURN_NATS_URL.
	URL string `yaml:"url"`
	// URLs is the same as a list; Load joins it into URL.
	URLs []string `yaml:"urls" json:"-"`
	// CredsFile, NKeySeed, User with Password, and Token are the ways to log
	// in; at most one is given.
	CredsFile string `yaml:"creds_file"`
	NKeySeed  Source `yaml:"nkey_seed"`
	User      string `yaml:"user"`
	Password  Source `yaml:"password"`
	Token     Source `yaml:"token"`
	TLS       TLS    `yaml:"tls"`
	// InboxPrefix is where answers go, for a login that may not subscribe to all
	// of _INBOX; empty = "_INBOX".
	InboxPrefix string `yaml:"inbox_prefix"`
	// Replicas of the stream that setup makes; zero = 1.
	Replicas int `yaml:"replicas"`
	// SignerRoot is the public key that setup printed; empty = the first one
	// announced in the stream.
	SignerRoot string `yaml:"signer_root"`
	// Embedded is the server within the daemon; nil = none. URL then is how
	// other processes on this machine reach it.
	Embedded *Embedded `yaml:"embedded"`
}

// Embedded is a NATS server within the daemon, for a single node. It always
// waits for the disk before it acknowledges.
type Embedded struct {
	// StoreDir is the folder of the record; required.
	StoreDir string `yaml:"store_dir,required"`
	// Listen is the address for clients, on the loopback; empty = DefaultListen.
	Listen string `yaml:"listen"`
}

// Vault is where applications read keys.
type Vault struct {
	// Addr is the URL; empty = VAULT_ADDR.
	Addr string `yaml:"addr"`
	// Namespace of Vault Enterprise or OpenBao; empty = VAULT_NAMESPACE, or none.
	Namespace string `yaml:"namespace"`
	// Mount is the KV v2 mount; empty = DefaultMount.
	Mount string `yaml:"mount"`
	// Prefix stands before all paths in the mount; empty = DefaultPrefix.
	Prefix string `yaml:"prefix"`
	// Login is how to get a token; none = VAULT_TOKEN.
	Login Login `yaml:"login"`
	TLS   TLS   `yaml:"tls"`
}

// Login is how to log in to Vault; exactly one.
type Login struct {
	Token      *Source     `yaml:"token"`
	AppRole    *AppRole    `yaml:"approle"`
	Kubernetes *Kubernetes `yaml:"kubernetes"`
}

// AppRole is the AppRole login.
type AppRole struct {
	// Mount is the path of the auth method; empty = "approle".
	Mount string `yaml:"mount"`
	// RoleID may be plain text; it is not a secret.
	RoleID   Source `yaml:"role_id,required,text"`
	SecretID Source `yaml:"secret_id,required"`
}

// Kubernetes is the Kubernetes login.
type Kubernetes struct {
	// Mount is the path of the auth method; empty = "kubernetes".
	Mount string `yaml:"mount"`
	// Role at Vault; required.
	Role string `yaml:"role,required"`
	// TokenPath is the file of the service account's token; empty = where
	// Kubernetes puts it.
	TokenPath string `yaml:"token_path"`
}

// Issuer is where keys are made.
type Issuer struct {
	// Name is the key that it stands under, or in a list its field.
	Name string `yaml:"name"`
	// Type is "arcgis"; required.
	Type string `yaml:"type,required" enum:"arcgis"`
	// URL is the REST root, ending in /sharing/rest; required. https, but for
	// the loopback.
	URL string `yaml:"url,required"`
	// Username is the manager; with an API key, the owner of the items. Required.
	Username string `yaml:"username,required"`
	// Password or APIKey logs the manager in; exactly one is given.
	Password Source `yaml:"password"`
	APIKey   Source `yaml:"api_key"`
	// MinLifetime is the shortest life of a key there; none = DefaultMinLifetime.
	MinLifetime Duration `yaml:"min_lifetime"`
	// Concurrency is how many credentials all daemons together work on at a time,
	// 1 to 1024; zero = DefaultConcurrency. Each daemon takes its share, but at
	// least one; emergencies may have a quarter more, at least one more.
	Concurrency int `yaml:"concurrency"`
	// RateLimit is calls a second of all daemons together; zero = no limit.
	RateLimit float64 `yaml:"rate_limit"`
	// Timeout of each call; none = DefaultTimeout.
	Timeout Duration `yaml:"timeout"`
	// MaxClockSkew is the difference of clocks beyond which no old key of this
	// issuer is invalidated; none = the daemon's.
	MaxClockSkew Duration `yaml:"max_clock_skew"`
	TLS          TLS      `yaml:"tls"`
}

// BreakGlass has the operator's own rights at issuers and Vault; what is not given
// is the daemons'.
type BreakGlass struct {
	// VaultLogin is how to get a token; none = that of vault.login.
	VaultLogin Login `yaml:"vault_login"`
	// Issuers are accounts at the configured issuers: name → account. In the file
	// either a mapping or a list.
	Issuers map[string]Account `yaml:"issuers,named"`
}

// Account is a manager at an issuer.
type Account struct {
	// Name is the key that it stands under, or in a list its field.
	Name string `yaml:"name"`
	// Username is described at Issuer, as are Password and APIKey.
	Username string `yaml:"username,required"`
	Password Source `yaml:"password"`
	APIKey   Source `yaml:"api_key"`
}

// Daemon is what concerns this process.
type Daemon struct {
	// HTTP is the listener of metrics and health; empty = DefaultHTTP.
	HTTP string `yaml:"http"`
	// AllowNonLoopback lets HTTP listen elsewhere than on the loopback.
	AllowNonLoopback bool `yaml:"allow_non_loopback"`
	// Sweep is the cron spec of the sweeps; empty = DefaultSweep.
	Sweep string `yaml:"sweep"`
	// ProbeInterval is how often each primary key is compared with the issuer and
	// with Vault, at most: keys with a short lead time are looked at more often, an
	// eighth of it. Zero = by sweeps only; none = DefaultProbe.
	ProbeInterval Duration `yaml:"probe_interval"`
	// StrayGrace is how old an item must be that a call without an answer left at an
	// issuer, before a sweep deletes it; none = DefaultStrayGrace.
	StrayGrace Duration `yaml:"stray_grace"`
	// Workers is how many calls to Vault run at a time, 1 to 1024; zero =
	// DefaultWorkers.
	Workers int `yaml:"workers"`
	// MaxClockSkew is the difference of this clock and an issuer's beyond which
	// no old key is invalidated; none = DefaultSkew.
	MaxClockSkew Duration `yaml:"max_clock_skew"`
	// CheckpointEvery is how often the record's state is signed and kept in Vault
	// too; none = DefaultCheckpoint.
	CheckpointEvery Duration `yaml:"checkpoint_every"`
	// LogLevel is debug, info, warn or error; empty = DefaultLogLevel.
	LogLevel string `yaml:"log_level" enum:"debug info warn error"`
}

// Operator is a person or service that may send requests.
type Operator struct {
	// Name is the key that it stands under, or in a list its field.
	Name string `yaml:"name"`
	// Key is the public nkey ("U…") that `keyturn operator new` printed; required.
	Key string `yaml:"key,required"`
	// Roles are what it may do; at least one.
	Roles []Grant `yaml:"roles,required"`
}

// Grant is a role in namespaces.
type Grant struct {
	Role string `yaml:"role,required" enum:"viewer rotator responder admin consumer"`
	// Namespaces are names, "*" for all, or the beginning of names with * after it;
	// at least one.
	Namespaces []string `yaml:"namespaces,required"`
}

// Self is the operator who runs the command line.
type Self struct {
	// Seed of the nkey; none = the file that KEYTURN_OPERATOR_SEED_FILE names, or
	// KEYTURN_OPERATOR_SEED.
	Seed Source `yaml:"seed"`
}

// Digest identifies what is configured, the environment and defaults included
// and secrets not: the first 16 hexadecimal characters of a SHA-256. Two daemons
// of an installation with the same digest are configured alike.
func (c *Config) Digest() string {
	text, err := json.Marshal(c) // maps are sorted, a Secret is redacted
	if err != nil {
		return "" // there is nothing in it that does not encode
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
