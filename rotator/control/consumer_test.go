package control_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// issued puts a credential on record whose new key waits for consumers.
func (d *desk) issued(name credential.Name, key credential.Fingerprint, consumers ...string) {
	d.t.Helper()
	now, seat := time.Now().UTC(), credential.SeatID{Item: "0123456789abcdef0123456789abcdef", Slot: 1}
	declared := spec(time.Hour)
	declared.Policy.Confirm = &credential.Confirm{Consumers: consumers, Before: credential.BeforePromote, Deadline: credential.Duration(time.Minute), Then: credential.ThenProceed}
	state := credential.State{}
	var event credential.Event
	for _, fact := range []credential.Fact{
		credential.Registered{Spec: declared},
		credential.Started{
			Rotation: credential.Rotation{ID: engine.NewID(), Reason: credential.ReasonFirstKey, Actor: "policy", Started: now, Target: seat, Phase: credential.PhaseIssue},
			Claim:    credential.Claim{ID: engine.NewID(), Daemon: "d-test", Op: credential.OpGenerate, Seat: seat, Mint: 1, Opened: now},
		},
		credential.Issued{Seat: seat, Mint: 1, Fingerprint: key, Expires: now.Add(time.Hour), Version: 1},
	} {
		event = credential.Event{ID: engine.NewID(), At: now, Actor: "policy", Daemon: "d-test", Fact: fact}
		state = credential.Evolve(state, event)
	}
	state.Name = name
	_, err := d.record.Append(d.t.Context(), name, credential.Head{}, event, state)
	must(d.t, err)
}

// TestAServiceAcknowledgesUnderItsOwnName, whatever it might claim, once.
func TestAServiceAcknowledgesUnderItsOwnName(t *testing.T) {
	s, ann := newSite(t)
	d := s.open(t, ann)
	const name, key = credential.Name("maps/web"), credential.Fingerprint("0123456789abcdef")
	d.issued(name, key, "shop", "desk")
	shop, other := newPerson(t), newPerson(t)
	s.keys[shop.Public()] = operator("shop", control.RoleConsumer, "maps")
	s.keys[other.Public()] = operator("other", control.RoleConsumer, "*")
	ack := func(p person, fingerprint credential.Fingerprint) (control.Answer, error) {
		return control.NewClient(s.conn, p.Identity).Acknowledge(t.Context(), control.Acknowledge{Name: name, Fingerprint: fingerprint})
	}
	for i, want := range []control.Result{control.ResultAcknowledged, control.ResultAlready} {
		if answer, err := ack(shop, key); err != nil || answer.Result != want {
			t.Errorf("time %d: %+v, %v; want %s", i+1, answer, err, want)
		}
	}
	var no *control.Refusal
	if answer, err := ack(other, key); !errors.As(err, &no) || no.Code != control.CodeConflict {
		t.Errorf("one whom nobody waits for: %+v, %v", answer, err)
	}
	if answer, err := ack(shop, "fedcba9876543210"); err == nil {
		t.Errorf("another key: %+v", answer)
	}
	last := credential.Event{}
	must(t, d.record.History(t.Context(), name, func(e credential.Entry) error { last = e.Event; return nil }))
	fact, ok := last.Fact.(credential.Acknowledged)
	if !ok || fact.Consumer != "shop" || last.Actor != "shop" || d.state(name).Revision != 4 {
		t.Errorf("the record ends with %+v", last)
	}
}
