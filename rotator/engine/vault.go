package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/rotator/credential"
)

// foundError carries a finding out of a helper; the step ends with its event.
type foundError struct{ credential.Found }

func (e *foundError) Error() string { return e.Finding.Detail }

// read fetches what Vault holds, once in a pass.
func (w *work) read(ctx context.Context) error {
	if w.vault != nil {
		return nil
	}
	stored, err := w.engine.config.Store.Read(ctx, w.name)
	w.noteReachable(err)
	if err != nil {
		return err
	}
	if _, ok := w.state.Primary(); ok && stored.Missing && !w.accepted(stored) {
		return &foundError{credential.Found{Finding: credential.Finding{
			Kind: credential.FindingVaultMissing, Version: stored.Version,
			Detail: "the secret is gone from Vault",
		}}}
	}
	w.vault = &stored
	return nil
}

func (w *work) noteReachable(err error) {
	var fault *credential.Fault
	unreachable := errors.As(err, &fault) && (fault.Silent || fault.Class == credential.ClassRetryable)
	w.engine.outage.note(!unreachable, w.engine.config.Now())
}

// changed is the finding that somebody else wrote the secret.
func (w *work) changed(detail string) error {
	return &foundError{credential.Found{Finding: credential.Finding{
		Kind: credential.FindingVaultChanged, Version: w.vault.Version,
		Detail: fmt.Sprintf("version %d in Vault was not written by keyturn as the record says: %s", w.vault.Version, detail),
	}}}
}

// withPrimary is a document with the primary key and no other, built from what
// Vault holds and what the record says, never from one alone.
func (w *work) withPrimary(ctx context.Context) (credential.Document, error) {
	if err := w.read(ctx); err != nil {
		return credential.Document{}, err
	}
	doc := credential.Document{}
	if w.state.Rotation != nil {
		doc.RotationID = w.state.Rotation.ID
	}
	primary, ok := w.state.Primary()
	switch {
	case !ok && w.state.Killed != (credential.SeatID{}):
		doc.Primary = w.vault.Primary // dead, but not missed before there is another
	case !ok: // the first key
	case w.vault.Primary.Fingerprint == primary.Fingerprint:
		doc.Primary = w.vault.Primary
	case w.vault.Secondary.Fingerprint == primary.Fingerprint && !w.vault.Secondary.Secret.Empty():
		doc.Primary = w.vault.Secondary
	case w.accepted(*w.vault):
		doc.Primary = w.vault.Primary // an operator accepted what is there
	default:
		return credential.Document{}, w.changed("the primary key is not in it")
	}
	return doc, nil
}

// accepted reports whether an operator accepted what is in Vault, or this
// rotation built it on what was accepted.
func (w *work) accepted(there credential.Stored) bool {
	v := w.state.Vault
	return v.Foreign && (there.Version == v.Accepted || (there.Version > v.Accepted && there.Revision != 0))
}

// fence writes Vault without the key that is about to die: every older writer now
// meets a conflict, and nobody is given it. A key that is being made meanwhile, as
// in an emergency, stays; a promotion that Vault shows and the record does not is
// told instead (shownError). Before the first promotion nobody uses a key and an
// older writer can only be storing one: the write that stores the next one goes
// over it, whichever comes first.
func (w *work) fence(ctx context.Context) error {
	if err := w.read(ctx); err != nil {
		return err
	}
	if err := w.shows(*w.vault); err != nil {
		return err
	}
	doc, err := w.withPrimary(ctx)
	if err != nil || doc.Primary.Secret.Empty() {
		return err
	}
	doc.Secondary = w.making(doc, *w.vault)
	return w.put(ctx, doc)
}

// shownError: Vault shows the new key as the primary already, so its promotion
// is appended before anything else is decided.
type shownError struct{ credential.KeyPromoted }

func (e *shownError) Error() string { return "Vault shows the new key already" }

// shows looks, before a key is revoked, whether a promotion was not recorded yet:
// a fence would take it back.
func (w *work) shows(there credential.Stored) error {
	candidate, ok := w.state.Candidate()
	revoking := w.claim == nil || w.claim.Op == credential.OpRevoke
	if !ok || !revoking || candidate.Proven.IsZero() || candidate.Fingerprint != there.Primary.Fingerprint {
		return nil
	}
	return &shownError{credential.KeyPromoted{Fingerprint: candidate.Fingerprint, Version: there.Version}}
}

// making is the key beside the primary, if it is the one that is being made.
func (w *work) making(doc credential.Document, there credential.Stored) credential.Key {
	candidate, ok := w.state.Candidate()
	key := there.Secondary
	if !ok || candidate.Claimed || key.Seat != candidate.SeatID || key.Mint != candidate.Mint || key.Seat == doc.Primary.Seat {
		return credential.Key{}
	}
	return key
}

// put writes a document over the version that the record names, or that this
// pass wrote. When another version is there, or the answer was lost, what is
// there decides.
func (w *work) put(ctx context.Context, want credential.Document) error {
	want.Revision = w.state.Revision
	over := max(w.state.Vault.Version, w.wrote)
	const attempts = 5
	for range attempts {
		version, err := w.engine.config.Store.Write(ctx, w.name, want, over)
		w.noteReachable(err)
		if err == nil {
			w.vault = &credential.Stored{Document: want, Version: version}
			w.wrote = version
			return nil
		}
		if class := credential.ClassOf(err); class != credential.ClassConflict && class != credential.ClassUnknown {
			return err
		}
		if hook := w.engine.config.Hooks.Conflict; hook != nil {
			hook("vault")
		}
		there, readErr := w.engine.config.Store.Read(ctx, w.name)
		w.noteReachable(readErr)
		if readErr != nil {
			return errors.Join(err, readErr)
		}
		switch {
		case there.Version == over: // it did not arrive
		case there.Missing && w.state.Vault.Version == 0:
			over = there.Version // deleted before we came: nothing to protect
		case there.Revision == 0 || there.Missing:
			w.vault = &there
			return w.changed("it carries no revision")
		case there.Revision == want.Revision && same(there.Document, want):
			w.vault, w.wrote = &there, there.Version
			return nil
		case there.Revision == want.Revision && !w.state.Emergency():
			w.vault = &there
			return w.changed("it carries this revision with other content")
		case there.Revision <= want.Revision: // an older decision that came late, or one beside the death of a leaked key
			over = there.Version
			if err := w.shows(there); err != nil {
				return err
			}
			if want.Secondary.Secret.Empty() {
				want.Secondary = w.making(want, there)
			}
		default:
			return w.overtaken(ctx, there)
		}
	}
	return &credential.Fault{
		Class: credential.ClassRetryable, System: "vault", Op: "write " + string(w.name),
		Hint: "somebody else keeps writing this secret",
	}
}

// overtaken handles a version that was decided from a later event than ours:
// the record must show that event.
func (w *work) overtaken(ctx context.Context, there credential.Stored) error {
	before := w.head.Sequence
	if err := w.engine.reload(ctx, w); err != nil {
		return err
	}
	if w.head.Sequence == before {
		w.vault = &there
		return w.changed(fmt.Sprintf("it carries revision %d, which the record does not know", there.Revision))
	}
	return &credential.Fault{Class: credential.ClassConflict, System: "vault", Op: "write " + string(w.name)}
}

// same compares documents by what they hold.
func same(a, b credential.Document) bool {
	return sameKey(a.Primary, b.Primary) && sameKey(a.Secondary, b.Secondary)
}

func sameKey(a, b credential.Key) bool {
	return a.Secret == b.Secret && a.Seat == b.Seat && a.Mint == b.Mint
}
