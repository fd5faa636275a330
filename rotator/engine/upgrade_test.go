package engine_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// While daemons are replaced one by one, the older version meets records of the
// newer one. It leaves those alone, says why, and goes on with the others.
func TestAnOlderDaemonLeavesTheRecordsOfANewerOneAlone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := newWorld(t)
	const newer, older = credential.Name("upgrade/newer"), credential.Name("upgrade/older")
	for _, name := range []credential.Name{newer, older} {
		w.register(t, name, w.policy(t, lifetime, lead, drain))
		must(t, drive(ctx, w.engine(t, w.ports(t), engine.Hooks{}), name, ended(1)))
		w.rotate(t, name)
	}
	// the newer version goes on with one of them
	state, head, err := w.record.Load(ctx, newer)
	must(t, err)
	event, err := credential.Decide(state, credential.PutHold{Actor: "ann", Reason: "upgrade"}, credential.View{Now: time.Now(), Daemon: "newer", ID: uuid.NewString()})
	must(t, err)
	after := credential.Evolve(state, event)
	after.Name, after.Schema = newer, credential.Schema+1
	_, err = w.record.Append(ctx, newer, head, event, after)
	must(t, err)
	before := len(w.portal.Events())

	e := w.engine(t, w.ports(t), engine.Hooks{})
	if _, err := e.Pass(ctx, newer); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("the older daemon says %v, want that the record is of a newer one", err)
	}
	if n := len(w.portal.Events()); n != before {
		t.Errorf("it made %d changes at the issuer", n-before)
	}
	must(t, drive(ctx, e, older, ended(2)))
	w.checkEnd(t, older, 2)
}

// The states of the first version, as they stand in its golden records, are
// read and gone on with, whatever fields came since.
func TestRecordsOfTheFirstVersionAreGoneOnWith(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "publisher", "testdata", "golden", "*.json"))
	must(t, err)
	if len(files) < 16 {
		t.Fatalf("%d golden records", len(files))
	}
	w := newWorld(t)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		var golden struct {
			Data struct{ State credential.State }
		}
		must(t, json.Unmarshal(text, &golden))
		state := golden.Data.State
		step := credential.Next(state, credential.View{Now: state.Due, Calendar: w.calendar, Daemon: "newer", ID: "id"})
		if step.Kind == "" || step.Why == "" || (step.Reason == credential.ReasonNotRegistered) != (state.Status != credential.StatusRegistered) {
			t.Errorf("%s: the next step is %+v of a credential that is %q", filepath.Base(file), step, state.Status)
		}
		event, err := credential.Decide(state, credential.PutHold{Actor: "ann", Reason: "r"}, credential.View{Now: state.Due, Daemon: "newer", ID: "id"})
		must(t, err)
		if next := credential.Evolve(state, event); next.Revision != state.Revision+1 || len(next.Seats) != len(state.Seats) || next.Hold == nil {
			t.Errorf("%s: goes on as %+v", filepath.Base(file), next)
		}
	}
}
