package main

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// TestClaimsAreCounted: won, or lost to another writer; nothing else.
func TestClaimsAreCounted(t *testing.T) {
	t.Parallel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	must(publisher.Setup(t.Context(), js, 1))
	seed, _, err := publisher.GenerateSeed()
	must(err)
	signer, err := publisher.NewSigner(seed)
	must(err)
	must(publisher.PublishSigner(t.Context(), js, signer, "test", nil))
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: js, Signer: signer, Installation: "test"})
	must(err)
	m := newMetrics(schedule.New(schedule.Config{Now: time.Now, Logger: zap.NewNop()}))
	counting := claiming{record, m.claimed}

	policy, err := short(time.Hour, time.Second).Resolve(time.Second, &schedule.Calendar{}, time.Now())
	must(err)
	var state credential.State
	var head credential.Head
	try := func(command credential.Command) error {
		event, err := credential.Decide(state, command, credential.View{Now: time.Now(), Daemon: "d-test", ID: uuid.NewString(), Calendar: &schedule.Calendar{}})
		must(err)
		after := credential.Evolve(state, event)
		after.Name = "team/app"
		next, err := counting.Append(t.Context(), "team/app", head, event, after)
		if err == nil {
			state, head = after, next
		}
		return err
	}
	must(try(credential.Register{Actor: "test", Spec: credential.Spec{Issuer: "portal", Policy: policy, Item: credential.ItemSpec{Title: "x", Privileges: []string{"premium:user:basemaps"}}}}))
	stale, old := state, head
	must(try(credential.Begin{Reason: credential.ReasonFirstKey}))
	state, head = stale, old
	if err := try(credential.Begin{Reason: credential.ReasonFirstKey}); !credential.IsClass(err, credential.ClassConflict) {
		t.Fatalf("a second claim: %v", err)
	}
	if won, lost := counted(t, m, "keyturn_claims_total", "won"), counted(t, m, "keyturn_claims_total", "lost"); won != 1 || lost != 1 {
		t.Errorf("%v won, %v lost, want one each", won, lost)
	}
}
