package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
)

func deniedCommand(o *options) *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "denied", Short: "List the requests that daemons denied", Args: cobra.NoArgs,
		Long: `List the requests that daemons denied: who claimed to send them, what they were about,
and why not. What a request held is not kept. A flood is cut short; DROPPED is how many
a daemon left out before a line.

Exit code 3: there are none.`,
		Example: "  keyturn denied --since 24h",
		RunE: func(cmd *cobra.Command, _ []string) error {
			after, err := sinceFlag(since, wallClock())
			if err != nil {
				return usage(err)
			}
			reader, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer reader.close()
			js, err := jetstream.New(reader.conn)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			list := []control.Denial{}
			unread := 0
			if err := publisher.ReadDenied(ctx, js, after, func(data []byte) error {
				var denial control.Denial
				if json.Unmarshal(data, &denial) == nil {
					list = append(list, denial)
				} else { // written by somebody else
					unread++
				}
				return nil
			}); err != nil {
				return err
			}
			if unread > 0 {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "keyturn: %d messages of the stream %s were not written by keyturn\n", unread, publisher.DeniedStream)
			}
			if o.output == "json" {
				err = printJSON(cmd.OutOrStdout(), list)
			} else if len(list) > 0 {
				err = printTable(cmd.OutOrStdout(), []string{"TIME", "REASON", "ENDPOINT", "CREDENTIAL", "OPERATOR", "KEY", "REQUEST", "DROPPED"}, deniedRows(list))
			}
			if err == nil && len(list) == 0 {
				return nothing()
			}
			return err
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "a duration such as 24h or 7d, or a time (RFC 3339); default: all that are kept")
	return cmd
}

func deniedRows(list []control.Denial) [][]string {
	rows := make([][]string, 0, len(list))
	for _, d := range list {
		dropped := ""
		if d.Dropped > 0 {
			dropped = fmt.Sprint(d.Dropped)
		}
		rows = append(rows, []string{clock(d.At), string(d.Reason), d.Endpoint, dash(d.Credential), dash(d.Operator), dash(d.Key), dash(d.Request), dropped})
	}
	return rows
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// sinceFlag is the instant that a flag names; zero = the beginning.
func sinceFlag(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	d, err := strict.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("--since %s: want a duration such as 24h or 7d, or a time such as 2030-01-31T12:00:00Z", text)
	}
	return now.Add(-d), nil
}

// keepDenials keeps what the control service denied.
func keepDenials(js jetstream.JetStream) func(context.Context, control.Denial) error {
	return func(ctx context.Context, denial control.Denial) error {
		data, err := json.Marshal(denial)
		if err != nil {
			return err
		}
		return publisher.PublishDenied(ctx, js, denial.Endpoint, data)
	}
}

// besides say what is wrong with the streams beside that of the record.
func besides(ctx context.Context, js jetstream.JetStream) ([]publisher.Problem, error) {
	denied, err := publisher.CheckDenied(ctx, js)
	requests, err2 := publisher.CheckRequests(ctx, js)
	return append(denied, requests...), errors.Join(err, err2)
}

// checkBeside warns when those streams are not as they must be: rotations go on.
func (d *daemon) checkBeside(ctx context.Context, js jetstream.JetStream) {
	problems, err := besides(ctx, js)
	if err != nil {
		d.logger.Warn("it is not known whether the streams of requests are in order", zap.Error(err))
	}
	for _, p := range problems {
		d.logger.Warn(p.String())
	}
}
