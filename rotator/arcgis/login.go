package arcgis

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	// penance is how long a denied login is not repeated with the same secret. It
	// doubles with each denial, up to mostPenance: accounts are locked after a few
	// failures within a quarter of an hour.
	penance     = time.Minute
	mostPenance = 15 * time.Minute
	// pause lies between two logins when no token has been accepted in between.
	pause = 10 * time.Second
	// freshness is how long an API key is used before it is read anew.
	freshness = time.Minute
)

// login is the manager's token.
type login struct {
	mu      sync.Mutex
	token   credential.Secret
	expires time.Time // on our clock, and early
	// number counts the tokens, so that many calls that failed with one of them
	// lead to one new login. worked is the last number that was accepted.
	number, worked int
	retried        time.Time // when a token that never worked was last replaced
	flight         *flight   // the login that is under way; nil = none
	free           bool      // a new token costs no call: it is an API key

	// refused is the last denied login, of which secret, how often in a row, and
	// until when it stands.
	refused      error
	refusedWith  credential.Fingerprint
	refusedTimes int
	refusedUntil time.Time
}

// flight is a login that everybody who needs one waits for. The other fields
// are set when done is closed. A panic is that of all who wait.
type flight struct {
	done     chan struct{}
	token    credential.Secret
	number   int
	err      error
	panicked any
}

// manage makes a call as the manager. A token that is not accepted is renewed
// once.
func (p *Portal) manage(ctx context.Context, r request, out any) (time.Time, error) {
	token, number, err := p.token(ctx, r, 0)
	if err != nil {
		return time.Time{}, err
	}
	r.token = token
	clock, err := p.send(ctx, r, out)
	if !p.login.renewable(number, err, p.config.Now()) {
		return clock, err
	}
	if r.token, number, err = p.token(ctx, r, number); err != nil {
		return clock, err
	}
	clock, err = p.send(ctx, r, out)
	p.login.renewable(number, err, p.config.Now())
	return clock, err
}

// renewable notes how a call with the token of that number ended, and reports
// whether a new token may help.
func (l *login) renewable(number int, err error, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !rejected(err) {
		if err == nil || codeOf(err) != 0 {
			l.worked = max(l.worked, number)
		}
		return false
	}
	if l.worked >= number || l.free {
		return true
	}
	if now.Sub(l.retried) < pause {
		return false // new tokens are no better
	}
	l.retried = now
	return true
}

// token returns the manager's token, and renews one that is about to expire or
// whose number was rejected.
func (p *Portal) token(ctx context.Context, r request, rejected int) (credential.Secret, int, error) {
	l := &p.login
	l.mu.Lock()
	if !l.token.Empty() && l.number != rejected && p.config.Now().Before(l.expires) {
		defer l.mu.Unlock()
		return l.token, l.number, nil
	}
	f := l.flight
	if f == nil && ctx.Err() != nil {
		l.mu.Unlock()
		return credential.Secret{}, 0, p.lost(r, ctx.Err(), false)
	}
	if f == nil {
		f = &flight{done: make(chan struct{})}
		l.flight = f
		go p.fly(context.WithoutCancel(ctx), f, rejected)
	}
	l.mu.Unlock()
	select {
	case <-f.done:
		if f.panicked != nil {
			panic(f.panicked)
		}
		return f.token, f.number, f.err
	case <-ctx.Done():
		return credential.Secret{}, 0, p.lost(r, ctx.Err(), false)
	}
}

// fly logs in for everybody who waits.
func (p *Portal) fly(ctx context.Context, f *flight, rejected int) {
	var token credential.Secret
	var expires time.Time
	func() {
		defer func() { f.panicked = recover() }()
		token, expires, f.err = p.renew(ctx, rejected)
	}()
	l := &p.login
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.err == nil && f.panicked == nil {
		l.token, l.expires = token, expires
		l.number++
		f.token, f.number = token, l.number
	}
	l.flight = nil
	close(f.done)
}

// renew reads the secret and gets a token for it, unless the portal has just
// said no to this very secret.
func (p *Portal) renew(ctx context.Context, rejected int) (credential.Secret, time.Time, error) {
	l := &p.login
	r := request{name: "login", op: "log in as " + p.config.Username}
	source := p.config.Password
	if p.config.APIKey != nil {
		source = p.config.APIKey
	}
	secret, err := source()
	switch {
	case err != nil:
		return credential.Secret{}, time.Time{}, p.fault(r, credential.ClassRetryable, err, "provide the issuer's password or API key")
	case secret.Empty():
		return credential.Secret{}, time.Time{}, p.fault(r, credential.ClassDenied, errors.New("the password or API key is empty"), "provide the issuer's password or API key")
	}
	now := p.config.Now()
	l.mu.Lock()
	old, same := l.refused, l.refused != nil && secret.Fingerprint() == l.refusedWith && now.Before(l.refusedUntil)
	unchanged := rejected != 0 && rejected == l.number && secret == l.token
	l.mu.Unlock()
	if same {
		return credential.Secret{}, time.Time{}, old
	}
	if p.config.APIKey != nil {
		if unchanged {
			return credential.Secret{}, time.Time{}, p.fault(r, credential.ClassDenied, errors.New("the portal does not accept the API key"),
				"renew the manager's API key, and check that its referrers let the issuer's referer pass")
		}
		return secret, now.Add(freshness), nil
	}
	token, expires, err := p.logIn(ctx, r, secret)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(secret.Fingerprint(), err, p.config.Now())
	return token, expires, err
}

// note remembers how a login ended; mu is held.
func (l *login) note(with credential.Fingerprint, err error, now time.Time) {
	switch {
	case credential.IsClass(err, credential.ClassDenied):
		if l.refused == nil || l.refusedWith != with {
			l.refusedTimes = 0
		}
		wait := min(penance<<min(l.refusedTimes, 8), mostPenance)
		l.refused, l.refusedWith, l.refusedTimes, l.refusedUntil = err, with, l.refusedTimes+1, now.Add(wait)
	case err == nil:
		l.refused = nil
	}
}

// logIn gets a token by password.
func (p *Portal) logIn(ctx context.Context, r request, password credential.Secret) (credential.Secret, time.Time, error) {
	var answer struct {
		Token   string  `json:"token"`
		Expires float64 `json:"expires"`
	}
	r.path = "/generateToken"
	r.form = url.Values{
		"username": {p.config.Username}, "password": {password.Reveal()},
		"client": {"referer"}, "referer": {p.config.Referer}, "expiration": {"120"},
	}
	clock, err := p.send(ctx, r, &answer)
	if err != nil {
		var no *refusal
		// whatever it calls it: an account must not get locked; but where no portal is, there is no account
		if errors.As(err, &no) && no.code < 500 && no.code != http.StatusRequestTimeout && no.code != http.StatusNotFound {
			return credential.Secret{}, clock, p.fault(r, credential.ClassDenied, no,
				"check username (in its exact case) and password; an account with multi-factor or single sign-on needs an API key instead; the same password is not sent again for a while")
		}
		return credential.Secret{}, clock, err
	}
	left := time.UnixMilli(int64(answer.Expires)).Sub(clock) // what the portal grants, not what was asked
	if answer.Token == "" || left <= 0 {
		return credential.Secret{}, clock, p.garbled(r, "a login without a token that is still valid")
	}
	return credential.NewSecret(answer.Token), p.config.Now().Add(left - min(5*time.Minute, left/10)), nil
}
