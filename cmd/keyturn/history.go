package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/credential"
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

func tell(e credential.Entry) told {
	return told{
		Name: e.Name, At: e.Event.At, Type: e.Event.Fact.Type(), Actor: e.Event.Actor, Daemon: e.Event.Daemon,
		ID: e.Event.ID, Sequence: e.Head.Sequence, Text: sentence(e), Fact: e.Event.Fact,
	}
}

func historyCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "history NAME", Short: "Tell the life of one credential", Args: cobra.ExactArgs(1),
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
			events := []told{}
			if err := record.History(cmd.Context(), state.Name, func(e credential.Entry) error {
				events = append(events, tell(e))
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

func printTold(out io.Writer, e told, named bool) error {
	who := ""
	if e.Actor != "policy" {
		who = " (by " + e.Actor + ")"
	}
	if named {
		_, err := fmt.Fprintf(out, "%s  %-20s %s%s\n", e.At.Local().Format("15:04:05.000"), e.Name, e.Text, who)
		return err
	}
	_, err := fmt.Fprintf(out, "%s  %s%s\n", e.At.Local().Format("2006-01-02 15:04:05.000"), e.Text, who)
	return err
}

// sentence says an event in words.
func sentence(e credential.Entry) string {
	switch f := e.Event.Fact.(type) {
	case credential.Registered:
		return "registered at issuer " + f.Spec.Issuer
	case credential.Recovered:
		return fmt.Sprintf("recovered after the stream was lost; events up to %d are known, the count goes on at %d", f.Gap.Revision, f.Revision)
	case credential.Updated:
		if f.Request != nil {
			return "a rotation was asked for: " + orDash(f.Request.Reason)
		}
		return "what is declared was changed"
	case credential.Held:
		return "held: " + f.Hold.Reason
	case credential.Released:
		return "released"
	case credential.Started:
		return fmt.Sprintf("rotation %.8s begins (%s)", f.Rotation.ID, f.Rotation.Reason)
	case credential.Failed:
		return fmt.Sprintf("attempt %d at %s failed: %s", f.Failure.Attempts, f.Failure.Step, f.Failure.Message)
	case credential.Abandoned:
		return "rotation abandoned: " + f.Why
	case credential.StepClaimed:
		if f.Item != "" {
			return "item " + f.Item + " is made; mint " + fmt.Sprint(f.Claim.Mint) + " follows"
		}
		return fmt.Sprintf("%s claimed %s on %s", e.Event.Daemon, f.Claim.Op, f.Claim.Seat)
	case credential.Issued:
		return fmt.Sprintf("new key %s is in Vault and proven (slot %d, expires %s)", f.Fingerprint, f.Seat.Slot, clock(f.Expires))
	case credential.Acknowledged:
		return f.Consumer + " uses key " + string(f.Fingerprint)
	case credential.Promoted:
		if f.DrainUntil.IsZero() {
			return fmt.Sprintf("key %s is the primary", f.Fingerprint)
		}
		return fmt.Sprintf("key %s is the primary; the old one works until %s", f.Fingerprint, clock(f.DrainUntil))
	case credential.Retiring:
		return fmt.Sprintf("old key %s is being invalidated", orDash(string(f.Fingerprint)))
	case credential.Invalidated:
		return fmt.Sprintf("key %s is dead (%s)", orDash(string(f.Fingerprint)), f.How)
	case credential.Expiring:
		return fmt.Sprintf("the primary key %s expires %s (%s)", f.Fingerprint, clock(f.Expires), f.Level)
	case credential.Expired:
		return fmt.Sprintf("the primary key %s has EXPIRED", f.Fingerprint)
	case credential.Drifted:
		return fmt.Sprintf("drift: %s: %s", f.Finding.Kind, f.Finding.Detail)
	}
	return string(e.Event.Fact.Type())
}
