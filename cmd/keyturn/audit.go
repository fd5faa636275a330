package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/audit"
	"github.com/keyturn/keyturn/rotator/credential"
)

func auditCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Prove what happened, and report on it", Args: cobra.NoArgs,
		Long: `Prove that the record is what keyturn wrote, and report on it. These commands read and
change nothing; they need no right to publish on keyturn.>.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(auditVerifyCommand(o), auditExportCommand(o), auditCheckpointCommand(o), auditReportCommand(o))
	for _, c := range cmd.Commands() {
		c.Args = usageArgs(c.Args)
	}
	return cmd
}

// auditing are the flags of the audit commands.
type auditing struct {
	since, name, file, checkpoint, format string
	roots                                 []string
}

func auditVerifyCommand(o *options) *cobra.Command {
	var a auditing
	cmd := &cobra.Command{
		Use: "verify", Short: "Check every event: chain, signatures, signers, order, checkpoints", Args: cobra.NoArgs,
		Long: `Check every event of the record, or of an export of it, and name each one that was
changed, removed, put in or swapped. Exit code 0 says that the record is intact, 1 that
it is not or could not be read.

A tail that was cut off, a stream that was built anew and a history that a holder of the
key signed again show only against a checkpoint that was kept elsewhere: --checkpoint
names a file of "keyturn audit checkpoint", or vault for those that daemons keep there.

Pin the key that "keyturn setup" printed with --root, or nats.signer_root; give --root
again for each further root that was made by setup --new-root.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verify(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	a.selection(cmd)
	cmd.Flags().StringVar(&a.file, "file", "", "verify an export instead of the stream; needs no connection")
	cmd.Flags().StringVar(&a.checkpoint, "checkpoint", "", "compare with a checkpoint: a file, or vault")
	cmd.Flags().StringArrayVar(&a.roots, "root", nil, "public key of the first signer (default nats.signer_root)")
	return cmd
}

func auditExportCommand(o *options) *cobra.Command {
	var a auditing
	cmd := &cobra.Command{
		Use: "export", Short: "Write the events to a file, to be verified, read or kept elsewhere", Args: cobra.NoArgs,
		Long: "jsonl: raw events, for audit verify --file.\ncsv: " + csvHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			since, name, err := a.selected()
			if err != nil {
				return err
			}
			switch a.format {
			case "jsonl":
				source, stop, err := o.auditStream(cmd.Context())
				if err != nil {
					return err
				}
				defer stop()
				_, err = audit.Export(cmd.Context(), source, since, name, cmd.OutOrStdout())
				return err
			case "csv":
				source, err := o.audited(cmd.Context())
				if err != nil {
					return err
				}
				defer source.close()
				if err := exportCSV(cmd.OutOrStdout(), since, source.events(cmd.Context(), name)); err != nil {
					return err
				}
				return source.complete()
			}
			return usage(fmt.Errorf("--format %s: want jsonl or csv", a.format))
		},
	}
	a.selection(cmd)
	cmd.Flags().StringVar(&a.format, "format", "jsonl", "jsonl or csv")
	return cmd
}

func auditCheckpointCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "checkpoint", Short: "Print the heads of the record, to be compared with later", Args: cobra.NoArgs,
		Long: `Print what the record is now: the last event of each subject. Keep the file where nobody
who can write to NATS or Vault can change it, and give it to audit verify --checkpoint.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			source, stop, err := o.auditStream(cmd.Context())
			if err != nil {
				return err
			}
			defer stop()
			checkpoint, err := source.Record.Checkpoint(cmd.Context())
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(checkpoint)
		},
	}
}

func (a *auditing) selection(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.since, "since", "", "leave out what is older: a time such as 2026-01-31T00:00:00Z, a date, or a duration such as 24h")
	cmd.Flags().StringVar(&a.name, "name", "", "only this credential, NAMESPACE/NAME")
}

// selected reads --since and --name.
func (a *auditing) selected() (since time.Time, name credential.Name, err error) {
	if since, err = parseInstant("--since", a.since, wallClock()); err != nil {
		return since, name, usage(err)
	}
	if a.name != "" {
		if name, err = credential.ParseName(a.name); err != nil {
			return since, name, usage(err)
		}
	}
	return since, name, nil
}

var rootForm = regexp.MustCompile(`^U[A-Z2-7]{55}$`)

func (a *auditing) verify(ctx context.Context, o *options, out io.Writer) error {
	since, name, err := a.selected()
	if err != nil {
		return err
	}
	for _, root := range a.roots {
		if !rootForm.MatchString(root) {
			return usage(fmt.Errorf("--root %s: not the public key that keyturn setup printed: it begins with U and has 56 characters", root))
		}
	}
	if a.checkpoint != "" && !since.IsZero() {
		return usage(errors.New("--checkpoint and --since: a checkpoint covers the whole record"))
	}
	var c *config.Config
	if a.file == "" || a.checkpoint == "vault" || o.config != "" || os.Getenv(config.EnvPath) != "" {
		if c, _, err = o.load(); err != nil {
			return err
		}
		if len(a.roots) == 0 && c.NATS.SignerRoot != "" {
			a.roots = []string{c.NATS.SignerRoot}
		}
	}
	checkpoints, err := a.checkpoints(ctx, c)
	if err != nil {
		return err
	}
	source, warnings, stop, err := a.source(ctx, o)
	if err != nil {
		return err
	}
	defer stop()
	report, err := audit.Verify(ctx, source, audit.Options{Roots: a.roots, Since: since, Name: name, Checkpoints: checkpoints})
	if err != nil {
		return err
	}
	report.Warnings = append(report.Warnings, warnings...)
	if err := printReport(out, o.output, report); err != nil {
		return err
	}
	if !report.Intact {
		return &exitError{exitFailed, nil}
	}
	return nil
}

// source opens what is verified. A weaker stream is told, and read all the same.
func (a *auditing) source(ctx context.Context, o *options) (source audit.Source, warnings []string, stop func(), err error) {
	if a.file != "" {
		file, err := os.Open(a.file)
		if err != nil {
			return nil, nil, nil, err
		}
		return audit.NewFile(a.file, file), nil, func() { _ = file.Close() }, nil
	}
	stream, stop, err := o.auditStream(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	problems, err := stream.Record.Weak(ctx)
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	for _, p := range problems {
		warnings = append(warnings, "the stream is weaker than keyturn makes it: "+p.What)
	}
	return stream, warnings, stop, nil
}

// auditStream connects to the record for reading.
func (o *options) auditStream(ctx context.Context) (audit.Stream, func(), error) {
	r, err := o.connect(ctx)
	if err != nil {
		return audit.Stream{}, nil, err
	}
	js, err := jetstream.New(r.conn)
	if err == nil {
		var record *publisher.Record
		if record, err = publisher.Open(ctx, publisher.Config{JetStream: js, Unchecked: true}); err == nil {
			return audit.Stream{Record: record}, r.close, nil
		}
	}
	r.close()
	return audit.Stream{}, nil, err
}

// checkpoints reads what the record is compared with.
func (a *auditing) checkpoints(ctx context.Context, c *config.Config) ([]publisher.Checkpoint, error) {
	switch a.checkpoint {
	case "":
		return nil, nil
	case "vault":
		return vaultCheckpoints(ctx, c.Vault)
	}
	text, err := os.ReadFile(a.checkpoint)
	if err != nil {
		return nil, err
	}
	checkpoint, err := publisher.DecodeCheckpoint(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.checkpoint, err)
	}
	return []publisher.Checkpoint{checkpoint}, nil
}

// vaultCheckpoints reads those that daemons keep in Vault, with the rights of
// whoever asks.
func vaultCheckpoints(ctx context.Context, c config.Vault) ([]publisher.Checkpoint, error) {
	store, err := openVault(c, 1, nil, nil)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	if err := store.Login(ctx); err != nil {
		return nil, err
	}
	texts, err := store.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	var all []publisher.Checkpoint
	for _, text := range texts {
		checkpoint, err := publisher.DecodeCheckpoint(text)
		if err != nil {
			return nil, fmt.Errorf("a checkpoint in Vault: %w", err)
		}
		all = append(all, checkpoint)
	}
	return all, nil
}

func printReport(out io.Writer, output string, r *audit.Report) error {
	if output == "json" {
		return printJSON(out, r)
	}
	for _, w := range r.Warnings {
		if _, err := fmt.Fprintln(out, "note: "+w); err != nil {
			return err
		}
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(out, f); err != nil {
			return err
		}
	}
	verdict := "intact"
	if !r.Intact {
		verdict = fmt.Sprintf("NOT INTACT (%d findings)", len(r.Findings))
	}
	_, err := fmt.Fprintf(out, "%s: %d events on %d subjects up to message %d, %d signers, %d checkpoints that hold\n",
		verdict, r.Events, r.Subjects, r.Last, len(r.Signers), r.Checkpoints)
	return err
}
