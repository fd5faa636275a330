package arcgis_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

func editions(t *testing.T, run func(t *testing.T, edition emulator.Edition)) {
	t.Helper()
	for _, edition := range []emulator.Edition{emulator.Online, emulator.Enterprise} {
		t.Run(string(edition), func(t *testing.T) { run(t, edition) })
	}
}

// restarted is another process: it knows nothing of what the first one did.
func (b *bench) restarted(change ...func(*arcgis.Config)) *arcgis.Portal {
	b.Helper()
	return client(b, b.server.URL+b.emulated.BasePath(), change...)
}

// Whichever call is the last one before a crash, and whether the portal carried
// it out: one item and one folder are left, though search shows neither.
func TestItemIsFoundAgainAfterACrashAtEachCall(t *testing.T) {
	o := order("r-1")
	o.Spec.Folder = "keys of ours"
	for _, call := range []struct {
		name string
		rule emulator.Rule
	}{
		{"login", emulator.Rule{Path: "/generateToken"}},
		{"list of folders", emulator.Rule{Path: "/content/users/" + user, Param: "num=1"}},
		{"new folder", emulator.Rule{Path: "/createFolder"}},
		{"list of items", emulator.Rule{Path: "/content/users/" + user, Param: "num=100"}},
		{"new item", emulator.Rule{Path: "/addItem"}},
		{"registration", emulator.Rule{Path: "/oauth2/registerApp"}},
	} {
		for _, act := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, carried out %t", call.name, act), func(t *testing.T) {
				editions(t, func(t *testing.T, edition emulator.Edition) {
					b := open(t, emulator.Config{Edition: edition, Knobs: emulator.Knobs{SearchLag: time.Hour}})
					rule := call.rule
					rule.Kind, rule.Act, rule.Count = emulator.FaultDrop, act, 1
					b.faults(rule)
					_, err := b.portal.EnsureItem(t.Context(), o)
					changes := call.name == "new folder" || call.name == "new item" || call.name == "registration"
					want := credential.ClassRetryable
					if changes {
						want = credential.ClassUnknown
					}
					if f := fault(t, err, want); !f.Silent {
						t.Error("it was silent")
					}
					if b.emulated.Faults().Rules[0].Fired != 1 {
						t.Fatal("there was no crash")
					}
					item, err := b.restarted().EnsureItem(t.Context(), o)
					must(t, err)
					again, err := b.restarted().EnsureItem(t.Context(), o)
					must(t, err)
					state := b.emulated.Snapshot()
					if len(state) != 1 || item != again || state[0].ID != item || state[0].ClientID == "" || state[0].Folder == "" {
						t.Errorf("got %s and %s of %+v", item, again, state)
					}
					folders := 0
					for _, event := range b.emulated.Events() {
						if event.Kind == "folder-created" {
							folders++
						}
					}
					if folders != 1 {
						t.Errorf("%d folders", folders)
					}
				})
			})
		}
	}
}

// A lost key is never asked for again by the client: exactly one generate
// arrived, and the portal made exactly one key.
func TestLostKeyIsUnknownAndAskedForOnce(t *testing.T) {
	editions(t, func(t *testing.T, edition emulator.Edition) {
		b := open(t, emulator.Config{Edition: edition})
		seat := credential.SeatID{Item: b.item(), Slot: 2}
		b.faults(emulator.Rule{Kind: emulator.FaultDrop, Act: true, Path: "/oauth2/token", Param: "apiToken=2"})
		_, err := b.portal.Issue(t.Context(), seat, in(month))
		if f := fault(t, err, credential.ClassUnknown); !f.Silent {
			t.Error("it was silent")
		}
		slots := b.emulated.Snapshot()[0].Slots
		if n := b.emulated.Calls()["/oauth2/token"]; n != 1 || slots[1].Generations != 1 || slots[0].Generations != 0 {
			t.Errorf("%d generates arrived: %+v", n, slots)
		}
		b.faults()
		minted := b.issue(seat) // somebody who knows what it means decides to
		slots = b.emulated.Snapshot()[0].Slots
		if slots[1].Generations != 2 || !b.emulated.KeyWorks(minted.Key.Reveal(), "") {
			t.Errorf("the second attempt: %+v", slots)
		}
	})
}

