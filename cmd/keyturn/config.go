package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/rotator/schedule"
)

func configCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check the configuration", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	check := &cobra.Command{
		Use: "check FILE", Short: "Say what is wrong with a configuration file, without connecting", Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(args[0], &schedule.Calendar{})
			if err != nil {
				return err
			}
			if o.output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]any{"file": args[0], "valid": true, "installation": c.Installation, "warnings": c.Warnings()})
			}
			for _, warning := range c.Warnings() {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), "warning: "+warning); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is valid: installation %s, %d issuer(s)\n", args[0], c.Installation, len(c.Issuers))
			return err
		},
	}
	cmd.AddCommand(check)
	return cmd
}

func versionCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": version, "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "keyturn %s (%s)\n", version, runtime.Version())
			return err
		},
	}
}
