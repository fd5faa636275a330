package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

func holdCommand(o *options) *cobra.Command {
	a := &asking{options: o}
	var reason string
	var until end
	cmd := &cobra.Command{
		Use: "hold NAME", Short: "Let no key of a credential be destroyed", Args: cobra.MaximumNArgs(1),
		Long: `Let no key of a credential be destroyed until the hold ends or is released. New keys are
still made and promoted, and keys still expire by themselves. A call at the issuer that
is under way already is too late for it; that is said.

Exit code 3: it is held so already.`,
		Example: "  keyturn hold maps/web --reason 'audit' --for 3d\n  keyturn hold --label team=maps --reason 'migration' --until 2026-12-01T08:00:00Z",
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usage(errors.New("no --reason is given: it stands in the record"))
			}
			ends, err := until.at(wallClock())
			if err != nil {
				return err
			}
			return a.run(cmd, args, func(ctx context.Context, c *control.Client, name credential.Name) (control.Answer, error) {
				return c.Hold(ctx, control.Hold{Name: name, Reason: reason, Until: ends})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	until.flags(cmd)
	a.flags(cmd)
	return cmd
}

func releaseCommand(o *options) *cobra.Command {
	a := &asking{options: o}
	var reason string
	cmd := &cobra.Command{
		Use: "release NAME", Short: "End a hold", Args: cobra.MaximumNArgs(1),
		Long:    "End a hold. One that the freeze put ends with keyturn thaw.\n\nExit code 3: there is none.",
		Example: "  keyturn release maps/web --reason 'the audit is over'",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd, args, func(ctx context.Context, c *control.Client, name credential.Name) (control.Answer, error) {
				return c.Release(ctx, control.Release{Name: name, Reason: reason})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	a.flags(cmd)
	return cmd
}

func retryCommand(o *options) *cobra.Command {
	a := &asking{options: o}
	cmd := &cobra.Command{
		Use: "retry NAME", Short: "Try a failed step again now", Args: cobra.MaximumNArgs(1),
		Long:    "Try a failed step again now, without waiting for the back-off to end.\n\nExit code 3: nothing has failed.",
		Example: "  keyturn retry maps/web\n  keyturn retry --issuer portal",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd, args, func(ctx context.Context, c *control.Client, name credential.Name) (control.Answer, error) {
				return c.Retry(ctx, control.Retry{Name: name})
			})
		},
	}
	a.flags(cmd)
	return cmd
}

// end is when something ends: an instant, or after a time.
type end struct {
	until string
	after span
}

func (e *end) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.until, "until", "", "when it ends, such as 2026-12-01T08:00:00Z or '2026-12-01 08:00' (local time); without, when it is released")
	cmd.Flags().Var(&e.after, "for", "how long it stands, such as 12h or 3d")
}

// at is the instant; zero = none.
func (e *end) at(now time.Time) (time.Time, error) {
	switch {
	case e.until != "" && e.after != 0:
		return time.Time{}, usage(errors.New("want --until or --for, not both"))
	case e.after != 0:
		return now.Add(time.Duration(e.after)), nil
	case e.until == "":
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02 15:04:05"} {
		if t, err := time.ParseInLocation(form, e.until, time.Local); err == nil {
			if !t.After(now) {
				return time.Time{}, usage(fmt.Errorf("--until %s: that is over", e.until))
			}
			return t, nil
		}
	}
	return time.Time{}, usage(fmt.Errorf("--until %s: want a time such as 2026-12-01T08:00:00Z or '2026-12-01 08:00'", e.until))
}

// asking asks the daemons the same for one credential or for several.
type asking struct {
	*options
	selection   selection
	concurrency int
	dryRun      bool
}

// ask is what is asked.
type ask func(context.Context, *control.Client, credential.Name) (control.Answer, error)

func (a *asking) flags(cmd *cobra.Command) {
	a.selection.flags(cmd)
	cmd.Flags().IntVar(&a.concurrency, "concurrency", 64, "how many are asked for at a time")
	cmd.Flags().BoolVar(&a.dryRun, "dry-run", false, "list what is selected, send nothing")
}

func (a *asking) run(cmd *cobra.Command, args []string, do ask) error {
	ctx := cmd.Context()
	name, err := a.selection.one(args)
	if err != nil {
		return err
	}
	list, err := a.selection.list(cmd.InOrStdin())
	if err != nil {
		return err
	}
	reader, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer reader.close()
	if name != "" && !a.dryRun {
		return a.single(ctx, reader, name, do, cmd.OutOrStdout())
	}
	entries, err := reader.all(ctx)
	if err != nil {
		return err
	}
	if name != "" {
		a.selection.from, list = "the command line", []item{{name: name}}
	}
	chosen := a.selection.pick(entries, list, wallClock())
	outcomes, err := reader.notLiving(ctx, chosen.unknown)
	if err != nil {
		return err
	}
	if a.dryRun {
		for _, t := range chosen.targets {
			outcomes = append(outcomes, outcome{Name: t.name, Key: t.key, Result: resultWould})
		}
		return reportOf(outcomes, chosen.leftOut).print(cmd.OutOrStdout(), a.output, true)
	}
	asked, err := a.all(ctx, reader, chosen.targets, do, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	report := reportOf(append(outcomes, asked...), chosen.leftOut)
	if err := report.print(cmd.OutOrStdout(), a.output, false); err != nil {
		return err
	}
	return report.end()
}

func (a *asking) single(ctx context.Context, reader *reader, name credential.Name, do ask, out io.Writer) error {
	client, err := reader.client(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := do(ctx, client, name)
	if err != nil {
		return explain(name, err)
	}
	if err := printAnswers(out, a.output, []control.Answer{answer}, false); err != nil {
		return err
	}
	if answer.Result == control.ResultUnchanged {
		return nothing()
	}
	return nil
}

// all asks for all of them, so many at a time.
func (a *asking) all(ctx context.Context, reader *reader, targets []target, do ask, warn io.Writer) ([]outcome, error) {
	client, err := reader.client(ctx)
	if err != nil {
		return nil, err
	}
	var count atomic.Int64
	shown := startProgress(ctx, warn, func() string { return bar(int(count.Load()), len(targets)) })
	defer shown.stop()
	return each(targets, a.concurrency, func(t target) outcome {
		defer count.Add(1)
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		answer, err := do(ctx, client, t.name)
		return answeredBy(t, answer, err)
	}), nil
}
