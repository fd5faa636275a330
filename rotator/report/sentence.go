package report

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Teller says events in words. It is fed the events of a record, or of many, in
// their order, and remembers the last state of each credential, so that it can
// say which key was replaced and how old it was.
type Teller struct {
	before map[credential.Name]credential.State
}

// NewTeller returns one that has heard nothing.
func NewTeller() *Teller { return &Teller{before: map[credential.Name]credential.State{}} }

// Tell says an event in one line.
func (t *Teller) Tell(e credential.Entry) string {
	text := Sentence(t.before[e.Name], e)
	t.before[e.Name] = e.State
	return text
}

// Sentence says an event in one line without control characters, whatever
// stands in a reason. Before is the state that the event changed; the zero State
// where it is not known. Times are UTC in RFC 3339.
func Sentence(before credential.State, e credential.Entry) string {
	return OneLine(words(before, e))
}

func words(before credential.State, e credential.Entry) string {
	switch f := e.Event.Fact.(type) {
	case credential.Registered:
		return fmt.Sprintf("registered at issuer %s: %s", f.Spec.Issuer, policyWords(f.Spec.Policy))
	case credential.Recovered:
		return recoveredWords(f)
	case credential.Adopted:
		return fmt.Sprintf("adopted at issuer %s with the key %s (slot %d of item %s, expires %s): %s",
			f.Spec.Issuer, f.Seat.Fingerprint, f.Seat.Slot, f.Seat.Item, clock(f.Seat.Expires), policyWords(f.Spec.Policy))
	case credential.Removing:
		return removingWords(f.Removal)
	case credential.Removed:
		return "removed: no key lives, and the record is closed"
	case credential.ItemEdited:
		return fmt.Sprintf("title, folder, tags and description of item %s were edited in place", f.Item)
	case credential.ItemDeleted:
		return fmt.Sprintf("the old item %s was deleted for good", f.Item)
	case credential.Updated:
		return updatedWords(before, f)
	case credential.Held:
		return heldWords(f)
	case credential.Released:
		return releasedWords(before, f, e.Event.At)
	case credential.Compromised:
		return compromisedWords(f)
	case credential.Started:
		return startedWords(before, f)
	case credential.Failed:
		return failedWords(f.Failure)
	case credential.Abandoned:
		return abandonedWords(before, f)
	case credential.StepClaimed:
		return claimedWords(e.Event.Daemon, f)
	case credential.Issued:
		return fmt.Sprintf("new key %s is in Vault and proven (slot %d of item %s, expires %s)", f.Fingerprint, f.Seat.Slot, f.Seat.Item, clock(f.Expires))
	case credential.Acknowledged:
		return f.Consumer + " uses key " + string(f.Fingerprint)
	case credential.Promoted:
		return promotedWords(before, f, e.Event.At)
	case credential.Retiring:
		return fmt.Sprintf("%s is being invalidated", keyWords(before, f.Claim.Seat, f.Fingerprint, e.Event.At))
	case credential.Invalidated:
		return invalidatedWords(before, f, e.Event.At)
	case credential.Expiring:
		return fmt.Sprintf("the primary key %s expires %s, in %s (level %s)", f.Fingerprint, clock(f.Expires), short(f.Expires.Sub(e.Event.At)), f.Level)
	case credential.Expired:
		return fmt.Sprintf("the primary key %s has EXPIRED, at %s", f.Fingerprint, clock(f.Expires))
	case credential.Drifted:
		return driftedWords(f)
	}
	return string(e.Event.Fact.Type())
}

func policyWords(p credential.Policy) string {
	text := fmt.Sprintf("a key lives %s and is replaced %s before its expiry, the old one works %s longer",
		short(p.Lifetime.Std()), short(p.RotateBefore.Std()), short(p.Drain.Std()))
	if p.Schedule != "" {
		text += ", on the schedule " + p.Schedule
	}
	if c := p.Confirm; c != nil {
		text += fmt.Sprintf("; before %s %s must confirm", c.Before, strings.Join(c.Consumers, ", "))
	}
	return text
}

func removingWords(r credential.Removal) string {
	text := "is being removed: " + orUnsaid(r.Reason)
	if r.KeepSecret {
		text += "; the secret in Vault stays, with a dead key"
	}
	if r.KeepItem {
		text += "; the item stays at the issuer"
	}
	return text
}

func recoveredWords(f credential.Recovered) string {
	text := fmt.Sprintf("recovered after the stream was lost (%s); events up to %d are known, the count goes on at %d",
		orUnsaid(f.Gap.Reason), f.Gap.Revision, f.Revision)
	for _, note := range f.Gap.Notes {
		text += "; " + note
	}
	return text
}

