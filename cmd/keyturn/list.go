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
	// Leaked are the keys in wrong hands that still live.
	Leaked []credential.Fingerprint `json:"leaked,omitempty"`
	// Stuck says why nothing goes on without a person; empty = it does.
	Stuck   string `json:"stuck,omitempty"`
	Failure string `json:"failure,omitempty"`
	Holder  string `json:"claim_holder,omitempty"`
	// Claims are the open ones: who may be making calls at the issuer.
	Claims []listedClaim `json:"claims,omitempty"`
}

// listedClaim is who holds what, since when.
type listedClaim struct {
	Daemon    string               `json:"daemon"`
	Operation credential.Operation `json:"operation"`
	Since     time.Time            `json:"since"`
}

func (r *reader) summary(s credential.State, now time.Time) listed {
	l := listed{
		Name: s.Name, Issuer: s.Spec.Issuer, State: stateWord(s, now), Generation: s.Generation, Due: s.Due, Held: s.Held(now),
		Stuck: r.stuck(s, now),
	}
	if primary, ok := s.Primary(); ok {
		l.Fingerprint, l.Expires = primary.Fingerprint, primary.Expires
	}
	for _, seat := range s.Leaked() {
		l.Leaked = append(l.Leaked, seat.Fingerprint)
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

// stateWord is the state of a credential in one word: what needs a person first
// stands first.
func stateWord(s credential.State, now time.Time) string {
	_, hasKey := s.Primary()
	switch {
	case len(s.Leaked()) > 0:
		return "LEAKED"
	case s.Emergency():
		return "NO-KEY"
	case s.Removing != nil:
		return "removing"
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
	case s.Held(now):
		return "held"
	}
	return "ok"
}

// stuckAfter is how long a step has failed before it counts as stuck.
const stuckAfter = 5 * time.Minute

// stuck says why a credential does not go on by itself: it has failed for some
// time, waits for an operator or for a consumer that may halt it, or has an
// emergency that is not done. Empty = it goes on.
func (r *reader) stuck(s credential.State, now time.Time) string {
	next := r.next(s)
	switch {
	case s.Emergency():
		return r.standing(s)
	case next.Kind == credential.StepWait && (next.Reason == credential.ReasonDrift || next.Reason == credential.ReasonHalted || next.Reason == credential.ReasonSkew):
		return next.Why
	}
	for _, f := range s.Failures() {
		if now.Sub(f.Since) >= min(stuckAfter, s.Spec.Policy.RotateBefore.Std()/8) {
			return failureText(f, now)
		}
	}
	for _, d := range s.Drift {
		if d.Kind == credential.FindingItemInUse {
			return d.Detail
		}
	}
	return r.waitsFor(s)
}

// failureText is a failure in words: how often, how long, and when it goes on.
func failureText(f credential.Failure, now time.Time) string {
	next := "is being tried again"
	if f.Next.After(now) {
		next = "next try " + until(f.Next, now)
	}
	return fmt.Sprintf("%s failed %s since %s, last %s, %s: %s",
		f.Step, times(f.Attempts), clock(f.Since), until(f.Last, now), next, f.Message)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// lister is which of the credentials list shows.
type lister struct {
	selection                       selection
	due, stuck, expiring, emergency bool
	held                            bool
	within                          span
}

func (l *lister) shows(s credential.State, e listed, now time.Time) bool {
	if !l.selection.holds(s, now) {
		return false
	}
	if !l.due && !l.stuck && !l.expiring && !l.emergency && !l.held {
		return true
	}
	soon := now.Add(time.Duration(l.within))
	return (l.due && s.Rotation == nil && !s.Due.After(soon)) ||
		(l.stuck && e.Stuck != "") ||
		(l.expiring && !e.Expires.IsZero() && (e.Expires.Before(soon) || s.Notice != credential.LevelNone)) ||
		(l.emergency && s.Emergency()) ||
		(l.held && e.Held)
}

// why is the last cell of a row.
func (l *lister) why(s credential.State, e listed, now time.Time) string {
	var texts []string
	if e.Stuck != "" {
		texts = append(texts, e.Stuck)
	}
	if l.held && e.Held {
		if s.Hold != nil {
			texts = append(texts, "held "+holdText(*s.Hold, now))
		}
		if s.Frozen != nil {
			texts = append(texts, "frozen "+holdText(*s.Frozen, now))
		}
	}
	return strings.Join(texts, "; ")
}

func listCommand(o *options) *cobra.Command {
	l := &lister{}
	cmd := &cobra.Command{
		Use: "list", Short: "List credentials", Args: cobra.NoArgs,
		Long: `List credentials. With --due, --stuck, --expiring, --emergency or --held those of which one of
these is true; --issuer, --namespace and --label must all be true.

LEAKED: a key in wrong hands still lives. NO-KEY: the leaked primary is dead and has no
successor yet. Stuck: it has failed for some time, waits for an operator or for a
consumer that halts it, or has an emergency that is not done. Removing: keyturn remove
is under way; what is removed is not listed (keyturn show NAME tells of it).`,
		Example: "  keyturn list --emergency\n  keyturn list --expiring --within 7d --label team=maps",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := l.selection.check(); err != nil {
				return err
			}
			if l.within != 0 && !l.due && !l.expiring {
				return usage(fmt.Errorf("--within goes with --due or --expiring"))
			}
			return l.list(cmd, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&l.due, "due", false, "those whose rotation is due; with --within, until then")
	f.BoolVar(&l.expiring, "expiring", false, "those past their warning before expiry; with --within, until then")
	f.BoolVar(&l.stuck, "stuck", false, "those that do not go on by themselves, with the reason")
	f.BoolVar(&l.emergency, "emergency", false, "those with a leaked key that lives, or none in its place")
	f.BoolVar(&l.held, "held", false, "those under a hold or the freeze, with whose it is and why")
	f.Var(&l.within, "within", "how far ahead --due and --expiring look, such as 7d")
	l.selection.filters(cmd)
	return cmd
}

func (l *lister) list(cmd *cobra.Command, o *options) error {
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
	header := []string{"NAME", "ISSUER", "STATE", "GEN", "FINGERPRINT", "EXPIRES", "NEXT ROTATION", "CLAIMED BY"}
	why := l.stuck || l.emergency || l.held
	if why {
		header = append(header, "WHY")
	}
	list := make([]listed, 0, len(entries))
	rows := make([][]string, 0, len(entries))
	for _, e := range entries {
		one := reader.summary(e.State, now)
		if !l.shows(e.State, one, now) {
			continue
		}
		list = append(list, one)
		row := []string{
			string(one.Name), one.Issuer, one.State, fmt.Sprint(one.Generation), string(one.Fingerprint),
			until(one.Expires, now), until(one.Due, now), one.holder(now),
		}
		if why {
			row = append(row, l.why(e.State, one, now))
		}
		rows = append(rows, row)
	}
	if o.output == "json" {
		return printJSON(cmd.OutOrStdout(), list)
	}
	return printTable(cmd.OutOrStdout(), header, rows)
}
