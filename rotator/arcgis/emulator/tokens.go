package emulator

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

type identityKind int

const (
	anonymous identityKind = iota
	userToken              // from generateToken
	appToken               // from oauth2/token without apiToken
	keyToken               // an API key
)

// identity is who a token stands for.
type identity struct {
	kind    identityKind
	user    string // of a key or an app token: the owner of the credential
	app     *app   // of a key or an app token
	slot    int    // of a key: 0 or 1
	expires int64
}

func (w identity) String() string {
	switch w.kind {
	case userToken:
		return w.user
	case appToken:
		return "app " + w.app.ClientID
	case keyToken:
		return "key of " + w.app.ClientID
	}
	return "anonymous"
}

// claims are the content of a manager token or app token. Such tokens are signed, not stored.
type claims struct {
	Nonce   string `json:"n"`
	Epoch   int    `json:"g,omitempty"`
	User    string `json:"u,omitempty"`
	App     string `json:"a,omitempty"`
	Expires int64  `json:"e"` // ms
	Referer string `json:"r,omitempty"`
	IP      string `json:"i,omitempty"`
}

// Limits of a token's lifetime, in minutes.
const (
	defaultTokenMinutes = 120
	maxUserTokenMinutes = 21_600
	maxAppTokenMinutes  = 20_160
)

func (p *Portal) makeSigner() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.meta.Secret == "" {
		m := meta{Secret: randomHex(32)}
		if err := p.commit(p.cfg.Now(), Event{Kind: "portal-created"}, record{Meta: &m}); err != nil {
			return err
		}
	}
	var err error
	p.signer, err = hex.DecodeString(p.state.meta.Secret)
	return err
}

func (p *Portal) sign(c claims) (string, error) {
	c.Nonce = randomHex(8)
	p.mu.RLock()
	c.Epoch = p.state.meta.Epoch
	p.mu.RUnlock()
	body, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(p.mac(text)), nil
}

func (p *Portal) mac(text string) []byte {
	h := hmac.New(sha256.New, p.signer)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func (p *Portal) verify(token string) (c claims, ok bool) {
	text, sum, found := strings.Cut(token, ".")
	mac, err := base64.RawURLEncoding.DecodeString(sum)
	if !found || err != nil || !hmac.Equal(mac, p.mac(text)) {
		return c, false
	}
	body, err := base64.RawURLEncoding.DecodeString(text)
	return c, err == nil && json.Unmarshal(body, &c) == nil
}

// tokenOf finds the token of a request: form or query, then either header.
func tokenOf(c *call, bearer bool) string {
	if t := c.form.Get("token"); t != "" {
		return t
	}
	headers := []string{"X-Esri-Authorization", "Authorization"}
	if !bearer {
		headers = headers[:1]
	}
	for _, name := range headers {
		kind, t, _ := strings.Cut(c.r.Header.Get(name), " ")
		if strings.EqualFold(kind, "Bearer") && t != "" {
			return strings.TrimSpace(t)
		}
	}
	return ""
}

// identify says whose token the request carries; a token that is no good is 498.
func (p *Portal) identify(c *call) (identity, error) {
	token := tokenOf(c, !c.knobs.NoBearer)
	if token == "" {
		return identity{}, nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if who, ok := p.keyIdentity(c.now, c.knobs, token, c.r.Referer()); ok {
		return who, nil
	}
	t, ok := p.verify(token)
	if !ok || t.Epoch != p.state.meta.Epoch || c.now.UnixMilli() >= t.Expires {
		return identity{}, errInvalidToken()
	}
	if t.Referer != "" && strings.TrimSuffix(c.r.Referer(), "/") != t.Referer {
		return identity{}, errInvalidToken()
	}
	if t.IP != "" && t.IP != remoteIP(c.r) {
		return identity{}, errInvalidToken()
	}
	if t.App != "" {
		a := p.state.apps[t.App]
		if a == nil {
			return identity{}, errInvalidToken()
		}
		return identity{kind: appToken, user: a.Owner, app: a, expires: t.Expires}, nil
	}
	return identity{kind: userToken, user: t.User, expires: t.Expires}, nil
}

func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// generateToken is the sign-in with user name and password.
func (p *Portal) generateToken(c *call) (any, error) {
	form := c.r.PostForm // a password in the query is not looked at
	refuse := func(detail string) (any, error) { return nil, errBad("Unable to generate token.", detail) }
	user := form.Get("username")
	if given := form.Get("token"); given != "" && form.Get("serverUrl") != "" {
		who, err := p.identify(c)
		if err != nil {
			return nil, err
		}
		user = who.user
	} else {
		want, ok := p.cfg.Users[user]
		if !ok || subtle.ConstantTimeCompare([]byte(want), []byte(form.Get("password"))) != 1 {
			return refuse("Invalid username or password.")
		}
	}
	t := claims{User: user}
	switch client := form.Get("client"); client {
	case "referer":
		if t.Referer = strings.TrimSuffix(form.Get("referer"), "/"); t.Referer == "" {
			return refuse("'referer' must be specified.")
		}
	case "ip":
		if t.IP = form.Get("ip"); t.IP == "" {
			return refuse("'ip' must be specified.")
		}
	case "requestip", "":
		t.IP = remoteIP(c.r)
	default:
		return refuse("'client' must be one of referer, ip, requestip.")
	}
	limit := maxUserTokenMinutes
	if c.knobs.TokenMinutes > 0 {
		limit = min(limit, c.knobs.TokenMinutes)
	}
	life, err := tokenLife(form.Get("expiration"), limit)
	if err != nil {
		return refuse(err.Error())
	}
	t.Expires = c.now.Add(life).UnixMilli()
	token, err := p.sign(t)
	if err != nil {
		return nil, err
	}
	return struct {
		Token   string `json:"token"`
		Expires int64  `json:"expires"`
		SSL     bool   `json:"ssl"`
	}{token, t.Expires, true}, nil
}

// tokenLife reads minutes; too long a wish is cut to the limit.
func tokenLife(text string, limit int) (time.Duration, error) {
	minutes := defaultTokenMinutes
	if text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			return 0, errBad("'expiration' must be a positive number of minutes.")
		}
		minutes = n
	}
	return time.Duration(min(minutes, limit)) * time.Minute, nil
}

// appToken answers oauth2/token without apiToken.
func (p *Portal) appToken(c *call, a *app) (any, error) {
	life, err := tokenLife(c.form.Get("expiration"), maxAppTokenMinutes)
	if err != nil {
		return nil, errOAuth(400, "invalid_request", "Invalid expiration")
	}
	token, err := p.sign(claims{App: a.ClientID, Expires: c.now.Add(life).UnixMilli()})
	if err != nil {
		return nil, err
	}
	return accessToken{token, int64(life / time.Second)}, nil
}

type accessToken struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

// RevokeSessions kills every manager token and app token at once, as a change of password does.
func (p *Portal) RevokeSessions() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.state.meta
	m.Epoch++
	return p.commit(p.cfg.Now(), Event{Kind: "sessions-revoked", Actor: "hand"}, record{Meta: &m})
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}
