package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/rotator/credential"
)

func showCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one credential: where its key is read, its seats and items, what is next", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reader, state, err := o.one(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer reader.close()
			if state.Status == credential.StatusRemoved {
				past, err := reader.past(cmd.Context(), state.Name)
				if err != nil {
					return err
				}
				if o.output == "json" {
					return printJSON(cmd.OutOrStdout(), past)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), past)
				return err
			}
			if o.output == "json" {
				return printJSON(cmd.OutOrStdout(), state)
			}
			return printState(cmd.OutOrStdout(), reader, state)
		},
	}
}

// secretPath is where applications read the key.
func secretPath(v config.Vault, name credential.Name) string {
	mount, prefix := v.Mount, v.Prefix
	if mount == "" {
		mount = "secret"
	}
	if prefix == "" {
		prefix = "keyturn"
	}
	return mount + "/" + prefix + "/" + string(name)
}

func printState(out io.Writer, reader *reader, s credential.State) error {
	now := wallClock()
	p := s.Spec.Policy
	plan := plannedOf(s, reader.next(s), now)
	lines := []string{
		fmt.Sprintf("name         %s (%s)", s.Name, stateWord(s, now)),
		fmt.Sprintf("read it at   %s, field api_key", secretPath(reader.config.Vault, s.Name)),
		fmt.Sprintf("issuer       %s", s.Spec.Issuer),
		fmt.Sprintf("policy       lives %s, rotates %s before expiry, drains %s, settles %s", credential.Short(p.Lifetime.Std()),
			credential.Short(p.RotateBefore.Std()), credential.Short(p.Drain.Std()), credential.Short(p.Settle.Std())),
		fmt.Sprintf("next         %s %s: %s", plan.Step, until(plan.At, now), plan.Why),
		fmt.Sprintf("generation   %d, revision %d, Vault version %d", s.Generation, s.Revision, s.Vault.Version),
	}
	for _, seat := range s.Seats {
		lines = append(lines, seatLine(seat, now))
	}
	lines = append(lines, itemLines(s, now)...)
	if r := s.Removing; r != nil {
		lines = append(lines, fmt.Sprintf("REMOVING     by %s since %s: %s", r.Actor, clock(r.Since), r.Reason))
		if text := reader.waitsFor(s); text != "" {
			lines = append(lines, "             it waits: "+text)
		}
	}
	if s.Killed != (credential.SeatID{}) {
		lines = append(lines, "NO KEY       the primary on "+s.Killed.String()+" leaked and is dead; applications wait for its successor")
	}
	if s.Emergency() {
		lines = append(lines, "EMERGENCY    "+reader.standing(s))
	}
	if r := s.Rotation; r != nil {
		lines = append(lines, fmt.Sprintf("rotation     %s, %s, since %s, in phase %s", r.ID, r.Reason, clock(r.Started), r.Phase))
		if missing := s.Missing(); len(missing) > 0 {
			lines = append(lines, fmt.Sprintf("waits for    %s to confirm the new key, for %s now", strings.Join(missing, ", "), waited(s, now)))
		}
	}
	for _, c := range s.Claims {
		lines = append(lines, fmt.Sprintf("claim        %s on %s by %s, since %s for %s", c.Op, c.Seat, c.Daemon, clock(c.Opened), c.Window))
	}
	if h := s.Hold; h != nil {
		lines = append(lines, "held         "+holdText(*h, now))
	}
	if h := s.Frozen; h != nil {
		lines = append(lines, "frozen       "+holdText(*h, now))
	}
	for _, f := range s.Failures() {
		lines = append(lines, "failure      "+failureText(f, now))
	}
	for _, d := range s.Drift {
		lines = append(lines, fmt.Sprintf("drift        %s since %s: %s", d.Kind, clock(d.Since), d.Detail))
	}
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// seatLine is one key with where it lives, how old it is and how long it lives.
func seatLine(seat credential.Seat, now time.Time) string {
	age := "not proven yet"
	if !seat.Proven.IsZero() {
		age = ago(max(0, now.Sub(seat.Proven))) + " old"
	}
	line := fmt.Sprintf("%-12s %s on slot %d of item %s, mint %d, %s, expires %s (%s)",
		seat.Role, orDash(string(seat.Fingerprint)), seat.Slot, seat.Item, seat.Mint, age, clock(seat.Expires), until(seat.Expires, now))
	if seat.Over != "" {
		line += "; generated over " + string(seat.Over)
	}
	if l := seat.Leak; l != nil {
		line += fmt.Sprintf("\n  LEAKED     by the word of %s since %s: %s%s", l.Actor, clock(l.Since), l.Reason, leakText(*l))
	}
	return line
}

func leakText(l credential.Leak) string {
	text := ""
	if l.Immediately {
		text += ", to die immediately"
	}
	if l.OverrideHold {
		text += ", over any hold"
	}
	return text
}

func holdText(h credential.Hold, now time.Time) string {
	text := fmt.Sprintf("by %s since %s", h.Actor, clock(h.Since))
	switch {
	case h.Until.IsZero():
	case h.Until.After(now):
		text += fmt.Sprintf(" until %s (%s)", clock(h.Until), until(h.Until, now))
	default:
		text += " until " + clock(h.Until) + ", which is over"
	}
	return text + ": " + h.Reason
}

// waited is how long consumers have been waited for.
func waited(s credential.State, now time.Time) string {
	since := s.Rotation.Ready
	if !s.Rotation.Promoted.IsZero() {
		since = s.Rotation.Promoted
	}
	if since.IsZero() {
		return "no time"
	}
	return ago(max(0, now.Sub(since)))
}
