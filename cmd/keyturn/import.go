package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/control"
)

func importCommand(o *options) *cobra.Command {
	var overrideHold bool
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Bring what was done by break-glass into the record", Args: cobra.ExactArgs(1),
		Long: `Send the file that keyturn invalidate --break-glass wrote to the daemons. They check who
signed it, put it on record, have the issuer confirm that the keys are dead, and make
what is missing. Importing a file again does no harm.

Exit code 3: it is in the record already.`,
		Example: "  keyturn import keyturn-break-glass-maps-web-20261124T031500.000Z.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if err != nil {
				return usage(err)
			}
			file, err := control.OpenBreakGlass(data)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			reader, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer reader.close()
			client, err := reader.client(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), requestTimeout)
			defer cancel()
			answer, err := client.Import(ctx, control.Import{Name: file.Name, File: string(data), OverrideHold: overrideHold})
			if err != nil {
				return explain(file.Name, err)
			}
			if err := printAnswers(cmd.OutOrStdout(), o.output, []control.Answer{answer}, false); err != nil {
				return err
			}
			if answer.Result == control.ResultUnchanged {
				return nothing()
			}
			if o.output != "json" {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "keyturn watch %s follows it\n", file.Name)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&overrideHold, "override-hold", false, "though a hold or the freeze stands")
	return cmd
}
