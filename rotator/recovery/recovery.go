package recovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Config is what a Recovery needs.
type Config struct {
	Record  Record
	Secrets Secrets
	// Issuers: configured name → issuer.
	Issuers map[string]Issuer
	// Calendar reads cron specs.
	Calendar credential.Calendar
	// Installation is whose markers count as ours.
	Installation string
	// Daemon is the id of this process, Actor who runs it, Reason what they say.
	Daemon, Actor, Reason string
	// Now is the wall clock; NewID makes ids of events.
	Now   func() time.Time
	NewID func() string
	// Workers is how many credentials are looked at at a time; 0 = 16.
	Workers int
}

// Declared is a credential with its spec, whose policy is resolved.
type Declared struct {
	Name credential.Name
	Spec credential.Spec
}

// Verdict says what becomes of a credential; see the package comment.
type Verdict string

// The verdicts.
const (
	VerdictRecover    Verdict = "recover"
	VerdictRecovered  Verdict = "recovered"
	VerdictOnRecord   Verdict = "on-record"
	VerdictNoKey      Verdict = "no-key"
	VerdictRefused    Verdict = "refused"
	VerdictItemGone   Verdict = "item-gone"
	VerdictConflict   Verdict = "conflict"
	VerdictUnchecked  Verdict = "not-checked"
	VerdictUndeclared Verdict = "undeclared"
)

// Failed reports whether the verdict leaves a declared credential without the
// record that it should have.
func (v Verdict) Failed() bool {
	return slices.Contains([]Verdict{VerdictRefused, VerdictItemGone, VerdictConflict, VerdictUnchecked}, v)
}

// Line is what a plan says of one credential. It holds no secret.
type Line struct {
	Name    credential.Name `json:"name"`
	Verdict Verdict         `json:"verdict"`
	Detail  string          `json:"detail"`
	// Try says what to do about it; empty = nothing.
	Try string `json:"try,omitempty"`
	// Notes are what was seen beside the primary.
	Notes []string `json:"notes,omitempty"`
	// Fact is what is appended, of VerdictRecover and VerdictRecovered.
	Fact *credential.Recovered `json:"fact,omitempty"`
}

// Plan says what would be done, by name.
type Plan struct {
	Lines []Line
	// Unlisted says why Vault could not be looked through for secrets that
	// nobody declared; nil = it was.
	Unlisted error
}

// Recovery plans and appends.
type Recovery struct{ config Config }

// New returns a Recovery.
func New(c Config) *Recovery {
	c.Workers = cmp.Or(c.Workers, 16)
	return &Recovery{config: c}
}

// found is what record and Vault say of a credential.
type found struct {
	Declared
	undeclared bool
	state      credential.State
	stored     credential.Stored
	marked     []string // items with our marker
	unmarked   error    // why the markers could not be read
	line       Line     // has a verdict once it is settled
}

func (f *found) settle(verdict Verdict, try, format string, args ...any) {
	f.line.Verdict, f.line.Detail = verdict, fmt.Sprintf(format, args...)
	f.line.Try = strings.ReplaceAll(try, "NAME", string(f.Name))
}

func (f *found) settled() bool { return f.line.Verdict != "" }

