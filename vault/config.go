package vault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Defaults of Config.
const (
	DefaultMount       = "secret"
	DefaultPrefix      = "keyturn"
	DefaultTimeout     = 10 * time.Second
	DefaultConcurrency = 16
)

// Config says where Vault is and how to log in. There is no other input but
// the environment variables VAULT_NAMESPACE and VAULT_HEADERS.
type Config struct {
	// Addr is the URL of Vault; required.
	Addr string
	// Namespace is sent with every request; empty = VAULT_NAMESPACE, or none.
	Namespace string
	// Mount is the KV v2 mount; empty = DefaultMount.
	Mount string
	// Prefix stands before all paths in the mount; empty = DefaultPrefix.
	Prefix string
	// Login is how to get a token; exactly one way must be set.
	Login Login
	// TLS adds to the system's settings; zero = the system's settings.
	TLS TLS
	// Timeout bounds each call; zero = DefaultTimeout.
	Timeout time.Duration
	// Concurrency is how many callers there are: as many idle connections are
	// kept. Zero = DefaultConcurrency.
	Concurrency int
	// Observe is told of every call to Vault; nil = nobody. The error is the
	// one that the caller gets.
	Observe func(op string, took time.Duration, err error)
	// OnLogin is told of every login, good or failed, from the goroutine that
	// made it; nil = nobody. It is the only report of a failing login in Run.
	OnLogin func(LoginState)
}

// Login is how to get a token. Exactly one field is set.
type Login struct {
	// Token returns a token made elsewhere; asked again when a token ends.
	Token func() (credential.Secret, error)
	// AppRole logs in with a role id and a secret id.
	AppRole *AppRole
	// Kubernetes logs in with the token of the pod's service account.
	Kubernetes *Kubernetes
}

// AppRole is the AppRole login.
type AppRole struct {
	// Mount is the path of the auth method; empty = "approle".
	Mount string
	// RoleID and SecretID are asked at every login, so that they can be
	// replaced while the program runs.
	RoleID   func() (string, error)
	SecretID func() (credential.Secret, error)
}

// Kubernetes is the Kubernetes login.
type Kubernetes struct {
	// Mount is the path of the auth method; empty = "kubernetes".
	Mount string
	// Role is the role at Vault; required.
	Role string
	// TokenPath is the file with the service account's token, read at every
	// login; empty = where Kubernetes puts it.
	TokenPath string
}

// TLS is what the connection adds to the system's settings.
type TLS struct {
	// CAFile and CA are PEM certificates to trust instead of the system's; at
	// most one is set.
	CAFile string
	CA     []byte
	// CertFile and KeyFile are the client certificate, read at each handshake,
	// so that it can be replaced while the program runs.
	CertFile string
	KeyFile  string
	// ServerName is the name that the server's certificate must carry; empty =
	// the host of Addr.
	ServerName string
}

var (
	pathPattern = regexp.MustCompile(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$`)
	dotsInPath  = regexp.MustCompile(`(^|/)\.{1,2}(/|$)`)
)

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.Mount == "" {
		c.Mount = DefaultMount
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Observe == nil {
		c.Observe = func(string, time.Duration, error) {}
	}
	if c.OnLogin == nil {
		c.OnLogin = func(LoginState) {}
	}
	return c
}

// validate names every rule that is broken.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("vault config: "+format, args...)) }

	switch u, err := url.Parse(c.Addr); {
	case c.Addr == "":
		bad("addr is missing")
	case err != nil:
		bad("addr is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		bad("addr must begin with http:// or https://")
	case u.Host == "":
		bad("addr names no host")
	case u.User != nil:
		bad("addr must not carry a user or password")
	}
	if !cleanPath(c.Mount) {
		bad("mount %q is not a path", c.Mount)
	}
	if !cleanPath(c.Prefix) {
		bad("prefix %q is not a path", c.Prefix)
	}
	if c.Timeout < 0 {
		bad("timeout is negative")
	}
	if c.Concurrency < 0 {
		bad("concurrency is negative")
	}
	errs = append(errs, c.Login.validate()...)
	if c.TLS.CAFile != "" && len(c.TLS.CA) > 0 {
		bad("tls: give the CA as a file or as bytes, not both")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		bad("tls: a client certificate needs both the certificate and the key")
	}
	return errors.Join(errs...)
}

func (l Login) validate() []error {
	var errs []error
	ways := 0
	if l.Token != nil {
		ways++
	}
	if a := l.AppRole; a != nil {
		ways++
		if a.RoleID == nil || a.SecretID == nil {
			errs = append(errs, errors.New("vault config: login approle needs a role id and a secret id"))
		}
		if a.Mount != "" && !cleanPath(a.Mount) {
			errs = append(errs, fmt.Errorf("vault config: login approle: mount %q is not a path", a.Mount))
		}
	}
	if k := l.Kubernetes; k != nil {
		ways++
		if k.Role == "" {
			errs = append(errs, errors.New("vault config: login kubernetes needs a role"))
		}
		if k.Mount != "" && !cleanPath(k.Mount) {
			errs = append(errs, fmt.Errorf("vault config: login kubernetes: mount %q is not a path", k.Mount))
		}
	}
	if ways != 1 {
		errs = append(errs, fmt.Errorf("vault config: login must be exactly one of token, approle and kubernetes, not %d", ways))
	}
	return errs
}

// cleanPath reports whether a path can stand in a URL as it is.
func cleanPath(path string) bool {
	return pathPattern.MatchString(path) && !dotsInPath.MatchString(path)
}

// transport makes the connections.
func (c Config) transport() (*http.Transport, error) {
	config, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: c.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   c.Timeout,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          c.Concurrency,
		MaxIdleConnsPerHost:   c.Concurrency,
		Protocols:             protocols,
	}, nil
}

func (t TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	ca, from := t.CA, "ca"
	if t.CAFile != "" {
		data, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("vault config: tls: %w", err)
		}
		ca, from = data, t.CAFile
	}
	if len(ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("vault config: tls: %s holds no PEM certificate", from)
		}
	}
	if t.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("vault config: tls: client certificate: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return config, nil
}
