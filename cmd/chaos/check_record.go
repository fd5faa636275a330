package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// entry is an event of a credential with the state after it. It is decoded here
// and not by the publisher, so that a mistake there shows.
type entry struct {
	sequence uint64
	stored   time.Time
	event    credential.Event
	state    credential.State
}

// history is the record as it was read.
type history struct {
	of     map[credential.Name][]entry
	ids    map[uint64]string // sequence → id of the event
	hashes map[uint64]string
}

// last is the state at the end.
func (h *history) last(name credential.Name) credential.State {
	entries := h.of[name]
	if len(entries) == 0 {
		return credential.State{}
	}
	return entries[len(entries)-1].state
}

// at is the state that the record held at an instant.
func (h *history) at(name credential.Name, t time.Time) credential.State {
	entries := h.of[name]
	i, _ := slices.BinarySearchFunc(entries, t, func(e entry, t time.Time) int { return e.stored.Compare(t) })
	if i == 0 {
		return credential.State{}
	}
	return entries[i-1].state
}

// checkStream looks at the stream as a whole and at each record in it.
func checkStream(messages []message, r *result) *history {
	h := &history{of: map[credential.Name][]entry{}, ids: map[uint64]string{}, hashes: map[uint64]string{}}
	subjects := map[string]message{} // the last one of each
	known := map[string]uint64{}     // id → sequence
	signers := announced(messages)
	for i, m := range messages {
		r.looked[badMissing]++
		r.looked[badDoubled]++
		if want := uint64(i) + 1; m.Sequence != want && (i == 0 || m.Sequence != messages[i-1].Sequence+1) {
			r.violate(badMissing, "", "message %d of the stream stands where %d should", m.Sequence, want)
		}
		id := attribute(m.Header, "ce-id")
		if first, twice := known[id]; twice || id == "" {
			r.violate(badDoubled, "", "event %q stands at %d and at %d", id, first, m.Sequence)
		}
		known[id], h.ids[m.Sequence] = m.Sequence, id
		h.hashes[m.Sequence] = hashOf(m)
		name, err := publisher.NameOfSubject(m.Subject)
		if err != nil {
			continue // of the installation
		}
		checkLink(name, subjects[m.Subject], m, signers, r)
		subjects[m.Subject] = m
		e, err := decode(m)
		if err != nil {
			r.violate(badOrder, name, "message %d: %v", m.Sequence, err)
			continue
		}
		checkReplay(name, h.last(name), e, r)
		h.of[name] = append(h.of[name], e)
	}
	return h
}

// announced are the signers that the stream names.
func announced(messages []message) map[string]bool {
	signers := map[string]bool{}
	for _, m := range messages {
		var fact struct {
			Public string `json:"public"`
		}
		if m.Subject == publisher.SystemSubject("signers") && json.Unmarshal(m.Data, &fact) == nil {
			signers[fact.Public] = true
		}
	}
	return signers
}

// checkLink: the event names its predecessor, and is signed.
func checkLink(name credential.Name, before, m message, signers map[string]bool, r *result) {
	r.looked[badChain]++
	if after := attribute(m.Header, "ce-keyturnafter"); after != strconv.FormatUint(before.Sequence, 10) {
		r.violate(badChain, name, "message %d names %s as its predecessor, which is %d", m.Sequence, after, before.Sequence)
	}
	want := ""
	if before.Sequence > 0 {
		want = hashOf(before)
	}
	if prev := attribute(m.Header, "ce-keyturnprev"); prev != want {
		r.violate(badChain, name, "message %d: the hash of its predecessor is %s, not %s", m.Sequence, want, prev)
	}
	signer := attribute(m.Header, "ce-keyturnsigner")
	signature, err := base64.RawURLEncoding.DecodeString(attribute(m.Header, "ce-keyturnsignature"))
	sum := digest(m)
	key, errKey := nkeys.FromPublicKey(signer)
	if err != nil || errKey != nil || key.Verify(sum[:], signature) != nil || !signers[signer] {
		r.violate(badChain, name, "message %d is not signed by a signer of the record", m.Sequence)
	}
}

