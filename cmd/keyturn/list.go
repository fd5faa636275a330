package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/credential"
)

// listed is an element of `list -o json`.
type listed struct {
	Name        credential.Name        `json:"name"`
	Issuer      string                 `json:"issuer"`
	State       string                 `json:"state"`
	Generation  uint64                 `json:"generation"`
	Fingerprint credential.Fingerprint `json:"fingerprint,omitempty"`
	Expires     time.Time              `json:"expires,omitzero"`
	Due         time.Time              `json:"due,omitzero"`
	Held        bool                   `json:"held,omitempty"`
	Failure     string                 `json:"failure,omitempty"`
	Holder      string                 `json:"claim_holder,omitempty"`
	// Claims are the open ones: who may be making calls at the issuer.
	Claims []listedClaim `json:"claims,omitempty"`
}

// listedClaim is who holds what, since when.
type listedClaim struct {
	Daemon    string               `json:"daemon"`
	Operation credential.Operation `json:"operation"`
	Since     time.Time            `json:"since"`
}

func summary(s credential.State, now time.Time) listed {
	l := listed{Name: s.Name, Issuer: s.Spec.Issuer, State: stateWord(s, now), Generation: s.Generation, Due: s.Due, Held: s.Held(now)}
	if primary, ok := s.Primary(); ok {
		l.Fingerprint, l.Expires = primary.Fingerprint, primary.Expires
	}
	if s.Failure != nil {
		l.Failure = s.Failure.Message
	}
	for _, c := range s.Claims {
		l.Holder = c.Daemon
		l.Claims = append(l.Claims, listedClaim{c.Daemon, c.Op, c.Opened})
	}
	return l
}

// holder says who holds what, for a cell of a table.
func (l listed) holder(now time.Time) string {
	var cells []string
	for _, c := range l.Claims {
		cells = append(cells, fmt.Sprintf("%s %s since %s", c.Daemon, c.Operation, ago(max(0, now.Sub(c.Since)))))
	}
	return orDash(strings.Join(cells, ", "))
}

// stateWord is the state of a credential in one word.
func stateWord(s credential.State, now time.Time) string {
	_, hasKey := s.Primary()
	switch {
	case len(s.Drift) > 0:
		return "drift"
	case s.Failure != nil:
		return "retrying"
	case s.Rotation != nil && s.Rotation.Phase == credential.PhaseDrain:
		return "draining"
	case s.Rotation != nil:
		return "rotating"
	case !hasKey:
		return "new"
	case s.Notice == credential.LevelExpired:
		return "expired"
	case s.Notice != credential.LevelNone:
		return "expiring"
	}
	return "ok"
}

func listCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List credentials", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reader, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer reader.close()
			entries, err := reader.all(cmd.Context())
			if err != nil {
				return err
			}
			now := wallClock()
			list := make([]listed, 0, len(entries))
			rows := make([][]string, 0, len(entries))
			for _, e := range entries {
				l := summary(e.State, now)
				list = append(list, l)
				rows = append(rows, []string{
					string(l.Name), l.Issuer, l.State, fmt.Sprint(l.Generation), string(l.Fingerprint),
					until(l.Expires, now), until(l.Due, now), l.holder(now),
				})
			}
			if o.output == "json" {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printTable(cmd.OutOrStdout(), []string{"NAME", "ISSUER", "STATE", "GEN", "FINGERPRINT", "EXPIRES", "NEXT ROTATION", "HELD BY"}, rows)
		},
	}
}

func planCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "plan [NAME]", Short: "Say what will happen, when and why", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reader, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer reader.close()
			var states []credential.State
			if len(args) == 1 {
				state, err := reader.one(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				states = append(states, state)
			} else {
				entries, err := reader.all(cmd.Context())
				if err != nil {
					return err
				}
				for _, e := range entries {
					states = append(states, e.State)
				}
			}
			return printPlan(cmd, o, reader, states)
		},
	}
}

// planned is an element of `plan -o json`.
type planned struct {
	Name   credential.Name   `json:"name"`
	Step   string            `json:"step"`
	At     time.Time         `json:"at,omitzero"`
	Reason credential.Reason `json:"reason"`
	Why    string            `json:"why"`
}

func printPlan(cmd *cobra.Command, o *options, reader *reader, states []credential.State) error {
	now := wallClock()
	list := make([]planned, 0, len(states))
	rows := make([][]string, 0, len(states))
	for _, s := range states {
		p := plannedOf(s, reader.next(s), now)
		list = append(list, p)
		rows = append(rows, []string{string(p.Name), p.Step, until(p.At, now), string(p.Reason), p.Why})
	}
	if o.output == "json" {
		return printJSON(cmd.OutOrStdout(), list)
	}
	return printTable(cmd.OutOrStdout(), []string{"NAME", "NEXT", "WHEN", "REASON", "WHY"}, rows)
}

// plannedOf names the step that a wait is for.
func plannedOf(s credential.State, next credential.Step, now time.Time) planned {
	p := planned{Name: s.Name, Step: string(next.Kind), At: next.At, Reason: next.Reason, Why: next.Why}
	if next.Kind != credential.StepWait {
		p.At = now
		return p
	}
	switch next.Reason {
	case credential.ReasonNotDue:
		p.Step, p.At = string(credential.StepBegin), s.Due
	case credential.ReasonDraining, credential.ReasonHeld, credential.ReasonSkew:
		p.Step = string(credential.StepRetire)
	case credential.ReasonGate, credential.ReasonHalted:
		p.Step = string(credential.StepConfirm)
	case credential.ReasonBackoff:
		p.Step = string(s.Failure.Step)
	}
	return p
}
