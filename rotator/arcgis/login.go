package arcgis

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// login is the manager's token.
type login struct {
	mu      sync.Mutex
	token   credential.Secret
	expires time.Time
	// number counts the logins, so that many calls that failed with one token
	// lead to one new login.
	number int
	// refused is the last login that was denied, with what, and until when it is
	// not tried again with the same secret: an account is soon locked.
	refused      error
	refusedWith  credential.Fingerprint
	refusedUntil time.Time
}

// penance is how long a denied login is not repeated with the same secret.
const penance = 30 * time.Second

// manage makes a call as the manager. A token that is not accepted is renewed
// once.
func (p *Portal) manage(ctx context.Context, r request, out any) (time.Time, error) {
	token, number, err := p.token(ctx, 0)
	if err != nil {
		return time.Time{}, err
	}
	r.token = token
	clock, err := p.send(ctx, r, out)
	if !rejected(err) {
		return clock, err
	}
	if r.token, _, err = p.token(ctx, number); err != nil {
		return clock, err
	}
	return p.send(ctx, r, out)
}

// token returns the manager's token, and renews one that is about to expire or
// whose number was rejected.
func (p *Portal) token(ctx context.Context, rejected int) (credential.Secret, int, error) {
	l := &p.login
	l.mu.Lock()
	defer l.mu.Unlock()
	now := p.config.Now()
	if !l.token.Empty() && l.number != rejected && now.Before(l.expires) {
		return l.token, l.number, nil
	}
	source := p.config.Password
	if p.config.APIKey != nil {
		source = p.config.APIKey
	}
	secret, err := source()
	if err != nil {
		return credential.Secret{}, 0, p.fault(request{op: "log in"}, credential.ClassDenied, err, "provide the issuer's password or API key")
	}
	if l.refused != nil && now.Before(l.refusedUntil) && secret.Fingerprint() == l.refusedWith {
		return credential.Secret{}, 0, l.refused
	}
	token, expires, err := p.logIn(ctx, secret)
	if err != nil {
		if credential.IsClass(err, credential.ClassDenied) {
			l.refused, l.refusedWith, l.refusedUntil = err, secret.Fingerprint(), now.Add(penance)
		}
		return credential.Secret{}, 0, err
	}
	l.refused = nil
	l.token, l.expires = token, expires
	l.number++
	return l.token, l.number, nil
}

// logIn gets a token by password, or takes the API key for one.
func (p *Portal) logIn(ctx context.Context, secret credential.Secret) (credential.Secret, time.Time, error) {
	now := p.config.Now()
	if p.config.APIKey != nil {
		// read anew every so often, and whenever it is rejected
		return secret, now.Add(time.Minute), nil
	}
	var answer struct {
		Token   string `json:"token"`
		Expires int64  `json:"expires"`
	}
	r := request{op: "log in as " + p.config.Username, path: "/generateToken", form: url.Values{
		"username": {p.config.Username}, "password": {secret.Reveal()},
		"client": {"referer"}, "referer": {p.config.Referer}, "expiration": {"120"},
	}}
	clock, err := p.send(ctx, r, &answer)
	if err != nil {
		if class := credential.ClassOf(err); class == credential.ClassPermanent || class == credential.ClassDenied {
			return credential.Secret{}, now, p.fault(r, credential.ClassDenied, err,
				"check username and password; an account with multi-factor or single sign-on needs an API key instead")
		}
		return credential.Secret{}, now, err
	}
	left := time.UnixMilli(answer.Expires).Sub(clock)
	if answer.Token == "" || left <= 0 {
		return credential.Secret{}, now, p.garbled(r, "a login without a token that is still valid")
	}
	return credential.NewSecret(answer.Token), now.Add(left - min(5*time.Minute, left/10)), nil
}
