package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/declare"
	"github.com/keyturn/keyturn/rotator/control"
)

func applyCommand(o *options) *cobra.Command {
	var files []string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Declare credentials", Args: cobra.NoArgs,
		Long: `Declare credentials from YAML. A file with a mistake changes nothing; every
mistake is told with its line. What is declared already is left alone.

Exit code 3: nothing differs.`,
		Example: "  keyturn apply -f credentials.yaml --dry-run\n  keyturn apply -f - < credentials.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usage(errors.New("no file (want: -f FILE, or -f - for standard input)"))
			}
			return apply(cmd.Context(), o, files, dryRun, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file with declarations; - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, change nothing")
	return cmd
}

func apply(ctx context.Context, o *options, files []string, dryRun bool, in io.Reader, out io.Writer) error {
	reader, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer reader.close()
	client, err := reader.client(ctx)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	limits, err := client.Limits(asking)
	cancel()
	if err != nil {
		return err
	}
	context := declare.Context{Issuers: map[string]declare.Issuer{}, Calendar: reader.calendar, Now: wallClock()}
	for name, limit := range limits.Issuers {
		context.Issuers[name] = declare.Issuer{MinLifetime: limit.MinLifetime}
	}
	var declared []declare.Declaration
	var mistakes []error
	for _, file := range files {
		data, err := readFile(file, in)
		if err != nil {
			return err
		}
		list, err := declare.Read(file, data)
		declared, mistakes = append(declared, list...), append(mistakes, err)
	}
	declared, err = declare.Resolve(declared, context) // over all files: a name stands once
	mistakes = append(mistakes, err)
	if err := errors.Join(mistakes...); err != nil {
		return usage(fmt.Errorf("nothing was changed:\n%w", err))
	}
	answers, err := send(ctx, client, declared, dryRun)
	if printErr := printAnswers(out, o.output, answers, dryRun); printErr != nil {
		return printErr
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(answers, func(a control.Answer) bool { return a.Result != control.ResultUnchanged }) {
		return nothing()
	}
	return nil
}

const requestTimeout = 10 * time.Second

func readFile(name string, in io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(name)
}

// send applies declarations, several at a time, and keeps their order. One that
// fails does not stop the others.
func send(ctx context.Context, client *control.Client, declared []declare.Declaration, dryRun bool) ([]control.Answer, error) {
	answers := make([]control.Answer, len(declared))
	failures := make([]error, len(declared))
	var group errgroup.Group
	group.SetLimit(16)
	for i, d := range declared {
		group.Go(func() error {
			timeout := requestTimeout
			if len(d.Spec.Item.Items) > 0 { // the daemon asks the issuer for them
				timeout += control.ViewTimeout
			}
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			answer, err := client.Apply(ctx, control.Apply{Name: d.Name, Spec: d.Spec, DryRun: dryRun})
			if err != nil {
				failures[i] = fmt.Errorf("%s: %w", d.Name, err)
			}
			answer.Name, answers[i] = d.Name, answer
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	done := slices.DeleteFunc(answers, func(a control.Answer) bool { return a.Result == "" })
	return done, errors.Join(failures...)
}

func printAnswers(out io.Writer, output string, answers []control.Answer, dryRun bool) error {
	if output == "json" {
		if answers == nil {
			answers = []control.Answer{}
		}
		return printJSON(out, answers)
	}
	for _, a := range answers {
		what := string(a.Result)
		if dryRun && a.Result != control.ResultUnchanged {
			what = "would be " + what
		}
		line := fmt.Sprintf("%s %s", a.Name, what)
		if a.Detail != "" {
			line += ": " + a.Detail
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
		for _, change := range a.Changes {
			if _, err := fmt.Fprintln(out, "  "+change); err != nil {
				return err
			}
		}
	}
	return nil
}

// actor is who runs this program.
func actor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return strings.ToLower(name)
}
