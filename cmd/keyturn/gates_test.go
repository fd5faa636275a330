package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

const gateDeadline = 2 * time.Second

// gatedBy is a policy whose keys live long enough that no page threshold opens
// the gate meanwhile.
func gatedBy(before, then string) credential.Policy {
	p := short(time.Hour, 0)
	p.Confirm = &credential.Confirm{Consumers: []string{"shop", "batch"}, Before: before, Deadline: credential.Duration(gateDeadline), Then: then}
	return p
}

// TestGatesWaitForTheirConsumers on a real daemon, portal, Vault and NATS: a gate
// that halts opens when all have confirmed and not at its deadline; one that
// proceeds opens at its deadline, and show names who is missing.
func TestGatesWaitForTheirConsumers(t *testing.T) {
	w := newTown(t, "", "")
	d := w.daemon(t)
	names := map[credential.Name]credential.Policy{}
	for _, before := range []string{credential.BeforePromote, credential.BeforeRetire} {
		for _, then := range []string{credential.ThenHalt, credential.ThenProceed} {
			names[credential.Name(before+"/"+then)] = gatedBy(before, then)
		}
	}
	state := func(name credential.Name) credential.State {
		s, _, err := d.record.Load(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, policy := range names {
		w.apply(t, name, "portal", policy)
	}
	for name := range names {
		eventually(t, "the first key is there, gate or no gate", func() bool { s := state(name); return s.Generation == 1 && s.Rotation == nil })
		if _, err := control.NewClient(w.conn, w.operator).Rotate(t.Context(), control.Rotate{Name: name, Reason: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	phases := map[credential.Name]credential.Phase{"promote/halt": credential.PhaseReady, "retire/halt": credential.PhaseDrain}
	for name, phase := range phases {
		eventually(t, string(name)+" waits", func() bool { s := state(name); return s.Rotation != nil && s.Rotation.Phase == phase })
		w.shows(t, name, "waits for    shop, batch to confirm")
		w.acknowledges(t, "shop", state(name), control.ResultAcknowledged)
		w.acknowledges(t, "shop", state(name), control.ResultAlready)
		w.shows(t, name, "waits for    batch to confirm")
	}
	// by then the deadline of the gates that halt is over, too
	for _, name := range []credential.Name{"promote/proceed", "retire/proceed"} {
		eventually(t, string(name)+" goes on without them", func() bool { s := state(name); return s.Generation == 2 && s.Rotation == nil })
	}
	for name, phase := range phases {
		s := state(name)
		if s.Rotation == nil {
			t.Fatalf("%s did not halt", name)
		}
		since := map[credential.Phase]time.Time{credential.PhaseReady: s.Rotation.Ready, credential.PhaseDrain: s.Rotation.Promoted}[phase]
		eventually(t, "its deadline is over", func() bool { return time.Since(since) > gateDeadline+time.Second/2 })
		if s = state(name); s.Rotation == nil || s.Rotation.Phase != phase || d.engine.Plan(name, s).Reason != credential.ReasonHalted {
			t.Errorf("%s did not halt: %+v", name, s.Rotation)
		}
		w.acknowledges(t, "batch", s, control.ResultAcknowledged)
		eventually(t, string(name)+" ends", func() bool { s := state(name); return s.Generation == 2 && s.Rotation == nil })
	}
	for name, policy := range names {
		w.gateHeld(t, d, name, policy.Confirm)
	}
}

// acknowledges confirms the new key of a rotation.
func (w *town) acknowledges(t *testing.T, consumer string, s credential.State, want control.Result) {
	t.Helper()
	seat, _ := s.Seat(s.Rotation.Target)
	reply, err := w.conn.RequestWithContext(t.Context(), control.SubjectConsumer+consumer, fmt.Appendf(nil, `{"name":%q,"fingerprint":%q}`, s.Name, seat.Fingerprint))
	if err != nil {
		t.Fatal(err)
	}
	var answer control.Answer
	if err := json.Unmarshal(reply.Data, &answer); err != nil || answer.Result != want {
		t.Errorf("%s acknowledges %s: %s %v", consumer, s.Name, reply.Data, reply.Header)
	}
}

func (w *town) shows(t *testing.T, name credential.Name, text string) {
	t.Helper()
	if output, code := call(t, nil, "show", string(name), "--config", w.path); code != 0 || !strings.Contains(output, text+" the new key, for ") {
		t.Errorf("show %s exits with %d and does not say %q:\n%s", name, code, text, output)
	}
}

// gateHeld checks on the record that the gated step came after what opened it.
func (w *town) gateHeld(t *testing.T, d *resident, name credential.Name, c *credential.Confirm) {
	t.Helper()
	opened, acked, held := time.Time{}, 0, false
	if err := d.record.History(t.Context(), name, func(e credential.Entry) error {
		_, promoted := e.Event.Fact.(credential.Promoted)
		_, retiring := e.Event.Fact.(credential.Retiring)
		switch e.Event.Fact.(type) {
		case credential.Issued:
			opened, acked = e.Event.At, 0
		case credential.Acknowledged:
			acked++
		}
		if (promoted && c.Before == credential.BeforePromote || retiring && c.Before == credential.BeforeRetire) && e.State.Generation == 2 {
			held = true
			if waited := e.Event.At.Sub(opened); waited < gateDeadline || c.Then == credential.ThenHalt && acked != 2 {
				t.Errorf("%s: %s after %s, with %d acknowledgements", name, e.Event.Fact.Type(), waited, acked)
			}
		}
		if promoted {
			opened = e.Event.At
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !held {
		t.Errorf("%s: the gated step is not on the record", name)
	}
}
