package vault

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The rhythm of the login loop.
const (
	minBackOff = 500 * time.Millisecond
	maxBackOff = 30 * time.Second
	minRenewal = time.Second
)

// LoginState is the outcome of the last login.
type LoginState struct {
	// Up is true while there is a token that Vault has not refused.
	Up bool
	// Expires is when the token ends; zero = never, or not known.
	Expires time.Time
	// Attempt counts the failed logins since the last good one.
	Attempt int
	// Err is why the last login failed; nil after a good one.
	Err error
	// Next is when the login is tried again; zero unless it failed in Run.
	Next time.Time
}

// lease is what is known of a token's life.
type lease struct {
	ttl       time.Duration // 0 = no end
	renewable bool
}

// Ready is closed after the first login.
func (c *Client) Ready() <-chan struct{} { return c.ready }

// WaitReady waits for the first login. It fails when ctx ends, with the reason
// of the last failed login.
func (c *Client) WaitReady(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
		return &credential.Fault{
			Class: credential.ClassRetryable, System: system, Op: "log in", Silent: true,
			Err: notLoggedIn(c.LoginState()),
		}
	}
}

// LoginState returns the outcome of the last login.
func (c *Client) LoginState() LoginState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Login logs in once, for programs that end before a token does. A program
// that stays calls Run.
func (c *Client) Login(ctx context.Context) error {
	_, err := c.logIn(ctx, 1, false)
	return err
}

// Run logs in and keeps the login until ctx ends; then it returns nil. A
// failing login is tried again with back-off for ever and reported to OnLogin.
func (c *Client) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(false, true) {
		return errors.New("vault: Run was called while it runs")
	}
	defer c.running.Store(false)
	defer c.Close()
	failed, refused := 0, 0
	for ctx.Err() == nil {
		l, err := c.logIn(ctx, failed+1, true)
		if err != nil {
			failed++
			sleep(ctx, time.Until(c.LoginState().Next))
			continue
		}
		failed = 0
		began := time.Now()
		if !c.keep(ctx, l) || time.Since(began) > maxBackOff {
			refused = 0
		} else if refused++; refused > 1 { // tokens that die at once must not become a storm
			sleep(ctx, backOff(refused-1))
		}
	}
	return nil
}

// keep renews the token until a new login is needed or ctx ends. It reports
// whether Vault refused the token before its time.
func (c *Client) keep(ctx context.Context, l lease) (refused bool) {
	full, ends := l.ttl, time.Now().Add(l.ttl)
	wait := untilRenewal(l.ttl)
	for failures := 0; ; {
		var timer <-chan time.Time // nil: a token without an end
		if full > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return false
		case gen := <-c.dead:
			if gen == c.generation() {
				return true
			}
			continue // of an older token
		case <-timer:
		}
		if !l.renewable {
			return false
		}
		renewed, err := c.renew(ctx)
		switch {
		case err == nil && renewed.ttl <= full/2:
			return false // close to its maximal life: it no longer extends
		case err == nil:
			l, ends, failures = renewed, time.Now().Add(renewed.ttl), 0
			wait = untilRenewal(l.ttl)
			c.extend(ends)
		case credential.IsClass(err, credential.ClassDenied):
			return true
		case time.Until(ends) < full/10+minRenewal:
			return false
		default:
			failures++
			wait = min(backOff(failures), max(time.Until(ends)/3, minRenewal))
		}
	}
}

// logIn makes one login and takes over its token.
func (c *Client) logIn(ctx context.Context, attempt int, again bool) (lease, error) {
	token, l, err := c.authenticate(ctx)
	if err != nil {
		if ctx.Err() != nil && again { // a stop is no failure
			return lease{}, err
		}
		state := LoginState{Up: c.generation() > 0 && c.LoginState().Up, Expires: c.LoginState().Expires, Attempt: attempt, Err: err}
		if again {
			state.Next = time.Now().Add(backOff(attempt))
		}
		c.report(state)
		return lease{}, err
	}
	state := LoginState{Up: true}
	if l.ttl > 0 {
		state.Expires = time.Now().Add(l.ttl)
	}
	c.api.SetToken(token.Reveal())
	c.mu.Lock()
	c.gen++
	first := c.gen == 1
	c.mu.Unlock()
	c.report(state)
	if first {
		close(c.ready)
	}
	return l, nil
}