func TestPortalSeesTheDateBeforeTheKey(t *testing.T) {
	editions(t, func(t *testing.T, edition emulator.Edition) {
		b := open(t, emulator.Config{Edition: edition})
		seat := credential.SeatID{Item: b.item(), Slot: 1}
		before := len(b.emulated.Events())
		b.issue(seat)
		events := b.emulated.Events()[before:]
		if len(events) != 2 || events[0].Kind != "item-updated" || events[1].Kind != "key-generated" || events[1].Slot != 1 {
			t.Fatalf("the portal saw %+v", events)
		}
		slot := b.emulated.Snapshot()[0].Slots[0]
		if slot.ItemExpires.IsZero() || !slot.KeyExpires.Equal(slot.ItemExpires) {
			t.Errorf("the key expires %s, the item says %s", slot.KeyExpires, slot.ItemExpires)
		}
	})
}

// A whole rotation on a portal whose clock is wrong, or ours is.
func TestRotationAgainstAClockThatIsOff(t *testing.T) {
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		t.Run(off.String(), func(t *testing.T) {
			b := open(t, emulator.Config{Now: func() time.Time { return time.Now().Add(off) }})
			seat := credential.SeatID{Item: b.item(), Slot: 1}
			minted := b.issue(seat)
			proof, err := b.portal.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: seat.Item})
			must(t, err)
			status, err := b.portal.Describe(t.Context(), seat.Item)
			must(t, err)
			for name, clock := range map[string]time.Time{"the proof's": proof.Clock, "the description's": status.Clock} {
				if d := time.Until(clock) - off; d > time.Second || d < -3*time.Second {
					t.Errorf("%s clock is %s beside the portal's", name, d)
				}
			}
			if d := minted.Expires.Sub(proof.Expires); d > 0 || d < -3*time.Second {
				t.Errorf("minted until %s, proven until %s", minted.Expires, proof.Expires)
			}
			if skew, _, ok := b.portal.Skew(); !ok || skew-off > 2*time.Second || skew-off < -2*time.Second {
				t.Errorf("the skew is %s", skew)
			}
			// the past is the portal's, not ours
			b.calls.wire()
			_, err = b.portal.Issue(t.Context(), seat, time.Now().Add(off-time.Minute))
			fault(t, err, credential.ClassPermanent, "past")
			if n := len(b.calls.wire()); n != 0 {
				t.Errorf("%d calls for a key of the past", n)
			}
			must(t, b.portal.Revoke(t.Context(), seat))
			if n := b.logins(); n != 1 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

func TestExpiringIsReadToItsEnd(t *testing.T) {
	b := open(t, emulator.Config{}, func(c *arcgis.Config) { c.Concurrency = 4 })
	want := map[credential.SeatID]bool{}
	for i := range 61 {
		item, err := b.portal.EnsureItem(t.Context(), order(fmt.Sprintf("r-%d", i)))
		must(t, err)
		for slot := 1; slot <= 2; slot++ {
			seat := credential.SeatID{Item: item, Slot: slot}
			b.issue(seat)
			want[seat] = true
		}
	}
	keys, err := b.portal.Expiring(t.Context(), in(2*month))
	must(t, err)
	for _, key := range keys {
		if !want[key.Seat] {
			t.Errorf("%+v is there twice, or should not be", key)
		}
		delete(want, key.Seat)
	}
	if len(want) != 0 {
		t.Errorf("%d of 122 keys are missing", len(want))
	}
	if n := b.emulated.Calls()["/portals/{org}/apiTokens"]; n != 2 {
		t.Errorf("%d pages", n)
	}
}
