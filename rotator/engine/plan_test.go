package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// A daemon re-plans by Engine.Plan when it sees another daemon's event (here:
// a notice). Work that is parked while a key settles must keep its wake.
func TestPlanKnowsParkedWork(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("maps/parked")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	policy := w.policy(t, 90*time.Second, 48*time.Second, 0)
	policy.Settle = credential.Duration(3 * time.Second)
	w.register(t, name, policy)
	e := w.engine(t, w.ports(t), engine.Hooks{})
	var parked engine.Result
	must(t, drive(ctx, e, name, func(r engine.Result) bool {
		parked = r
		return r.Next.Reason == credential.ReasonInFlight
	}))
	plan := e.Plan(name, parked.State) // as cmd/keyturn daemon.seen and every sweep do
	t.Logf("parked until %s; Plan says %s at %s (%s)", parked.Next.At.Format("05.000"), plan.Reason, plan.At.Format("05.000"), plan.Why)
	if plan.At.After(parked.Next.At.Add(time.Second)) {
		t.Errorf("the parked work would be resumed %s late", plan.At.Sub(parked.Next.At).Round(time.Millisecond))
	}
}
