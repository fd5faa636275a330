package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

func freezeCommand(o *options) *cobra.Command {
	var reason string
	var until end
	a := &asking{options: o}
	cmd := &cobra.Command{
		Use: "freeze", Short: "Let no key at all be destroyed", Args: cobra.NoArgs,
		Long: `Hold every credential, and have new ones begin held. It returns when all are held, and
names those that are not and those for which it comes too late. Run again, it goes on
with those that it missed. keyturn thaw ends it.

Exit code 1: not all are held.`,
		Example: "  keyturn freeze --reason 'incident 4711' --for 12h",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reason == "" {
				return usage(errors.New("no --reason is given: it stands in the record"))
			}
			ends, err := until.at(wallClock())
			if err != nil {
				return err
			}
			again := func(stands *credential.Hold) { // run again, it ends when it was to end
				if stands != nil && stands.Reason == reason && until.after != 0 && stands.Until.After(wallClock()) {
					ends = stands.Until
				}
			}
			return a.installation(cmd, again, func(ctx context.Context, c *control.Client) (control.Answer, error) {
				return c.Freeze(ctx, control.Freeze{Reason: reason, Until: ends})
			}, func(ctx context.Context, c *control.Client, name credential.Name) (control.Answer, error) {
				return c.Hold(ctx, control.Hold{Name: name, Reason: reason, Until: ends, Freeze: true})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	until.flags(cmd)
	cmd.Flags().IntVar(&a.concurrency, "concurrency", 64, "how many are held at a time")
	return cmd
}

func thawCommand(o *options) *cobra.Command {
	var reason string
	a := &asking{options: o}
	cmd := &cobra.Command{
		Use: "thaw", Short: "End the freeze", Args: cobra.NoArgs,
		Long:    "End the freeze: new credentials begin without it, then it ends on each. Holds of their\nown stay. Run again, it goes on with those that it missed.",
		Example: "  keyturn thaw --reason 'incident 4711 is over'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.installation(cmd, func(*credential.Hold) {}, func(ctx context.Context, c *control.Client) (control.Answer, error) {
				return c.Thaw(ctx, control.Thaw{Reason: reason})
			}, func(ctx context.Context, c *control.Client, name credential.Name) (control.Answer, error) {
				return c.Release(ctx, control.Release{Name: name, Reason: reason, Freeze: true})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	cmd.Flags().IntVar(&a.concurrency, "concurrency", 64, "how many are thawed at a time")
	return cmd
}

// installation asks for what new credentials begin with, then for each that
// there is. Those that are registered in between begin with it, or are read here.
// Before is told of the freeze that stands.
func (a *asking) installation(cmd *cobra.Command, before func(*credential.Hold), first func(context.Context, *control.Client) (control.Answer, error), then ask) error {
	ctx := cmd.Context()
	reader, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer reader.close()
	client, err := reader.client(ctx)
	if err != nil {
		return err
	}
	record, err := reader.record(ctx)
	if err != nil {
		return err
	}
	stands, err := record.Frozen(ctx)
	if err != nil {
		return err
	}
	before(stands)
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	answer, err := first(asking, client)
	cancel()
	if err != nil {
		return err
	}
	if a.output != "json" {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "new credentials: %s\n", answer.Result); err != nil {
			return err
		}
	}
	entries, err := reader.all(ctx)
	if err != nil {
		return err
	}
	targets := make([]target, 0, len(entries))
	for _, e := range entries {
		targets = append(targets, target{name: e.Name, state: e.State})
	}
	outcomes, err := a.all(ctx, reader, targets, then, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	report := reportOf(outcomes, 0)
	if err := report.print(cmd.OutOrStdout(), a.output, false); err != nil {
		return err
	}
	if len(targets) == 0 {
		return nil
	}
	return report.err()
}