func updatedWords(before credential.State, f credential.Updated) string {
	var parts []string
	if f.Spec != nil {
		parts = append(parts, "what is declared was changed"+changeWords(before, *f.Spec))
	}
	if r := f.Request; r != nil {
		text := "a rotation was asked for: " + orUnsaid(r.Reason)
		if r.Now {
			text += "; to begin at once"
		}
		if r.Vault != nil {
			text += fmt.Sprintf("; what somebody else left in Vault (version %d) is accepted", *r.Vault)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func compromisedWords(f credential.Compromised) string {
	var keys []string
	for _, k := range f.Keys {
		keys = append(keys, fmt.Sprintf("the %s key %s (slot %d of item %s)", k.Role, fingerprint(k.Fingerprint), k.Seat.Slot, k.Seat.Item))
	}
	text := strings.Join(keys, " and ") + " LEAKED: " + orUnsaid(f.Leak.Reason)
	if f.Leak.Immediately {
		text += "; to die before its replacement is there"
	}
	if f.Leak.OverrideHold {
		text += "; whatever is held"
	}
	if !f.Outside.IsZero() {
		text += "; killed outside of keyturn at " + clock(f.Outside)
	}
	return text
}

func heldWords(f credential.Held) string {
	held, end := "held", "it is released"
	if f.Freeze {
		held, end = "frozen, with all others,", "that is thawed"
	}
	if !f.Hold.Until.IsZero() {
		end = clock(f.Hold.Until)
	}
	return fmt.Sprintf("%s until %s: %s", held, end, orUnsaid(f.Hold.Reason))
}

func releasedWords(before credential.State, f credential.Released, at time.Time) string {
	released, what, hold := "released", "hold", before.Hold
	if f.Freeze {
		released, what, hold = "thawed", "freeze", before.Frozen
	}
	if hold == nil {
		return released
	}
	return fmt.Sprintf("%s: the %s by %s (%s) stood for %s", released, what, hold.Actor, orUnsaid(hold.Reason), short(holdEnd(*hold, at).Sub(hold.Since)))
}

// holdEnd is when a hold ended that an event ends at an instant: its own end may
// have come before.
func holdEnd(h credential.Hold, at time.Time) time.Time {
	if !h.Until.IsZero() && h.Until.Before(at) {
		return h.Until
	}
	return at
}

func promotedWords(before credential.State, f credential.Promoted, at time.Time) string {
	text := fmt.Sprintf("key %s is the primary", f.Fingerprint)
	old, ok := before.Primary()
	if ok {
		text += " and replaces " + fingerprint(old.Fingerprint)
		if !old.Proven.IsZero() {
			text += ", which is " + short(at.Sub(old.Proven)) + " old"
		}
	}
	switch {
	case ok && old.Leak != nil:
		return text + " and dies now"
	case f.DrainUntil.IsZero():
		return text
	case ok:
		return text + " and works until " + clock(f.DrainUntil)
	}
	return text + "; the old one works until " + clock(f.DrainUntil)
}

func invalidatedWords(before credential.State, f credential.Invalidated, at time.Time) string {
	text := fmt.Sprintf("key %s is dead (%s)", fingerprint(f.Fingerprint), f.How)
	if seat, ok := before.Seat(f.Seat); ok && !seat.Proven.IsZero() {
		text += "; it lived for " + short(deathOf(f, seat.Expires, at).Sub(seat.Proven))
	}
	return text
}

// deathOf is when a key ended that an event calls dead: one that expired did so
// at its expiry, whenever that was noticed.
func deathOf(f credential.Invalidated, expires, at time.Time) time.Time {
	if f.How == credential.HowExpired && !expires.IsZero() && expires.Before(at) {
		return expires
	}
	return at
}

// keyWords names a key by what it is for.
func keyWords(before credential.State, id credential.SeatID, print credential.Fingerprint, at time.Time) string {
	seat, ok := before.Seat(id)
	if ok && seat.Role == credential.RoleOrphan {
		return "key " + fingerprint(print) + ", which nobody used,"
	}
	text := "old key " + fingerprint(print)
	if ok && !seat.Proven.IsZero() {
		text += ", " + short(at.Sub(seat.Proven)) + " old,"
	}
	return text
}

func driftedWords(f credential.Drifted) string {
	if f.Finding.Kind == credential.FindingVaultOutage {
		return fmt.Sprintf("Vault could not be read for %s, which does not count as drained: the old key works until %s", short(f.Outage.Std()), clock(f.DrainUntil))
	}
	text := "drift: " + findingWords(f.Finding.Kind)
	if f.Healed {
		text = "it is no longer so that " + findingWords(f.Finding.Kind)
	}
	if f.Finding.Seat.Item != "" {
		text += fmt.Sprintf(" (slot %d of item %s)", f.Finding.Seat.Slot, f.Finding.Seat.Item)
	}
	if f.Finding.Detail != "" {
		text += ": " + f.Finding.Detail
	}
	if !f.Expires.IsZero() {
		text += "; the issuer names " + clock(f.Expires) + " as the expiry"
	}
	return text
}

func findingWords(kind credential.FindingKind) string {
	switch kind {
	case credential.FindingUnknownKey:
		return "a key that is not ours works in the free slot"
	case credential.FindingVaultChanged:
		return "somebody else wrote the secret in Vault"
	case credential.FindingVaultMissing:
		return "the secret in Vault is gone"
	case credential.FindingKeyRefused:
		return "the issuer refuses the primary key"
	case credential.FindingExpiry:
		return "the issuer names another expiry"
	case credential.FindingItemMissing:
		return "the item is gone at the issuer"
	case credential.FindingKeyReplaced:
		return "the primary key is dead, and its slot holds another one"
	case credential.FindingSettings:
		return "privileges, items or referrers were edited at the issuer"
	case credential.FindingItemInUse:
		return "an old item holds a key that is not ours to kill"
	case credential.FindingStrayItem:
		return "an item of ours is named by no event"
	}
	return string(kind)
}

// OneLine keeps text of people from ending a line, moving a cursor or turning
// the direction of writing.
func OneLine(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return c
	}, text)
}

func short(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	return credential.Short(d)
}

// clock is an instant as it stands in reports.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func fingerprint(f credential.Fingerprint) string {
	if f == "" {
		return "(not proven)"
	}
	return string(f)
}

func orUnsaid(reason string) string {
	if strings.TrimSpace(reason) == "" {
		return "no reason was given"
	}
	return reason
}
