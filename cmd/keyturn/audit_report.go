package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

func auditReportCommand(o *options) *cobra.Command {
	var month, since, until string
	cmd := &cobra.Command{
		Use: "report", Short: "Say which keys lived in a time, why, and where the policy was not kept", Args: usageArgs(cobra.NoArgs),
		Long: `Say of a month, or of another time: every key that lived, who or what caused it and why, how long
it lived, and where the policy was not kept: older than the policy, drained too long, held, failed, never
acknowledged. Markdown, or JSON with --output json. Each line names the events that it follows from.

Times are UTC. A time that is not over yet is reported up to now. The report believes the record:
keyturn audit verify proves it. Exit code 1 if an event could not be read: it is then missing.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, to, err := period(month, since, until, wallClock().UTC())
			if err != nil {
				return usage(err)
			}
			source, err := o.audited(cmd.Context())
			if err != nil {
				return err
			}
			defer source.close()
			fold := report.New(from, to, source.calendar)
			for _, pass := range []func(credential.Entry){fold.Mark, fold.Add} {
				source.forget() // what each pass is told
				if err := source.events(cmd.Context(), "")(func(e credential.Entry) error {
					pass(e)
					return nil
				}); err != nil {
					return err
				}
			}
			made := fold.Report()
			made.Installation, made.Read.Unreadable = source.config.Installation, source.missing()
			if o.output == "json" {
				err = printJSON(cmd.OutOrStdout(), made)
			} else {
				err = made.Markdown(cmd.OutOrStdout())
			}
			return errors.Join(err, source.complete())
		},
	}
	cmd.Flags().StringVar(&month, "month", "", "a month, such as 2026-11 (default: the last whole one)")
	cmd.Flags().StringVar(&since, "since", "", "instead of a month: from then on, 2026-11-01 or 2026-11-01T08:00:00Z")
	cmd.Flags().StringVar(&until, "until", "", "with --since: up to then, not included (default: now)")
	return cmd
}

// period is what the flags name: from is in it, to is not.
func period(month, since, until string, now time.Time) (from, to time.Time, err error) {
	switch {
	case month != "" && since+until != "":
		return from, to, errors.New("--month names the time already: leave --since and --until out")
	case until != "" && since == "":
		return from, to, errors.New("--until needs --since")
	case since != "":
		if from, err = parseInstant("--since", since, now); err != nil {
			return from, to, err
		}
		if to, err = parseInstant("--until", until, now); err != nil {
			return from, to, err
		}
		if to.IsZero() {
			to = now
		}
	default:
		from = time.Date(now.Year(), now.Month()-1, 1, 0, 0, 0, 0, time.UTC)
		if month != "" {
			if from, err = time.Parse("2006-01", month); err != nil {
				return from, to, fmt.Errorf("--month %s: want a month such as 2026-11", month)
			}
		}
		to = from.AddDate(0, 1, 0)
	}
	if to.After(now) {
		to = now
	}
	if !from.Before(to) {
		return from, to, fmt.Errorf("%s to %s holds no time that is over", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return from, to, nil
}
