package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// advice is one thing that is known of a credential: what it means, what keyturn
// does about it by itself, and what an operator should do.
type advice struct {
	What   string    `json:"what"` // "key-refused", "failure", "held", …
	Since  time.Time `json:"since,omitzero"`
	Detail string    `json:"detail,omitempty"`
	Means  string    `json:"means"`
	// Heals is what happens by itself, and when; empty = nothing does.
	Heals string `json:"heals,omitempty"`
	// Do are the commands to run, or what to do elsewhere.
	Do []string `json:"do,omitempty"`
	// Waits is true when it stays so until somebody does something.
	Waits bool `json:"waits_for_you,omitempty"`
}

// advise puts all that a state knows into words.
func (r *reader) advise(s credential.State, now time.Time) []advice {
	var all []advice
	if s.Emergency() {
		all = append(all, advice{
			What: "emergency", Detail: r.standing(s), Means: "a leaked key still lives, or nothing stands in its place yet",
			Heals: "the daemons go on trying, before everything else",
			Do:    []string{fmt.Sprintf("keyturn watch %s", s.Name), "when the daemons are away: keyturn invalidate " + string(s.Name) + " --break-glass --key … --reason …"},
		})
	}
	if removal := s.Removing; removal != nil {
		waits := r.waitsFor(s)
		all = append(all, advice{
			What: "removing", Since: removal.Since, Detail: cmp.Or(waits, removal.Reason), Waits: waits != "",
			Means: "keyturn remove was asked for by " + removal.Actor + ": its keys die, and then its record is closed",
			Heals: "the daemons go on with it",
			Do:    []string{fmt.Sprintf("keyturn remove %s --reason … follows it again", s.Name)},
		})
	}
	for _, d := range s.Drift {
		all = append(all, findingAdvice(s, d, now))
	}
	for _, f := range s.Failures() {
		all = append(all, failureAdvice(s, f, now))
	}
	for _, old := range s.Old {
		all = append(all, advice{
			What: "old-item", Since: old.Since, Detail: "item " + old.Item + ": " + oldText(s, old, now),
			Means: "an item that the keys have left; nothing of ours is used there",
			Heals: "it is deleted for good as soon as no key lives on it",
		})
	}
	for _, hold := range []struct {
		what, do string
		*credential.Hold
	}{{"held", "keyturn release " + string(s.Name), s.Hold}, {"frozen", "keyturn thaw ends the freeze on all credentials", s.Frozen}} {
		if hold.Hold != nil && (credential.State{Hold: hold.Hold}).Held(now) {
			all = append(all, advice{
				What: hold.what, Since: hold.Since, Detail: holdText(*hold.Hold, now),
				Means: "no key is destroyed and no item deleted; new keys are still made and promoted, and keys expire by themselves",
				Heals: holdEnds(*hold.Hold), Do: []string{hold.do},
			})
		}
	}
	if missing := s.Missing(); len(missing) > 0 {
		all = append(all, gateAdvice(s, missing, now))
	}
	return append(all, expiryAdvice(s, now)...)
}

func holdEnds(h credential.Hold) string {
	if h.Until.IsZero() {
		return ""
	}
	return "it ends by itself at " + clock(h.Until)
}

// findingAdvice says what a difference between record, Vault and issuer means.
func findingAdvice(s credential.State, d credential.Finding, now time.Time) advice {
	a := advice{What: string(d.Kind), Since: d.Since, Detail: d.Detail}
	name := string(s.Name)
	rotate := "keyturn rotate " + name + " --now --reason …"
	switch d.Kind {
	case credential.FindingKeyRefused:
		a.Means = "the key that applications use is dead at the issuer: invalidated there by hand, or killed by an edit of the item"
		a.Heals = "a key that still drains takes over, or a new one is made; " + healsAt(s, now)
		a.Do = []string{"to wait for nothing: " + rotate}
	case credential.FindingKeyReplaced:
		a.Means = "somebody generated another key over the one that applications use, which is dead"
		a.Heals = "a key that still drains takes over, or a new one is made, on a seat that is ours; the foreign key is left alone; " + healsAt(s, now)
		a.Do = []string{"to wait for nothing: " + rotate, "find out who generated it: nobody but keyturn should"}
	case credential.FindingItemMissing:
		a.Means = "the item was deleted at the issuer, and with it every key on it"
		a.Heals = "a key is made on a new item, and put at the same path in Vault; " + healsAt(s, now)
		a.Do = []string{"to wait for nothing: " + rotate}
	case credential.FindingNotCarried:
		a.Means = "a key that was to take over again is not in Vault any more"
		a.Heals = "a new one is made; " + healsAt(s, now)
		a.Do = []string{"to wait for nothing: " + rotate}
	case credential.FindingUnknownKey:
		a.Means = fmt.Sprintf("somebody generated a key in the free slot (slot %d of item %s): it is not ours, so it is never revoked", d.Seat.Slot, d.Seat.Item)
		a.Heals = "the next rotation goes to a new item; the old one is not deleted while that key lives. Once the key is gone, this is, too, within a probe interval"
		a.Do = []string{"find out who uses it; if nobody does, invalidate it at the issuer", "to leave that item now: " + rotate}
		a.Waits = true
	case credential.FindingVaultChanged:
		a.Means = "somebody else wrote the secret: applications read what they put there, and keyturn writes nothing over it"
		a.Do = []string{
			"look who wrote it: vault kv metadata get …, and Vault's audit log",
			"to have a new key made and written over it: " + rotate,
		}
		a.Waits = true
	case credential.FindingVaultMissing:
		a.Means = "the secret is gone from Vault: applications that start now have no key"
		a.Do = []string{"to have a new key made and written: " + rotate, "for all that Vault lost at once: keyturn reissue --dry-run"}
		a.Waits = true
	case credential.FindingVaultOutage:
		a.Means = "Vault could not be read during the drain: applications could not fetch the new key meanwhile"
		a.Heals = "that time does not count: the old key works so much longer"
	case credential.FindingExpiry:
		a.Means = "the issuer names another expiry than the record did"
		a.Heals = "the issuer's date counts from now on; where it is sooner, the next rotation is, too"
	case credential.FindingSettings:
		a.Means = "privileges, items or referrers were edited at the issuer, so the key may do something else than what is declared; at ArcGIS such an edit kills both keys of the item"
		a.Heals = "a key that died of it is replaced; the settings stay as they are until the next rotation, which goes to a new item with what is declared"
		a.Do = []string{
			"to have what is declared, on a new item: " + rotate,
			"to keep what somebody edited: declare it, and keyturn apply -f FILE",
		}
		a.Waits = true
	case credential.FindingItemInUse:
		a.Means = "an old item cannot be deleted: a key lives there that keyturn did not make, or that Vault still shows"
		a.Heals = "it is deleted within a probe interval once that key is gone"
		a.Do = []string{"find out who uses it; if nobody does, invalidate it at the issuer"}
		if s.Removing != nil {
			a.Do = append(a.Do, "to leave the item as it is: keyturn remove "+name+" --keep-item --reason …")
		}
		a.Waits = true
	case credential.FindingStrayItem:
		a.Means = "an unanswered call left an item at the issuer that no event names"
		a.Heals = "it is deleted, with what lives on it"
	}
	return a
}

