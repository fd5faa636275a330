package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
	"github.com/keyturn/keyturn/vault"
)

// This file is the only place where real clocks and dialers are chosen.

// wallClock is the clock of the process.
func wallClock() time.Time { return time.Now() }

// load reads the configuration.
func (o *options) load() (*config.Config, *schedule.Calendar, error) {
	calendar := &schedule.Calendar{}
	c, err := config.Load(o.config, calendar)
	if err != nil {
		return nil, nil, usage(err)
	}
	return c, calendar, nil
}

// openVault makes the client; it makes no call.
func openVault(c config.Vault, workers int, observe func(op string, took time.Duration, err error), onLogin func(vault.LoginState)) (*vault.Client, error) {
	settings := vault.Config{
		Addr: c.Addr, Namespace: c.Namespace, Mount: c.Mount, Prefix: c.Prefix, Concurrency: workers,
		TLS:     vault.TLS{CAFile: c.TLS.CA, CertFile: c.TLS.Cert, KeyFile: c.TLS.Key, ServerName: c.TLS.ServerName},
		Observe: observe, OnLogin: onLogin,
	}
	read := func(s config.Source) func() (credential.Secret, error) {
		return func() (credential.Secret, error) { return s.Read(context.Background(), nil) }
	}
	switch l := c.Login; {
	case l.Token != nil:
		settings.Login.Token = read(*l.Token)
	case l.AppRole != nil:
		role := read(l.AppRole.RoleID)
		settings.Login.AppRole = &vault.AppRole{
			Mount: l.AppRole.Mount, SecretID: read(l.AppRole.SecretID),
			RoleID: func() (string, error) {
				id, err := role()
				return id.Reveal(), err
			},
		}
	case l.Kubernetes != nil:
		settings.Login.Kubernetes = &vault.Kubernetes{Mount: l.Kubernetes.Mount, Role: l.Kubernetes.Role, TokenPath: l.Kubernetes.TokenPath}
	}
	return vault.New(settings)
}

// connectNATS opens the connection. With wait, a server that is away is waited
// for in the background; without, it is an error.
func connectNATS(ctx context.Context, c config.NATS, get config.VaultGet, wait bool, events ...nats.Option) (*nats.Conn, error) {
	settings := []nats.Option{
		nats.Name("keyturn"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, time.Second), nats.Timeout(5 * time.Second),
		nats.RetryOnFailedConnect(wait),
		nats.ReconnectBufSize(-1), // an append that could not be sent must fail, not wait in a buffer
	}
	tlsConfig, err := c.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("nats.tls: %w", err)
	}
	if tlsConfig != nil {
		settings = append(settings, nats.Secure(tlsConfig))
	}
	if c.InboxPrefix != "" {
		settings = append(settings, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	// each is asked again at every reconnect, so a changed secret is used
	read := func(s config.Source) (credential.Secret, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return s.Read(ctx, get)
	}
	switch {
	case c.CredsFile != "":
		settings = append(settings, nats.UserCredentials(c.CredsFile))
	case c.NKeySeed.Given():
		seed, err := read(c.NKeySeed)
		if err != nil {
			return nil, fmt.Errorf("nats.nkey_seed: %w", err)
		}
		pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
		if err != nil {
			return nil, errors.New("nats.nkey_seed: not the seed of an nkey")
		}
		public, err := pair.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("nats.nkey_seed: %w", err)
		}
		settings = append(settings, nats.Nkey(public, pair.Sign))
	case c.User != "":
		settings = append(settings, nats.UserInfoHandler(func() (string, string) {
			password, err := read(c.Password)
			if err != nil {
				return c.User, "" // the server refuses, and says so
			}
			return c.User, password.Reveal()
		}))
	case c.Token.Given():
		settings = append(settings, nats.TokenHandler(func() string {
			token, err := read(c.Token)
			if err != nil {
				return ""
			}
			return token.Reveal()
		}))
	}
	conn, err := nats.Connect(c.URL, append(settings, events...)...)
	if err != nil {
		return nil, fmt.Errorf("nats %s: %w (try: check nats.url and the login, and that the server runs)", c.URL, err)
	}
	return conn, nil
}

// openBoth logs in to Vault and connects to NATS, for the commands that need
// both and wait for neither; stop closes them.
func openBoth(ctx context.Context, c *config.Config) (store *vault.Client, conn *nats.Conn, stop func(), err error) {
	if store, err = openVault(c.Vault, c.Daemon.Workers, nil, nil); err != nil {
		return nil, nil, nil, err
	}
	if err = store.Login(ctx); err == nil {
		conn, err = connectNATS(ctx, c.NATS, store.Get, false)
	}
	if err != nil {
		store.Close()
		return nil, nil, nil, err
	}
	return store, conn, func() { conn.Close(); store.Close() }, nil
}

// openRecord opens the record on a connection; without a signer it only reads.
func openRecord(ctx context.Context, c *config.Config, conn *nats.Conn, settings publisher.Config) (*publisher.Record, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	settings.JetStream, settings.Installation, settings.Root = js, c.Installation, c.NATS.SignerRoot
	return publisher.Open(ctx, settings)
}

// openIssuer makes the client of a portal, with what stands before its calls; it
// makes none.
func openIssuer(name string, c config.Issuer, get config.VaultGet, observe func(op string, took time.Duration, err error), logger *zap.Logger) (*lane, error) {
	read := func(s config.Source) func() (credential.Secret, error) {
		if !s.Given() {
			return nil
		}
		return func() (credential.Secret, error) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return s.Read(ctx, get)
		}
	}
	transport := arcgis.NewTransport(c.Concurrency)
	tlsConfig, err := c.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("issuers.%s.tls: %w", name, err)
	}
	if tlsConfig != nil {
		transport.TLSClientConfig = withDefaults(tlsConfig)
	}
	settings := arcgis.Config{
		Name: name, URL: c.URL, Username: c.Username, Password: read(c.Password), APIKey: read(c.APIKey), Referer: c.Referer,
		Concurrency: c.Concurrency, Timeout: c.Timeout.Value, Transport: transport,
		Now: wallClock, Observe: observe,
	}
	var limit *limiter
	if c.RateLimit > 0 {
		limit = newLimiter(transport, c.RateLimit)
		settings.Transport = limit
	}
	portal, err := arcgis.New(settings)
	if err != nil {
		return nil, err
	}
	return breakable(name, portal, c.Timeout.Value, limit, logger), nil
}

func withDefaults(c *tls.Config) *tls.Config {
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	return c
}
