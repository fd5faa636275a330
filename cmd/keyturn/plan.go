package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

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
	// Emergency is true while a leaked key lives, or none stands in its place.
	Emergency bool `json:"emergency,omitempty"`
}

func printPlan(cmd *cobra.Command, o *options, reader *reader, states []credential.State) error {
	now := wallClock()
	list := make([]planned, 0, len(states))
	rows := make([][]string, 0, len(states))
	for _, s := range states {
		p := plannedOf(s, reader.next(s), now)
		list = append(list, p)
	}
	// emergencies first, then by name as they came
	slices.SortStableFunc(list, func(a, b planned) int { return cmp.Compare(urgency(a), urgency(b)) })
	for _, p := range list {
		rows = append(rows, []string{string(p.Name), p.Step, until(p.At, now), string(p.Reason), p.Why})
	}
	if o.output == "json" {
		return printJSON(cmd.OutOrStdout(), list)
	}
	return printTable(cmd.OutOrStdout(), []string{"NAME", "NEXT", "WHEN", "REASON", "WHY"}, rows)
}

func urgency(p planned) int {
	if p.Emergency {
		return 0
	}
	return 1
}

// plannedOf names the step that a wait is for.
func plannedOf(s credential.State, next credential.Step, now time.Time) planned {
	p := planned{Name: s.Name, Step: string(next.Kind), At: next.At, Reason: next.Reason, Why: next.Why, Emergency: s.Emergency()}
	changed := s.Settings != "" && s.Settings != s.Spec.Item.SettingsHash() && s.Removing == nil
	if changed && (next.Kind == credential.StepBegin || next.Reason == credential.ReasonNotDue) {
		p.Why += ": " + control.Succession(s, s.Spec.Policy)
	}
	if next.Kind != credential.StepWait {
		p.At = now
		return p
	}
	switch next.Reason {
	case credential.ReasonNotDue:
		p.Step = string(credential.StepBegin)
		if !changed {
			p.At = s.Due
		}
	case credential.ReasonDraining, credential.ReasonHeld, credential.ReasonSkew:
		p.Step = string(credential.StepRetire)
	case credential.ReasonGate, credential.ReasonHalted:
		p.Step = string(credential.StepConfirm)
	case credential.ReasonClaimOpen:
		if p.Emergency {
			p.Step = string(credential.StepRetire)
		}
	case credential.ReasonBackoff:
		if failures := s.Failures(); len(failures) > 0 {
			p.Step = string(failures[0].Step)
		}
	}
	return p
}
