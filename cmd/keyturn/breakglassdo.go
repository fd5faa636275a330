package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// glassTries is how often the issuer is asked to kill a key.
const glassTries = 3

// kill has the keys die at the issuer, each read back, and says how it went.
func (g *breakGlass) kill(ctx context.Context) (failed bool) {
	for i := range g.done.Keys {
		key := &g.done.Keys[i]
		what := fmt.Sprintf("key %s on slot %d of item %s at %s", orDash(string(key.Fingerprint)), key.Seat.Slot, key.Seat.Item, g.issuer)
		var err error
		for try := 1; try <= glassTries; try++ {
			asking, cancel := context.WithTimeout(ctx, glassPatience)
			err = g.portal.Revoke(asking, key.Seat)
			cancel()
			class := credential.ClassOf(err)
			if err == nil || ctx.Err() != nil || (class != credential.ClassRetryable && class != credential.ClassUnknown) {
				break
			}
			g.say("attempt %d of %d: %v", try, glassTries, err)
		}
		if key.Dead = err == nil; key.Dead {
			g.say("%s is DEAD: the issuer confirms that the slot is inactive", what)
			continue
		}
		failed = true
		g.say("%s is NOT confirmed dead: %v", what, err)
	}
	return failed
}

// ahead is how far the revision of a break-glass is ahead of the one in Vault.
// No event has it: a daemon that was about to write stops there and waits for an
// operator, instead of taking the write for an older one of its own.
const ahead = 1_000_000

// swap gives applications the other key that Vault has, if theirs was killed and
// the issuer accepts that one now. It reports whether nothing is left that it
// should have done.
func (g *breakGlass) swap(ctx context.Context) bool {
	if !g.hit(g.doc.Primary) {
		if g.doc.Version == 0 {
			g.say("Vault was not read: whether applications have a working key is not known")
		}
		return true
	}
	other := g.doc.Secondary
	switch {
	case other.Secret.Empty() || g.hit(other) || other.Seat == (credential.SeatID{}):
		g.say("WARNING: applications have no working key: Vault carries no other one; a daemon makes it when it is back")
		return true
	case g.doc.Revision == 0:
		g.say("WARNING: applications have no working key: the secret in Vault is not as keyturn wrote it, so it is left alone")
		return true
	}
	asking, cancel := context.WithTimeout(ctx, glassPatience)
	defer cancel()
	if _, err := g.portal.Probe(asking, credential.ProbeRequest{Key: other.Secret, Item: other.Seat.Item}); err != nil {
		g.say("WARNING: applications have no working key: the other key in Vault, %s, is not accepted: %v", other.Fingerprint, err)
		return false
	}
	doc := credential.Document{Primary: other, RotationID: g.doc.RotationID, Revision: g.doc.Revision + ahead}
	version, err := g.store.Write(asking, g.name, doc, g.doc.Version)
	if err != nil {
		g.say("WARNING: applications have no working key: key %s is accepted, but was not made the primary in Vault: %v", other.Fingerprint, err)
		return false
	}
	g.done.Vault, g.done.Shown = &version, other.Fingerprint
	g.say("key %s is accepted and is now the primary in Vault (version %d)", other.Fingerprint, version)
	return true
}

// hit reports whether a key of Vault is one of those that were meant.
func (g *breakGlass) hit(key credential.Key) bool {
	for _, k := range g.done.Keys {
		if !key.Secret.Empty() && (k.Seat == key.Seat || k.Fingerprint == key.Fingerprint) {
			return true
		}
	}
	return false
}

// end writes the file and says what is left to do.
func (g *breakGlass) end(identity control.Identity, file *glassFile, failed bool) error {
	err := file.write(identity, g.done)
	if err != nil {
		text, sealErr := identity.Seal(g.done)
		_, _ = fmt.Fprintf(g.warn, "keyturn: %v\nkeep this as a file of its own for keyturn import:\n%s", errors.Join(err, sealErr), text)
	}
	if g.output == "json" {
		if err := printJSON(g.out, map[string]any{"file": file.name, "done": g.done}); err != nil {
			return err
		}
	} else if err == nil {
		if _, err := fmt.Fprintf(g.out, "written to %s; when NATS and the daemons are back: keyturn import %s\n", file.name, file.name); err != nil {
			return err
		}
	}
	switch {
	case failed:
		return fmt.Errorf("%s: not all was done; see above (try: %s)", g.name, g.again())
	case err != nil:
		return fmt.Errorf("%s: the file for keyturn import was not written", g.name)
	}
	return nil
}

// again is what to do about what failed. Once applications have another key, the
// same command would be about that one.
func (g *breakGlass) again() string {
	if g.done.Shown == "" {
		return "the same command again"
	}
	var seats []string
	for _, k := range g.done.Keys {
		if !k.Dead {
			seats = append(seats, fmt.Sprintf("--issuer %s --item %s --slot %d --fingerprint %s", g.issuer, k.Seat.Item, k.Seat.Slot, k.Fingerprint))
		}
	}
	return "again with " + strings.Join(seats, ", and with ") + " instead of --key"
}

// glassFile is the file of a break-glass: made before anything is done, so that
// what was begun is known even if this program ends in the middle.
type glassFile struct {
	name string
	made bool
}

func newGlassFile(name string, of credential.Name, at time.Time) *glassFile {
	if name == "" {
		name = fmt.Sprintf("keyturn-break-glass-%s-%s.json", strings.ReplaceAll(string(of), "/", "-"), at.Format("20060102T150405.000Z"))
	}
	return &glassFile{name: name}
}

// write makes the file, which must not be there, or writes it anew.
func (f *glassFile) write(identity control.Identity, done control.BreakGlass) error {
	text, err := identity.Seal(done)
	if err != nil {
		return err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if f.made {
		flags = os.O_WRONLY | os.O_TRUNC
	}
	handle, err := os.OpenFile(f.name, flags, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already, and may be of an earlier break-glass (try: another --out)", f.name)
	}
	if err != nil {
		return err
	}
	f.made = true
	_, err = handle.Write(text)
	return errors.Join(err, handle.Sync(), handle.Close())
}
