package emulator

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strconv"
	"time"
)

// newKey makes a key for the slot (0 or 1): random, of varying length, told apart by the tail only.
func newKey(clientID string, slot int) string {
	b := make([]byte, 240)
	rand.Read(b)
	text := base64.RawURLEncoding.EncodeToString(b) // 320 characters
	n := 240 + randomBelow(23)
	return "AAPT" + text[:23] + ".." + text[23:23+n] + ".." + "AT" + strconv.Itoa(slot+1) + "_" + clientID[len(clientID)-8:]
}

func randomBelow(n int64) int {
	v, err := rand.Int(rand.Reader, big.NewInt(n))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return int(v.Int64())
}

func newClientID() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 16)
	for i := range b {
		b[i] = alphabet[randomBelow(int64(len(alphabet)))]
	}
	return string(b)
}

// keyIdentity recognises an API key. The caller holds p.mu for reading.
func (p *Portal) keyIdentity(now time.Time, k Knobs, token, referer string) (identity, bool) {
	h := keyHash(sha256.Sum256([]byte(token)))
	var (
		a       *app
		i       int
		expires int64
	)
	if ref, ok := p.state.keys[h]; ok {
		a, i = p.state.apps[ref.clientID], ref.slot
		expires = a.Slots[i].Expires
		if now.Before(time.UnixMilli(a.Slots[i].Generated).Add(k.NewKeyDelay)) {
			return identity{}, false
		}
		if it := p.state.items[a.ItemID]; it != nil && it.Recycled != 0 && k.RecycledKeys != RecycledAlive {
			return identity{}, false
		}
	} else if g, ok := p.state.graves[h]; ok && now.Before(g.killed.Add(k.RevokedKeyDelay)) {
		a, i, expires = g.app, g.slot, g.expires
	} else {
		return identity{}, false
	}
	if now.UnixMilli() >= expires || !refererFits(k.ReferrerMatch, a.HTTPReferrers, referer) {
		return identity{}, false
	}
	return identity{kind: keyToken, user: a.Owner, app: a, slot: i, expires: expires}, true
}

// KeyWorks reports whether the portal accepts the key now from that Referer.
func (p *Portal) KeyWorks(key, referer string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, ok := p.keyIdentity(p.cfg.Now(), p.Knobs(), key, referer)
	return ok
}

// appOf checks client id and secret. The caller holds p.mu.
func (p *Portal) appOf(c *call) (*app, error) {
	a := p.state.apps[c.form.Get("client_id")]
	if a == nil || p.recycled(a) {
		return nil, errOAuth(400, "invalid_request", "Invalid client_id")
	}
	if subtle.ConstantTimeCompare([]byte(a.Secret), []byte(c.form.Get("client_secret"))) != 1 {
		return nil, errOAuth(400, "invalid_request", "Invalid client_secret")
	}
	return a, nil
}

func (p *Portal) recycled(a *app) bool {
	it := p.state.items[a.ItemID]
	return it == nil || it.Recycled != 0
}

// oauthToken makes an app token, or with apiToken a key.
func (p *Portal) oauthToken(c *call) (any, error) {
	switch c.form.Get("grant_type") {
	case "client_credentials":
	case "":
		return nil, errOAuth(400, "invalid_request", "grant_type not specified")
	case "refresh_token", "exchange_refresh_token":
		return nil, errOAuth(498, "invalid_request", "Invalid refresh_token")
	case "authorization_code":
		return nil, errOAuth(400, "invalid_grant", "Invalid code")
	default:
		return nil, errOAuth(400, "unsupported_grant_type", "Unsupported grant_type")
	}
	p.mu.Lock()
	a, err := p.appOf(c)
	if err != nil {
		p.mu.Unlock()
		return nil, err
	}
	if c.form.Get("apiToken") == "" || c.knobs.KeyCredentials == KeyCredentialsIgnored {
		p.mu.Unlock()
		return p.appToken(c, a)
	}
	defer p.mu.Unlock()
	i, ok := slotIndex(c.form.Get("apiToken"))
	if !ok || a.AppType != appTypeKeys || c.knobs.KeyCredentials == KeyCredentialsRefused {
		return nil, errOAuth(400, "invalid_request", "Invalid apiToken")
	}
	return p.generate(c.now, c.knobs, a, i, c.form.Get("regenerateApiToken") == "true", "app "+a.ClientID)
}

func slotIndex(text string) (int, bool) {
	switch text {
	case "1":
		return 0, true
	case "2":
		return 1, true
	}
	return 0, false
}

