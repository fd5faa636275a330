package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/recovery"
	"github.com/keyturn/keyturn/vault"
)

func reissueCommand(o *options) *cobra.Command {
	var dryRun bool
	var reason string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "reissue", Short: "Have the keys that Vault lost made anew", Args: cobra.NoArgs,
		Long: `Compare the record with Vault, and have every key made anew that applications can
no longer read: the secret is gone, or an older version came back from a backup. The
key that ends soonest comes first.

The daemons do it, as for keyturn rotate NAME --now: a new key through the other slot,
proven, into Vault; then the lost one is invalidated after the usual drain. Asking is
an operator's word that Vault may be written anew. A secret that somebody else wrote
is left alone, and said.

Before it: mount the KV engine, give keyturn its policy and login, and put the signing
seed back (PREFIX/_system/signing), without which no daemon serves.

It waits until each new key is in Vault, and says what was done, what not, and why.
Exit code 1: not all were done. Exit code 3: nothing is lost.`,
		Example: "  keyturn reissue --dry-run\n  keyturn reissue --reason 'Vault lost, ticket 4711'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := reissuing{options: o, dryRun: dryRun, reason: reason, timeout: timeout, out: cmd.OutOrStdout(), warn: cmd.ErrOrStderr()}
			return r.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what is lost and in which order it would be made anew")
	cmd.Flags().StringVar(&reason, "reason", "Vault lost the key", "why, for the record")
	cmd.Flags().DurationVar(&timeout, "timeout", 15*time.Minute, "how long to wait for the new keys; what was asked for goes on afterwards")
	return cmd
}

// reissuing is one run of the command.
type reissuing struct {
	*options
	dryRun  bool
	reason  string
	timeout time.Duration

	out, warn io.Writer
}

func (r reissuing) run(ctx context.Context) error {
	reader, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer reader.close()
	store, err := openVault(reader.config.Vault, reader.config.Daemon.Workers, nil, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Login(ctx); err != nil {
		return err
	}
	entries, err := reader.all(ctx)
	if err != nil {
		return err
	}
	record, err := reader.record(ctx)
	if err != nil {
		return err
	}
	var after uint64
	states := make([]credential.State, 0, len(entries))
	for _, e := range entries {
		after = max(after, e.Head.Sequence)
		states = append(states, e.State)
	}
	lost, err := recovery.FindLost(ctx, record, store, states, min(max(reader.config.Daemon.Workers, 1), 32))
	if err != nil {
		return err
	}
	if r.dryRun || len(lost) == 0 {
		return r.list(lost)
	}
	r.checkSigner(ctx, store, record)
	client, err := reader.client(ctx)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	_, err = client.Limits(asking)
	cancel()
	if err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(ctx, r.timeout)
	defer cancel()
	run := &recovery.Reissue{
		Rotator: askDaemons{client}, Watcher: record, Secrets: store, After: after, Reason: r.reason,
		Progress: func(result recovery.Result) {
			if r.output != "json" {
				_, _ = fmt.Fprintf(r.out, "%s %s\n", result.Name, resultText(result))
			}
		},
	}
	return r.report(run.Run(ctx, lost))
}

// askDaemons asks by the control service.
type askDaemons struct{ client *control.Client }

// Rotate implements recovery.Rotator.
func (a askDaemons) Rotate(ctx context.Context, lost recovery.Lost, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := a.client.Rotate(ctx, control.Rotate{Name: lost.Name, Reason: reason, Now: true, Vault: &lost.Version})
	return err
}

// checkSigner warns when the seed in Vault is not one that the record knows: the
// daemons go on, but invalidate no old key.
func (r reissuing) checkSigner(ctx context.Context, store *vault.Client, record *publisher.Record) {
	seed, err := store.SigningSeed(ctx)
	var signer *publisher.Signer
	if err == nil {
		signer, err = publisher.NewSigner(seed)
	}
	if err == nil {
		err = announced(ctx, record, signer.Public())
	}
	if err != nil {
		_, _ = fmt.Fprintf(r.warn, "keyturn: no old key is invalidated while the signing key is not the record's: %v\n", err)
	}
}

// list shows what is lost, in the order in which it is made anew.
func (r reissuing) list(lost []recovery.Lost) error {
	if r.output == "json" {
		if lost == nil {
			lost = []recovery.Lost{}
		}
		if err := printJSON(r.out, lost); err != nil {
			return err
		}
	} else if len(lost) > 0 {
		now := wallClock()
		rows := make([][]string, 0, len(lost))
		for _, l := range lost {
			rows = append(rows, []string{string(l.Name), string(l.Loss), until(l.Expires, now), l.Detail})
		}
		if err := printTable(r.out, []string{"NAME", "LOSS", "OLD KEY EXPIRES", "DETAIL"}, rows); err != nil {
			return err
		}
	}
	if len(lost) == 0 {
		return nothing()
	}
	return nil
}

func resultText(result recovery.Result) string {
	if result.Done {
		return fmt.Sprintf("done: key %s is in Vault", result.Fingerprint)
	}
	return "NOT done: " + result.Why
}

// report says what became of each: those that are not done once more.
func (r reissuing) report(results []recovery.Result) error {
	failed := 0
	for _, result := range results {
		if !result.Done {
			failed++
		}
	}
	if r.output == "json" {
		if err := printJSON(r.out, results); err != nil {
			return err
		}
	} else {
		if _, err := fmt.Fprintf(r.out, "%d of %d done\n", len(results)-failed, len(results)); err != nil {
			return err
		}
		for _, result := range results {
			if result.Done {
				continue
			}
			if _, err := fmt.Fprintf(r.out, "  %s (%s): %s\n", result.Name, result.Loss, result.Why); err != nil {
				return err
			}
		}
	}
	if failed > 0 {
		return errors.New("not every key was made anew")
	}
	return nil
}
