package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

func rotateCommand(o *options) *cobra.Command {
	var now bool
	var reason string
	cmd := &cobra.Command{
		Use: "rotate NAME", Short: "Ask for a rotation", Args: cobra.ExactArgs(1),
		Long: `Ask for a rotation: a new key through the other slot, with the usual proof and drain.
It begins in the credential's window; with --now at once, whatever back-off or window says.

It answers as soon as the wish is on record; keyturn watch NAME follows it.
Exit code 3: a rotation is under way already.`,
		Example: "  keyturn rotate maps/web --now --reason 'laptop lost'",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := credential.ParseName(args[0])
			if err != nil {
				return usage(err)
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
			answer, err := client.Rotate(ctx, control.Rotate{
				Name: name, Reason: reason, Now: now,
			})
			if err != nil {
				return explain(name, err)
			}
			if err := printAnswers(cmd.OutOrStdout(), o.output, []control.Answer{answer}, false); err != nil {
				return err
			}
			if answer.Result == control.ResultUnchanged {
				return nothing()
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "do not wait for window and back-off")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

// explain adds a hint to a daemon's refusal.
func explain(name credential.Name, err error) error {
	var refusal *control.Refusal
	if errors.As(err, &refusal) && refusal.Code == control.CodeUnknown {
		return fmt.Errorf("%s: %w (try: keyturn list)", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}
