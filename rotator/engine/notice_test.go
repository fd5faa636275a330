package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// afterIssue lets something happen between the portal's answer and ours.
type afterIssue struct {
	engine.Issuer
	then func()
}

func (a *afterIssue) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error) {
	minted, err := a.Issuer.Issue(ctx, seat, expires)
	a.then()
	return minted, err
}

// Another daemon gives the notice of the primary's expiry while a key is being
// made: the maker must go on with its key.
func TestANoticeOfAnotherDaemonDoesNotLoseTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = credential.Name("maps/noticed")
		b := newBubble(t, name, time.Hour, 40*time.Minute, 0)
		_, err := b.engine("first", b.portal).Pass(t.Context(), name)
		must(t, err)
		primary, _ := b.record.State(name).Primary()
		warn := b.policy.WarnAt(primary.Expires)

		sleepUntil(t.Context(), warn.Add(-time.Second))
		maker := b.engine("maker", &afterIssue{Issuer: b.portal, then: func() {
			sleepUntil(t.Context(), warn)
			_, err := b.engine("other", b.portal).Command(t.Context(), name, credential.Tell{Level: credential.LevelWarn})
			must(t, err)
		}})
		result, err := maker.Pass(t.Context(), name)
		must(t, err)
		if result.State.Generation != 2 || result.State.Mint != 2 {
			t.Errorf("generation %d, mint %d, next %s (%s): the key that was made is lost, and the claim has to run out",
				result.State.Generation, result.State.Mint, result.Next.Reason, result.Next.Why)
		}
	})
}

// A daemon plans anew when it sees another daemon's event, and at each sweep.
// Work that is parked while a key settles keeps its wake.
func TestPlanKnowsParkedWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = credential.Name("maps/parked")
		b := newBubble(t, name, time.Hour, 40*time.Minute, time.Minute)
		e := b.engine("maker", b.portal)
		parked, err := e.Pass(t.Context(), name)
		must(t, err)
		if parked.Next.Reason != credential.ReasonInFlight {
			t.Fatalf("the pass ended with %s (%s), want a key that settles", parked.Next.Reason, parked.Next.Why)
		}
		if plan := e.Plan(name, parked.State); !plan.At.Equal(parked.Next.At) {
			t.Errorf("parked until %v, and planned for %v (%s)", parked.Next.At, plan.At, plan.Why)
		}
		// another daemon has nothing in hand: it waits for the claim
		if plan := b.engine("other", b.portal).Plan(name, parked.State); plan.Reason != credential.ReasonClaimOpen {
			t.Errorf("another daemon plans %s (%s)", plan.Reason, plan.Why)
		}
	})
}
