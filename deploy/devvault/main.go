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
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/vault"
	"github.com/hashicorp/vault/version"
)

// banner goes to standard error at each start.
const banner = "devvault: a real Vault core for development and tests, NOT for production: the unseal key lies beside the data, there is no TLS"

// These bound the end: requests in flight, then sealing.
const (
	drainTime = 3 * time.Second
	sealTime  = 5 * time.Second
)

// errUsage marks a mistake in the flags.
var errUsage = errors.New("usage")

// options are the flags.
type options struct {
	dir, listen, token, mount, audit string
	logLevel                         hclog.Level
	foreground                       bool
}

// ready is the line on standard output.
type ready struct {
	Addr    string `json:"addr"`
	Token   string `json:"token"`
	Sealed  bool   `json:"sealed"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
}

func main() {
	// The parent reads one line from standard output. Whatever a library might
	// print there goes to standard error instead.
	out := os.Stdout
	os.Stdout = os.Stderr

	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(o, os.Stdin, out)
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "devvault: %v\n", err)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "devvault: %v\n", err)
		os.Exit(1)
	}
}

// parse reads the flags and refuses what cannot work.
func parse(args []string) (options, error) {
	var o options
	var level string
	flags := flag.NewFlagSet("devvault", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "`directory` for the data and the unseal key (empty: in memory)")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on")
	flags.StringVar(&o.token, "token", "", "a fixed root `token` to create besides the initial one")
	flags.StringVar(&o.mount, "mount", "secret", "`path` where KV v2 is mounted")
	flags.StringVar(&o.audit, "audit", "", "`file` of the audit device (empty: none)")
	flags.StringVar(&level, "log-level", "warn", "Vault's own log `level`, to standard error")
	flags.BoolVar(&o.foreground, "foreground", false, "do not end when standard input closes")
	flags.SetOutput(io.Discard) // an error is printed once, by main
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(os.Stderr)
		flags.Usage()
		return o, err
	} else if err != nil {
		return o, fmt.Errorf("%w: %w (try: -help)", errUsage, err)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%w: unexpected argument %q (try: -help)", errUsage, flags.Arg(0))
	}
	host, _, err := net.SplitHostPort(o.listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return o, fmt.Errorf("%w: -listen %q is not a loopback address with a port (try: 127.0.0.1:8200)", errUsage, o.listen)
	}
	if o.mount = strings.Trim(o.mount, "/"); o.mount == "" {
		return o, fmt.Errorf("%w: -mount is empty (try: -mount secret)", errUsage)
	}
	if o.logLevel = hclog.LevelFromString(level); o.logLevel == hclog.NoLevel {
		return o, fmt.Errorf("%w: -log-level %q is not a level (try: warn)", errUsage, level)
	}
	if o.audit != "" {
		if o.audit, err = filepath.Abs(o.audit); err != nil {
			return o, err
		}
	}
	return o, nil
}

// run serves until standard input closes or a signal comes.
func run(o options, in io.Reader, out io.Writer) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if !o.foreground {
		ctx = untilClosed(ctx, in)
	}
	fmt.Fprintln(os.Stderr, banner)

	logger := hclog.New(&hclog.LoggerOptions{Name: "vault", Output: os.Stderr, Level: o.logLevel})
	unlock, err := lock(o.dir)
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("-listen %s: the port is in use (try: another port, or 127.0.0.1:0)", o.listen)
	}
	if err != nil {
		return endedOr(ctx, fmt.Errorf("-listen %s: %w", o.listen, err))
	}
	defer func() { _ = listener.Close() }()

	addr := "http://" + listener.Addr().String()
	core, stored, err := open(o.dir, addr, logger)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          logger.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}),
	}
	defer func() { err = errors.Join(err, shutdown(server, core)) }()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	token, err := setUp(ctx, newAPI(listener.Addr().String()), stored, o)
	if err != nil {
		return endedOr(ctx, err)
	}
	line := ready{Addr: addr, Token: token, Sealed: core.Sealed(), PID: os.Getpid(), Version: version.Version}
	if err := json.NewEncoder(out).Encode(line); err != nil {
		return fmt.Errorf("say ready on standard output: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", addr, err)
	}
}

// untilClosed ends the context when the reader does.
func untilClosed(ctx context.Context, in io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		if ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "devvault: standard input closed: ending (-foreground goes on without it)")
		}
		cancel()
	}()
	return ctx
}

// endedOr is nil when the process was asked to end, as then a step that failed
// is of no interest.
func endedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// shutdown lets requests finish, then seals, each within a bound.
func shutdown(server *http.Server, core *vault.Core) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close()
	}
	sealed := make(chan error, 1)
	go func() { sealed <- core.ShutdownWait() }()
	select {
	case err := <-sealed:
		if err != nil {
			return fmt.Errorf("seal: %w", err)
		}
		return nil
	case <-time.After(sealTime):
		return fmt.Errorf("seal: not done after %v", sealTime)
	}
}
