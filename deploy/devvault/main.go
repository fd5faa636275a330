// Command devvault runs a real Vault server core for development and tests.
//
// It is the core of Vault 1.14 (MPL-2.0) with the KV, AppRole and Kubernetes-free
// minimum that keyturn talks to: KV v2, AppRole, tokens, policies, the file
// audit device, sealing. It is a module of its own, so that the product's
// go.mod stays small, and a process of its own, so that the product never links
// a Vault server.
//
// It is not for production: the unseal key lies beside the data, and there is
// no TLS. Bring Vault or OpenBao for that.
//
// When it is ready it prints one line of JSON to standard output, among it the
// root token, for the parent process that owns the pipe; everything else goes
// to standard error. It ends when its standard input closes, so that a killed
// parent leaves no server behind.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/vault"
)

// options are the flags.
type options struct {
	dir, listen, token, mount, audit, logLevel string
	foreground                                 bool
}

// ready is the line on standard output.
type ready struct {
	Addr    string `json:"addr"`
	Token   string `json:"token"`
	Mount   string `json:"mount"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
}

const version = "1.14.1"

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "directory for the data and the unseal key (empty: in memory)")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to listen on; a loopback one")
	flag.StringVar(&o.token, "token", "", "a fixed root token to create besides the initial one")
	flag.StringVar(&o.mount, "mount", "secret", "where KV v2 is mounted")
	flag.StringVar(&o.audit, "audit", "", "file of the audit device (empty: none)")
	flag.StringVar(&o.logLevel, "log-level", "error", "Vault's own log level, to standard error")
	flag.BoolVar(&o.foreground, "foreground", false, "do not end when standard input closes")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "devvault: %v\n", err)
		os.Exit(1)
	}
}

// run serves until standard input closes or a signal comes.
func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if !o.foreground {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	if host, _, err := net.SplitHostPort(o.listen); err != nil || !net.ParseIP(host).IsLoopback() {
		return fmt.Errorf("-listen %s: want a loopback address such as 127.0.0.1:8200", o.listen)
	}
	unlock, err := lock(o.dir)
	if err != nil {
		return err
	}
	defer unlock()

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w (try: another -listen)", o.listen, err)
	}
	addr := "http://" + listener.Addr().String()
	logger := hclog.New(&hclog.LoggerOptions{Name: "vault", Output: os.Stderr, Level: hclog.LevelFromString(o.logLevel)})
	core, err := newCore(o.dir, addr, logger)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          logger.StandardLogger(nil),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	token, err := bootstrap(ctx, core, o, addr)
	if err == nil {
		fmt.Fprintln(os.Stderr, "devvault: a real Vault core for development; NOT for production: the unseal key lies beside the data")
		err = json.NewEncoder(os.Stdout).Encode(ready{Addr: addr, Token: token, Mount: o.mount, PID: os.Getpid(), Version: version})
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
		}
	}
	if ctx.Err() != nil {
		err = nil // asked to end
	}
	down, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if shutdownErr := server.Shutdown(down); shutdownErr != nil {
		_ = server.Close()
	}
	if coreErr := core.ShutdownWait(); coreErr != nil && !errors.Is(coreErr, context.Canceled) {
		logger.Debug("shutdown", "error", coreErr)
	}
	return err
}
