package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

// told is an element of `history -o json` and a line of `watch -o json`.
type told struct {
	Name     credential.Name      `json:"name"`
	At       time.Time            `json:"at"`
	Type     credential.EventType `json:"type"`
	Actor    string               `json:"actor"`
	Daemon   string               `json:"daemon"`
	ID       string               `json:"id"`
	Sequence uint64               `json:"sequence"`
	Text     string               `json:"text"`
	Fact     credential.Fact      `json:"fact"`
}

// tell puts an event into words; the teller remembers those before it.
func tell(teller *report.Teller, e credential.Entry) told {
	return told{
		Name: e.Name, At: e.Event.At, Type: e.Event.Fact.Type(), Actor: e.Event.Actor, Daemon: e.Event.Daemon,
		ID: e.Event.ID, Sequence: e.Head.Sequence, Text: teller.Tell(e), Fact: e.Event.Fact,
	}
}

func historyCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "history NAME", Short: "Tell the life of one credential", Args: cobra.ExactArgs(1),
		Long: `Tell the life of one credential, an event a line: when (UTC), what, and by whom. Nothing
is said of who did it where the policy alone did.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			reader, state, err := o.one(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer reader.close()
			record, err := reader.record(cmd.Context())
			if err != nil {
				return err
			}
			events, teller := []told{}, report.NewTeller()
			if err := record.History(cmd.Context(), state.Name, func(e credential.Entry) error {
				events = append(events, tell(teller, e))
				return nil
			}); err != nil {
				return err
			}
			if o.output == "json" {
				return printJSON(cmd.OutOrStdout(), events)
			}
			for _, e := range events {
				if err := printTold(cmd.OutOrStdout(), e, false); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// printTold writes a line, with the name and the time of day only, or with the
// whole time. Times are UTC, as in the sentence.
func printTold(out io.Writer, e told, named bool) error {
	line := e.At.UTC().Format("2006-01-02T15:04:05.000Z") + "  " + e.Text
	if named {
		line = fmt.Sprintf("%s  %-20s %s", e.At.UTC().Format("15:04:05.000Z"), e.Name, e.Text)
	}
	if e.Actor != "policy" {
		line += " (by " + report.OneLine(e.Actor) + ")"
	}
	_, err := fmt.Fprintln(out, line)
	return err
}
