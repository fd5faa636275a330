package arcgis_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// left demands that nothing is left of the items, not in the recycle bin either.
func (b *bench) left(keys ...credential.Minted) {
	b.Helper()
	if state := b.emulated.Snapshot(); len(state) != 0 {
		b.Errorf("left: %+v", state)
	}
	for _, key := range keys {
		if b.emulated.KeyWorks(key.Key.Reveal(), "") {
			b.Error("a key still works")
		}
	}
}

// Whichever call is the last one before a crash, and whether the portal carried it
// out: doing it again ends well. The keys are dead before the app is.
func TestRemoveIsContinuedAfterACrashAtEachCall(t *testing.T) {
	for name, rule := range map[string]emulator.Rule{
		"read item":         {Path: "/content/items/"},
		"read registration": {Path: "/registeredAppInfo"},
		"revoke 1":          {Path: "/revokeToken", Param: "apiToken=1"},
		"revoke 2":          {Path: "/revokeToken", Param: "apiToken=2"},
		"unregister":        {Path: "/unregister"},
		"delete":            {Path: "/delete"},
		"read back":         {Path: "/content/items/", After: 2},
	} {
		for _, act := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, carried out %t", name, act), func(t *testing.T) {
				editions(t, func(t *testing.T, edition emulator.Edition) {
					b := open(t, emulator.Config{Edition: edition})
					item := b.item()
					one, two := b.issue(credential.SeatID{Item: item, Slot: 1}), b.issue(credential.SeatID{Item: item, Slot: 2})
					want := credential.ClassUnknown
					if strings.HasPrefix(name, "read") {
						want = credential.ClassRetryable
					}
					rule.Kind, rule.Act, rule.Count = emulator.FaultDrop, act, 1
					b.faults(rule)
					fault(t, b.portal.Remove(t.Context(), item, true), want)
					if b.emulated.Faults().Rules[0].Fired != 1 {
						t.Fatal("there was no crash")
					}
					for range 2 {
						must(t, b.restarted().Remove(t.Context(), item, true))
					}
					b.left(one, two)
					var kinds []string
					for _, event := range b.emulated.Events() {
						if strings.Contains("key-revoked app-unregistered item-deleted item-recycled", event.Kind) {
							kinds = append(kinds, event.Kind)
						}
					}
					if got := strings.Join(kinds, " "); got != "key-revoked key-revoked app-unregistered item-deleted" {
						t.Errorf("the portal saw %s", got)
					}
				})
			})
		}
	}
}

func TestRemoveEndsWellFromEachState(t *testing.T) {
	for name, prepare := range map[string]func(b *bench, item string){
		"not registered": func(b *bench, item string) {
			b.byHand("/oauth2/apps/"+b.clientID(item)+"/unregister", url.Values{})
		},
		"in the recycle bin": func(b *bench, item string) {
			b.byHand("/content/users/"+user+"/items/"+item+"/delete", url.Values{})
		},
		"not registered, in the recycle bin": func(b *bench, item string) {
			b.byHand("/oauth2/apps/"+b.clientID(item)+"/unregister", url.Values{})
			b.byHand("/content/users/"+user+"/items/"+item+"/delete", url.Values{})
		},
		"deleted": func(b *bench, item string) { must(b, b.emulated.DeleteByHand(item)) },
	} {
		for _, revoke := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, revoke %t", name, revoke), func(t *testing.T) {
				editions(t, func(t *testing.T, edition emulator.Edition) {
					b := open(t, emulator.Config{Edition: edition, Knobs: emulator.Knobs{RecycledKeys: emulator.RecycledSuspended}})
					item := b.item()
					key := b.issue(credential.SeatID{Item: item, Slot: 1})
					prepare(b, item)
					for range 2 {
						must(t, b.portal.Remove(t.Context(), item, revoke))
					}
					b.left(key)
				})
			})
		}
	}
}

