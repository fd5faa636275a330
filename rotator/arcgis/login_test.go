package arcgis_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// hand is a clock that stands still until it is moved.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (b *bench) logins() int { return b.emulated.Calls()["/generateToken"] }

func TestDeadTokenIsRenewedOnce(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	for n := 2; n < 4; n++ {
		must(t, b.emulated.RevokeSessions())
		_, err := b.portal.Describe(t.Context(), item)
		must(t, err)
		if b.logins() != n {
			t.Errorf("%d logins, want %d", b.logins(), n)
		}
	}
}

func TestManyRejectedCallsCauseOneLogin(t *testing.T) {
	b := open(t, emulator.Config{})
	item := b.item()
	must(t, b.emulated.RevokeSessions())
	must(t, b.emulated.SetFaults(emulator.Faults{Latency: 20 * time.Millisecond}))
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := b.portal.Describe(t.Context(), item); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := b.logins(); n != 2 {
		t.Errorf("%d logins", n)
	}
}

func TestTokenThatNeverWorksIsNotRenewedWithoutEnd(t *testing.T) {
	for _, code := range []int{498, 499} {
		b := open(t, emulator.Config{})
		b.faults(emulator.Rule{Kind: emulator.FaultError, Path: "/content/", Code: code, MessageCode: "GWM_0003", Message: "Invalid token."})
		for range 20 {
			_, err := b.portal.Describe(t.Context(), "0123456789abcdef0123456789abcdef")
			fault(t, err, credential.ClassDenied, "Referer")
		}
		if n := b.logins(); n > 2 {
			t.Errorf("%d: %d logins", code, n)
		}
	}
}

func TestWrongPasswordIsNotHammered(t *testing.T) {
	clock := &hand{now: time.Now()}
	var current atomic.Pointer[string]
	use := func(s string) { current.Store(&s) }
	use("wrong")
	b := open(t, emulator.Config{Now: clock.Now}, func(c *arcgis.Config) {
		c.Now = clock.Now
		c.Password = func() (credential.Secret, error) { return credential.NewSecret(*current.Load()), nil }
	})
	for range 50 {
		fault(t, b.portal.Check(t.Context()), credential.ClassDenied, "multi-factor", "exact case", "Invalid username or password")
	}
	if n := b.logins(); n != 1 {
		t.Errorf("%d logins with a wrong password", n)
	}
	for n, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		clock.move(wait - time.Second)
		fault(t, b.portal.Check(t.Context()), credential.ClassDenied)
		if got := b.logins(); got != n+1 {
			t.Errorf("%d logins just before %s", got, wait)
		}
		clock.move(2 * time.Second)
		fault(t, b.portal.Check(t.Context()), credential.ClassDenied)
		if got := b.logins(); got != n+2 {
			t.Errorf("%d logins just after %s", got, wait)
		}
	}
	use(password) // at once, without waiting
	must(t, b.portal.Check(t.Context()))
}

func TestPasswordThatCannotBeReadIsRetryable(t *testing.T) {
	b := open(t, emulator.Config{}, func(c *arcgis.Config) {
		c.Password = func() (credential.Secret, error) { return credential.Secret{}, errors.New("no such file") }
	})
	fault(t, b.portal.Check(t.Context()), credential.ClassRetryable, "no such file")
	if b.logins() != 0 {
		t.Error("it logged in without a password")
	}
}

func TestTokenLivesAsLongAsThePortalSays(t *testing.T) {
	clock := &hand{now: time.Now()}
	b := open(t, emulator.Config{Now: clock.Now, Knobs: emulator.Knobs{TokenMinutes: 10}}, func(c *arcgis.Config) { c.Now = clock.Now })
	must(t, b.portal.Check(t.Context()))
	clock.move(8 * time.Minute)
	must(t, b.portal.Check(t.Context()))
	if n := b.logins(); n != 1 {
		t.Errorf("%d logins within nine tenths", n)
	}
	clock.move(90 * time.Second) // 9 min 30 s of 10 min
	must(t, b.portal.Check(t.Context()))
	if n := b.logins(); n != 2 {
		t.Errorf("%d logins: it was not renewed early", n)
	}
	if n := b.emulated.Calls()["/portals/{org}"]; n != 3 {
		t.Errorf("%d calls: one was rejected", n)
	}
}

