package simulation_test

import (
	"context"
	"testing"
	"time"

	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/arcgis/issuertest"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/simulation"
	"github.com/keyturn/keyturn/vault/storetest"
)

func TestRecordConforms(t *testing.T) {
	recordtest.Run(t, func(*testing.T) recordtest.Port { return simulation.NewRecord() })
}

func TestStoreConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Store { return simulation.NewStore() })
}

func TestPortalConforms(t *testing.T) {
	issuertest.Run(t, func(testing.TB) issuertest.Fixture {
		portal := simulation.NewPortal(time.Now)
		wire := &wire{Portal: portal}
		return issuertest.Fixture{
			Issuer: wire, Accepts: portal.Accepts, Absent: "nowhere",
			Spec:         credential.ItemSpec{Privileges: []string{"premium:user:basemaps"}},
			LoseGenerate: func() { wire.loseIssue = true }, LoseRevoke: func() { wire.loseRevoke = true },
			DeleteItem: portal.Delete, Stop: func() { wire.stopped = true }, Mutations: portal.Changes,
		}
	})
}

// wire loses answers, and stops answering.
type wire struct {
	*simulation.Portal
	loseIssue, loseRevoke, stopped bool
}

func lost(class credential.Class) error {
	return &credential.Fault{Class: class, System: "issuer portal", Op: "call", Silent: true}
}

func (w *wire) EnsureItem(ctx context.Context, order credential.ItemOrder) (string, error) {
	if w.stopped {
		return "", lost(credential.ClassRetryable)
	}
	return w.Portal.EnsureItem(ctx, order)
}

func (w *wire) Describe(ctx context.Context, item string) (credential.ItemStatus, error) {
	if w.stopped {
		return credential.ItemStatus{}, lost(credential.ClassRetryable)
	}
	return w.Portal.Describe(ctx, item)
}

func (w *wire) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error) {
	if w.stopped {
		return credential.Minted{}, lost(credential.ClassRetryable)
	}
	minted, err := w.Portal.Issue(ctx, seat, expires)
	if w.loseIssue {
		w.loseIssue = false
		return credential.Minted{}, lost(credential.ClassUnknown)
	}
	return minted, err
}

func (w *wire) Probe(ctx context.Context, request credential.ProbeRequest) (credential.Proof, error) {
	if w.stopped {
		return credential.Proof{}, lost(credential.ClassRetryable)
	}
	return w.Portal.Probe(ctx, request)
}

func (w *wire) Revoke(ctx context.Context, seat credential.SeatID) error {
	if w.stopped {
		return lost(credential.ClassRetryable)
	}
	err := w.Portal.Revoke(ctx, seat)
	if w.loseRevoke {
		w.loseRevoke = false
		return lost(credential.ClassUnknown)
	}
	return err
}
