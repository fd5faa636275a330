package vault

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// tokenVault gives out tokens and keeps their time, in memory, so that the
// login loop runs on the fake clock of a synctest bubble.
type tokenVault struct {
	ttl, max time.Duration

	mu       sync.Mutex
	down     bool // answers 500
	deny     bool // refuses logins
	rootless bool // refuses every token
	tokens   map[string]*life
	tally
}

// tally counts what a tokenVault saw.
type tally struct {
	logins   int
	tries    int // logins that were refused or met a Vault that is down
	renewals int
	late     int // calls with a token that had ended
}

type life struct{ ends, last time.Time }

// RoundTrip implements http.RoundTripper.
func (v *tokenVault) RoundTrip(r *http.Request) (*http.Response, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	status, body := v.answer(r.URL.Path, r.Header.Get("X-Vault-Token"))
	return &http.Response{StatusCode: status, Request: r, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (v *tokenVault) answer(path, token string) (int, string) {
	const denied = `{"errors":["permission denied"]}`
	now := time.Now()
	login := path == "/v1/auth/approle/login"
	switch {
	case v.down:
		if login {
			v.tries++
		}
		return http.StatusInternalServerError, `{"errors":["internal error"]}`
	case login && v.deny:
		v.tries++
		return http.StatusBadRequest, `{"errors":["invalid role or secret ID"]}`
	case login:
		v.logins++
		token = fmt.Sprintf("t%d", v.logins)
		v.tokens[token] = &life{ends: now.Add(v.ttl), last: now.Add(v.max)}
		return http.StatusOK, v.auth(token, now)
	}
	t := v.tokens[token]
	if t == nil || v.rootless || now.After(t.ends) {
		if t != nil && !v.rootless {
			v.late++
		}
		return http.StatusForbidden, denied
	}
	if path == "/v1/auth/token/renew-self" {
		v.renewals++
		t.ends = now.Add(v.ttl)
		if t.ends.After(t.last) {
			t.ends = t.last
		}
		return http.StatusOK, v.auth(token, now)
	}
	return http.StatusOK, `{"data":{"data":{},"metadata":{"version":1}}}`
}

// auth tells the life that is left in whole seconds, as Vault does.
func (v *tokenVault) auth(token string, now time.Time) string {
	return fmt.Sprintf(`{"auth":{"client_token":%q,"renewable":true,"lease_duration":%d}}`,
		token, int(v.tokens[token].ends.Sub(now).Seconds()))
}

func (v *tokenVault) seen() tally {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tally
}

func (v *tokenVault) set(change func(v *tokenVault)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

// inBubble runs a client against such a Vault on a fake clock.
func inBubble(t *testing.T, v *tokenVault, test func(t *testing.T, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v.tokens = make(map[string]*life)
		c, err := New(Config{Addr: "http://vault.invalid", Login: Login{AppRole: &AppRole{
			RoleID:   func() (string, error) { return "role", nil },
			SecretID: func() (credential.Secret, error) { return credential.NewSecret("id"), nil },
		}}})
		if err != nil {
			t.Fatal(err)
		}
		c.http.Transport = noting{v}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		test(t, c)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// reads reads at that pace for that long and counts the failures.
func reads(t *testing.T, c *Client, pace, long time.Duration) (failures int) {
	t.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); {
		if _, err := c.Read(t.Context(), "team/map"); err != nil {
			if !credential.IsClass(err, credential.ClassRetryable) {
				t.Fatalf("got %v", err)
			}
			failures++
		}
		time.Sleep(pace)
	}
	return failures
}

func TestNoCallMeetsATokenThatHasEnded(t *testing.T) {
	for _, v := range []*tokenVault{
		{ttl: time.Hour, max: 4 * time.Hour},
		{ttl: time.Hour, max: 1000 * time.Hour},
		{ttl: time.Hour, max: 61 * time.Minute},
		{ttl: 20 * time.Second, max: time.Minute},
	} {
		inBubble(t, v, func(t *testing.T, c *Client) {
			if err := c.WaitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			long := min(24*time.Hour, 50*v.max)
			failures, seen := reads(t, c, v.ttl/20, long), v.seen()
			if failures > 0 || seen.late > 0 {
				t.Errorf("ttl %v, max %v: %d reads failed, %d calls came late", v.ttl, v.max, failures, seen.late)
			}
			// at least half of the maximal life is used, and a token is renewed at most every half of its ttl
			if most := int(2*long/v.max) + 2; seen.logins > most {
				t.Errorf("ttl %v, max %v: %d logins, want at most %d", v.ttl, v.max, seen.logins, most)
			}
			if most := int(2*long/v.ttl) + 2; seen.renewals > most {
				t.Errorf("ttl %v, max %v: %d renewals, want at most %d", v.ttl, v.max, seen.renewals, most)
			}
			if state := c.LoginState(); !state.Up || !state.Expires.After(time.Now()) {
				t.Errorf("ttl %v, max %v: state %+v", v.ttl, v.max, state)
			}
		})
	}
}

func TestAnOutageShorterThanTheTokenCostsNoLogin(t *testing.T) {
	v := &tokenVault{ttl: time.Hour, max: 100 * time.Hour}
	inBubble(t, v, func(t *testing.T, c *Client) {
		time.Sleep(30 * time.Minute)
		v.set(func(v *tokenVault) { v.down = true })
		time.Sleep(20 * time.Minute) // the renewal falls into it
		v.set(func(v *tokenVault) { v.down = false })
		failures, seen := reads(t, c, time.Second, time.Hour), v.seen()
		if failures > 0 || seen.logins != 1 || seen.late > 0 {
			t.Errorf("%d reads failed, %+v", failures, seen)
		}
	})
}

func TestAfterALongOutageTheLoginComesSoon(t *testing.T) {
	v := &tokenVault{ttl: time.Hour, max: 100 * time.Hour}
	inBubble(t, v, func(t *testing.T, c *Client) {
		time.Sleep(time.Minute)
		v.set(func(v *tokenVault) { v.down = true })
		time.Sleep(3 * time.Hour)
		if tries := v.seen().tries; tries < 200 || tries > 2000 {
			t.Errorf("%d logins were tried in about two hours", tries)
		}
		v.set(func(v *tokenVault) { v.down = false })
		time.Sleep(maxBackOff + minBackOff)
		failures, seen := reads(t, c, time.Second, time.Hour), v.seen()
		if failures > 0 || seen.logins != 2 {
			t.Errorf("%d reads failed, %+v", failures, seen)
		}
	})
}

func TestRefusedLoginsBackOff(t *testing.T) {
	v := &tokenVault{ttl: time.Hour, max: time.Hour, deny: true}
	inBubble(t, v, func(t *testing.T, c *Client) {
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		tries := v.seen().tries
		if tries < 20 || tries > 100 {
			t.Errorf("%d logins in ten minutes", tries)
		}
		if state := c.LoginState(); state.Up || state.Attempt != tries || !credential.IsClass(state.Err, credential.ClassDenied) {
			t.Errorf("state %+v", state)
		}
	})
}

func TestTokensThatDieAtOnceMakeNoStorm(t *testing.T) {
	v := &tokenVault{ttl: time.Hour, max: time.Hour, rootless: true}
	inBubble(t, v, func(t *testing.T, c *Client) {
		if err := c.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		reads(t, c, 50*time.Millisecond, 10*time.Minute)
		if logins := v.seen().logins; logins < 10 || logins > 100 {
			t.Errorf("%d logins in ten minutes", logins)
		}
	})
}