func (c *Client) report(state LoginState) {
	c.mu.Lock()
	c.state = state
	c.mu.Unlock()
	c.config.OnLogin(state)
}

func (c *Client) extend(ends time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Expires = ends
}

func (c *Client) generation() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gen
}

// renew extends the life of the token.
func (c *Client) renew(ctx context.Context) (lease, error) {
	k := call{op: "renew", what: "renew the token", repeatable: true, login: true}
	var l lease
	err := c.attempt(ctx, k, func(ctx context.Context) error {
		secret, err := c.api.Auth().Token().RenewSelfWithContext(ctx, 0)
		if err != nil {
			return err
		}
		if secret == nil || secret.Auth == nil {
			return errUnreadable
		}
		l = leaseOf(secret.Auth)
		return nil
	})
	return l, err
}

// tokenDead reports whether Vault refuses the token of that login itself, and
// if so wakes the loop. It is asked after a denial only.
func (c *Client) tokenDead(ctx context.Context, gen uint64) bool {
	if c.generation() != gen {
		return true // replaced while the call was under way
	}
	l, err := c.lookup(ctx, c.api)
	if err == nil || !credential.IsClass(err, credential.ClassDenied) || l.denied {
		return false
	}
	c.mu.Lock()
	if c.gen == gen {
		c.state.Up = false
	}
	c.mu.Unlock()
	select {
	case c.dead <- gen:
	default: // one word is enough
	}
	return true
}

// looked is what a token says of itself.
type looked struct {
	lease
	// denied is true when a policy forbids the question; the token lives.
	denied bool
}

// lookup asks for the life of a client's token.
func (c *Client) lookup(ctx context.Context, client *api.Client) (looked, error) {
	k := call{
		op: "lookup", what: "check the token", method: http.MethodGet, login: true,
		hide: []credential.Secret{credential.NewSecret(client.Token())},
	}
	var l looked
	err := c.attempt(ctx, k, func(ctx context.Context) error {
		secret, err := client.Auth().Token().LookupSelfWithContext(ctx)
		if err != nil {
			var refused *api.ResponseError
			l.denied = errors.As(err, &refused) && isPolicyDenial(refused)
			return err
		}
		if secret == nil {
			return errUnreadable
		}
		seconds, _ := number(secret.Data["ttl"])
		if secret.Data["expire_time"] != nil {
			seconds = max(seconds, 1) // it has an end, if only in less than a second
		}
		l.ttl = time.Duration(seconds) * time.Second
		l.renewable, _ = secret.Data["renewable"].(bool)
		return nil
	})
	return l, err
}

func leaseOf(auth *api.SecretAuth) lease {
	return lease{ttl: time.Duration(auth.LeaseDuration) * time.Second, renewable: auth.Renewable}
}

// untilRenewal is two thirds of a token's life, less up to a tenth, so that
// daemons that started together do not renew together.
func untilRenewal(ttl time.Duration) time.Duration {
	wait := ttl * 2 / 3
	return max(wait-jitter(ttl/10), min(minRenewal, wait))
}

// backOff is the wait after that many failures: full jitter under a bound that
// doubles, and never nothing.
func backOff(failures int) time.Duration {
	bound := maxBackOff
	if failures < 7 {
		bound = min(minBackOff<<failures, maxBackOff)
	}
	return minBackOff/2 + jitter(bound)
}

func jitter(bound time.Duration) time.Duration {
	if bound <= 0 {
		return 0
	}
	return rand.N(bound)
}

// sleep waits, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