func TestTokenOfAPortalWithAnotherClock(t *testing.T) {
	ours, theirs := &hand{now: time.Now()}, &hand{now: time.Now().Add(-3 * time.Hour)}
	b := open(t, emulator.Config{Now: theirs.Now, Knobs: emulator.Knobs{TokenMinutes: 60}}, func(c *arcgis.Config) { c.Now = ours.Now })
	must(t, b.portal.Check(t.Context()))
	must(t, b.portal.Check(t.Context()))
	if n := b.logins(); n != 1 {
		t.Errorf("%d logins: the token looks expired", n)
	}
	if skew, _, ok := b.portal.Skew(); !ok || skew > -3*time.Hour+2*time.Second || skew < -3*time.Hour-2*time.Second {
		t.Errorf("the skew is %s", skew)
	}
}

func TestEveryRequestCarriesTheRefererAndJSONAndNothingInTheQuery(t *testing.T) {
	b := open(t, emulator.Config{}, func(c *arcgis.Config) { c.Referer = "https://rotator.example.com" })
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	minted := b.issue(seat)
	_, err := b.portal.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: seat.Item})
	must(t, err)
	_, err = b.portal.Expiring(t.Context(), in(2*month))
	must(t, err)
	must(t, b.portal.Revoke(t.Context(), seat))
	must(t, b.portal.Remove(t.Context(), seat.Item, true))
	wire := b.calls.wire()
	if len(wire) < 10 {
		t.Fatalf("only %d requests", len(wire))
	}
	for _, r := range wire {
		if r.Method != http.MethodPost || r.URL.RawQuery != "" || r.PostForm.Get("f") != "json" || r.Referer() != "https://rotator.example.com" {
			t.Errorf("%s %s?%s f=%q referer=%q", r.Method, r.URL.Path, r.URL.RawQuery, r.PostForm.Get("f"), r.Referer())
		}
		if r.Header.Get("Idempotency-Key")+r.Header.Get("X-Idempotency-Key") != "" {
			t.Errorf("%s may be sent twice", r.URL.Path)
		}
	}
}

func TestAnAnonymousAnswerIsARefusal(t *testing.T) {
	stranger := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"name":"A portal","isPortal":false}`))
	}
	p := fake(t, stranger)
	fault(t, p.Check(t.Context()), credential.ClassDenied, "stranger")
	_, err := p.Probe(t.Context(), credential.ProbeRequest{Key: credential.NewSecret("key"), Item: "i"})
	fault(t, err, credential.ClassDenied, "stranger")
}

func TestLoginAsAnotherUserIsNoticed(t *testing.T) {
	p := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"name":"A portal","user":{"username":"other"}}`))
	})
	fault(t, p.Check(t.Context()), credential.ClassDenied, `as "other" instead of "keeper"`)
}

