package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// The program is all the processes of its own kind.
const (
	selfName  = "keyturn-chaos" // how it is called by itself
	subKeeper = "keeper"
	subNode   = "node"
	subPortal = "portal"
	subRun    = "run"
)

func main() { os.Exit(run(os.Args[1:])) }

// run gives the exit code: 1 for a check that failed, 2 for a run that did.
func run(args []string) int {
	err := dispatch(args)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errViolated):
		return 1
	}
	var inner *exec.ExitError
	if errors.As(err, &inner) && inner.ExitCode() > 0 {
		return inner.ExitCode() // it has said why
	}
	fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
	return 2
}

func dispatch(args []string) error {
	if len(args) == 0 {
		args = []string{""}
	}
	switch args[0] {
	case subKeeper:
		return keep(os.Stdin, os.Stdout, args[1], args[2:])
	case subNode:
		return runNode(args[1:], os.Stdin, os.Stdout)
	case subPortal:
		return runPortal(args[1:], os.Stdin, os.Stdout)
	case subRun:
		s, err := parseShape(args[1:])
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel(errInterrupted) }()
		return storm(ctx, s, os.Stdout, os.Stderr)
	}
	s, err := parseShape(removeEmpty(args))
	if err != nil {
		return err
	}
	return isolate(removeEmpty(args), s.tied)
}

var (
	errInterrupted = errors.New("interrupted")
	errViolated    = errors.New("a check failed")
)

func removeEmpty(args []string) []string {
	if len(args) == 1 && args[0] == "" {
		return nil
	}
	return args
}

// isolate runs the run in a process of its own, with mounts of its own where the
// system lets us. It ends when its standard input closes, so also with us.
func isolate(args []string, tied bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if tied {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }()
	}
	var cmd *exec.Cmd
	var stdin io.Closer
	var err error
	for _, attributes := range isolations() {
		attributes.Setpgid = true // an interrupt from the terminal is for us
		cmd = exec.Command(self(), append([]string{subRun}, args...)...)
		cmd.Args[0] = selfName
		cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdout, os.Stderr, attributes
		if stdin, err = cmd.StdinPipe(); err != nil {
			return err
		}
		if err = cmd.Start(); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = stdin.Close()
		return <-ended
	}
}

// self is the path of this program.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}
