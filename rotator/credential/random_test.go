package credential_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TestNoReachableStateBreaksAnInvariant lets daemons, operators and late
// results do what they like in any order, and checks after each event.
func TestNoReachableStateBreaksAnInvariant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife().must(credential.Register{Spec: spec(), Actor: "ann"})
		for range rapid.IntRange(1, 80).Draw(t, "actions") {
			l.now = l.now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, time.Hour, 5 * day, 40 * day}).Draw(t, "later"))
			l.skew = rapid.SampledFrom([]time.Duration{0, 0, time.Minute, -time.Minute, time.Hour}).Draw(t, "skew")
			if rapid.IntRange(0, 9).Draw(t, "another daemon") == 0 {
				l.work = credential.Work{}
			}
			command := wish(t, l)
			before, view := l.named(), l.view()
			event, err := credential.Decide(before, command, view)
			if err != nil {
				continue
			}
			l.apply(event)
			check(t, before, event, l.state, view)
		}
		replayed := credential.State{}
		for _, event := range l.events {
			replayed = credential.Evolve(replayed, event)
		}
		replayed.Name = name
		if a, b := encode(t, replayed), encode(t, l.state); a != b {
			t.Fatalf("the replay differs:\n%s\n%s", a, b)
		}
	})
}

// wish is what somebody wants next: what the core says, its success or its
// failure, an operator's wish, or a result that comes late or at random.
func wish(t *rapid.T, l *life) credential.Command {
	if rapid.IntRange(0, 3).Draw(t, "who") > 0 {
		return follow(t, l)
	}
	seat := credential.SeatID{Item: rapid.SampledFrom([]string{"i1", "i2", "i3"}).Draw(t, "item"), Slot: rapid.IntRange(1, 2).Draw(t, "slot")}
	mint := uint64(rapid.IntRange(0, 6).Draw(t, "mint"))
	fingerprint := credential.Fingerprint(fmt.Sprintf("fp-%d", mint))
	changed := spec()
	if rapid.Bool().Draw(t, "settings") {
		changed = other()
	}
	return rapid.SampledFrom([]credential.Command{
		credential.Register{Spec: changed}, credential.RequestRotation{ID: fmt.Sprint(mint), Now: mint%2 == 0},
		credential.PutHold{Actor: "ann", Reason: "r", Until: l.now.Add(time.Duration(mint) * day)}, credential.Release{},
		credential.PutHold{Actor: "ann", Reason: "freeze", Freeze: true}, credential.Release{Freeze: true}, credential.Retry{Actor: "ann"},
		credential.Compromise{
			Actor: "ann", Reason: "r", Immediately: mint%2 == 0, OverrideHold: mint%3 == 0,
			Key: rapid.SampledFrom([]string{credential.KeyPrimary, credential.KeySecondary, credential.KeyAll, string(fingerprint)}).Draw(t, "key"),
		},
		credential.Begin{Reason: credential.ReasonExpiring}, credential.Begin{Reason: credential.ReasonLeaked}, credential.ClaimMint{}, credential.ItemMade{Item: seat.Item},
		credential.KeyIssued{Seat: seat, Mint: mint, Fingerprint: fingerprint, Expires: l.now.Add(90 * day), Version: 5},
		credential.KeyPromoted{Fingerprint: fingerprint, Version: 6}, credential.ClaimRevoke{Seat: seat},
		credential.KeyInvalidated{Seat: seat, How: credential.HowRevoked, Version: 7}, credential.KeyInvalidated{Seat: seat, How: credential.HowExpired, Version: 7},
		credential.GiveUp{}, credential.Tell{Level: credential.LevelPage},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultChanged, Version: mint}},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingUnknownKey, Seat: seat}},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyRefused, Seat: seat}},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyReplaced, Seat: seat}},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingItemMissing, Seat: seat}},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingSettings, Seat: seat}, Healed: mint == 6},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingItemInUse, Seat: seat}, Healed: mint > 2},
		credential.FoundStray{MarkedItem: credential.MarkedItem{Item: seat.Item, Rotation: fmt.Sprintf("id-%d", mint), Created: l.now.Add(-time.Hour)}, Grace: time.Minute},
		credential.ClaimItem{Op: credential.OpDeleteItem, Item: seat.Item}, credential.ItemGone{Item: seat.Item},
		credential.ClaimItem{Op: credential.OpEditItem, Item: seat.Item}, credential.ItemAmended{Item: seat.Item}, credential.KeysGone{},
		credential.Remove{Actor: "ann", Reason: "r", KeepItem: mint%2 == 0}, credential.Register{Spec: titled()},
		credential.Adopt{Spec: changed, Actor: "ann", Seat: seat, Fingerprint: fingerprint, Expires: l.now.Add(80 * day), Version: 3, Settings: changed.Item.SettingsHash()},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingExpiry, Seat: seat}, Expires: l.now.Add(time.Duration(mint) * day)},
		credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultOutage, Since: l.now.Add(-time.Hour)}, Outage: time.Hour},
	}).Draw(t, "command")
}

