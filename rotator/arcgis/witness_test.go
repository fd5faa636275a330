package arcgis_test

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

const absentItem = `{"error":{"code":400,"messageCode":"CONT_0001","message":"Item does not exist or is inaccessible.","details":[]}}`

// An item that was handed to another owner "does not exist" under the old one.
func TestItemThatChangedHandsIsNotTakenForADeletedOne(t *testing.T) {
	var owner atomic.Value
	owner.Store(user)
	var revoked atomic.Bool
	p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
		now := owner.Load().(string)
		switch {
		case strings.Contains(r.URL.Path, "/content/users/") && !strings.Contains(r.URL.Path, "/users/"+now+"/"):
			_, _ = w.Write([]byte(absentItem))
		case strings.HasSuffix(r.URL.Path, "/content/items/i"):
			_, _ = w.Write([]byte(`{"id":"i","owner":"` + now + `"}`))
		case strings.HasSuffix(r.URL.Path, "/revokeToken"):
			revoked.Store(true)
			return false
		case revoked.Load() && strings.HasSuffix(r.URL.Path, "/registeredAppInfo"):
			_, _ = w.Write([]byte(strings.Replace(aRegistration, "true", "false", 1)))
		default:
			return false
		}
		return true
	})
	_, err := p.Issue(t.Context(), theSeat, in(month))
	must(t, err)
	owner.Store("successor")
	_, err = p.Issue(t.Context(), theSeat, in(month))
	fault(t, err, credential.ClassRetryable, "another owner")
	_, err = p.Issue(t.Context(), theSeat, in(month))
	must(t, err)
	owner.Store("third")
	must(t, p.Revoke(t.Context(), theSeat)) // read back under the new owner
}

func TestDeletedItemIsNotFoundByEveryCall(t *testing.T) {
	b := open(t, emulator.Config{})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	b.issue(seat)
	other := credential.SeatID{Item: func() string {
		item, err := b.portal.EnsureItem(t.Context(), order("r-2"))
		must(t, err)
		return item
	}(), Slot: 1}
	must(t, b.emulated.DeleteByHand(seat.Item))
	must(t, b.emulated.DeleteByHand(other.Item))
	_, err := b.portal.Issue(t.Context(), seat, in(month))
	fault(t, err, credential.ClassNotFound)
	fault(t, b.portal.Revoke(t.Context(), other), credential.ClassNotFound)
	_, err = b.portal.Describe(t.Context(), seat.Item)
	fault(t, err, credential.ClassNotFound)
}

// If the item is only hidden, a call that changes does not say that it is gone.
func TestHiddenItemIsNotTakenForADeletedOne(t *testing.T) {
	var hidden atomic.Bool
	p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case !hidden.Load():
			return false
		case strings.HasSuffix(r.URL.Path, "/registeredAppInfo"):
			_, _ = w.Write([]byte(`{"error":{"code":403,"message":"You do not have permissions to access this resource or perform this operation."}}`))
		default:
			_, _ = w.Write([]byte(absentItem))
		}
		return true
	})
	_, err := p.Describe(t.Context(), "i")
	must(t, err)
	hidden.Store(true)
	_, err = p.Issue(t.Context(), theSeat, in(month))
	fault(t, err, credential.ClassDenied)
	fault(t, p.Revoke(t.Context(), theSeat), credential.ClassDenied)
}

// through puts something between client and portal.
func (b *bench) through(change func(*http.Request)) string {
	b.Helper()
	handler := confide(b.emulated.Handler())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		must(b, r.ParseForm())
		change(r)
		handler.ServeHTTP(w, r)
	}))
	b.Cleanup(server.Close)
	return server.URL + b.emulated.BasePath()
}

func TestTokenIsBoundToTheReferer(t *testing.T) {
	editions(t, func(t *testing.T, edition emulator.Edition) {
		b := open(t, emulator.Config{Edition: edition})
		item := b.item()
		before := b.logins()
		p := client(t, b.through(func(r *http.Request) { r.Header.Del("Referer") }))
		for range 10 {
			_, err := p.Describe(t.Context(), item)
			fault(t, err, credential.ClassDenied, "Invalid token", "Referer")
		}
		if n := b.logins() - before; n > 2 {
			t.Errorf("%d logins", n)
		}
	})
}

// A token that is lost on the way gets an answer, and an anonymous one: no proof.
func TestTokenThatIsLostOnTheWayIsNoProof(t *testing.T) {
	b := open(t, emulator.Config{})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	minted := b.issue(seat)
	p := client(t, b.through(func(r *http.Request) {
		r.Form.Del("token")
		r.PostForm.Del("token")
	}))
	fault(t, p.Check(t.Context()), credential.ClassDenied, "stranger")
	_, err := p.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: seat.Item})
	fault(t, err, credential.ClassDenied, "stranger")
	_, err = p.Describe(t.Context(), seat.Item)
	fault(t, err, credential.ClassDenied, "Token Required")
}

