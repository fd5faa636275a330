package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// examineOne tells what is known of one credential. It reports whether something
// waits for a person.
func examineOne(ctx context.Context, o *options, text string, out io.Writer) (waits bool, err error) {
	reader, s, err := o.one(ctx, text)
	if err != nil {
		return false, err
	}
	defer reader.close()
	if s.Status == credential.StatusRemoved {
		past, err := reader.past(ctx, s.Name)
		if err != nil {
			return false, err
		}
		return false, printAdvice(out, o.output, []advice{{What: "removed", Since: past.At, Detail: past.Reason, Means: past.String()}})
	}
	now := wallClock()
	all := reader.advise(s, now)
	all = append(all, reader.issuerAdvice(ctx, s)...)
	plan := plannedOf(s, reader.next(s), now)
	all = append(all, advice{What: "next", Detail: fmt.Sprintf("%s %s", plan.Step, until(plan.At, now)), Means: plan.Why})
	return slices.ContainsFunc(all, func(a advice) bool { return a.Waits }), printAdvice(out, o.output, all)
}

// issuerAdvice looks whether the credential's issuer lets us in, and at its clock.
func (r *reader) issuerAdvice(ctx context.Context, s credential.State) []advice {
	if _, ok := r.config.Issuers[s.Spec.Issuer]; !ok {
		return []advice{{What: "issuer", Detail: s.Spec.Issuer, Means: "it is not configured here, so it was not asked and its clock not compared"}}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var all []advice
	for _, f := range examineIssuer(ctx, s.Spec.Issuer, r.config, r.get) {
		if f.OK {
			continue
		}
		a := advice{What: f.Part, Detail: f.What, Means: "what the daemons do at the issuer may fail, or wait, for the same reason", Waits: true}
		if f.Hint != "" {
			a.Do = []string{f.Hint}
		}
		all = append(all, a)
	}
	return all
}

func printAdvice(out io.Writer, output string, all []advice) error {
	if output == "json" {
		return printJSON(out, all)
	}
	line := func(format string, args ...any) error {
		_, err := fmt.Fprintf(out, format+"\n", args...)
		return err
	}
	for _, a := range all {
		mark := "ok  "
		if a.Waits {
			mark = "LOOK"
		}
		since := ""
		if !a.Since.IsZero() {
			since = ", since " + clock(a.Since)
		}
		if err := line("%s %s%s: %s", mark, a.What, since, a.Detail); err != nil {
			return err
		}
		if err := line("     means: %s", a.Means); err != nil {
			return err
		}
		if a.Heals != "" {
			if err := line("     by itself: %s", a.Heals); err != nil {
				return err
			}
		}
		for _, do := range a.Do {
			if err := line("     you: %s", do); err != nil {
				return err
			}
		}
	}
	return nil
}