func TestRemoveOfWhatIsDeletedInBetween(t *testing.T) {
	for _, at := range []string{"/revokeToken", "/unregister", "/delete"} {
		for name, act := range map[string]func(b *bench, item string){
			"deleted":      func(b *bench, item string) { _ = b.emulated.DeleteByHand(item) },
			"unregistered": func(b *bench, item string) { b.byHand("/oauth2/apps/"+b.clientID(item)+"/unregister", url.Values{}) },
		} {
			t.Run(at+" "+name, func(t *testing.T) {
				b := open(t, emulator.Config{})
				item := b.item()
				key := b.issue(credential.SeatID{Item: item, Slot: 1})
				p := client(t, b.through(func(r *http.Request) {
					if strings.HasSuffix(r.URL.Path, at) {
						act(b, item)
					}
				}))
				must(t, p.Remove(t.Context(), item, true))
				b.left(key)
			})
		}
	}
}

func TestRemoveOfAProtectedItemChangesNothingAndSaysWhatToDo(t *testing.T) {
	editions(t, func(t *testing.T, edition emulator.Edition) {
		b := open(t, emulator.Config{Edition: edition})
		seat := credential.SeatID{Item: b.item(), Slot: 1}
		key := b.issue(seat)
		b.byHand("/content/users/"+user+"/items/"+seat.Item+"/protect", url.Values{})
		before := len(b.emulated.Events())
		fault(t, b.portal.Remove(t.Context(), seat.Item, true), credential.ClassPermanent, seat.Item, "protected against deletion", "delete protection")
		if len(b.emulated.Events()) != before || !b.emulated.KeyWorks(key.Key.Reveal(), "") {
			t.Error("something was changed")
		}
		b.byHand("/content/users/"+user+"/items/"+seat.Item+"/unprotect", url.Values{})
		// and while it is being removed
		p := client(t, b.through(func(r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/delete") {
				b.byHand("/content/users/"+user+"/items/"+seat.Item+"/protect", url.Values{})
			}
		}))
		fault(t, p.Remove(t.Context(), seat.Item, true), credential.ClassPermanent, "protected against deletion", "delete protection")
		b.byHand("/content/users/"+user+"/items/"+seat.Item+"/unprotect", url.Values{})
		must(t, b.portal.Remove(t.Context(), seat.Item, false))
		b.left(key)
	})
}

// Without leave to revoke, the portal's own clock says whether a key is over.
func TestRemoveWithoutRevokeWaitsForTheExpiry(t *testing.T) {
	theirs := &hand{now: time.Now()}
	b := open(t, emulator.Config{Now: theirs.Now})
	item := b.item()
	one, two := b.issue(credential.SeatID{Item: item, Slot: 1}), b.issue(credential.SeatID{Item: item, Slot: 2})
	fault(t, b.portal.Remove(t.Context(), item, false), credential.ClassPermanent, "slot 1", "revoke it first")
	must(t, b.portal.Revoke(t.Context(), credential.SeatID{Item: item, Slot: 1}))
	fault(t, b.portal.Remove(t.Context(), item, false), credential.ClassPermanent, "slot 2")
	theirs.move(month - time.Hour)
	fault(t, b.portal.Remove(t.Context(), item, false), credential.ClassPermanent, "slot 2")
	theirs.move(2 * time.Hour) // still active, and over
	must(t, b.portal.Remove(t.Context(), item, false))
	b.left(one, two)
}

// The portal's "success" to a revoke is not enough.
func TestRemoveWaitsUntilBothSlotsReadInactive(t *testing.T) {
	theirs := &hand{now: time.Now()}
	b := open(t, emulator.Config{Now: theirs.Now})
	item := b.item()
	one, two := b.issue(credential.SeatID{Item: item, Slot: 1}), b.issue(credential.SeatID{Item: item, Slot: 2})
	must(t, b.emulated.SetKnobs(emulator.Knobs{ActiveLag: time.Minute}))
	theirs.move(2 * time.Minute)
	fault(t, b.portal.Remove(t.Context(), item, true), credential.ClassRetryable, "still active")
	theirs.move(2 * time.Minute)
	fault(t, b.portal.Remove(t.Context(), item, true), credential.ClassRetryable, "still active") // the other
	theirs.move(2 * time.Minute)
	must(t, b.portal.Remove(t.Context(), item, true))
	b.left(one, two)
}

