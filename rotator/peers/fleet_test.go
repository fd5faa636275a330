package peers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/peers"
)

func name(i int) credential.Name { return credential.Name(fmt.Sprintf("team/app-%d", i)) }

// TestWorkIsSpreadEvenly: each of three daemons owns about a third.
func TestWorkIsSpreadEvenly(t *testing.T) {
	const credentials = 30_000
	fleet := peers.NewFleet("d-a", "d-b", "d-c")
	owned := map[string]int{}
	for i := range credentials {
		owned[fleet.Owner(name(i))]++
	}
	for id, n := range owned {
		if n < credentials/3*95/100 || n > credentials/3*105/100 {
			t.Errorf("%s owns %d of %d", id, n, credentials)
		}
	}
}

// TestAllAgreeAndOnlyTheDeadOnesWorkMoves: daemons that see the same others name
// the same owner, and the end of one moves nothing but its own.
func TestAllAgreeAndOnlyTheDeadOnesWorkMoves(t *testing.T) {
	ids := []string{"d-a", "d-b", "d-c", "d-d"}
	full := peers.NewFleet(ids[0], ids[1:]...)
	without := peers.NewFleet("d-a", "d-b", "d-d")
	for i := range 2000 {
		owner := full.Owner(name(i))
		for _, self := range ids {
			if got := peers.NewFleet(self, ids...).Owner(name(i)); got != owner {
				t.Fatalf("%s: %s names %s as the owner, another one %s", name(i), self, got, owner)
			}
		}
		if after := without.Owner(name(i)); owner != "d-c" && after != owner {
			t.Errorf("%s went from %s to %s, though only d-c died", name(i), owner, after)
		}
	}
}

// TestOneDaemonIsFirst: whatever holder and attempts, exactly one daemon is
// first, and the others follow one by one.
func TestOneDaemonIsFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`d-[0-9a-f]{4}`), 1, 7, rapid.ID[string]).Draw(t, "ids")
		who := name(rapid.IntRange(0, 1000).Draw(t, "credential"))
		holder := rapid.SampledFrom(append([]string{"", "d-dead"}, ids...)).Draw(t, "holder")
		attempts := rapid.IntRange(0, 50).Draw(t, "attempts")
		var places []int
		for _, self := range ids {
			ahead := peers.NewFleet(self, ids...).Ahead(who, holder, attempts)
			places = append(places, ahead)
			if self == holder && ahead != 0 {
				t.Errorf("%s is at it and is to wait for %d others", self, ahead)
			}
		}
		slices.Sort(places)
		for i, place := range places {
			if place != i {
				t.Fatalf("places %v, want 0 to %d", places, len(ids)-1)
			}
		}
	})
}

// TestAFailureMovesTheTurn: a daemon that alone cannot reach the issuer does not
// keep a credential to itself.
func TestAFailureMovesTheTurn(t *testing.T) {
	ids := []string{"d-a", "d-b", "d-c"}
	first := func(attempts int) string {
		for _, self := range ids {
			if peers.NewFleet(self, ids...).Ahead(name(1), "", attempts) == 0 {
				return self
			}
		}
		return ""
	}
	seen := map[string]bool{first(0): true, first(1): true, first(2): true}
	if len(seen) != 3 || first(3) != first(0) {
		t.Errorf("three attempts went to %d daemons, want each in turn", len(seen))
	}
}

// TestSharesAddUpToTheLimit: the parts of all daemons are the limit of the
// installation; with more daemons than that each gets one.
func TestSharesAddUpToTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`d-[0-9a-f]{4}`), 1, 9, rapid.ID[string]).Draw(t, "ids")
		limit := rapid.IntRange(1, 100).Draw(t, "limit")
		sum, rate, least, most := 0, 0.0, limit, 0
		for _, self := range ids {
			fleet := peers.NewFleet(self, ids...)
			share := fleet.Share(limit)
			sum += share
			least, most = min(least, share), max(most, share)
			rate += fleet.Portion(float64(limit))
		}
		if want := max(limit, len(ids)); sum != want || most-least > 1 || least < 1 {
			t.Errorf("%d daemons and a limit of %d: parts from %d to %d add up to %d, want %d", len(ids), limit, least, most, sum, want)
		}
		if diff := rate - float64(limit); diff > 1e-6 || diff < -1e-6 {
			t.Errorf("the rates add up to %v, want %d", rate, limit)
		}
	})
	if got := (peers.Fleet{}).Share(7); got != 7 {
		t.Errorf("a daemon alone gets %d of 7", got)
	}
}

// TestMembersComeAndGo by heartbeats and by the clock that is given.
func TestMembersComeAndGo(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	m := peers.NewMembers("d-me", 3*time.Second)
	hear := func(id string, at time.Duration, leaving bool) string {
		came, went := m.Hear(peers.Heartbeat{ID: id, Leaving: leaving}, start.Add(at))
		return fmt.Sprintf("%v %v", came, went)
	}
	live := func() string { return fmt.Sprint(m.Fleet().IDs()) }
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	want("a first heartbeat", hear("d-a", 0, false), "true false")
	want("a second one", hear("d-a", time.Second, false), "false false")
	want("our own", hear("d-me", time.Second, false), "false false")
	want("another daemon", hear("d-b", 2*time.Second, false), "true false")
	want("live", live(), "[d-a d-b d-me]")
	want("gone after silence", fmt.Sprint(m.Expire(start.Add(4500*time.Millisecond))), "[d-a]")
	want("live", live(), "[d-b d-me]")
	want("one that leaves", hear("d-b", 5*time.Second, true), "false true")
	want("one that left already", hear("d-b", 5*time.Second, true), "false false")
	want("live", live(), "[d-me]")

	want("it is back", hear("d-a", time.Hour, false), "true false")
	want("gone after the clock was set back", fmt.Sprint(m.Expire(start)), "[]")
	want("gone in time all the same", fmt.Sprint(m.Expire(start.Add(4*time.Second))), "[d-a]")
}

// TestStrangersAreBounded: whoever may publish cannot fill the memory.
func TestStrangersAreBounded(t *testing.T) {
	m := peers.NewMembers("d-me", time.Second)
	for i := range 10_000 {
		m.Hear(peers.Heartbeat{ID: fmt.Sprintf("d-%d", i)}, time.Time{})
	}
	if n := m.Fleet().Size(); n > 257 {
		t.Errorf("%d daemons are remembered", n)
	}
}