func TestExpiredAndReplacedKeysAreDenied(t *testing.T) {
	theirs := &hand{now: time.Now()}
	b := open(t, emulator.Config{Now: theirs.Now})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	probe := func(key credential.Secret) error {
		_, err := b.portal.Probe(t.Context(), credential.ProbeRequest{Key: key, Item: seat.Item})
		return err
	}
	first := b.issue(seat).Key
	must(t, probe(first))
	second := b.issue(seat).Key
	fault(t, probe(first), credential.ClassDenied, "expired, revoked")
	must(t, probe(second))
	theirs.move(month + time.Hour)
	fault(t, probe(second), credential.ClassDenied, "expired, revoked")
}

func TestKeyWithReferrersIsAcceptedWhereNobodyCompares(t *testing.T) {
	b := open(t, emulator.Config{Knobs: emulator.Knobs{ReferrerMatch: emulator.ReferrerIgnore}})
	o := order("r-1")
	o.Spec.Referrers = []string{"https://*.example.com"}
	item, err := b.portal.EnsureItem(t.Context(), o)
	must(t, err)
	minted := b.issue(credential.SeatID{Item: item, Slot: 1})
	_, err = b.portal.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: item, Referrers: o.Spec.Referrers})
	must(t, err)
}

// An API key that never worked is not tried again, but another one at once.
func TestWrongAPIKeyIsReplacedAtOnce(t *testing.T) {
	b := open(t, emulator.Config{})
	o := order("manager")
	o.Spec.Privileges = []string{"portal:admin:viewItems"}
	item, err := b.portal.EnsureItem(t.Context(), o)
	must(t, err)
	good := b.issue(credential.SeatID{Item: item, Slot: 1}).Key
	key := credential.NewSecret("a-key-that-never-worked")
	p := b.restarted(func(c *arcgis.Config) {
		c.Password, c.APIKey = nil, func() (credential.Secret, error) { return key, nil }
	})
	for range 3 {
		b.calls.wire()
		fault(t, p.Check(t.Context()), credential.ClassDenied, "does not accept the API key")
		if n := len(b.calls.wire()); n != 1 {
			t.Errorf("%d calls with one key", n)
		}
	}
	_, err = p.ManagerExpiry(t.Context())
	fault(t, err, credential.ClassDenied)
	key = good
	must(t, p.Check(t.Context()))
}

// Whatever word the portal has for a login that fails: it says nothing about an
// item, and is not repeated.
func TestRefusedLoginIsDeniedInEachShape(t *testing.T) {
	for name, body := range map[string]string{
		"the usual":      `{"error":{"code":400,"message":"Unable to generate token.","details":["Invalid username or password."]}}`,
		"no such user":   `{"error":{"code":400,"messageCode":"COM_0018","message":"User does not exist or is inaccessible.","details":[]}}`,
		"as of an item":  absentItem,
		"without a code": `{"error":{"message":"Unable to generate token.","details":[]}}`,
		"no success":     `{"success":false}`,
		"498":            `{"error":{"code":498,"message":"Invalid token."}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var logins atomic.Int32
			server := httptest.NewServer(confide(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				logins.Add(1)
				_, _ = w.Write([]byte(body))
			})))
			t.Cleanup(server.Close)
			p := client(t, server.URL+"/sharing/rest")
			for range 5 {
				_, err := p.Describe(t.Context(), "i")
				fault(t, err, credential.ClassDenied, "log in as keeper", "password")
			}
			if n := logins.Load(); n != 1 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

func TestForbiddenWithRetryAfterIsAThrottle(t *testing.T) {
	b := open(t, emulator.Config{})
	b.faults(emulator.Rule{Kind: emulator.FaultError, Path: "/addItem", Status: 403, Code: 403, RetryAfter: 9 * time.Second,
		Message: "You do not have permissions to access this resource or perform this operation."})
	_, err := b.portal.EnsureItem(t.Context(), order("r-1"))
	if f := fault(t, err, credential.ClassRetryable, "throttles"); f.RetryAfter != 9*time.Second {
		t.Errorf("retry after %s", f.RetryAfter)
	}
}

// A portal that echoes what it was sent, in whichever spelling, is not quoted.
func TestEchoOfAPasswordIsNotQuoted(t *testing.T) {
	const odd = `two  spaces & <an> "odd" päss/word+`
	for _, echo := range []string{odd, strings.Join(strings.Fields(odd), " "), html.EscapeString(odd), url.QueryEscape(odd), url.PathEscape(odd)} {
		message, err := json.Marshal("Invalid password: " + echo)
		must(t, err)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"error":{"code":400,"message":` + string(message) + `}}`))
		}))
		t.Cleanup(server.Close)
		p := client(t, server.URL+"/sharing/rest", func(c *arcgis.Config) { c.Password = secret(odd) })
		f := fault(t, p.Check(t.Context()), credential.ClassDenied, "[redacted]")
		if containsAny(f.Error(), "spaces", "odd", "word%2B") {
			t.Error(f)
		}
	}
}

func TestExpiringSkipsWhatIsNoKey(t *testing.T) {
	p := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"items":[{"itemId":"i","apiToken":0},{"itemId":"","apiToken":1},{"itemId":"i","apiToken":2,"expirationDate":1779110552000},{"itemId":"i","apiToken":3}],"nextStart":-1}`))
	})
	keys, err := p.Expiring(t.Context(), in(month))
	must(t, err)
	if len(keys) != 1 || keys[0].Seat != (credential.SeatID{Item: "i", Slot: 2}) {
		t.Errorf("got %+v", keys)
	}
}
