package engine_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/simulation"
)

// bubble is a world of simulated ports, for tests of instants: they run in a
// synctest bubble, whose clock stands still while anybody works.
type bubble struct {
	record *simulation.Record
	store  *simulation.Store
	portal *simulation.Portal
	policy credential.Policy
}

// noCalendar has no runs.
type noCalendar struct{}

func (noCalendar) Next(string, time.Time) (time.Time, bool) { return time.Time{}, false }

// newBubble registers a credential with those times.
func newBubble(t *testing.T, name credential.Name, lifetime, lead, settle time.Duration) *bubble {
	t.Helper()
	b := &bubble{record: simulation.NewRecord(), store: simulation.NewStore(), portal: simulation.NewPortal(time.Now)}
	var err error
	b.policy, err = credential.Policy{
		Lifetime: credential.Duration(lifetime), RotateBefore: credential.Duration(lead), DrainSet: true,
		SettleSet: true, Settle: credential.Duration(settle),
	}.Resolve(time.Second, noCalendar{}, time.Now())
	must(t, err)
	_, err = b.engine("operator", b.portal).Command(t.Context(), name, credential.Register{Actor: "test", Spec: specOf(string(name), b.policy)})
	must(t, err)
	return b
}

func (b *bubble) engine(daemon string, issuer engine.Issuer) *engine.Engine {
	return engine.New(engine.Config{
		Record: b.record, Store: b.store, Issuers: map[string]engine.Issuer{"example": issuer},
		Calendar: noCalendar{}, Installation: "test", Daemon: daemon, Now: time.Now, Logger: zap.NewNop(),
	})
}

// sleepUntil lets the bubble's clock go on.
func sleepUntil(ctx context.Context, at time.Time) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(at)):
	}
}
