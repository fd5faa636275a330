package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	testName = credential.Name("chaos/c1")
	itemID   = "item-1"
)

// builder writes a record as a daemon would.
type builder struct {
	t        *testing.T
	pair     nkeys.KeyPair
	public   string
	now      time.Time
	state    credential.State
	evidence evidence
	extra    *result // what was found outside of check
}

func newBuilder(t *testing.T) *builder {
	t.Helper()
	pair, err := nkeys.CreateUser()
	must(t, err)
	public, err := pair.PublicKey()
	must(t, err)
	b := &builder{t: t, extra: newResult(shape{}, diskNone), pair: pair, public: public, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	b.evidence = evidence{Names: []credential.Name{testName}, Vault: map[credential.Name]shown{}, Drain: 3 * time.Second}
	b.store(publisher.SystemSubject("signers"), nats.Header{"ce-id": {"signer"}}, []byte(`{"public":"`+public+`"}`))
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *builder) store(subject string, header nats.Header, data []byte) {
	m := message{Subject: subject, Sequence: uint64(len(b.evidence.Messages) + 1), Header: header, Data: data, Time: b.now}
	b.evidence.Messages = append(b.evidence.Messages, m)
	b.now = b.now.Add(100 * time.Millisecond)
}

// event appends a fact.
func (b *builder) event(fact credential.Fact) {
	b.t.Helper()
	subject := publisher.RecordSubject(testName)
	after, prev := uint64(0), []string(nil)
	for _, m := range b.evidence.Messages {
		if m.Subject == subject {
			after, prev = m.Sequence, []string{hashOf(m)}
		}
	}
	id := fmt.Sprintf("event-%d", len(b.evidence.Messages))
	b.state = credential.Evolve(b.state, credential.Event{ID: id, At: b.now, Actor: "policy", Daemon: "d1", Fact: fact})
	b.state.Name = testName
	encoded, err := json.Marshal(fact)
	must(b.t, err)
	data, err := json.Marshal(map[string]any{"schema": 1, "actor": "policy", "daemon": "d1", "fact": json.RawMessage(encoded), "state": b.state})
	must(b.t, err)
	header := nats.Header{
		"ce-id": {id}, "ce-type": {string(fact.Type())}, "ce-time": {b.now.Format(time.RFC3339Nano)},
		"ce-keyturnafter": {strconv.FormatUint(after, 10)}, "ce-keyturnsigner": {b.public},
	}
	if prev != nil {
		header["ce-keyturnprev"] = prev
	}
	sum := digest(message{Subject: subject, Header: header, Data: data})
	signature, err := b.pair.Sign(sum[:])
	must(b.t, err)
	header["ce-keyturnsignature"] = []string{base64.RawURLEncoding.EncodeToString(signature)}
	b.store(subject, header, data)
	last := b.evidence.Messages[len(b.evidence.Messages)-1]
	b.evidence.Sightings = append(b.evidence.Sightings,
		sighting{last.Sequence, id, hashOf(last), "read"}, sighting{last.Sequence, id, "", "heard"})
}

func (b *builder) claim(op credential.Operation, seat credential.SeatID, mint uint64) credential.Claim {
	return credential.Claim{
		ID: fmt.Sprintf("claim-%d", len(b.evidence.Messages)), Daemon: "d1", Op: op, Seat: seat, Mint: mint,
		Window: credential.Duration(2 * time.Second), Opened: b.now,
	}
}

// portal is a change at the portal, now.
func (b *builder) portal(kind string, slot int) {
	b.evidence.Portal.Events = append(b.evidence.Portal.Events, emulator.Event{Time: b.now, Kind: kind, ItemID: itemID, Slot: slot})
	b.now = b.now.Add(10 * time.Millisecond)
}

func seat(slot int) credential.SeatID { return credential.SeatID{Item: itemID, Slot: slot} }

// key makes a key on a slot, and promotes it.
func (b *builder) key(slot int, mint uint64, print credential.Fingerprint) {
	expires := b.now.Add(24 * time.Hour)
	b.portal("key-generated", slot)
	b.event(credential.Issued{Seat: seat(slot), Mint: mint, Fingerprint: print, Expires: expires, Version: mint})
	b.event(credential.Promoted{Seat: seat(slot), Fingerprint: print, Expires: expires, Version: mint, DrainUntil: b.now})
}

func (b *builder) begin(id string, target credential.SeatID, claim credential.Claim) {
	b.event(credential.Started{Claim: claim, Rotation: credential.Rotation{
		ID: id, Reason: credential.ReasonExpiring, Started: b.now, Phase: credential.PhaseIssue, Target: target,
	}})
}

// sound is the evidence of a run in which all went well: a first key, a
// rotation with a failed attempt, and an application.
func sound(t *testing.T) *builder {
	b := newBuilder(t)
	b.event(credential.Registered{Spec: credential.Spec{Issuer: "portal"}})
	b.begin("r1", credential.SeatID{Slot: 1}, b.claim(credential.OpCreateItem, credential.SeatID{}, 0))
	b.portal("item-created", 0)
	b.event(credential.StepClaimed{Claim: b.claim(credential.OpGenerate, seat(1), 1), Item: itemID})
	b.key(1, 1, "aaaa")
	b.begin("r2", seat(2), b.claim(credential.OpGenerate, seat(2), 2))
	b.event(credential.Failed{Failure: credential.Failure{Step: credential.StepIssue, Class: credential.ClassRetryable, Message: "refused"}})
	b.key(2, 2, "bbbb")
	b.event(credential.Retiring{Claim: b.claim(credential.OpRevoke, seat(1), 0), Fingerprint: "aaaa"})
	b.portal("key-revoked", 1)
	b.event(credential.Invalidated{Seat: seat(1), Fingerprint: "aaaa", How: credential.HowRevoked, Version: 3})
	item := emulator.ItemState{ID: itemID, Title: string(testName)}
	item.Slots[1] = emulator.SlotState{Active: true, KeyExpires: b.now.Add(time.Hour), Fingerprint: "bbbb"}
	b.evidence.Portal.Items = []emulator.ItemState{item}
	b.evidence.Vault[testName] = shown{Primary: "bbbb"}
	b.evidence.Usage.Accepted = 7
	b.evidence.Now = b.now
	return b
}

func judged(e evidence) *result {
	r := newResult(shape{}, diskNone)
	check(e, r)
	return r
}

func TestNothingIsSaidOfASoundRun(t *testing.T) {
	b := sound(t)
	// a key that was held for longer than the drain may be refused
	b.evidence.Usage.Refused = []use{{Name: testName, Read: b.now, Answered: b.now.Add(4 * time.Second)}}
	r := judged(b.evidence)
	for _, v := range r.violations {
		t.Errorf("%s: %s", v.kind, v.text)
	}
	if r.stale != 1 || r.rotations.begun != 2 || r.rotations.finished != 2 || r.rotations.failures["retryable"] != 1 {
		t.Errorf("counted %d stale, %+v", r.stale, r.rotations)
	}
	for _, kind := range kindsOfBad() {
		if r.looked[kind] == 0 && !slices.Contains([]bad{badLate, badReplica}, kind) {
			t.Errorf("nothing was looked at for %q", kind)
		}
	}
}

// TestTheChecksFindWhatIsWrong doctors the evidence in one place each.
func TestTheChecksFindWhatIsWrong(t *testing.T) {
	for what, c := range map[string]struct {
		want   bad
		doctor func(*builder)
	}{
		"an event was lost": {badMissing, func(b *builder) {
			b.evidence.Messages = slices.Delete(b.evidence.Messages, 5, 6)
		}},
		"an event was lost, and the stream was renumbered": {badChain, func(b *builder) {
			b.evidence.Messages = slices.Delete(b.evidence.Messages, 5, 6)
			for i := range b.evidence.Messages {
				b.evidence.Messages[i].Sequence = uint64(i) + 1
			}
		}},
		"the last event was lost": {badLost, func(b *builder) {
			b.evidence.Messages = b.evidence.Messages[:len(b.evidence.Messages)-1]
		}},
		"an event was stored twice": {badDoubled, func(b *builder) {
			again := b.evidence.Messages[len(b.evidence.Messages)-1]
			again.Sequence++
			b.evidence.Messages = append(b.evidence.Messages, again)
		}},
		"two events changed places": {badOrder, func(b *builder) {
			m := b.evidence.Messages
			m[4].Data, m[5].Data = m[5].Data, m[4].Data
		}},
		"the watch went back": {badOrder, func(b *builder) {
			b.evidence.Sightings = append(b.evidence.Sightings, b.evidence.Sightings[0])
		}},
		"an event was changed": {badChain, func(b *builder) {
			m := &b.evidence.Messages[4]
			m.Header = nats.Header{}
			for name, values := range b.evidence.Messages[4].Header {
				m.Header[name] = values
			}
			m.Data = append(slices.Clone(m.Data), ' ')
		}},
		"an event is signed by somebody else": {badChain, func(b *builder) {
			other := newBuilder(b.t)
			b.pair, b.public = other.pair, other.public
			b.event(credential.Released{})
		}},
		"an event carries another state": {badReplay, func(b *builder) {
			b.state.Generation++
			b.event(credential.Released{})
		}},
		"an event that was seen is another now": {badLost, func(b *builder) { b.evidence.Sightings[3].ID = "gone" }},
		"an application was refused": {badRefused, func(b *builder) {
			b.evidence.Usage.Refused = []use{{Name: testName, Read: b.now, Answered: b.now.Add(time.Second), Status: 498}}
		}},
		"Vault showed no key": {badRefused, func(b *builder) { b.evidence.Usage.Keyless = []string{"no key"} }},
		"the primary expired": {badExpired, func(b *builder) { b.event(credential.Expired{Fingerprint: "bbbb"}) }},
		"a node has one event less": {badReplica, func(b *builder) {
			m := b.evidence.Messages
			compare("n2", m, m[:len(m)-1], b.extra)
		}},
		"a node has another event": {badReplica, func(b *builder) {
			m := b.evidence.Messages
			other := slices.Clone(m)
			other[2], other[3] = m[3], m[2]
			compare("n2", m, other, b.extra)
		}},
		"a secret in an event": {badSecret, func(b *builder) {
			b.event(credential.Failed{Failure: credential.Failure{Class: credential.ClassUnknown, Message: "sent AAPTxyz"}})
		}},
		"an orphan item": {badItem, func(b *builder) {
			b.evidence.Portal.Items = append(b.evidence.Portal.Items, emulator.ItemState{ID: "item-2", Title: string(testName)})
		}},
		"an orphan key": {badKey, func(b *builder) {
			b.evidence.Portal.Items[0].Slots[0] = emulator.SlotState{Active: true, KeyExpires: b.now.Add(time.Hour), Fingerprint: "cccc"}
		}},
		"another key on the primary's seat": {badKey, func(b *builder) { b.evidence.Portal.Items[0].Slots[1].Fingerprint = "cccc" }},
		"the primary is dead":               {badDead, func(b *builder) { b.evidence.Portal.Items[0].Slots[1].Active = false }},
		"Vault shows the old key":           {badVault, func(b *builder) { b.evidence.Vault[testName] = shown{Primary: "aaaa"} }},
		"Vault still shows a second key":    {badVault, func(b *builder) { b.evidence.Vault[testName] = shown{"bbbb", "aaaa"} }},
		"a key was made on the primary's seat": {badPrimary, func(b *builder) {
			b.portal("key-generated", 2)
		}},
		"the primary was killed": {badPrimary, func(b *builder) { b.portal("key-revoked", 2) }},
		"a key was made without a claim": {badUnclaimed, func(b *builder) {
			b.now = b.now.Add(time.Minute)
			b.portal("key-generated", 1)
		}},
		"two keys were made under one claim": {badUnclaimed, func(b *builder) {
			again := b.evidence.Portal.Events[1]
			b.evidence.Portal.Events = append(b.evidence.Portal.Events, again)
		}},
		"a call after its claim": {badUnclaimed, func(b *builder) {
			last := &b.evidence.Portal.Events[len(b.evidence.Portal.Events)-1]
			last.Time = last.Time.Add(5 * time.Second) // window and margin are 4 s
		}},
		"a rotation has no end": {badRotation, func(b *builder) {
			b.begin("r3", seat(1), b.claim(credential.OpGenerate, seat(1), 3))
		}},
		"a rotation replaced another": {badRotation, func(b *builder) {
			b.begin("r3", seat(1), b.claim(credential.OpGenerate, seat(1), 3))
			b.begin("r4", seat(1), b.claim(credential.OpGenerate, seat(1), 4))
		}},
		"a failure without a reason":   {badReason, func(b *builder) { b.event(credential.Failed{}) }},
		"something is open at the end": {badQuiet, func(b *builder) { b.begin("r3", seat(1), b.claim(credential.OpGenerate, seat(1), 3)) }},
		"a rotation was abandoned, why?": {badReason, func(b *builder) {
			b.begin("r3", seat(1), b.claim(credential.OpGenerate, seat(1), 3))
			b.event(credential.Abandoned{})
		}},
	} {
		t.Run(what, func(t *testing.T) {
			b := sound(t)
			c.doctor(b)
			r := judged(b.evidence)
			if r.count(c.want)+b.extra.count(c.want) == 0 {
				t.Errorf("%q was not found; found: %v", c.want, append(r.violations, b.extra.violations...))
			}
		})
	}
}
