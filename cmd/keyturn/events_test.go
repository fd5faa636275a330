package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict/schematest"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestEventsOfARunAreAsDescribed in deploy/asyncapi.yaml, with nothing in them
// that is not: of rotations that go well, wait for consumers, and fail.
func TestEventsOfARunAreAsDescribed(t *testing.T) {
	w := newTown(t, "", "")
	open, closed := schematest.Read(t, "../../deploy/asyncapi.yaml"), schematest.Read(t, "../../deploy/asyncapi.yaml")
	closed.Close()
	heard := make(chan *nats.Msg, 4096)
	if _, err := w.conn.ChanSubscribe("keyturn.events.>", heard); err != nil {
		t.Fatal(err)
	}
	if err := w.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	w.daemon(t)
	w.apply(t, "plain/a", "portal", short(30*time.Second, time.Second))
	gated := gatedBy(credential.BeforePromote, credential.ThenHalt)
	gated.Confirm.Consumers = []string{"shop"}
	w.apply(t, "gated/b", "portal", gated)
	missing := map[credential.EventType]bool{
		credential.TypeRegistered: true, credential.TypeUpdated: true, credential.TypeStarted: true, credential.TypeStepClaimed: true, credential.TypeIssued: true,
		credential.TypeAcknowledged: true, credential.TypePromoted: true, credential.TypeRetiring: true, credential.TypeInvalidated: true, credential.TypeFailed: true,
	}
	rotated := map[string]bool{}
	for deadline := time.After(time.Minute); len(missing) > 0; {
		select {
		case msg := <-heard:
			kind, name := msg.Header["ce-type"][0], msg.Header["ce-subject"][0]
			if strings.HasPrefix(name, "_") {
				continue // of the installation, as publisher/doc.go says: not for subscribers
			}
			state, data := describedEvent(t, open, closed, msg)
			delete(missing, credential.EventType(kind))
			if kind == string(credential.TypePromoted) && !rotated[name] {
				rotated[name] = true
				if err := w.portal.SetFaults(emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultHTML, Path: "*", Count: 3}}}); err != nil {
					t.Fatal(err)
				}
				if _, err := control.NewClient(w.conn, w.operator).Rotate(t.Context(), control.Rotate{Name: credential.Name(name)}); err != nil {
					t.Fatal(err)
				}
			}
			if kind == string(credential.TypeIssued) && name == "gated/b" && state.Generation == 1 {
				w.acknowledges(t, "shop", state, control.ResultAcknowledged)
			}
			if strings.Contains(data, "AAPT") {
				t.Errorf("%s holds a key", kind)
			}
		case <-deadline:
			t.Fatalf("a minute has passed without %v", missing)
		}
	}
}

// describedEvent checks one event, and decodes its state.
func describedEvent(t *testing.T, open, closed *schematest.Schema, msg *nats.Msg) (credential.State, string) {
	t.Helper()
	headers := map[string]any{}
	for name, values := range msg.Header {
		headers[name] = values[0]
	}
	var generic any
	var data struct{ State credential.State }
	if json.Unmarshal(msg.Data, &generic) != nil || json.Unmarshal(msg.Data, &data) != nil {
		t.Fatalf("no JSON: %s", msg.Data)
	}
	kind := strings.TrimPrefix(msg.Header["ce-type"][0], "io.keyturn.")
	if wrong := open.Check(t, headers, "components", "messages", kind, "headers"); len(wrong) > 0 {
		t.Errorf("%s: headers %v", kind, wrong)
	}
	if wrong := closed.Check(t, generic, "components", "messages", kind, "payload"); len(wrong) > 0 {
		t.Errorf("%s: %v\n%s", kind, wrong, msg.Data)
	}
	return data.State, string(msg.Data)
}

// TestEventsOfAnEmergencyAreAsDescribed: of holds and the freeze, and of leaked
// keys that die before and after their replacement is there.
func TestEventsOfAnEmergencyAreAsDescribed(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	open, closed := schematest.Read(t, "../../deploy/asyncapi.yaml"), schematest.Read(t, "../../deploy/asyncapi.yaml")
	closed.Close()
	heard := make(chan *nats.Msg, 4096)
	if _, err := w.conn.ChanSubscribe("keyturn.events.maps.*", heard); err != nil {
		t.Fatal(err)
	}
	if err := w.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	for _, args := range [][]string{
		{"hold", "maps/web", "--reason", "audit"}, {"release", "maps/web"}, {"freeze", "--reason", "incident", "--for", "1h"},
		{"invalidate", "maps/web", "--key", "primary", "--reason", "first", "--override-hold", "--immediately"}, {"thaw"},
		{"invalidate", "maps/web", "--key", "primary", "--reason", "second"},
	} {
		w.keyturn(t, "", args...).has(t, 0)
	}
	if err := w.conn.Flush(); err != nil { // what was appended is here
		t.Fatal(err)
	}
	kinds, fields := map[credential.EventType]int{}, map[string]bool{}
	for len(heard) > 0 {
		msg := <-heard
		state, _ := describedEvent(t, open, closed, msg)
		kinds[credential.EventType(msg.Header["ce-type"][0])]++
		fields["frozen"] = fields["frozen"] || state.Frozen != nil
		fields["killed"] = fields["killed"] || state.Killed != credential.SeatID{}
		fields["answered"] = fields["answered"] || len(state.Answered) > 0
		for _, seat := range state.Seats {
			fields["leak"] = fields["leak"] || seat.Leak != nil
		}
	}
	for _, kind := range []credential.EventType{credential.TypeHeld, credential.TypeReleased, credential.TypeCompromised} {
		if kinds[kind] != 2 {
			t.Errorf("%d events %s", kinds[kind], kind)
		}
	}
	for field, seen := range fields {
		if !seen {
			t.Errorf("no event has the field %s", field)
		}
	}
}