// follow does what the core says.
func follow(t *rapid.T, l *life) credential.Command {
	step := l.next()
	if rapid.IntRange(0, 5).Draw(t, "fails") == 0 && step.Kind != credential.StepWait {
		return credential.StepFailed{
			Step: step.Kind, Class: rapid.SampledFrom([]credential.Class{credential.ClassRetryable, credential.ClassUnknown}).Draw(t, "class"),
			Answered: rapid.Bool().Draw(t, "answered"), Wait: time.Minute,
		}
	}
	if step.Kind == credential.StepWait {
		return credential.Release{}
	}
	return success(l, step)
}

func check(t *rapid.T, before credential.State, event credential.Event, after credential.State, view credential.View) {
	roles, seats := map[credential.Role]int{}, map[credential.SeatID]int{}
	for _, seat := range after.Seats {
		roles[seat.Role]++
		seats[seat.SeatID]++
		if seats[seat.SeatID] > 1 {
			t.Fatalf("seat %s is listed twice", seat.SeatID)
		}
		if seat.Role == credential.RolePrimary && (seat.Proven.IsZero() || seat.Fingerprint == "") {
			t.Fatalf("the primary %s was never proven", seat.SeatID)
		}
	}
	if roles[credential.RolePrimary] > 1 || roles[credential.RoleCandidate] > 1 {
		t.Fatalf("roles %v", roles)
	}
	if old, had := before.Primary(); had && before.Removing == nil && roles[credential.RolePrimary] == 0 && (old.Leak == nil || !old.Leak.Immediately || after.Killed != old.SeatID) {
		t.Fatalf("%s left no primary", event.Fact.Type())
	}
	if now, ok := after.Primary(); ok && after.Killed != (credential.SeatID{}) {
		t.Fatalf("%s is the primary, and one is called killed", now.SeatID)
	}
	if f, ok := event.Fact.(credential.Promoted); ok {
		if seat, _ := before.Seat(f.Seat); seat.Leak != nil || seat.Claimed {
			t.Fatalf("%s was promoted, with the leak %v and claimed %v", f.Seat, seat.Leak, seat.Claimed)
		}
	}
	if after.Mint < before.Mint || after.Revision != before.Revision+1 || (after.Generation < before.Generation && after.Status == credential.StatusRegistered) {
		t.Fatalf("a counter fell or jumped")
	}
	if after.Rotation == nil && before.Rotation != nil && roles[credential.RolePrimary] == 1 && len(after.Seats) != 1 {
		_, abandoned := event.Fact.(credential.Abandoned)
		if _, removing := event.Fact.(credential.Removing); !abandoned && !removing {
			t.Fatalf("the rotation ended with %d seats", len(after.Seats))
		}
	}
	for _, old := range after.Old {
		if primary, ok := after.Primary(); ok && old.Item == primary.Item && after.Removing == nil {
			t.Fatalf("%s has the primary's item deleted", event.Fact.Type())
		}
	}
	for _, claim := range after.Claims {
		if claim.ID == view.ID {
			checkClaim(t, before, claim, event, view)
		}
	}
	var decoded credential.State
	if err := json.Unmarshal([]byte(encode(t, after)), &decoded); err != nil || encode(t, decoded) != encode(t, after) {
		t.Fatalf("the state does not survive its encoding: %v", err)
	}
	fact, err := credential.DecodeFact(event.Fact.Type(), []byte(encode(t, event.Fact)))
	if err != nil || encode(t, fact) != encode(t, event.Fact) {
		t.Fatalf("the fact does not survive its encoding: %v", err)
	}
}

