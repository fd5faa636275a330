package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

func removeCommand(o *options) *cobra.Command {
	r := &removal{options: o}
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "End a credential: its keys die", Args: cobra.ExactArgs(1),
		Long: `End a credential: its secret is deleted from Vault, its keys are invalidated, its items
are deleted at the issuer, and its record is closed. There is no drain. What exactly will
happen is said first; then the name is to be typed, or --yes given.

It follows the record until all of it is done. What could not be done the daemons go on
trying, also after this command has ended. Where an item cannot be deleted, because a key
lives there that keyturn did not make, the same command with --keep-item leaves it.

The name is free afterwards: apply or adopt begin a new life under it. The history of
the old one stays.

Exit code 0: removed. 1: not in time, or refused. 3: it was removed already.`,
		Example: `  keyturn remove maps/web --reason 'the shop is closed' --dry-run
  keyturn remove maps/web --reason 'the shop is closed'
  keyturn remove maps/web --reason 'back to manual care' --keep-item --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := credential.ParseName(args[0])
			if err != nil {
				return usage(err)
			}
			if r.reason == "" && !r.dryRun {
				return usage(errors.New("no --reason is given: it stands in the record"))
			}
			r.name, r.in, r.out, r.warn = name, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return r.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.reason, "reason", "", "why, for the record (required)")
	f.BoolVar(&r.keepSecret, "keep-secret", false, "leave the secret in Vault, with a key that is dead")
	f.BoolVar(&r.keepItem, "keep-item", false, "leave the item at the issuer, without a key; while a removal is under way: the items that it could not delete")
	f.BoolVar(&r.yes, "yes", false, "do not ask")
	f.BoolVar(&r.dryRun, "dry-run", false, "say what would happen, send nothing")
	f.BoolVar(&r.noWait, "no-wait", false, "end as soon as it is on record")
	f.DurationVar(&r.timeout, "timeout", 10*time.Minute, "how long to follow the record; the daemons go on afterwards")
	return cmd
}

// removal is one run of the command.
type removal struct {
	*options
	name                 credential.Name
	reason               string
	keepSecret, keepItem bool
	yes, dryRun, noWait  bool
	timeout              time.Duration

	in        io.Reader
	out, warn io.Writer
	reader    *reader
}

// say tells people; with -o json standard output is for the outcome alone.
func (r *removal) say(format string, args ...any) {
	out := r.out
	if r.output == "json" {
		out = r.warn
	}
	_, _ = fmt.Fprintf(out, format+"\n", args...)
}

func (r *removal) run(ctx context.Context) error {
	var err error
	if r.reader, err = r.connect(ctx); err != nil {
		return err
	}
	defer r.reader.close()
	record, err := r.reader.record(ctx)
	if err != nil {
		return err
	}
	state, head, err := record.Load(ctx, r.name)
	if err != nil {
		return err
	}
	state.Name = r.name
	switch state.Status {
	case credential.StatusUnknown:
		return r.reader.unknown(ctx, r.name)
	case credential.StatusRemoved:
		past, err := r.reader.past(ctx, r.name)
		if err != nil {
			return err
		}
		return r.end(outcome{Name: r.name, Result: resultAlready, Detail: past.String()})
	case credential.StatusRegistered:
	}
	r.say("%s", strings.Join(r.foretell(state), "\n"))
	if r.dryRun {
		return nil
	}
	if state.Removing == nil && !r.yes {
		if err := confirm(r.in, r.warn, isTerminal(r.in), r.name); err != nil {
			return err
		}
	}
	client, err := r.reader.client(ctx)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	answer, err := client.Remove(asking, control.Remove{Name: r.name, Reason: r.reason, KeepSecret: r.keepSecret, KeepItem: r.keepItem})
	cancel()
	if err != nil {
		return explain(r.name, err)
	}
	r.say("request %s: %s", answer.Request, answer.Result)
	if r.noWait {
		return r.end(outcome{Name: r.name, Result: resultDone, Request: answer.Request, Detail: "on record; the daemons do it"})
	}
	following, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	state, err = r.follow(following, record, state, head.Sequence)
	if err != nil {
		return err
	}
	if state.Status != credential.StatusRemoved {
		return r.end(outcome{
			Name: r.name, Result: resultFailed, Request: answer.Request,
			Detail: "not removed yet: " + r.reader.obstacleOf(state) + "; the daemons go on trying (try: keyturn watch " + string(r.name) + ")",
		})
	}
	return r.end(outcome{Name: r.name, Result: resultDone, Request: answer.Request, Detail: "removed; its history stays: keyturn history " + string(r.name)})
}

// end tells the outcome, and how the program ends.
func (r *removal) end(o outcome) error {
	if r.output == "json" {
		if err := printJSON(r.out, o); err != nil {
			return err
		}
	}
	switch o.Result {
	case resultFailed:
		return fmt.Errorf("%s: %s", r.name, o.Detail)
	case resultAlready:
		if r.output != "json" {
			r.say("%s", o.Detail)
		}
		return nothing()
	}
	if r.output != "json" {
		r.say("%s: %s", r.name, o.Detail)
	}
	return nil
}

// foretell says what exactly will happen.
func (r *removal) foretell(s credential.State) []string {
	if old := s.Removing; old != nil {
		lines := []string{fmt.Sprintf("%s is being removed since %s, by %s: %s", r.name, clock(old.Since), old.Actor, old.Reason)}
		for _, item := range s.Old {
			if r.keepItem {
				lines = append(lines, fmt.Sprintf("  item %s is left at the issuer", item.Item))
			}
		}
		return lines
	}
	lines := []string{fmt.Sprintf("%s will be removed, with no drain:", r.name)}
	path := secretPath(r.reader.config.Vault, r.name)
	if r.keepSecret {
		lines = append(lines, fmt.Sprintf("  the secret %s stays in Vault, with a key that is dead", path))
	} else {
		lines = append(lines, fmt.Sprintf("  the secret %s is deleted from Vault, with all its versions", path))
	}
	for _, seat := range s.Seats {
		lines = append(lines, fmt.Sprintf("  key %s (%s) on slot %d of item %s dies", orDash(string(seat.Fingerprint)), seat.Role, seat.Slot, seat.Item))
	}
	used, items := s.Killed.Item, []string{}
	if primary, ok := s.Primary(); ok {
		used = primary.Item
	}
	add := func(item string) {
		if item != "" && !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	add(used)
	for _, seat := range s.Seats {
		add(seat.Item)
	}
	if s.Rotation != nil {
		add(s.Rotation.Target.Item)
	}
	for _, old := range s.Old {
		add(old.Item)
	}
	for _, item := range items {
		if item == used && r.keepItem {
			lines = append(lines, fmt.Sprintf("  item %s stays at issuer %s, without a key", item, s.Spec.Issuer))
			continue
		}
		lines = append(lines, fmt.Sprintf("  item %s is deleted at issuer %s for good", item, s.Spec.Issuer))
	}
	if c := s.Spec.Policy.Confirm; c != nil {
		lines = append(lines, "  the policy names consumers, which will have no key: "+strings.Join(c.Consumers, ", "))
	}
	return lines
}

// confirm has the name typed.
func confirm(in io.Reader, out io.Writer, terminal bool, name credential.Name) error {
	if !terminal {
		return usage(errors.New("nobody is there to confirm it, and nothing was done (try: --yes)"))
	}
	_, _ = fmt.Fprintf(out, "type %s to go on: ", name)
	typed, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(typed) != string(name) {
		return errors.New("that is not the name, and nothing was done")
	}
	return nil
}

// quiet is how long a removal may stand still before it says why.
const quiet = 2 * time.Second

// follow tells each event, and what is waited for, until the credential is removed
// or ctx ends.
func (r *removal) follow(ctx context.Context, record *publisher.Record, state credential.State, after uint64) (credential.State, error) {
	watching, stop := context.WithCancel(ctx)
	seen, over := make(chan credential.Entry), make(chan error, 1)
	go func() {
		over <- record.Watch(watching, after, func(e credential.Entry) {
			if e.Name != r.name {
				return
			}
			select {
			case seen <- e:
			case <-watching.Done():
			}
		})
	}()
	defer func() { stop(); <-over }()
	teller, told, last := report.NewTeller(), "", wallClock()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for state.Status != credential.StatusRemoved {
		select {
		case e := <-seen:
			state = e.State
			state.Name, last = r.name, wallClock()
			if r.output != "json" {
				if err := printTold(r.out, tell(teller, e), false); err != nil {
					return state, err
				}
			}
		case <-tick.C:
			text := r.reader.waitsFor(state)
			if next := r.reader.next(state); text == "" && next.Kind == credential.StepWait && wallClock().Sub(last) > quiet {
				text = next.Why
			}
			if text != told {
				if told = text; text != "" {
					r.say("waits: %s", text)
				}
			}
		case err := <-over:
			over <- nil
			if err != nil && ctx.Err() == nil {
				return state, fmt.Errorf("%s: the record could not be followed: %w; the daemons go on (try: keyturn watch %s)", r.name, err, r.name)
			}
			return state, nil
		}
	}
	return state, nil
}

// waitsFor says what a removal waits for that does not pass in a moment, and what
// to do about it; empty = nothing.
func (r *reader) waitsFor(s credential.State) string {
	if s.Removing == nil {
		return ""
	}
	next := r.next(s)
	switch {
	case next.Kind != credential.StepWait:
		return ""
	case next.Reason == credential.ReasonHeld:
		return next.Why + " (try: " + unhold(s) + ")"
	case next.Reason == credential.ReasonDrift:
		return next.Why + "; nothing is deleted under it (try: invalidate that key at the issuer if nobody uses it, or leave the item: keyturn remove " + string(s.Name) + " --keep-item --reason …)"
	case next.Reason == credential.ReasonBackoff:
		return next.Why + " (try: keyturn retry " + string(s.Name) + ", once that is mended)"
	}
	return ""
}

// unhold is the command that ends the hold that stands.
func unhold(s credential.State) string {
	now := wallClock()
	var commands []string
	if (credential.State{Hold: s.Hold}).Held(now) {
		commands = append(commands, "keyturn release "+string(s.Name))
	}
	if (credential.State{Frozen: s.Frozen}).Held(now) {
		commands = append(commands, "keyturn thaw, which ends the freeze on all")
	}
	return strings.Join(commands, ", and ")
}

// obstacleOf is what a removal waits for, or the next step.
func (r *reader) obstacleOf(s credential.State) string {
	if text := r.waitsFor(s); text != "" {
		return text
	}
	return r.obstacle(s)
}