// digest is what is signed, written from the publisher's documentation.
func digest(m message) [sha256.Size]byte {
	var names []string
	for name := range m.Header {
		if strings.HasPrefix(name, "ce-") && name != "ce-keyturnsignature" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var text bytes.Buffer
	fmt.Fprintf(&text, "keyturn-record-1\n%s\n", m.Subject)
	for _, name := range names {
		fmt.Fprintf(&text, "%s:%s\n", name, attribute(m.Header, name))
	}
	text.WriteByte('\n')
	text.Write(m.Data)
	return sha256.Sum256(text.Bytes())
}

func hashOf(m message) string {
	sum := digest(m)
	return hex.EncodeToString(sum[:])
}

func decode(m message) (entry, error) {
	var body struct {
		Actor   string           `json:"actor"`
		Daemon  string           `json:"daemon"`
		Request string           `json:"request"`
		Digest  string           `json:"digest"`
		Fact    json.RawMessage  `json:"fact"`
		State   credential.State `json:"state"`
	}
	if err := json.Unmarshal(m.Data, &body); err != nil {
		return entry{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, attribute(m.Header, "ce-time"))
	if err != nil {
		return entry{}, err
	}
	fact, err := credential.DecodeFact(credential.EventType(attribute(m.Header, "ce-type")), body.Fact)
	return entry{m.Sequence, m.Time, credential.Event{
		ID: attribute(m.Header, "ce-id"), At: at, Actor: body.Actor, Daemon: body.Daemon, Request: body.Request, Digest: body.Digest, Fact: fact,
	}, body.State}, err
}

// checkReplay: the event follows on the state before it, and leads to the one
// that it carries.
func checkReplay(name credential.Name, before credential.State, e entry, r *result) {
	r.looked[badOrder]++
	if e.state.Revision != before.Revision+1 {
		r.violate(badOrder, name, "message %d: revision %d follows on %d", e.sequence, e.state.Revision, before.Revision)
	}
	r.looked[badReplay]++
	replayed := credential.Evolve(before, e.event)
	replayed.Name = name
	got, errGot := json.Marshal(replayed)
	want, errWant := json.Marshal(e.state)
	if errGot != nil || errWant != nil || !bytes.Equal(got, want) {
		r.violate(badReplay, name, "message %d (was keyturn built from these sources?) replays as %s but carries %s", e.sequence, got, want)
	}
}

// checkSightings: what somebody saw during the run still stands there.
func checkSightings(h *history, sightings []sighting, r *result) {
	read := uint64(0)
	for _, s := range sightings {
		r.looked[badLost]++
		if h.ids[s.Sequence] != s.ID || (s.Hash != "" && h.hashes[s.Sequence] != s.Hash) {
			r.violate(badLost, "", "event %s was %s at %d; now %q stands there", s.ID, s.How, s.Sequence, h.ids[s.Sequence])
		}
		if s.How != "read" {
			continue
		}
		if s.Sequence <= read {
			r.violate(badOrder, "", "the watch gave %d after %d", s.Sequence, read)
		}
		read = s.Sequence
	}
}

// checkRotations: each came to an end, or says why not.
func checkRotations(name credential.Name, entries []entry, r *result) {
	var before credential.State
	for _, e := range entries {
		switch f := e.event.Fact.(type) {
		case credential.Started:
			r.rotations.begun++
			r.looked[badRotation]++
			r.looked[badExpired]++
		case credential.Failed:
			r.looked[badReason]++
			r.rotations.failures[string(f.Failure.Class)]++
			if f.Failure.Message == "" || f.Failure.Class == "" {
				r.violate(badReason, name, "message %d: a failure without a reason", e.sequence)
			}
		case credential.Expired:
			r.violate(badExpired, name, "message %d: the primary has expired", e.sequence)
		case credential.Drifted:
			r.rotations.drift[string(f.Finding.Kind)]++
		case credential.StepClaimed:
			r.rotations.takenOver++
		}
		checkEnd(name, before, e, r)
		before = e.state
	}
	if before.Rotation != nil {
		r.violate(badRotation, name, "rotation %s has no end", before.Rotation.ID)
	}
}

// checkEnd looks at an event that ends a rotation, or what one has left.
func checkEnd(name credential.Name, before credential.State, e entry, r *result) {
	switch e.event.Fact.(type) {
	case credential.ItemDeleted:
		r.rotations.deleted++
	case credential.ItemEdited:
		r.rotations.edited++
	}
	was, is := before.Rotation, e.state.Rotation
	if was == nil || (is != nil && is.ID == was.ID) {
		return
	}
	switch f := e.event.Fact.(type) {
	case credential.Abandoned:
		r.rotations.abandoned++
		if f.Why == "" {
			r.violate(badReason, name, "message %d: a rotation was abandoned without a reason", e.sequence)
		}
	case credential.Invalidated, credential.Promoted:
		r.rotations.finished++
	case credential.Started:
		r.rotations.followed++
		if was.Phase != credential.PhaseDrain {
			r.violate(badRotation, name, "message %d: rotation %s was replaced in phase %s", e.sequence, was.ID, was.Phase)
		}
	default:
		r.violate(badRotation, name, "message %d: rotation %s ended by %s", e.sequence, was.ID, f.Type())
	}
}
