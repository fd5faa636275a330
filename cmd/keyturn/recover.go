package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/cmd/keyturn/internal/declare"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/recovery"
	"github.com/keyturn/keyturn/rotator/schedule"
)

func recoverCommand(o *options) *cobra.Command {
	var files []string
	var dryRun bool
	var reason string
	cmd := &cobra.Command{
		Use: "recover -f FILE", Short: "Rebuild the record from Vault and the issuers, after the stream was lost", Args: cobra.NoArgs,
		Long: `Rebuild the record of credentials after the stream KEYTURN was lost.

First make a new stream with keyturn setup. As the signing key is still in Vault, it
prints the same signer as before: what auditors pinned stays valid. Then run this
with the files that you apply. It reads the keys in Vault, has the issuer confirm
them, and begins each record with the event credential.recovered, which marks the
gap in the audit chain. It makes no key and kills none, and begins no rotation.

A record that is not empty is left as it is, so running it twice, or while daemons
serve, does no harm. Wait a minute after the loss, so that no step of a daemon is
under way any more, and recover before you apply anything.

What only the stream knew is lost: history, holds, acknowledgements. Put holds
anew. An old key that was still draining lives on until the next rotation: ask for
one, or let it end.

Exit code 1: at least one credential could not be recovered, and it says why.
Exit code 3: there was nothing to recover.`,
		Example: "  keyturn setup\n  keyturn recover -f credentials.yaml --dry-run\n  keyturn recover -f credentials.yaml --reason 'disk of NATS lost, ticket 4711'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usage(errors.New("no file (want: -f FILE, or -f - for standard input)"))
			}
			r := recovering{options: o, files: files, dryRun: dryRun, reason: reason, in: cmd.InOrStdin(), out: cmd.OutOrStdout(), warn: cmd.ErrOrStderr()}
			return r.run(cmd.Context())
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file with declarations; - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be recovered, append nothing")
	cmd.Flags().StringVar(&reason, "reason", "the stream was lost", "why, for the record")
	return cmd
}

// recovering is one run of the command.
type recovering struct {
	*options
	files  []string
	dryRun bool
	reason string

	in        io.Reader
	out, warn io.Writer
}

func (r recovering) run(ctx context.Context) error {
	c, calendar, err := r.load()
	if err != nil {
		return err
	}
	declared, err := readDeclarations(r.files, r.in, c, calendar)
	if err != nil {
		return err
	}
	store, conn, stop, err := openBoth(ctx, c)
	if err != nil {
		return err
	}
	defer stop()
	seed, err := store.SigningSeed(ctx)
	if err != nil {
		return fmt.Errorf("the events of a recovery are signed: %w", err)
	}
	signer, err := publisher.NewSigner(seed)
	if err != nil {
		return errors.Join(errors.New("the signing key in Vault is damaged"), err)
	}
	record, err := openRecord(ctx, c, conn, publisher.Config{Signer: signer})
	if err != nil {
		return err
	}
	if err := announced(ctx, record, signer.Public()); err != nil {
		return err
	}
	settings := recovery.Config{
		Record: record, Secrets: store, Issuers: map[string]recovery.Issuer{}, Calendar: calendar,
		Installation: c.Installation, Daemon: "recover-" + engine.NewID()[:8], Actor: actor(), Reason: r.reason,
		Now: wallClock, NewID: engine.NewID, Workers: min(max(c.Daemon.Workers, 1), 32),
	}
	for _, name := range slices.Sorted(maps.Keys(c.Issuers)) {
		portal, err := openIssuer(name, c.Issuers[name], store.Get, nil, zap.NewNop())
		if err != nil {
			return err
		}
		defer portal.Close()
		settings.Issuers[name] = portal
	}
	return r.recover(ctx, recovery.New(settings), declared, signer.Public())
}

// recover plans, appends and reports.
func (r recovering) recover(ctx context.Context, recover *recovery.Recovery, declared []recovery.Declared, signer string) error {
	plan, err := recover.Plan(ctx, declared)
	if err == nil && !r.dryRun {
		plan, err = recover.Append(ctx, plan)
	}
	if plan.Unlisted != nil {
		_, _ = fmt.Fprintf(r.warn, "keyturn: secrets that nobody declared were not looked for: %v\n", plan.Unlisted)
	}
	if printErr := r.print(plan, signer); printErr != nil {
		return printErr
	}
	if err != nil {
		return err
	}
	count := map[bool]int{}
	done := 0
	for _, line := range plan.Lines {
		count[line.Verdict.Failed()]++
		if line.Verdict == recovery.VerdictRecover || line.Verdict == recovery.VerdictRecovered {
			done++
		}
	}
	switch {
	case count[true] > 0:
		return fmt.Errorf("%d of %d could not be recovered", count[true], len(declared))
	case done == 0:
		return nothing()
	}
	return nil
}

func (r recovering) print(plan recovery.Plan, signer string) error {
	if r.output == "json" {
		if plan.Lines == nil {
			plan.Lines = []recovery.Line{}
		}
		return printJSON(r.out, plan.Lines)
	}
	recovered := 0
	for _, line := range plan.Lines {
		what := string(line.Verdict)
		if line.Verdict == recovery.VerdictRecover {
			what = "would be recovered"
		}
		text := fmt.Sprintf("%s %s: %s\n", line.Name, what, line.Detail)
		for _, note := range line.Notes {
			text += "  " + note + "\n"
		}
		if line.Try != "" {
			text += "  try: " + line.Try + "\n"
		}
		if _, err := io.WriteString(r.out, text); err != nil {
			return err
		}
		if line.Verdict == recovery.VerdictRecovered {
			recovered++
		}
	}
	if recovered == 0 {
		return nil
	}
	_, err := fmt.Fprintf(r.out, "%d recovered; signed by %s, the root of trust of this stream.\nHistory, holds and acknowledgements of before are lost: put holds anew.\n", recovered, signer)
	return err
}

// announced demands that what a signer signs is believed.
func announced(ctx context.Context, record *publisher.Record, public string) error {
	signers, err := record.Signers(ctx)
	if err != nil {
		return err
	}
	if _, ok := signers[public]; !ok {
		return fmt.Errorf("the signing key in Vault, %s, is not announced on the stream, or nats.signer_root pins another (try: keyturn setup)", public)
	}
	return nil
}

// readDeclarations reads files as apply does, but asks no daemon: the limits are
// those of this configuration.
func readDeclarations(files []string, in io.Reader, c *config.Config, calendar *schedule.Calendar) ([]recovery.Declared, error) {
	context := declare.Context{Issuers: map[string]declare.Issuer{}, Calendar: calendar, Now: wallClock()}
	for name, issuer := range c.Issuers {
		context.Issuers[name] = declare.Issuer{MinLifetime: issuer.MinLifetime.Value}
	}
	var read []declare.Declaration
	var mistakes []error
	for _, file := range files {
		data, err := readFile(file, in)
		if err != nil {
			return nil, usage(err)
		}
		list, err := declare.Read(file, data)
		read, mistakes = append(read, list...), append(mistakes, err)
	}
	read, err := declare.Resolve(read, context)
	if err := errors.Join(append(mistakes, err)...); err != nil {
		return nil, usage(fmt.Errorf("nothing was changed:\n%w", err))
	}
	declared := make([]recovery.Declared, 0, len(read))
	for _, d := range read {
		declared = append(declared, recovery.Declared{Name: d.Name, Spec: d.Spec})
	}
	return declared, nil
}
