package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
)

// finding is a line of doctor.
type finding struct {
	Part string `json:"part"`
	OK   bool   `json:"ok"`
	What string `json:"what"`
	Hint string `json:"hint,omitempty"`
}

func doctorCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "doctor [NAME]", Short: "Check NATS, the streams, Vault, the issuers, the clocks and the operator's key, or one credential", Args: cobra.MaximumNArgs(1),
		Long: `Check everything that the daemon needs; one line and one hint for each finding.

With NAME, tell what is known of one credential: differences between record, Vault and
issuer, failures, holds, consumers that are waited for, old items. Of each: what it means,
what keyturn does about it by itself and when, and what an operator should do.

Exit code 1: something is wrong; with NAME, something waits for a person.`,
		Example: "  keyturn doctor\n  keyturn doctor maps/web",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				waits, err := examineOne(cmd.Context(), o, args[0], cmd.OutOrStdout())
				if err == nil && waits {
					err = &exitError{exitFailed, nil}
				}
				return err
			}
			c, _, err := o.load()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			findings := examine(ctx, c)
			if err := printFindings(cmd.OutOrStdout(), o.output, findings); err != nil {
				return err
			}
			if slices.ContainsFunc(findings, func(f finding) bool { return !f.OK }) {
				return &exitError{exitFailed, nil}
			}
			return nil
		},
	}
}

func printFindings(out io.Writer, output string, findings []finding) error {
	if output == "json" {
		return printJSON(out, findings)
	}
	for _, f := range findings {
		mark, hint := "ok  ", ""
		if !f.OK {
			mark = "FAIL"
		}
		if f.Hint != "" {
			hint = " (try: " + f.Hint + ")"
		}
		if _, err := fmt.Fprintf(out, "%s %-16s %s%s\n", mark, f.Part, f.What, hint); err != nil {
			return err
		}
	}
	return nil
}

func examine(ctx context.Context, c *config.Config) []finding {
	findings, store := examineVault(ctx, c)
	if store != nil {
		defer store.Close()
	}
	get := func(ctx context.Context, path, field string) (credential.Secret, error) {
		return store.Get(ctx, path, field)
	}
	findings = append(findings, examineNATS(ctx, c, get)...)
	for _, name := range slices.Sorted(maps.Keys(c.Issuers)) {
		findings = append(findings, examineIssuer(ctx, name, c, get)...)
	}
	return findings
}

func examineVault(ctx context.Context, c *config.Config) ([]finding, *vault.Client) {
	store, err := openVault(c.Vault, c.Daemon.Workers, nil, nil)
	if err != nil {
		return []finding{{Part: "vault", What: err.Error()}}, nil
	}
	if err := store.Login(ctx); err != nil {
		return []finding{{Part: "vault", What: err.Error()}}, store
	}
	var findings []finding
	for _, p := range store.Preflight(ctx) {
		findings = append(findings, finding{Part: "vault", What: p.What, Hint: p.Hint})
	}
	if len(findings) == 0 {
		findings = append(findings, finding{Part: "vault", OK: true, What: "login, mount and capabilities are in order at " + c.Vault.Addr})
	}
	if _, err := store.SigningSeed(ctx); err != nil {
		hint := ""
		if credential.IsClass(err, credential.ClassNotFound) {
			hint = "keyturn setup"
		}
		findings = append(findings, finding{Part: "signing key", What: err.Error(), Hint: hint})
	} else {
		findings = append(findings, finding{Part: "signing key", OK: true, What: "is in Vault"})
	}
	return findings, store
}

func examineNATS(ctx context.Context, c *config.Config, get config.VaultGet) []finding {
	conn, err := connectNATS(ctx, c.NATS, get, false)
	if err != nil {
		return []finding{{Part: "nats", What: err.Error()}}
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return []finding{{Part: "nats", What: err.Error()}}
	}
	var findings []finding
	problems, err := publisher.Check(ctx, js)
	if err != nil {
		return []finding{{Part: "nats", What: err.Error()}}
	}
	for _, p := range problems {
		findings = append(findings, finding{Part: "stream", What: p.What, Hint: p.Hint})
	}
	if len(findings) == 0 {
		findings = append(findings, finding{Part: "stream", OK: true, What: publisher.StreamName + " is in order, server " + conn.ConnectedServerVersion()})
	}
	beside, err := besides(ctx, js)
	if err != nil {
		findings = append(findings, finding{Part: "stream", What: err.Error()})
	}
	for _, p := range beside {
		findings = append(findings, finding{Part: "stream", What: p.What, Hint: p.Hint})
	}
	return append(findings, examineDaemon(ctx, c, conn, get)...)
}

// examineDaemon asks whether a daemon answers, and whom it takes us for.
func examineDaemon(ctx context.Context, c *config.Config, conn *nats.Conn, get config.VaultGet) []finding {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if !c.Operator.Seed.Given() {
		if err := control.Ping(ctx, conn); err != nil {
			return []finding{{Part: "daemon", What: err.Error()}}
		}
		return []finding{
			{Part: "daemon", OK: true, What: "answers"},
			{Part: "operator", OK: true, What: "no key is configured here; commands that ask the daemons need one", Hint: "keyturn operator new NAME"},
		}
	}
	identity, err := identityOf(ctx, c, get)
	if err != nil {
		return []finding{{Part: "operator", What: err.Error()}}
	}
	self, err := control.NewClient(conn, identity).Whoami(ctx)
	var no *control.Refusal
	switch {
	case errors.As(err, &no):
		return []finding{{Part: "daemon", OK: true, What: "answers"}, {Part: "operator", What: no.Text}}
	case err != nil:
		return []finding{{Part: "daemon", What: err.Error()}}
	}
	roles := make([]string, len(self.Grants))
	for i, g := range self.Grants {
		roles[i] = fmt.Sprintf("%s in %s", g.Role, strings.Join(g.Namespaces, " "))
	}
	return []finding{
		{Part: "daemon", OK: true, What: "answers"},
		{Part: "operator", OK: true, What: fmt.Sprintf("the daemon knows this key as %s: %s", self.Name, strings.Join(roles, ", "))},
	}
}

func examineIssuer(ctx context.Context, name string, c *config.Config, get config.VaultGet) []finding {
	part := "issuer " + name
	portal, err := openIssuer(name, c.Issuers[name], get, nil, zap.NewNop())
	if err != nil {
		return []finding{{Part: part, What: err.Error()}}
	}
	defer portal.Close()
	if err := portal.Check(ctx); err != nil {
		return []finding{{Part: part, What: err.Error()}}
	}
	findings := []finding{{Part: part, OK: true, What: "login is accepted at " + c.Issuers[name].URL}}
	skew, _, _ := portal.Skew()
	if bound := c.Issuers[name].MaxClockSkew.Value; skew.Abs() > bound {
		findings = append(findings, finding{
			Part: part, What: fmt.Sprintf("its clock and this one differ by %s (bound %s); no old key is invalidated", credential.Short(skew), credential.Short(bound)),
			Hint: "set this machine's clock by NTP",
		})
	} else {
		findings = append(findings, finding{Part: part, OK: true, What: "clocks agree within " + credential.Short(max(skew.Abs(), time.Second))})
	}
	expires, err := portal.ManagerExpiry(ctx)
	if err == nil && !expires.IsZero() {
		left := expires.Sub(wallClock())
		findings = append(findings, finding{
			Part: part, OK: left > managerWarning, What: "the manager's API key expires " + until(expires, wallClock()),
		})
	}
	return findings
}