// checkClaim: I2, I7, and that no two claims that meet are at work.
func checkClaim(t *rapid.T, before credential.State, claim credential.Claim, event credential.Event, view credential.View) {
	if seat, ok := before.Seat(claim.Seat); ok {
		leak := credential.Leak{}
		if seat.Leak != nil && claim.Op == credential.OpRevoke {
			leak = *seat.Leak
		}
		if seat.Role == credential.RolePrimary && !leak.Immediately && before.Removing == nil {
			t.Fatalf("%s claimed on the primary", claim.Op)
		}
		if seat.Fingerprint != "" && before.Held(view.Now) && !leak.OverrideHold {
			t.Fatalf("%s claimed on a named key while held", claim.Op)
		}
		if seat.Leak != nil && claim.Op == credential.OpGenerate {
			t.Fatalf("a key is generated over the leaked one on %s", claim.Seat)
		}
	}
	if claim.Op == credential.OpDeleteItem {
		for _, seat := range before.Seats {
			if seat.Item == claim.Seat.Item {
				t.Fatalf("the item of %s is to be deleted", seat.SeatID)
			}
		}
		if before.Held(view.Now) {
			t.Fatalf("an item is to be deleted while held")
		}
	}
	closed := ""
	if f, ok := event.Fact.(credential.StepClaimed); ok {
		closed = f.Closed
	}
	for _, earlier := range before.Claims {
		seat, _ := before.Seat(claim.Seat)
		if seat.Leak != nil && seat.Leak.Immediately && claim.Op == credential.OpRevoke && earlier.Op == credential.OpRevoke {
			continue // both kill the same key
		}
		if earlier.ID != closed && overlap(earlier.Seat, claim.Seat) && view.Seen[earlier.ID] < earlier.Over() {
			t.Fatalf("%s claimed on %s while %s may be at work there", claim.Op, claim.Seat, earlier.Op)
		}
	}
}

// overlap reports whether two claims cover a common seat; slot 0 covers an item.
func overlap(a, b credential.SeatID) bool {
	return a.Item == b.Item && (a.Slot == b.Slot || a.Slot == 0 || b.Slot == 0)
}

func encode(t *rapid.T, value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWhatTheCoreSaysIsNotRefused: a step that Next asks for is never stale to
// Decide in the same view, or a pass would turn in circles.
func TestWhatTheCoreSaysIsNotRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife().must(credential.Register{Spec: spec(), Actor: "ann"})
		for range rapid.IntRange(1, 60).Draw(t, "actions") {
			l.now = l.now.Add(rapid.SampledFrom([]time.Duration{0, time.Minute, 5 * day, 40 * day}).Draw(t, "later"))
			if step := l.next(); step.Kind != credential.StepWait {
				command := follow(t, l)
				if err := l.do(command); err != nil && !errors.Is(err, credential.ErrNothing) {
					t.Fatalf("%s (%s) led to %T, refused: %v", step.Kind, step.Reason, command, err)
				}
				continue
			}
			_ = l.do(wish(t, l))
		}
	})
}
