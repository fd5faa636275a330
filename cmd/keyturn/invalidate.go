package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

func invalidateCommand(o *options) *cobra.Command {
	r := &invalidating{options: o}
	var glass breakGlass
	cmd := &cobra.Command{
		Use: "invalidate NAME", Short: "Have a leaked key die now", Args: cobra.MaximumNArgs(1),
		Long: `Have a key die that is in wrong hands. It is on record, and at the subscribers, at once.
Then a proven replacement takes over and the leaked key dies with no drain; with
--immediately it dies first, and the replacement follows. No question is asked.

It follows the record until each meant key is confirmed dead by the issuer and, where
it was the primary, replaced. What could not be done the daemons go on trying, also
after this command has ended; keyturn list --emergency shows it until it is done.

Instead of NAME, the flags --issuer, --namespace, --label, --expiring-within and --from
select several; --dry-run lists them.

Run again, it goes on where it stopped. The same --reason within a day is the same
emergency, and the successor of a key that died in it is not hit, but what came after
that is: for another leak give another --reason, or the fingerprint.

With NATS or the daemons down: --break-glass kills the key at the issuer from here, and
writes a signed file that keyturn import brings into the record afterwards.

Exit code 0: done. 1: not done in time, or not all. 3: nothing was left to do, since all
were dead or known already.`,
		Example: `  keyturn invalidate maps/web --key primary --reason 'in a public repository'
  keyturn invalidate --issuer portal --label team=maps --key all --reason 'laptop stolen' --dry-run
  keyturn invalidate --from fingerprints.txt --reason 'paste site'
  keyturn invalidate maps/web --break-glass --key primary --reason 'NATS is down'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.in, r.out, r.warn = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			if r.reason == "" {
				return usage(errors.New("no --reason is given: it stands in the record"))
			}
			if glass.wanted { // whose --issuer says where, and selects nothing
				glass.issuer, r.selection.issuer = r.selection.issuer, ""
			} else if glass.given() {
				return usage(errors.New("--item, --slot, --fingerprint and --out go with --break-glass"))
			}
			if glass.wanted && len(args) == 0 {
				return usage(errors.New("--break-glass is about one credential: give its name"))
			}
			name, err := r.selection.one(args)
			if err != nil {
				return err
			}
			if !glass.wanted || glass.byHand == (credential.SeatID{}) {
				if err := r.checkKey(name); err != nil {
					return err
				}
			}
			if glass.wanted {
				glass.options, glass.name, glass.key, glass.reason = o, name, r.key, r.reason
				glass.overrideHold, glass.out, glass.warn = r.overrideHold, r.out, r.warn
				return glass.run(cmd.Context())
			}
			return r.run(cmd.Context(), name)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.key, "key", "", "which: primary, secondary, all, or a fingerprint")
	f.StringVar(&r.reason, "reason", "", "why, for the record (required)")
	f.BoolVar(&r.immediately, "immediately", false, "kill it before there is a replacement")
	f.BoolVar(&r.overrideHold, "override-hold", false, "though a hold or the freeze stands")
	f.BoolVar(&r.noWait, "no-wait", false, "end as soon as it is on record")
	f.BoolVar(&r.dryRun, "dry-run", false, "list what would be hit, send nothing")
	f.DurationVar(&r.timeout, "timeout", 10*time.Minute, "how long to follow the record; the daemons go on afterwards")
	f.IntVar(&r.concurrency, "concurrency", 64, "how many are asked for at a time")
	r.selection.flags(cmd)
	glass.flags(cmd)
	return cmd
}

// invalidating is one run of the command.
type invalidating struct {
	*options
	selection selection

	key, reason               string
	immediately, overrideHold bool
	noWait, dryRun            bool
	timeout                   time.Duration
	concurrency               int

	in        io.Reader
	out, warn io.Writer

	alone  bool // one credential was named
	reader *reader
	client *control.Client
	follow *follower
	before map[credential.Name]emergency
	slots  chan struct{} // bounds the requests under way
	asked  atomic.Int64
	ended  atomic.Int64
}

// checkKey wants to know which key, unless a list may name each.
func (r *invalidating) checkKey(name credential.Name) error {
	role := slices.Contains([]string{credential.KeyPrimary, credential.KeySecondary, credential.KeyAll}, r.key)
	switch {
	case r.key == "" && (name != "" || r.selection.from == ""):
		return usage(errors.New("which key? --key primary, secondary, all, or a fingerprint; for a key itself: keyturn identify --invalidate"))
	case r.key == "" || role:
		return nil
	case len(r.key) > 2*fingerprintLength:
		return usage(errors.New("--key: want primary, secondary, all, or a fingerprint; never the key itself: if this was one, it stands in your shell's history now (try: keyturn identify, which reads a key from standard input)"))
	case !fingerprintForm.MatchString(r.key):
		return usage(fmt.Errorf("--key %s: want primary, secondary, all, or a fingerprint of %d of 0-9 and a-f", r.key, fingerprintLength))
	case name == "":
		return usage(errors.New("--key with a fingerprint is about one credential: give its name, or the fingerprints with --from"))
	}
	return nil
}

func (r *invalidating) run(ctx context.Context, name credential.Name) error {
	list, err := r.selection.list(r.in)
	if err != nil {
		return err
	}
	r.alone = name != ""
	r.slots = make(chan struct{}, max(1, r.concurrency))
	r.reader, err = r.connect(ctx)
	if err != nil {
		return r.glassHint(err)
	}
	defer r.reader.close()
	if name != "" {
		return r.single(ctx, name)
	}
	return r.bulk(ctx, list)
}

// glassHint points to the way that needs neither NATS nor a daemon, which is for
// one credential at a time.
func (r *invalidating) glassHint(err error) error {
	if !r.alone {
		return fmt.Errorf("%w\nnothing was asked for; if it cannot wait for NATS and a daemon: --break-glass with one NAME after the other", err)
	}
	return fmt.Errorf("%w\nnothing was asked for; if it cannot wait for NATS and a daemon: the same command with --break-glass", err)
}

// single is about one credential: each step is told.
func (r *invalidating) single(ctx context.Context, name credential.Name) error {
	record, err := r.reader.record(ctx)
	if err != nil {
		return r.glassHint(err)
	}
	state, head, err := record.Load(ctx, name)
	if err != nil {
		return r.glassHint(err)
	}
	if state.Name = name; state.Status != credential.StatusRegistered {
		return r.reader.unknown(ctx, name)
	}
	t := target{name: name, state: state}
	if r.dryRun {
		return reportOf([]outcome{r.would(t)}, 0).print(r.out, r.output, true)
	}
	if r.client, err = r.reader.client(ctx); err != nil {
		return err
	}
	before := emergencies{reason: r.reason, since: wallClock().Add(-sameEmergency)}
	if err := record.History(ctx, name, before.note); err != nil {
		return err
	}
	r.before = before.found
	r.forgetLater(name, state)
	if r.bares(t) {
		_, _ = fmt.Fprintf(r.warn, "keyturn: WARNING: applications have no working key of %s until its replacement is promoted\n", name)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	teller := report.NewTeller()
	tellEach := func(e credential.Entry) {
		if r.output != "json" {
			_ = printTold(r.out, tell(teller, e), false)
		}
	}
	r.follow = follow(watching, record, []credential.State{state}, head.Sequence, tellEach)
	deadline, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	o := r.one(deadline, t, func(answer control.Answer) {
		if r.output != "json" {
			_, _ = fmt.Fprintf(r.out, "request %s: %s\n", answer.Request, answer.Result)
		}
	})
	stop()
	<-r.follow.over
	if o.Result == resultNotFound {
		if died, ok, err := r.reader.death(ctx, name, r.key); err != nil {
			return err
		} else if ok {
			o.Result, o.Detail = resultAlready, died
		}
	}
	if r.output == "json" {
		if err := printJSON(r.out, o); err != nil {
			return err
		}
	}
	switch o.Result {
	case resultDone, resultAlready:
		if r.output != "json" {
			if _, err := fmt.Fprintf(r.out, "%s: %s\n", name, o.Detail); err != nil {
				return err
			}
		}
		if o.Result == resultAlready {
			return nothing()
		}
		return nil
	case resultNotFound:
		return fmt.Errorf("%s: %s (try: keyturn show %s; keyturn identify says whose a key is)", name, o.Detail, name)
	}
	return fmt.Errorf("%s: %s", name, o.Detail)
}

// one asks for one, and follows it to its end.
func (r *invalidating) one(ctx context.Context, t target, answered func(control.Answer)) outcome {
	key := r.key
	if t.key != "" {
		key = string(t.key)
	}
	defer r.ended.Add(1)
	w := &wait{key: key, keys: r.before[t.name].keysFor(r.key, t.key), done: make(chan struct{})}
	o := outcome{Name: t.name, Key: t.key, Result: resultAlready}
	for _, key := range r.asks(t) {
		var answer control.Answer
		answer, o = r.ask(ctx, t, key)
		if o.Result == resultNotFound && w.keys != nil { // it has died meanwhile
			o.Result = resultAlready
			continue
		}
		if o.Result != resultDone && o.Result != resultAlready {
			return o
		}
		if answered != nil {
			answered(answer)
		}
		w.request, w.revision = answer.Request, answer.Revision
	}
	if r.noWait {
		o.Detail, o.notable = "on record; the daemons do it", false
		return o
	}
	after, done := r.follow.await(ctx, t.name, w)
	if !done {
		o.Result = resultFailed
		o.Detail = "not done: " + r.reader.standing(after) + "; the daemons go on trying (try: keyturn watch " + string(t.name) + ")"
		if failed := r.follow.err(); failed != nil {
			o.Detail += fmt.Sprintf("; the record could not be followed: %v", failed)
		}
		return o
	}
	o.Detail, o.notable = deadText(w.keys, after), false
	if before, ok := r.before[t.name]; ok && o.Result == resultAlready {
		o.Detail += fmt.Sprintf("; asked for at %s for the same reason (to hit the key that it has now, too: another --reason, or its fingerprint)", clock(before.at))
	}
	return o
}

// ask asks the daemons for one.
func (r *invalidating) ask(ctx context.Context, t target, key string) (control.Answer, outcome) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return control.Answer{}, outcome{Name: t.name, Key: t.key, Result: resultFailed, Detail: "it was not asked for: the time is over"}
	}
	defer r.asked.Add(1)
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := r.client.Invalidate(asking, control.Invalidate{
		Name: t.name, Key: key, Reason: r.reason, Immediately: r.immediately, OverrideHold: r.overrideHold,
	})
	o := answeredBy(t, answer, err)
	if errors.Is(err, control.ErrNoDaemon) {
		o.Detail = r.glassHint(err).Error()
	}
	return answer, o
}

// deadText says what an emergency ended with.
func deadText(keys []credential.LeakedKey, after credential.State) string {
	text := ""
	replaced := false
	for _, k := range keys {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("key %s (%s) is dead", orDash(string(k.Fingerprint)), k.Role)
		replaced = replaced || k.Role == credential.RolePrimary
	}
	if text == "" {
		text = "it is dead"
	}
	if primary, ok := after.Primary(); ok && replaced {
		text += fmt.Sprintf("; applications have key %s", primary.Fingerprint)
	}
	return text
}

// would is what a dry run says of one.
func (r *invalidating) would(t target) outcome {
	o := outcome{Name: t.name, Key: t.key, Result: resultNotFound, Detail: "no living key is meant"}
	key := r.key
	if t.key != "" {
		key = string(t.key)
	}
	for _, seat := range t.state.Seats {
		if !means(seat, key) {
			continue
		}
		if o.Result == resultNotFound {
			o.Result, o.Detail = resultWould, ""
		} else {
			o.Detail += ", "
		}
		o.Detail += fmt.Sprintf("key %s (%s)", orDash(string(seat.Fingerprint)), seat.Role)
		if seat.Leak != nil {
			o.Detail += " known already"
		}
	}
	if o.Result == resultWould && t.state.Held(wallClock()) && !r.overrideHold {
		o.Detail += ", held: it would be refused without --override-hold"
	}
	return o
}

func (f *follower) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// bares reports whether applications are without a key for a while.
func (r *invalidating) bares(t target) bool {
	key := r.key
	if t.key != "" {
		key = string(t.key)
	}
	primary, ok := t.state.Primary()
	return ok && r.immediately && means(primary, key) && len(r.asks(t)) > 0
}

// forgetLater forgets an emergency when the primary is not even the successor of what
// died then: the command is about another key.
func (r *invalidating) forgetLater(name credential.Name, s credential.State) {
	if before, ok := r.before[name]; ok && s.Generation > before.generation+1 {
		delete(r.before, name)
	}
}

// asks are the keys to ask for: what the command says, or where that was asked for
// before, those that still live and are to die in another way than then.
func (r *invalidating) asks(t target) []string {
	before := r.before[t.name].keysFor(r.key, t.key)
	switch {
	case t.key != "":
		return []string{string(t.key)}
	case before == nil:
		return []string{r.key}
	}
	var living []string
	for _, k := range before {
		seat, ok := t.state.Seat(k.Seat)
		if ok && seat.Leak != nil && seat.Fingerprint != "" && seat.Fingerprint == k.Fingerprint &&
			((r.immediately && !seat.Leak.Immediately) || (r.overrideHold && !seat.Leak.OverrideHold)) {
			living = append(living, string(seat.Fingerprint))
		}
	}
	return living
}