func TestWaitingForALoginEndsWithItsCaller(t *testing.T) {
	b := open(t, emulator.Config{}, timeout(2*time.Second))
	b.faults(emulator.Rule{Kind: emulator.FaultSilence, Path: "/generateToken"})
	began := time.Now()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			ctx, cancel := contextWithTimeout(t, 200*time.Millisecond)
			defer cancel()
			var f *credential.Fault
			if err := b.portal.Check(ctx); !errors.As(err, &f) || f.Class != credential.ClassRetryable || !f.Silent {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took > time.Second {
		t.Errorf("waited for %s", took)
	}
	// whoever stays shares one attempt
	if f := fault(t, b.portal.Check(t.Context()), credential.ClassRetryable); !f.Silent {
		t.Error("it was silent")
	}
	if n := b.emulated.Faults().Rules[0].Matched; n > 2 {
		t.Errorf("%d attempts", n)
	}
}

func TestManagerWithAnAPIKey(t *testing.T) {
	privileges := []string{"portal:admin:viewItems", "portal:admin:updateItems", "portal:user:createItem", "portal:user:generateApiTokens", "portal:user:assignPrivilegesToApps"}
	b := open(t, emulator.Config{})
	o := order("manager")
	o.Spec.Privileges, o.Spec.Personal = privileges, true
	item, err := b.portal.EnsureItem(t.Context(), o)
	must(t, err)
	minted := b.issue(credential.SeatID{Item: item, Slot: 1})

	var key atomic.Pointer[credential.Secret]
	key.Store(&minted.Key)
	rotator := client(t, b.server.URL+"/sharing/rest", func(c *arcgis.Config) {
		c.Password, c.APIKey = nil, func() (credential.Secret, error) { return *key.Load(), nil }
	})
	before := b.logins()
	must(t, rotator.Check(t.Context()))
	expires, err := rotator.ManagerExpiry(t.Context())
	must(t, err)
	if d := expires.Sub(minted.Expires); d < 0 || d > 3*time.Second {
		t.Errorf("the manager's key expires %s, minted %s", expires, minted.Expires)
	}
	seat := credential.SeatID{Slot: 1}
	seat.Item, err = rotator.EnsureItem(t.Context(), order("by-key"))
	must(t, err)
	made, err := rotator.Issue(t.Context(), seat, in(month))
	must(t, err)
	if !b.emulated.KeyWorks(made.Key.Reveal(), "") || b.logins() != before {
		t.Error("it does not work with the key alone")
	}

	// a dead key: no second try with the same, at once with another
	second := b.issue(credential.SeatID{Item: item, Slot: 2})
	must(t, b.portal.Revoke(t.Context(), credential.SeatID{Item: item, Slot: 1}))
	b.calls.wire()
	fault(t, rotator.Check(t.Context()), credential.ClassDenied, "does not accept the API key")
	if n := len(b.calls.wire()); n != 1 {
		t.Errorf("%d calls with a dead key", n)
	}
	key.Store(&second.Key)
	must(t, rotator.Check(t.Context()))
}

func TestFaultsOfTheLoginKeepTheirClass(t *testing.T) {
	for name, test := range map[string]struct {
		rule  emulator.Rule
		class credential.Class
	}{
		"throttled":    {emulator.Rule{Kind: emulator.FaultError, Status: 429, RetryAfter: 7 * time.Second}, credential.ClassRetryable},
		"a web page":   {emulator.Rule{Kind: emulator.FaultHTML}, credential.ClassRetryable},
		"a broken one": {emulator.Rule{Kind: emulator.FaultError, Status: 503}, credential.ClassRetryable},
		"locked":       {emulator.Rule{Kind: emulator.FaultError, Code: 400, Message: "Unable to generate token.", Details: []string{"Too many invalid attempts, account locked."}}, credential.ClassDenied},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, emulator.Config{})
			test.rule.Path, test.rule.Count = "/generateToken", 1
			b.faults(test.rule)
			f := fault(t, b.portal.Check(t.Context()), test.class)
			if test.rule.RetryAfter != f.RetryAfter {
				t.Errorf("retry after %s", f.RetryAfter)
			}
			if test.class == credential.ClassRetryable {
				must(t, b.portal.Check(t.Context()))
			}
		})
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for name, change := range map[string]func(*arcgis.Config){
		"no root":          func(c *arcgis.Config) { c.URL = "https://www.arcgis.com" },
		"a secret in it":   func(c *arcgis.Config) { c.URL = "https://u:" + password + "@www.arcgis.com/sharing/rest" },
		"a query":          func(c *arcgis.Config) { c.URL = "https://www.arcgis.com/sharing/rest?token=" + password },
		"another scheme":   func(c *arcgis.Config) { c.URL = "ftp://www.arcgis.com/sharing/rest" },
		"no username":      func(c *arcgis.Config) { c.Username = "" },
		"no login":         func(c *arcgis.Config) { c.Password = nil },
		"two logins":       func(c *arcgis.Config) { c.APIKey = secret("k") },
		"an odd referer":   func(c *arcgis.Config) { c.Referer = "a\nb" },
		"a broken address": func(c *arcgis.Config) { c.URL = "https://%zz/" + password + "/sharing/rest" },
	} {
		c := arcgis.Config{Name: "example", URL: "https://www.arcgis.com/sharing/rest", Username: user, Password: secret(password)}
		change(&c)
		_, err := arcgis.New(c)
		if err == nil {
			t.Errorf("%s: it was accepted", name)
			continue
		}
		if text := fmt.Sprintf("%v %+v", err, err); containsAny(text, password) {
			t.Errorf("%s: %s", name, text)
		}
	}
}
