// Command keyturn rotates API keys before they expire, without anybody
// noticing. `keyturn dev` shows it on this machine; `keyturn help` lists the rest.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // CRON_TZ works where no zone files are installed

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

// The exit codes that scripts can rely on.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitNothing = 3
)

// exitError ends the program with a code; a nil err prints nothing more.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage is an error of the command line.
func usage(err error) error { return &exitError{exitUsage, err} }

// nothing ends with "nothing to do".
func nothing() error { return &exitError{exitNothing, nil} }

func main() { os.Exit(run()) }

// run is main with an exit code, for the script tests.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second signal ends at once
	}()
	return exitCode(root().ExecuteContext(ctx), os.Stderr)
}

// exitCode tells an error, and which code the program ends with for it.
func exitCode(err error, out io.Writer) int {
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{exitFailed, err}
	}
	if exit.err != nil {
		_, _ = fmt.Fprintf(out, "keyturn: %v\n", exit.err)
	}
	return exit.code
}

// root is the command tree: one file and one constructor for each verb.
func root() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:           "keyturn",
		Short:         "Rotates API keys before they expire, without anybody noticing",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&o.config, "config", "", "configuration file (default $KEYTURN_CONFIG)")
	cmd.PersistentFlags().StringVarP(&o.output, "output", "o", "table", "table or json")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
		if o.output != "table" && o.output != "json" {
			return usage(fmt.Errorf("--output %s: want table or json", o.output))
		}
		return nil
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	cmd.AddCommand(
		devCommand(o), serveCommand(o), setupCommand(o),
		applyCommand(o), adoptCommand(o), removeCommand(o), privilegesCommand(o), rotateCommand(o), retryCommand(o),
		invalidateCommand(o), importCommand(o), identifyCommand(o), holdCommand(o), releaseCommand(o), freezeCommand(o), thawCommand(o),
		listCommand(o), showCommand(o), historyCommand(o), planCommand(o), usageCommand(o), discoverCommand(o), watchCommand(o),
		recoverCommand(o), reissueCommand(o), auditCommand(o),
		operatorCommand(o), deniedCommand(o),
		doctorCommand(o), configCommand(o), versionCommand(o),
	)
	for _, c := range cmd.Commands() {
		c.Args = usageArgs(c.Args)
	}
	return cmd
}

// usageArgs makes wrong arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(cmd, args); err != nil {
			return usage(fmt.Errorf("%w (see: %s --help)", err, cmd.CommandPath()))
		}
		return nil
	}
}
