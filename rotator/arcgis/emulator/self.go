package emulator

// Answers about the portal, the organisation and the caller.

func (p *Portal) root(*call) (any, error) {
	return map[string]string{"currentVersion": p.cfg.Org.CurrentVersion, "emulator": Banner}, nil
}

func (p *Portal) info(c *call) (any, error) {
	scheme := "http://"
	if c.r.TLS != nil {
		scheme = "https://"
	}
	root := scheme + c.r.Host + p.base
	return map[string]any{
		"owningSystemUrl": root[:len(root)-len("/sharing/rest")],
		"authInfo": map[string]any{
			"isTokenBasedSecurity": true,
			"tokenServicesUrl":     root + "/generateToken",
		},
	}, nil
}

// appInfo is who an API key or an app token is.
type appInfo struct {
	AppID      string   `json:"appId"`
	ItemID     string   `json:"itemId"`
	AppOwner   string   `json:"appOwner"`
	OrgID      string   `json:"orgId"`
	AppTitle   string   `json:"appTitle"`
	Privileges []string `json:"privileges"`
	Expires    int64    `json:"expirationDate"`
}

func (p *Portal) appInfo(c *call) *appInfo {
	if c.who.app == nil {
		return nil
	}
	a := c.who.app
	v := &appInfo{AppID: a.ClientID, ItemID: a.ItemID, AppOwner: a.Owner, OrgID: p.cfg.Org.ID, Privileges: a.Privileges, Expires: c.who.expires}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if it := p.state.items[a.ItemID]; it != nil {
		v.AppTitle = it.Title
	}
	return v
}

// userView is a user of the organisation.
type userView struct {
	Username   string   `json:"username"`
	FullName   string   `json:"fullName"`
	OrgID      string   `json:"orgId"`
	Role       string   `json:"role"`
	UserType   string   `json:"userLicenseTypeId"`
	Privileges []string `json:"privileges"`
	AppInfo    *appInfo `json:"appInfo,omitempty"`
}

func (p *Portal) viewUser(name string) userView {
	v := userView{Username: name, FullName: name, OrgID: p.cfg.Org.ID, Role: "org_publisher", UserType: "creatorUT", Privileges: knownPrivileges}
	if p.isAdmin(name) {
		v.Role = "org_admin"
	}
	if held, ok := p.cfg.Held[name]; ok {
		v.Privileges = held
	}
	return v
}

// portalView is portals/self. Without a token it says less, and says it as readily.
type portalView struct {
	ID              string            `json:"id"`
	Name            string            `json:"name"`
	URLKey          string            `json:"urlKey,omitempty"`
	CustomBaseURL   string            `json:"customBaseUrl,omitempty"`
	CurrentVersion  string            `json:"currentVersion"`
	IsPortal        bool              `json:"isPortal"`
	PortalMode      string            `json:"portalMode"`
	PortalName      string            `json:"portalName"`
	AllSSL          bool              `json:"allSSL"`
	SupportsOAuth   bool              `json:"supportsOAuth"`
	MaxTokenMinutes int               `json:"maxTokenExpirationMinutes"`
	Subscription    map[string]string `json:"subscriptionInfo,omitempty"`
	User            *userView         `json:"user,omitempty"`
	AppInfo         *appInfo          `json:"appInfo,omitempty"`
}

// ourOrg refuses any organisation but self and our own.
func (p *Portal) ourOrg(c *call) error {
	if org := c.vars["org"]; org != "self" && org != p.cfg.Org.ID {
		return errNotFound()
	}
	return nil
}

func (p *Portal) portalSelf(c *call) (any, error) {
	if err := p.ourOrg(c); err != nil {
		return nil, err
	}
	v := portalView{ID: p.cfg.Org.ID, Name: p.cfg.Org.Name, URLKey: p.cfg.Org.URLKey,
		CurrentVersion: p.cfg.Org.CurrentVersion, IsPortal: p.cfg.Edition == Enterprise, PortalMode: "singletenant",
		PortalName: p.cfg.Org.Name, SupportsOAuth: true, MaxTokenMinutes: -1}
	if p.cfg.Edition == Online {
		v.PortalMode, v.CustomBaseURL = "multitenant", "maps.arcgis.com"
	}
	if c.knobs.TokenMinutes > 0 {
		v.MaxTokenMinutes = c.knobs.TokenMinutes
	}
	if c.who.kind == anonymous {
		return v, nil
	}
	v.Subscription = map[string]string{"id": "0000000000", "type": p.cfg.Org.SubscriptionType}
	v.AppInfo = p.appInfo(c)
	if c.who.kind == userToken {
		user := p.viewUser(c.who.user)
		v.User = &user
	}
	return v, nil
}

func (p *Portal) communitySelf(c *call) (any, error) {
	v := p.viewUser(c.who.user)
	v.AppInfo = p.appInfo(c)
	if v.AppInfo != nil {
		v.Privileges = v.AppInfo.Privileges
	}
	return v, nil
}

func (p *Portal) communityUser(c *call) (any, error) {
	name := c.vars["user"]
	if _, ok := p.cfg.Users[name]; !ok {
		return nil, &portalError{Code: 400, MessageCode: "COM_0018", Message: "User does not exist or is inaccessible."}
	}
	v := p.viewUser(name)
	if c.who.kind != userToken || (c.who.user != name && !p.isAdmin(c.who.user)) {
		v.Privileges, v.Role = nil, ""
	}
	return v, nil
}

// expiryView is one slot in the list of expirations.
type expiryView struct {
	Title    string `json:"title"`
	ItemID   string `json:"itemId"`
	Token    int    `json:"apiToken"`
	Owner    string `json:"owner"`
	Expires  int64  `json:"expirationDate"`
	ClientID string `json:"clientId"`
}

// apiTokens lists the active slots whose date lies in a window; an item with two keys appears twice.
func (p *Portal) apiTokens(c *call) (any, error) {
	if c.knobs.NoAPITokens {
		return nil, errNotFound()
	}
	if err := p.ourOrg(c); err != nil {
		return nil, err
	}
	if c.who.kind != userToken {
		return nil, errForbidden()
	}
	window, err1 := c.paging(100)
	from, err2 := c.number("startExpirationDate", 0)
	to, err3 := c.number("endExpirationDate", 1<<62)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, err
		}
	}
	all := p.isAdmin(c.who.user)
	found := []expiryView{}
	p.mu.RLock()
	for _, id := range p.state.order {
		it := p.state.items[id]
		a := p.state.apps[it.ClientID]
		if a == nil || it.Recycled != 0 || (!all && it.Owner != c.who.user) {
			continue
		}
		for i := range a.Slots {
			if ms := it.Expires[i]; a.Slots[i].Active && ms >= from && ms <= to {
				found = append(found, expiryView{it.Title, it.ID, i + 1, it.Owner, ms, a.ClientID})
			}
		}
	}
	p.mu.RUnlock()
	first, last, next := window.cut(len(found))
	return struct {
		Items     []expiryView `json:"items"`
		Total     int          `json:"total"`
		Start     int          `json:"start"`
		Num       int          `json:"num"`
		NextStart int          `json:"nextStart"`
	}{found[first:last], len(found), window.start, last - first, next}, nil
}

// apiKeys lists legacy keys, of which there are none here.
func (p *Portal) apiKeys(c *call) (any, error) {
	if err := p.ourOrg(c); err != nil {
		return nil, err
	}
	return map[string]any{"apiKeys": []any{}, "nextStart": -1}, nil
}
