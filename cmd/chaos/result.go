package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// bad is a kind of violation, in the words of the table.
type bad string

const (
	badRefused   bad = "a key that Vault showed was refused"
	badExpired   bad = "a primary expired"
	badMissing   bad = "an event is missing"
	badDoubled   bad = "an event stands twice"
	badOrder     bad = "an event is out of order or unreadable"
	badChain     bad = "the chain of hashes or a signature is broken"
	badReplay    bad = "replaying gives another state"
	badLost      bad = "an event that was seen is not there any more"
	badReplica   bad = "two replicas of the stream differ"
	badSecret    bad = "a secret in an event or a log"
	badItem      bad = "an item without a seat"
	badKey       bad = "a live key without a seat"
	badDead      bad = "a primary is dead at the end"
	badVault     bad = "Vault shows another key than the record at the end"
	badPrimary   bad = "a key was made or killed on the primary's seat"
	badUnclaimed bad = "a change at the portal without a claim"
	badRotation  bad = "a rotation without an end"
	badReason    bad = "a failure without a reason"
	badLate      bad = "a rotation came too late"
	badQuiet     bad = "something is still open at the end"
)

func kindsOfBad() []bad {
	return []bad{
		badRefused, badExpired, badMissing, badDoubled, badOrder, badChain, badReplay, badLost, badReplica, badSecret, badItem, badKey,
		badDead, badVault, badPrimary, badUnclaimed, badRotation, badReason, badLate, badQuiet,
	}
}

type violation struct {
	kind bad
	name credential.Name
	text string
}

// rotations are the counts of what the record tells.
type rotations struct {
	begun, finished, followed, abandoned, takenOver int
	deleted, edited                                 int // items
	failures, drift                                 map[string]int
}

// result is what a run found.
type result struct {
	shape      shape
	disks      diskMode
	took       time.Duration
	waited     time.Duration
	stall      time.Duration // the longest one of the machine, and when
	stalled    time.Time
	faults     int
	unmade     int
	kinds      map[string]int
	rotations  rotations
	usage      usage
	stale      int
	deaths     []string
	looked     map[bad]int
	violations []violation
}

func newResult(s shape, disks diskMode) *result {
	return &result{
		shape: s, disks: disks, kinds: map[string]int{}, looked: map[bad]int{},
		rotations: rotations{failures: map[string]int{}, drift: map[string]int{}},
	}
}

func (r *result) violate(kind bad, name credential.Name, format string, args ...any) {
	r.violations = append(r.violations, violation{kind, name, fmt.Sprintf(format, args...)})
}

// count is how many violations of a kind there are.
func (r *result) count(kind bad) (n int) {
	for _, v := range r.violations {
		if v.kind == kind {
			n++
		}
	}
	return n
}

// print writes the table.
func (r *result) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...any) {
		format := strings.TrimSuffix(strings.Repeat("%v\t", len(cells)), "\t") + "\n"
		_, _ = fmt.Fprintf(t, format, cells...)
	}
	row("RUN", "")
	row("seed", r.shape.seed)
	row("credentials, each with an application", r.shape.credentials)
	row("processes", fmt.Sprintf("%d keyturn serve, %d NATS (R3), Vault, portal", daemons, nodes))
	row("keys live, lead time, drain", fmt.Sprintf("%s, %s, %s", r.shape.life, r.shape.lead, credential.Short(r.shape.drain())))
	row("disks are filled by", r.disks)
	row("time", r.took.Round(time.Second))
	row("of that waited before a fault, for late keys", r.waited.Round(time.Second))
	row("longest stall of this machine", fmt.Sprintf("%s, until %s", r.stall.Round(time.Millisecond), r.stalled.Format(clockLayout)))
	row("", "")
	row("FAULT", "COUNT", "WITHIN i-iii")
	for _, kind := range slices.Sorted(maps.Keys(r.kinds)) {
		row(kind, r.kinds[kind], "yes")
	}
	row("all", r.faults, "")
	row("could not be made, not counted", r.unmade, "")
	row("", "")
	row("WHAT HAPPENED", "COUNT")
	row("rotations begun", r.rotations.begun)
	row("  finished", r.rotations.finished)
	row("  abandoned, with a reason", r.rotations.abandoned)
	row("  taken over by the next", r.rotations.followed)
	row("items deleted", r.rotations.deleted)
	row("items edited in place", r.rotations.edited)
	row("claims after the first of a rotation", r.rotations.takenOver)
	for _, class := range slices.Sorted(maps.Keys(r.rotations.failures)) {
		row("failed attempts: "+class, r.rotations.failures[class])
	}
	for _, kind := range slices.Sorted(maps.Keys(r.rotations.drift)) {
		row("drift: "+kind, r.rotations.drift[kind])
	}
	row("calls of applications accepted", r.usage.Accepted)
	row("  without an answer", r.usage.NoAnswer)
	row("  with a kept key, as Vault was away", r.usage.Kept)
	row("  refused, key held for longer than the drain", r.stale)
	row("daemons that ended by themselves", len(r.deaths))
	row("", "")
	row("VIOLATION", "COUNT", "LOOKED AT")
	for _, kind := range kindsOfBad() {
		row(kind, r.count(kind), r.looked[kind])
	}
	row("all", len(r.violations), "")
	if err := t.Flush(); err != nil {
		return err
	}
	return r.explain(out)
}

// explain tells the first violations of each kind, and how daemons ended.
func (r *result) explain(out io.Writer) error {
	said := map[bad]int{}
	for _, v := range r.violations {
		if said[v.kind]++; said[v.kind] > 5 {
			continue
		}
		if _, err := fmt.Fprintf(out, "\n%s: %s %.2000s\n", v.kind, v.name, v.text); err != nil {
			return err
		}
	}
	for i, death := range r.deaths {
		if i == 10 {
			break
		}
		if _, err := fmt.Fprintf(out, "\nended by itself: %.1000s\n", death); err != nil {
			return err
		}
	}
	return nil
}
