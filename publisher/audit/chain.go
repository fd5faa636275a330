package audit

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// place is an event as the next one on its subject has to follow it.
type place struct {
	sequence, after, revision uint64
	hash                      publisher.Hash
	id                        string
	odd                       *odd
}

// odd is what is remembered of an event that did not fit.
type odd struct {
	finding int  // what was said of it; -1 = nothing
	unsound bool // it is not what any vouched-for signer wrote
	// chain is what its successor follows if it does not belong there; nil = none.
	chain *place
}

func placeOf(m *publisher.Examined) *place {
	return &place{sequence: m.Raw.Sequence, after: m.After, revision: m.Revision, hash: m.Hash, id: strings.Clone(m.ID)}
}

// followedBy reports whether a message names this event by place and content.
func (p *place) followedBy(m *publisher.Examined) bool {
	return p != nil && m.Prev == p.hash && m.After == p.sequence
}

// follow compares a message with what is last on its subject.
func (v *verifier) follow(m *publisher.Examined) {
	p := v.heads[m.Raw.Subject]
	next := placeOf(m)
	v.put(m.Raw.Subject, next)
	said, sound := v.trust(m)
	if !sound {
		next.odd = &odd{finding: said, unsound: true, chain: chainOf(p)}
		return
	}
	switch {
	case p == nil:
		v.begin(m)
	case p.odd != nil && m.Prev != p.hash && p.odd.chain.followedBy(m):
		v.strange(p)
		v.count(p.odd.chain, m)
	case m.Prev == p.hash:
		v.genuine(p)
		if m.After != p.sequence {
			v.elsewhere(p, m)
		}
		v.count(p, m)
	default:
		v.misfit(p, next, m)
	}
	v.accept(m)
}

// accept takes over what a sound fact of the installation says.
func (v *verifier) accept(m *publisher.Examined) {
	switch {
	case m.Announces != "":
		v.announced(m)
	case m.Checkpoint != nil:
		v.recorded(m)
	}
}

// chainOf is what a sound successor of a place follows.
func chainOf(p *place) *place {
	if p != nil && p.odd != nil && (p.odd.unsound || p.odd.chain != nil) {
		return p.odd.chain
	}
	return p
}

// begin takes the first message that is seen on a subject.
func (v *verifier) begin(m *publisher.Examined) {
	switch {
	case m.After == 0:
		if m.Revision > 1 && m.Type != string(credential.TypeRecovered) {
			v.add(Order, m, "the first event of a credential has revision %d", m.Revision)
		}
	case v.Since.IsZero():
		v.removed(m)
	}
}

// count checks that the revision goes up by one.
func (v *verifier) count(before *place, m *publisher.Examined) {
	if m.Revision > 0 && before.revision > 0 && m.Revision != before.revision+1 {
		v.add(Order, m, "it has revision %d, the event before it has %d", m.Revision, before.revision)
	}
}

// strange settles that an event does not belong where it stands: the next one
// follows the one before it.
func (v *verifier) strange(p *place) {
	if p.odd.finding < 0 || v.report.Findings[p.odd.finding].Kind == Swapped {
		return
	}
	f := &v.report.Findings[p.odd.finding]
	if f.Kind != Inserted {
		f.Kind = Inserted
		f.What += "; the next event of this credential does not follow it, so it was put there"
	}
}

// genuine settles that an event of which two were possible is the right one:
// the next one follows it.
func (v *verifier) genuine(p *place) {
	if p.odd == nil || p.odd.unsound || p.odd.finding < 0 || p.odd.chain == nil || p.odd.chain.after != p.after {
		return
	}
	f := &v.report.Findings[p.odd.finding]
	f.What = "it and message " + number(p.sequence) + " both follow message " + number(p.after) + ", and the record goes on from that one: this one was put there"
	f.Sequence, f.Event = p.odd.chain.sequence, p.odd.chain.id
}

// elsewhere tells that an event stands in another place than its successor says.
func (v *verifier) elsewhere(p *place, m *publisher.Examined) {
	drift := int64(m.After) - int64(p.sequence) //nolint:gosec // sequences are far below that
	if v.moved >= 0 && v.drift == drift {
		v.report.Findings[v.moved].More++
		return
	}
	v.drift, v.moved = drift, len(v.report.Findings)
	v.report.Findings = append(v.report.Findings, Finding{
		Kind: Swapped, Sequence: p.sequence, Subject: m.Raw.Subject, Event: p.id,
		What: "event " + m.ID + ", which follows it, says that it stood at " + number(m.After),
	})
}