// generate puts a new key into slot i. The caller holds p.mu.
func (p *Portal) generate(now time.Time, k Knobs, a *app, i int, regenerate bool, actor string) (accessToken, error) {
	refuse := func(why string) (accessToken, error) { return accessToken{}, errOAuth(400, "invalid_request", why) }
	ms := now.UnixMilli()
	if s := a.Slots[i]; !regenerate && s.Active && ms < s.Expires {
		switch k.RegenerateFalse {
		case RegenerateError:
			return refuse("API token " + strconv.Itoa(i+1) + " already exists")
		case RegenerateKeep:
			return accessToken{"", (s.Expires - ms) / 1000}, nil
		}
	}
	it, expires := p.state.items[a.ItemID], int64(0)
	var recs []record
	switch expires = it.Expires[i]; {
	case expires <= 0:
		if k.ExpirationMissing == ExpirationError {
			return refuse("apiToken" + strconv.Itoa(i+1) + "ExpirationDate is not set")
		}
		expires = roundDate(k.Rounding, now.Add(p.cfg.MaxLifetime).UnixMilli())
		changed := *it
		changed.Expires[i] = expires
		recs = append(recs, record{Item: &changed})
	case expires <= ms && k.ExpirationPast != ExpirationAccept:
		if k.ExpirationPast == ExpirationError {
			return refuse("apiToken" + strconv.Itoa(i+1) + "ExpirationDate is in the past")
		}
		expires = roundDate(k.Rounding, now.Add(p.cfg.MinLifetime).UnixMilli())
		changed := *it
		changed.Expires[i] = expires
		recs = append(recs, record{Item: &changed})
	}
	key := newKey(a.ClientID, i)
	sum := sha256.Sum256([]byte(key))
	b := *a
	s := &b.Slots[i]
	s.setActive(true, now)
	s.Hash, s.Expires, s.Generated, s.Generations = hex.EncodeToString(sum[:]), expires, ms, s.Generations+1
	ev := Event{Kind: "key-generated", ItemID: a.ItemID, Slot: i + 1, Actor: actor}
	if err := p.commit(now, ev, append(recs, record{App: &b})...); err != nil {
		return accessToken{}, err
	}
	return accessToken{key, (expires - ms) / 1000}, nil
}

// revokeToken is two calls in one place. By slot (client id and secret, with or without apiToken) it kills
// a key; with auth_token it is the documented one, which answers success whatever it is given.
func (p *Portal) revokeToken(c *call) (any, error) {
	if c.form.Has("auth_token") || !c.form.Has("client_secret") {
		if !c.form.Has("auth_token") && !c.form.Has("client_id") {
			return nil, errOAuth(400, "invalid_request", "client_id not specified")
		}
		return success{Success: true}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a, err := p.appOf(c)
	if err != nil {
		if p.state.apps[c.form.Get("client_id")] != nil && c.knobs.RevokeWrongSecret == RevokeSuccess {
			return success{Success: true}, nil
		}
		return nil, err
	}
	var slots []int
	if !c.form.Has("apiToken") {
		switch c.knobs.RevokeNoSlot {
		case RevokeError:
			return nil, errOAuth(400, "invalid_request", "apiToken not specified")
		case RevokeBoth:
			slots = []int{0, 1}
		}
	} else {
		i, ok := slotIndex(c.form.Get("apiToken"))
		if !ok {
			return nil, errOAuth(400, "invalid_request", "Invalid apiToken")
		}
		if !a.Slots[i].Active && c.knobs.RevokeEmptySlot == RevokeError {
			return nil, errOAuth(400, "invalid_request", "API token "+strconv.Itoa(i+1)+" does not exist")
		}
		slots = []int{i}
	}
	return success{Success: true}, p.revoke(c.now, c.knobs, a, slots, "app "+a.ClientID)
}

// revoke kills the keys in the slots. The caller holds p.mu.
func (p *Portal) revoke(now time.Time, k Knobs, a *app, slots []int, actor string) error {
	for _, i := range slots {
		if !a.Slots[i].Active {
			continue
		}
		b := *a
		b.Slots[i].setActive(false, now)
		recs := []record{{App: &b}}
		if k.RevokeResetsExpiration {
			it := *p.state.items[a.ItemID]
			it.Expires[i] = noDate
			recs = append(recs, record{Item: &it})
		}
		ev := Event{Kind: "key-revoked", ItemID: a.ItemID, Slot: i + 1, Actor: actor}
		if err := p.commit(now, ev, recs...); err != nil {
			return err
		}
		a = &b
	}
	return nil
}

// validateAPIKey knows keys of the new model only: legacy keys do not exist here.
func (p *Portal) validateAPIKey(c *call) (any, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	who, ok := p.keyIdentity(c.now, c.knobs, c.form.Get("key"), c.r.Referer())
	for _, want := range csv(c.form.Get("privilege")) {
		ok = ok && holds(who.app, want)
	}
	return map[string]bool{"valid": ok}, nil
}
