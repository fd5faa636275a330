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