func TestRemoveUnderAThrottle(t *testing.T) {
	for _, path := range []string{"/content/items/", "/revokeToken", "/unregister", "/delete"} {
		for _, status := range []int{http.StatusForbidden, http.StatusTooManyRequests} {
			b := open(t, emulator.Config{})
			item := b.item()
			key := b.issue(credential.SeatID{Item: item, Slot: 2})
			b.faults(emulator.Rule{Kind: emulator.FaultThrottle, Path: path, Status: status, Count: 1})
			if f := fault(t, b.portal.Remove(t.Context(), item, true), credential.ClassRetryable, "throttles"); f.RetryAfter == 0 {
				t.Errorf("%s: it is not said when", path)
			}
			must(t, b.portal.Remove(t.Context(), item, true))
			b.left(key)
		}
	}
}

// An app that the manager may not see may have keys that live.
func TestRemoveDoesNotTakeAHiddenRegistrationForNone(t *testing.T) {
	for name, registration := range map[string]string{
		"absent":         absentItem,
		"not registered": `{"error":{"code":400,"message":"App is not registered."}}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case strings.HasSuffix(r.URL.Path, "/delete"):
					t.Error("it was deleted")
				case strings.HasSuffix(r.URL.Path, "/registeredAppInfo"):
					_, _ = w.Write([]byte(registration))
					return true
				case strings.HasSuffix(r.URL.Path, "/content/items/i"):
					_, _ = w.Write([]byte(`{"id":"i","owner":"` + user + `","typeKeywords":["Registered App","APIToken"]}`))
					return true
				}
				return false
			})
			fault(t, p.Remove(t.Context(), "i", true), credential.ClassPermanent)
		})
	}
}

// A portal that says success and does not delete is asked again.
func TestRemoveReadsBackThatTheItemIsGone(t *testing.T) {
	p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/delete"), strings.HasSuffix(r.URL.Path, "/unregister"):
			_, _ = w.Write([]byte(`{"success":true,"itemId":"i"}`))
		case strings.HasSuffix(r.URL.Path, "/registeredAppInfo"):
			_, _ = w.Write([]byte(`{"itemId":"i","client_id":"c","client_secret":"s"}`))
		default:
			return false
		}
		return true
	})
	fault(t, p.Remove(t.Context(), "i", false), credential.ClassRetryable, "still there")
}

func TestRemoveOfSomebodyElsesItem(t *testing.T) {
	const admin = "chief"
	b := open(t, emulator.Config{Users: map[string]string{user: password, admin: "another password"}, Admins: []string{admin}})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	key := b.issue(seat)
	chief := b.restarted(func(c *arcgis.Config) { c.Username, c.Password = admin, secret("another password") })
	must(t, chief.Remove(t.Context(), seat.Item, true))
	b.left(key)
}

func TestRemoveSaysWhyARevokeWasRefused(t *testing.T) {
	b := open(t, emulator.Config{})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	key := b.issue(seat)
	b.faults(emulator.Rule{Kind: emulator.FaultError, Path: "/revokeToken", Code: 400, Message: "Not today."})
	for range 2 { // what was remembered is read anew
		err := b.portal.Remove(t.Context(), seat.Item, true)
		if err == nil || !strings.Contains(err.Error(), "Not today.") {
			t.Errorf("got %v", err)
		}
	}
	if !b.emulated.KeyWorks(key.Key.Reveal(), "") {
		t.Error("the key is dead")
	}
}

func TestRemoveWhileSomebodyGenerates(t *testing.T) {
	var reads atomic.Int32
	p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/unregister") || strings.HasSuffix(r.URL.Path, "/delete") {
			t.Errorf("%s was called", r.URL.Path)
		}
		if strings.HasSuffix(r.URL.Path, "/registeredAppInfo") && reads.Add(1) == 2 { // the read-back of the revoke
			_, _ = w.Write([]byte(strings.Replace(aRegistration, "true", "false", 1)))
			return true
		}
		return false
	})
	fault(t, p.Remove(t.Context(), "i", true), credential.ClassRetryable, "slot 1 is active again")
}
