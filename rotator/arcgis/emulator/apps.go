package emulator

import (
	"slices"
	"time"
)

// appTypeKeys is the app type of API key credentials.
const appTypeKeys = "multiple"

// appView is a registered app as the portal shows it, with its secret.
type appView struct {
	ItemID        string   `json:"itemId"`
	ClientID      string   `json:"client_id"`
	Secret        string   `json:"client_secret"`
	AppType       string   `json:"appType"`
	RedirectURIs  []string `json:"redirect_uris"`
	Registered    int64    `json:"registered"`
	Modified      int64    `json:"modified"`
	APNSProd      *string  `json:"apnsProdCert"`
	APNSSandbox   *string  `json:"apnsSandboxCert"`
	GCM           *string  `json:"gcmApiKey"`
	HTTPReferrers []string `json:"httpReferrers,omitzero"`
	Privileges    []string `json:"privileges,omitzero"`
	IsBeta        bool     `json:"isBeta"`
	Personal      bool     `json:"isPersonalAPIToken"`
	Active1       *bool    `json:"apiToken1Active,omitempty"`
	Active2       *bool    `json:"apiToken2Active,omitempty"`
	ShowTriage    bool     `json:"customAppLoginShowTriage"`
}

func (c *call) viewApp(a *app, registering bool) appView {
	v := appView{ItemID: a.ItemID, ClientID: a.ClientID, Secret: a.Secret, AppType: a.AppType, RedirectURIs: a.RedirectURIs,
		Registered: a.Registered, Modified: a.Modified, HTTPReferrers: a.HTTPReferrers, Privileges: a.Privileges, Personal: a.Personal}
	if c.knobs.KeyCredentials != KeyCredentialsKnown {
		v.HTTPReferrers, v.Privileges = nil, nil
		return v
	}
	first := a.Slots[0].Generations+a.Slots[1].Generations > 0
	if c.knobs.ActiveFields == ActiveAlways || (c.knobs.ActiveFields == ActiveNotAtRegister && !registering) || first {
		one, two := shownActive(c.now, c.knobs, a.Slots[0]), shownActive(c.now, c.knobs, a.Slots[1])
		v.Active1, v.Active2 = &one, &two
	}
	return v
}

// shownActive is apiTokenNActive, which may lag and may or may not see that the key has expired.
func shownActive(now time.Time, k Knobs, s slot) bool {
	active := s.Active
	if now.UnixMilli() < s.Changed+k.ActiveLag.Milliseconds() {
		active = s.WasActive
	}
	if k.ExpiryClearsActive && now.UnixMilli() >= s.Expires {
		active = false
	}
	return active
}

// registerApp turns an item into a credential.
func (p *Portal) registerApp(c *call) (any, error) {
	redirects, err1 := c.stringArray("redirect_uris")
	referrers, err2 := c.stringArray("httpReferrers")
	privileges, err3 := c.stringArray("privileges")
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, err
		}
	}
	if c.knobs.KeyCredentials == KeyCredentialsRefused && c.form.Has("privileges") {
		return nil, errBad("Invalid parameter.", "privileges")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.state.items[c.form.Get("itemId")]
	if old == nil || old.Recycled != 0 {
		return nil, errNoItem()
	}
	if err := p.may(c, actRegister, old.Owner, old.ID); err != nil {
		return nil, err
	}
	a := app{ItemID: old.ID, Owner: old.Owner, Secret: randomHex(16), AppType: c.form.Get("appType"), RedirectURIs: redirects,
		HTTPReferrers: referrers, Privileges: privileges, Registered: wholeSecond(c.now), Modified: wholeSecond(c.now)}
	switch {
	case old.ClientID != "":
		return nil, errBad("App already registered.")
	case old.Type != "Application":
		return nil, errBad("Invalid item type.", "only an Application can be registered")
	case !slices.Contains([]string{appTypeKeys, "browser", "native", "server"}, a.AppType):
		return nil, errBad("Invalid appType.")
	}
	if err := p.checkApp(c, &a); err != nil {
		return nil, err
	}
	for a.ClientID == "" || p.state.apps[a.ClientID] != nil {
		a.ClientID = newClientID()
	}
	it := *old
	it.ClientID = a.ClientID
	it.TypeKeywords = append(slices.Clone(it.TypeKeywords), keywordRegistered)
	if a.AppType == appTypeKeys {
		it.TypeKeywords = append(it.TypeKeywords, keywordKeys)
	}
	ev := Event{Kind: "app-registered", ItemID: it.ID, Actor: c.who.String()}
	if err := p.commit(c.now, ev, record{Item: &it}, record{App: &a}); err != nil {
		return nil, err
	}
	return c.viewApp(&a, true), nil
}