// misfit finds out why a sound message does not follow what is there. The
// signed revision tells on which side of it something is wrong.
func (v *verifier) misfit(p, next *place, m *publisher.Examined) {
	base := chainOf(p)
	if p.odd != nil && p.odd.unsound && (m.After == p.sequence || base != nil && step(base, m) == 2) {
		v.report.Findings[p.odd.finding].What += "; event " + m.ID + ", which follows it, carries the hash of another content"
		return
	}
	if base == nil {
		v.begin(m)
		return
	}
	_, gone := v.gaps[m.After]
	switch by := step(base, m); {
	case gone || by > 1:
		v.removed(m)
	case by == 1:
		v.report.Findings = append(v.report.Findings, Finding{
			Kind: Changed, Sequence: base.sequence, Subject: m.Raw.Subject, Event: base.id,
			What: "its signature holds, but event " + m.ID + ", which follows it, carries the hash of another content: it was signed again",
		})
	default:
		v.stale(base, next, m)
	}
}

// step is how many events a message is after another one, by its signed
// revision; facts of the installation have none, and go by the place they name.
func step(base *place, m *publisher.Examined) int64 {
	if m.Revision > 0 {
		return int64(m.Revision) - int64(base.revision) //nolint:gosec // revisions are far below that
	}
	switch {
	case m.After == base.sequence:
		return 1
	case m.After > base.sequence:
		return 2
	}
	return 0
}

// removed tells that what a message follows is not there.
func (v *verifier) removed(m *publisher.Examined) {
	at, known := v.gaps[m.After]
	if known {
		f := &v.report.Findings[at]
		f.Subject, f.Event = m.Raw.Subject, m.ID
		f.What += "; event " + m.ID + " (message " + number(m.Raw.Sequence) + ") follows it"
	} else {
		at = v.add(Removed, m, "the event that stood there is gone; event %s (now message %d) follows it", m.ID, m.Raw.Sequence)
		v.report.Findings[at].Sequence = m.After
	}
	v.missing[hex.EncodeToString(m.Prev[:])] = at
}

// stale tells of a message that comes after its time. It does not become what
// the next one has to follow.
func (v *verifier) stale(base, next *place, m *publisher.Examined) {
	hash := hex.EncodeToString(m.Hash[:])
	chain := *base
	next.odd = &odd{finding: -1, chain: &chain}
	if at, ok := v.missing[hash]; ok { // it was missed before: it was not removed, it stands here
		delete(v.missing, hash)
		f := &v.report.Findings[at]
		if f.Kind == Removed {
			*f = Finding{Kind: Swapped, Sequence: base.sequence, Subject: m.Raw.Subject, Event: base.id,
				What: "it stands before event " + m.ID + " (message " + number(m.Raw.Sequence) + "), which it follows"}
		}
		v.missing[hex.EncodeToString(m.Prev[:])] = at
		chain.sequence = m.Raw.Sequence
		return
	}
	if m.After == base.after && m.Revision == base.revision {
		next.odd.finding = v.add(Inserted, m, "it and message %d both follow message %d: one of them was put there", base.sequence, m.After)
		return
	}
	next.odd.finding = v.add(Inserted, m, "it follows message %d, after which others came already: an old event was put there again", m.After)
}

// trust checks signature and signer of a message; said is the finding if it is
// not to be believed.
func (v *verifier) trust(m *publisher.Examined) (said int, sound bool) {
	switch {
	case !m.Signed:
		return v.add(Changed, m, "its signature is not that of its content"), false
	case m.Announces != "" && m.Announces == m.Signer && v.root(m):
		return -1, true
	}
	signer := v.signers[m.Signer]
	switch {
	case signer == nil:
		return v.add(Inserted, m, "nobody vouches for its signer %s", m.Signer), false
	case m.Err != nil:
		return v.add(Changed, m, "a vouched-for signer signed it, but it cannot be read: %v", m.Err), false
	}
	if at := latest(m.At, m.Raw.Time); !signer.Replaced.IsZero() && at.After(signer.Replaced.Add(v.Grace)) {
		v.add(Late, m, "signer %s signed it at %s, %s after it was replaced", m.Signer, at.UTC().Format(time.RFC3339), credential.Short(at.Sub(signer.Replaced).Round(time.Second)))
	}
	return -1, true
}

// root reports whether an announcement by the announced itself is believed.
func (v *verifier) root(m *publisher.Examined) bool {
	for _, root := range v.Roots {
		if root == m.Announces {
			return true
		}
	}
	return len(v.Roots) == 0 && len(v.signers) == 0
}

// announced takes a vouched-for signer; its predecessor is replaced from now on.
func (v *verifier) announced(m *publisher.Examined) {
	if v.signers[m.Announces] != nil {
		return
	}
	at := latest(m.At, m.Raw.Time)
	v.signers[m.Announces] = &Signer{Public: m.Announces, VouchedBy: m.Signer, Sequence: m.Raw.Sequence, Since: m.At}
	if by := v.signers[m.Signer]; by != nil && m.Signer != m.Announces && by.Replaced.IsZero() {
		by.Replaced = at
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
