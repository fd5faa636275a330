package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

func watchCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "watch [NAME]", Short: "Follow events as they happen", Args: cobra.MaximumNArgs(1),
		Long: "Follow events as they happen, until interrupted. With --output json, one object a line.",
		RunE: func(cmd *cobra.Command, args []string) error {
			only := credential.Name("")
			if len(args) == 1 {
				name, err := credential.ParseName(args[0])
				if err != nil {
					return usage(err)
				}
				only = name
			}
			reader, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer reader.close()
			record, err := reader.record(cmd.Context())
			if err != nil {
				return err
			}
			return watch(cmd.Context(), record, only, o.output, cmd.OutOrStdout())
		},
	}
}

// watch prints events until ctx ends.
func watch(ctx context.Context, record *publisher.Record, only credential.Name, output string, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	teller := report.NewTeller()
	err := record.WatchSince(ctx, wallClock(), func(e credential.Entry) {
		if only != "" && e.Name != only {
			return
		}
		line := tell(teller, e)
		var err error
		if output == "json" {
			var text []byte
			if text, err = json.Marshal(line); err == nil {
				_, err = fmt.Fprintf(out, "%s\n", text)
			}
		} else {
			err = printTold(out, line, true)
		}
		if err != nil {
			cancel(err) // nobody reads any more
		}
	})
	return stopped(ctx, err)
}