// checkApp refuses privileges and referrers that an app may not have, and sets the personal flag.
func (p *Portal) checkApp(c *call, a *app) error {
	var err error
	if a.Privileges, err = p.checkPrivileges(c.knobs, a.Owner, a.Privileges); err != nil {
		return err
	}
	if c.knobs.MaxReferrers > 0 && len(a.HTTPReferrers) > c.knobs.MaxReferrers {
		return errBad("Too many referrers.")
	}
	switch flag := c.form.Get("isPersonalAPIToken") == "true"; {
	case c.knobs.PersonalFlag == PersonalComputed:
		a.Personal = personal(a.Privileges)
	case c.knobs.PersonalFlag == PersonalStrict && flag != personal(a.Privileges):
		return errBad("Invalid isPersonalAPIToken.")
	case c.form.Has("isPersonalAPIToken"):
		a.Personal = flag
	}
	return nil
}

// registeredAppInfo is the app of an item, with its secret, for those who may manage it.
func (p *Portal) registeredAppInfo(c *call) (any, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	it, err := p.owned(c, actUpdate)
	if err != nil {
		return nil, err
	}
	a := p.state.apps[it.ClientID]
	if a == nil {
		return nil, errBad("App is not registered.")
	}
	return c.viewApp(a, false), nil
}

// appIn finds the app of a path /oauth2/apps/{app}/… The caller holds p.mu.
func (p *Portal) appIn(c *call) (*app, error) {
	a := p.state.apps[c.vars["app"]]
	if a == nil || p.recycled(a) {
		return nil, &portalError{Code: 400, MessageCode: "GWM_0007", Message: "Invalid request", Details: []string{"Invalid client_id"}}
	}
	return a, p.may(c, actUpdate, a.Owner, a.ItemID)
}

func (p *Portal) getApp(c *call) (any, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	a, err := p.appIn(c)
	if err != nil {
		return nil, err
	}
	return c.viewApp(a, false), nil
}

// updateApp replaces the lists that are given. It kills both keys, whichever list it was.
func (p *Portal) updateApp(c *call) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, err := p.appIn(c)
	if err != nil {
		return nil, err
	}
	b := *old
	for name, field := range map[string]*[]string{
		"redirect_uris": &b.RedirectURIs, "httpReferrers": &b.HTTPReferrers, "privileges": &b.Privileges,
	} {
		if !c.form.Has(name) {
			continue
		}
		if *field, err = c.stringArray(name); err != nil {
			return nil, err
		}
	}
	if err := p.checkApp(c, &b); err != nil {
		return nil, err
	}
	privileges := slices.Equal(b.Privileges, old.Privileges)
	same := privileges && slices.Equal(b.HTTPReferrers, old.HTTPReferrers) && slices.Equal(b.RedirectURIs, old.RedirectURIs)
	b.Modified = wholeSecond(c.now)
	changed := &b
	kind := "app-updated"
	switch {
	case c.knobs.AppUpdate == AppUpdateChanged && same, c.knobs.AppUpdate == AppUpdatePrivileges && privileges:
		kind = "app-updated-keys-kept"
	default:
		changed = killed(&b, c.now)
	}
	ev := Event{Kind: kind, ItemID: b.ItemID, Actor: c.who.String()}
	if err := p.commit(c.now, ev, record{App: changed}); err != nil {
		return nil, err
	}
	return c.viewApp(changed, false), nil
}

// unregisterApp ends the app; the item stays.
func (p *Portal) unregisterApp(c *call) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, err := p.appIn(c)
	if err != nil {
		return nil, err
	}
	it := *p.state.items[a.ItemID]
	it.ClientID = ""
	it.TypeKeywords = slices.DeleteFunc(slices.Clone(it.TypeKeywords), func(w string) bool {
		return w == keywordRegistered || w == keywordKeys
	})
	ev := Event{Kind: "app-unregistered", ItemID: it.ID, Actor: c.who.String()}
	if err := p.commit(c.now, ev, record{App: a, Gone: true}, record{Item: &it}); err != nil {
		return nil, err
	}
	return success{Success: true, ItemID: it.ID}, nil
}

// resetAPIKey is for legacy keys, of which there are none here.
func (p *Portal) resetAPIKey(c *call) (any, error) {
	return nil, errBad("Invalid request", "not a legacy API key")
}