// healsAt is when a key that is dead at the issuer is replaced.
func healsAt(s credential.State, now time.Time) string {
	next := s.Healed.Add(4 * s.Spec.Policy.ProbeInterval())
	if s.Healed.IsZero() || !next.After(now) {
		return "that happens by itself, at once"
	}
	return fmt.Sprintf("that happens by itself, not before %s (%s), since one was replaced at %s", clock(next), until(next, now), clock(s.Healed))
}

// failureAdvice says what a failed step means by its class.
func failureAdvice(s credential.State, f credential.Failure, now time.Time) advice {
	a := advice{What: "failure", Since: f.Since, Detail: failureText(f, now), Do: []string{"once it is mended, to wait no longer: keyturn retry " + string(s.Name)}}
	a.Heals = "it is tried again and again, each time after a longer wait"
	switch f.Class {
	case credential.ClassPermanent, credential.ClassDenied:
		a.Means = "the same call fails again until somebody changes something: what, stands in the hint"
		a.Waits = true
	case credential.ClassNotFound:
		a.Means = "something is not there that should be"
		a.Waits = true
	case credential.ClassRetryable, credential.ClassConflict:
		a.Means = "nothing happened; it may pass by itself"
		a.Waits = now.Sub(f.Since) >= min(stuckAfter, s.Spec.Policy.RotateBefore.Std()/8)
	case credential.ClassUnknown:
		a.Means = "it is not known whether the call took effect, so nothing else is done there until its claim is over"
		a.Waits = now.Sub(f.Since) >= min(stuckAfter, s.Spec.Policy.RotateBefore.Std()/8)
	}
	return a
}

// gateAdvice says whom a rotation waits for.
func gateAdvice(s credential.State, missing []string, now time.Time) advice {
	c, rotation := s.Spec.Policy.Confirm, s.Rotation
	a := advice{
		What: "gate", Since: rotation.Ready, Detail: fmt.Sprintf("%s did not confirm the new key, for %s now", strings.Join(missing, ", "), waited(s, now)),
		Means: "the policy lets nobody " + c.Before + " before its consumers have confirmed that they use the new key",
		Heals: fmt.Sprintf("after %s it goes on without them", credential.Short(c.Deadline.Std())),
	}
	if c.Then == credential.ThenHalt {
		a.Heals, a.Waits = "it goes on without them when the old key is about to expire", true
	}
	seat, _ := s.Seat(rotation.Target)
	for _, consumer := range missing {
		a.Do = append(a.Do, fmt.Sprintf(`have %s confirm it on keyturn.ack.%s: {"name":%q,"fingerprint":%q}`, consumer, consumer, s.Name, seat.Fingerprint))
	}
	return a
}

// expiryAdvice tells of a primary that nears its end, or has none.
func expiryAdvice(s credential.State, now time.Time) []advice {
	primary, ok := s.Primary()
	if !ok || s.Notice == credential.LevelNone || s.Removing != nil {
		return nil
	}
	a := advice{
		What: "expiring", Detail: fmt.Sprintf("the primary key %s expires %s (level %s)", primary.Fingerprint, until(primary.Expires, now), s.Notice),
		Means: "no other key took over in the lead time: what stands in the way is said beside this",
		Do:    []string{"to wait for neither window nor back-off: keyturn rotate " + string(s.Name) + " --now --reason …"}, Waits: true,
	}
	if s.Notice == credential.LevelExpired {
		a.Means = "applications have no working key; " + a.Means
	}
	return []advice{a}
}