// Plan looks at every declared credential, and at what else lies in Vault. It
// changes nothing. An error means that ctx has ended.
func (r *Recovery) Plan(ctx context.Context, declared []Declared) (Plan, error) {
	var plan Plan
	all := make([]*found, 0, len(declared))
	known := map[credential.Name]bool{}
	for _, d := range declared {
		known[d.Name] = true
		all = append(all, &found{Declared: d, line: Line{Name: d.Name}})
	}
	listed, err := r.config.Secrets.List(ctx)
	plan.Unlisted = err
	for _, name := range listed {
		if !known[name] {
			all = append(all, &found{Declared: Declared{Name: name}, undeclared: true, line: Line{Name: name}})
		}
	}
	r.each(all, func(f *found) { r.read(ctx, f) })
	r.findMarked(ctx, all)
	r.each(all, func(f *found) {
		if !f.settled() {
			r.examine(ctx, f)
		}
	})
	refuseShared(all)
	for _, f := range all {
		if f.settled() && f.line.Detail != "" {
			plan.Lines = append(plan.Lines, f.line)
		}
	}
	slices.SortFunc(plan.Lines, func(a, b Line) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return plan, ctx.Err()
}

// each runs f for those, several at a time.
func (r *Recovery) each(all []*found, run func(*found)) {
	var group errgroup.Group
	group.SetLimit(r.config.Workers)
	for _, f := range all {
		group.Go(func() error { run(f); return nil })
	}
	_ = group.Wait()
}

const (
	tryAgain   = "run keyturn recover again"
	tryReplace = "keyturn apply, then keyturn rotate NAME --now: a new key goes to a new item, and replaces what is in Vault"
)

// read asks the record, and Vault.
func (r *Recovery) read(ctx context.Context, f *found) {
	var err error
	if f.state, _, err = r.config.Record.Load(ctx, f.Name); err != nil {
		f.settle(VerdictUnchecked, tryAgain, "its record cannot be read: %v", err)
		return
	}
	if f.state.Revision != 0 {
		f.settle(VerdictOnRecord, "", "its record is not empty (revision %d)", f.state.Revision)
		if _, ok := f.state.Primary(); !ok {
			f.settle(VerdictOnRecord, "if keyturn list shows drift, as after an apply that came first: keyturn rotate NAME --now",
				"its record is not empty (revision %d), and has no key yet", f.state.Revision)
		}
		if f.undeclared {
			f.line.Detail = "" // managed, and of no matter here
		}
		return
	}
	f.stored, err = r.config.Secrets.Read(ctx, f.Name)
	primary := f.stored.Primary
	switch {
	case f.undeclared && err == nil && f.stored.Missing:
		f.settle(VerdictUndeclared, "", "") // deleted: nothing is there
	case f.undeclared && err == nil:
		f.settle(VerdictUndeclared, "declare it in one of the files, or delete it in Vault", "Vault holds version %d of it, and nobody declares it: left alone", f.stored.Version)
	case err != nil:
		f.settle(VerdictUnchecked, tryAgain, "Vault cannot be read: %v", err)
	case f.stored.Missing:
		f.settle(VerdictNoKey, "keyturn apply", "no key in Vault: apply will issue a first key")
	case f.stored.Revision == 0:
		f.settle(VerdictConflict, "restore a version that keyturn wrote (vault kv rollback) and recover again; or: "+tryReplace,
			"version %d in Vault was not written by keyturn, or was changed by hand", f.stored.Version)
	case primary.Secret.Empty():
		f.settle(VerdictNoKey, tryReplace, "no primary key in Vault, only one that was never promoted")
	case !seatIsNamed(primary.Seat):
		f.settle(VerdictConflict, tryReplace, "Vault does not name the item and slot of its primary key")
	}
}

// seatIsNamed reports whether a seat names a slot of an item.
func seatIsNamed(seat credential.SeatID) bool {
	return seat.Item != "" && (seat.Slot == 1 || seat.Slot == 2)
}

// findMarked reads the markers, once for each issuer.
func (r *Recovery) findMarked(ctx context.Context, all []*found) {
	of := map[string][]*found{}
	for _, f := range all {
		if !f.settled() {
			of[f.Spec.Issuer] = append(of[f.Spec.Issuer], f)
		}
	}
	for name, here := range of {
		issuer, ok := r.config.Issuers[name].(Marking)
		if !ok {
			continue
		}
		names := make([]credential.Name, 0, len(here))
		for _, f := range here {
			names = append(names, f.Name)
		}
		items, err := issuer.Marked(ctx, r.config.Installation, names)
		marked := map[credential.Name][]string{}
		for _, item := range items {
			marked[item.Name] = append(marked[item.Name], item.Item)
		}
		for _, f := range here {
			f.marked, f.unmarked = marked[f.Name], err
		}
	}
}

// refuseShared refuses credentials that would claim the same item.
func refuseShared(all []*found) {
	owners := map[string][]credential.Name{}
	own := func(name credential.Name, item string) {
		if item != "" && !slices.Contains(owners[item], name) {
			owners[item] = append(owners[item], name)
		}
	}
	for _, f := range all {
		own(f.Name, f.stored.Primary.Seat.Item)
		own(f.Name, f.stored.Secondary.Seat.Item)
		for _, seat := range f.state.Seats {
			own(f.Name, seat.Item)
		}
		if f.line.Fact != nil {
			for _, seat := range f.line.Fact.Seats {
				own(f.Name, seat.Item)
			}
		}
	}
	for _, f := range all {
		if f.line.Fact == nil {
			continue
		}
		for _, seat := range f.line.Fact.Seats {
			if names := owners[seat.Item]; len(names) > 1 {
				f.line.Fact = nil
				f.settle(VerdictConflict, "keep one of the secrets, delete the others in Vault, and recover again",
					"item %s is claimed by %s: the one would kill the keys of the other", seat.Item, join(names))
				break
			}
		}
	}
}

func join(names []credential.Name) string {
	texts := make([]string, 0, len(names))
	for _, name := range names {
		texts = append(texts, string(name))
	}
	slices.Sort(texts)
	return strings.Join(texts, " and ")
}
