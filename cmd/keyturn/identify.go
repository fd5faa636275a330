package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/credential"
)

func identifyCommand(o *options) *cobra.Command {
	r := &invalidating{options: o, concurrency: 1}
	var invalidate bool
	cmd := &cobra.Command{
		Use: "identify < FILE", Short: "Say whose a leaked key is",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errors.New("the key comes from standard input, never from an argument: those stand in the shell's history and in the list of processes, where this one may stand now")
			}
			return nil
		},
		Long: `Read a key from standard input and say whose it is, whether it lives, and if not how it
died. The key is hashed here and goes nowhere: neither NATS nor Vault nor the issuer is
given it, and it is not printed.

With --invalidate it dies as by keyturn invalidate.

Exit code 0: it is ours. 1: it is none of ours. With --invalidate, those of invalidate.`,
		Example: "  keyturn identify < found.txt\n  xclip -o | keyturn identify --invalidate --reason 'in a chat'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if invalidate && r.reason == "" {
				return usage(errors.New("--invalidate wants a --reason: it stands in the record"))
			}
			if !invalidate && (r.reason != "" || r.immediately || r.overrideHold) {
				return usage(errors.New("--reason, --immediately and --override-hold go with --invalidate"))
			}
			r.out, r.warn = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if isTerminal(cmd.InOrStdin()) {
				_, _ = fmt.Fprintln(r.warn, "paste the key, then Enter and Ctrl-D")
			}
			key, err := readKey(cmd.InOrStdin())
			if err != nil {
				return usage(err)
			}
			return r.identify(cmd.Context(), key.Fingerprint(), invalidate)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&invalidate, "invalidate", false, "have it die, if it is ours and lives")
	f.StringVar(&r.reason, "reason", "", "why, for the record; with --invalidate")
	f.BoolVar(&r.immediately, "immediately", false, "kill it before there is a replacement")
	f.BoolVar(&r.overrideHold, "override-hold", false, "though a hold or the freeze stands")
	f.DurationVar(&r.timeout, "timeout", 10*time.Minute, "how long to follow the record; the daemons go on afterwards")
	return cmd
}

// maxKey bounds what is read of a key, in bytes.
const maxKey = 64 << 10

// around is what no key begins or ends with, and what one is often copied with.
const around = " \t\"'`"

// readKey reads a key as it was copied: a byte order mark before it and one line
// break behind it are no part of it. What is left is hashed as it is.
func readKey(in io.Reader) (credential.Secret, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxKey+1))
	if err != nil {
		return credential.Secret{}, fmt.Errorf("standard input: %w", err)
	}
	if len(data) > maxKey {
		return credential.Secret{}, fmt.Errorf("standard input: more than %d KiB, which is no key", maxKey>>10)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	switch {
	case len(data) == 0:
		return credential.Secret{}, errors.New("standard input: there is no key (try: keyturn identify < FILE)")
	case bytes.ContainsAny(data[:1], around) || bytes.ContainsAny(data[len(data)-1:], around):
		return credential.Secret{}, errors.New("standard input: a space or a quotation mark stands around it, and would make another key of it: give it with nothing around it")
	case bytes.ContainsAny(data, "\r\n"):
		return credential.Secret{}, errors.New("standard input: more than one line: give one key at a time, as it is and with nothing around it")
	}
	return credential.NewSecret(string(data)), nil
}

// identified is what is known of a key.
type identified struct {
	Fingerprint credential.Fingerprint `json:"fingerprint"`
	Known       bool                   `json:"known"`
	Living      bool                   `json:"living"`
	Name        credential.Name        `json:"name,omitempty"`
	Issuer      string                 `json:"issuer,omitempty"`
	Role        credential.Role        `json:"role,omitempty"`
	Seat        credential.SeatID      `json:"seat,omitzero"`
	Expires     time.Time              `json:"expires,omitzero"`
	Leaked      *credential.Leak       `json:"leaked,omitempty"`
	Died        *dead                  `json:"died,omitempty"`
}

func (i identified) String() string {
	switch {
	case i.Living:
		text := fmt.Sprintf("key %s is the %s key of %s: it lives on slot %d of item %s at %s, and expires %s",
			i.Fingerprint, i.Role, i.Name, i.Seat.Slot, i.Seat.Item, i.Issuer, clock(i.Expires))
		if i.Leaked != nil {
			text += fmt.Sprintf("; that it leaked is known since %s: %s", clock(i.Leaked.Since), i.Leaked.Reason)
		}
		return text
	case i.Known:
		return fmt.Sprintf("key %s: %s", i.Fingerprint, i.Died)
	}
	return fmt.Sprintf("key %s is none of this installation's: neither living nor dead (a key is known from when it is proven; it must be whole, with nothing around it)", i.Fingerprint)
}

func (r *invalidating) identify(ctx context.Context, key credential.Fingerprint, invalidate bool) error {
	found, err := r.whose(ctx, key)
	if err != nil {
		return err
	}
	switch {
	case r.output != "json":
		if _, err := fmt.Fprintln(r.out, found); err != nil {
			return err
		}
	case !invalidate || !found.Living:
		if err := printJSON(r.out, found); err != nil {
			return err
		}
	}
	switch {
	case !found.Known:
		return &exitError{exitFailed, nil}
	case !invalidate:
		return nil
	case !found.Living:
		return nothing()
	}
	r.key = string(key)
	return r.run(ctx, found.Name)
}

func (r *invalidating) whose(ctx context.Context, key credential.Fingerprint) (identified, error) {
	reader, err := r.connect(ctx)
	if err != nil {
		return identified{}, fmt.Errorf("key %s: %w", key, err)
	}
	defer reader.close()
	entries, err := reader.all(ctx)
	if err != nil {
		return identified{}, err
	}
	for _, e := range entries {
		for _, seat := range e.State.Seats {
			if means(seat, string(key)) {
				return identified{
					Fingerprint: key, Known: true, Living: true, Name: e.Name, Issuer: e.State.Spec.Issuer,
					Role: seat.Role, Seat: seat.SeatID, Expires: seat.Expires, Leaked: seat.Leak,
				}, nil
			}
		}
	}
	died, err := reader.deaths(ctx, []credential.Fingerprint{key})
	if d, ok := died[key]; ok {
		return identified{Fingerprint: key, Known: true, Name: d.Name, Role: d.Role, Seat: d.Seat, Died: &d}, err
	}
	return identified{Fingerprint: key}, err
}
