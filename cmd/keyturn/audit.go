package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/credential"
)

func auditCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Report on the record, and export it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(auditReportCommand(o), auditExportCommand(o))
	return cmd
}

func auditExportCommand(o *options) *cobra.Command {
	var format, since, name string
	cmd := &cobra.Command{
		Use: "export", Short: "Write the events of the record, one a line", Args: usageArgs(cobra.NoArgs),
		Long: csvHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "csv" {
				return usage(fmt.Errorf("--format %s: want csv", format))
			}
			from, err := parseInstant("--since", since)
			if err != nil {
				return usage(err)
			}
			only := credential.Name(name)
			if name != "" {
				if only, err = credential.ParseName(name); err != nil {
					return usage(err)
				}
			}
			source, err := o.audited(cmd.Context())
			if err != nil {
				return err
			}
			defer source.close()
			if err := exportCSV(cmd.OutOrStdout(), from, source.events(cmd.Context(), only)); err != nil {
				return err
			}
			return source.complete()
		},
	}
	cmd.Flags().StringVar(&format, "format", "csv", "csv")
	cmd.Flags().StringVar(&since, "since", "", "from then on: 2026-11-01 or 2026-11-01T08:00:00Z (default: all)")
	cmd.Flags().StringVar(&name, "name", "", "of this credential only (default: all)")
	return cmd
}

// parseInstant reads a day, which begins at midnight UTC, or an instant; empty is
// the zero time.
func parseInstant(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %s: want a day such as 2026-11-01, or an instant such as 2026-11-01T08:00:00Z", flag, text)
}
