package emulator

import (
	"encoding/json"
	"slices"
)

// Keywords that registration puts on an item.
const (
	keywordRegistered = "Registered App"
	keywordKeys       = "APIToken"
)

// itemView is an item as the portal shows it. It never holds a key or a secret.
type itemView struct {
	ID                string          `json:"id"`
	Owner             string          `json:"owner"`
	OrgID             string          `json:"orgId"`
	Created           int64           `json:"created"`
	IsOrgItem         bool            `json:"isOrgItem"`
	Modified          int64           `json:"modified"`
	GUID              *string         `json:"guid"`
	Name              *string         `json:"name"`
	Title             string          `json:"title"`
	Type              string          `json:"type"`
	TypeKeywords      []string        `json:"typeKeywords"`
	Description       *string         `json:"description"`
	Tags              []string        `json:"tags"`
	Snippet           *string         `json:"snippet"`
	Thumbnail         *string         `json:"thumbnail"`
	Documentation     *string         `json:"documentation"`
	Extent            []any           `json:"extent"`
	Categories        []string        `json:"categories"`
	SpatialReference  *string         `json:"spatialReference"`
	AccessInformation *string         `json:"accessInformation"`
	LicenseInfo       *string         `json:"licenseInfo"`
	Culture           *string         `json:"culture"`
	Properties        json.RawMessage `json:"properties"`
	AdvancedSettings  *string         `json:"advancedSettings"`
	URL               *string         `json:"url"`
	ProxyFilter       *string         `json:"proxyFilter"`
	Access            string          `json:"access"`
	Size              int             `json:"size"`
	SubInfo           int             `json:"subInfo"`
	AppCategories     []string        `json:"appCategories"`
	Industries        []string        `json:"industries"`
	Languages         []string        `json:"languages"`
	LargeThumbnail    *string         `json:"largeThumbnail"`
	Banner            *string         `json:"banner"`
	Screenshots       []string        `json:"screenshots"`
	Listed            bool            `json:"listed"`
	OwnerFolder       *string         `json:"ownerFolder"`
	Protected         bool            `json:"protected"`
	CommentsEnabled   bool            `json:"commentsEnabled"`
	NumComments       int             `json:"numComments"`
	NumRatings        int             `json:"numRatings"`
	AvgRating         int             `json:"avgRating"`
	NumViews          int             `json:"numViews"`
	ItemControl       string          `json:"itemControl,omitempty"`
	ScoreCompleteness int             `json:"scoreCompleteness"`
	GroupDesignations *string         `json:"groupDesignations"`
	LastViewed        int64           `json:"lastViewed"`
	Expires1          int64           `json:"apiToken1ExpirationDate,omitzero"`
	Expires2          int64           `json:"apiToken2ExpirationDate,omitzero"`
}

func (p *Portal) view(it *item, control string) itemView {
	none, dates := []string{}, it.Expires
	if p.Knobs().KeyCredentials != KeyCredentialsKnown {
		dates = [2]int64{} // the fields do not exist
	}
	return itemView{
		ID: it.ID, Owner: it.Owner, OrgID: p.cfg.Org.ID, Created: it.Created, IsOrgItem: true, Modified: it.Modified,
		Title: it.Title, Type: it.Type, TypeKeywords: orEmpty(it.TypeKeywords), Description: orNull(it.Fields.Description),
		Tags: orEmpty(it.Tags), Snippet: orNull(it.Fields.Snippet), Documentation: orNull(it.Fields.Documentation),
		Extent: []any{}, Categories: orEmpty(it.Categories), AccessInformation: orNull(it.Fields.AccessInformation),
		LicenseInfo: orNull(it.Fields.LicenseInfo), Culture: orNull(it.Fields.Culture), Properties: it.Properties,
		URL: orNull(it.Fields.URL), Access: "private", SubInfo: 0, AppCategories: none, Industries: none, Languages: none,
		Screenshots: none, OwnerFolder: orNull(it.Folder), Protected: it.Protected, NumViews: 0, ItemControl: control,
		LastViewed: it.Modified, Expires1: dates[0], Expires2: dates[1],
	}
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// owned finds the item of a path /content/users/{user}[/{folder}]/items/{item}. The caller holds p.mu.
func (p *Portal) owned(c *call, act action) (*item, error) {
	if err := p.may(c, act, c.vars["user"], c.vars["item"]); err != nil {
		return nil, err
	}
	it := p.state.items[c.vars["item"]]
	if it == nil || it.Owner != c.vars["user"] || it.Recycled != 0 {
		return nil, errNoItem()
	}
	if f, ok := c.vars["folder"]; ok && it.Folder != f {
		return nil, errNoItem()
	}
	return it, nil
}

// getItem is content/items/{item}, for everyone who may see it.
func (p *Portal) getItem(c *call) (any, error) {
	p.mu.RLock()
	it := p.state.items[c.vars["item"]]
	p.mu.RUnlock()
	if it == nil || it.Recycled != 0 || c.who.kind == anonymous {
		return nil, errNoItem() // nothing here is shared with everyone
	}
	control := "update"
	switch c.who.kind {
	case userToken:
		if it.Owner != c.who.user && !p.isAdmin(c.who.user) {
			return nil, errNoItem()
		}
		control = "admin"
	default:
		if ok, _ := reaches(c.who.app, it.ID); !ok && p.may(c, actView, it.Owner, it.ID) != nil {
			return nil, errNoItem()
		}
	}
	return p.view(it, control), nil
}

// getOwnItem is the item below its owner's content, which wraps it.
func (p *Portal) getOwnItem(c *call) (any, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	it, err := p.owned(c, actView)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"item":    p.view(it, "admin"),
		"sharing": map[string]any{"access": "private", "groups": []string{}},
	}, nil
}

// addItem makes an item in the root or in a folder.
func (p *Portal) addItem(c *call) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	owner, at := c.vars["user"], c.vars["folder"]
	if err := p.ownerIn(c, actCreate); err != nil {
		return nil, err
	}
	if at != "" && !p.hasFolder(owner, at) {
		return nil, errNoFolder()
	}
	it := item{ID: randomHex(16), Owner: owner, Folder: at, Type: c.form.Get("type"),
		Created: wholeSecond(c.now), Expires: [2]int64{noDate, noDate}}
	if c.form.Get("title") == "" || it.Type == "" {
		return nil, errBad("'type' and 'title' property required.")
	}
	if err := p.edit(c, &it); err != nil {
		return nil, err
	}
	ev := Event{Kind: "item-created", ItemID: it.ID, Actor: c.who.String()}
	if err := p.commit(c.now, ev, record{Item: &it}); err != nil {
		return nil, err
	}
	return struct {
		Success bool   `json:"success"`
		ID      string `json:"id"`
		Folder  string `json:"folder"`
	}{true, it.ID, it.Folder}, nil
}

// updateItem changes the fields that are given and no others.
func (p *Portal) updateItem(c *call) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, err := p.owned(c, actUpdate)
	if err != nil {
		return nil, err
	}
	it := *old
	if err := p.edit(c, &it); err != nil {
		return nil, err
	}
	recs := []record{{Item: &it}}
	if a := p.state.apps[it.ClientID]; a != nil && c.knobs.EditMovesLiveKey && it.Expires != old.Expires {
		b := *a
		for i := range b.Slots {
			if b.Slots[i].Active && it.Expires[i] > 0 && it.Expires[i] != old.Expires[i] {
				b.Slots[i].Expires = it.Expires[i]
			}
		}
		recs = append(recs, record{App: &b})
	}
	ev := Event{Kind: "item-updated", ItemID: it.ID, Actor: c.who.String()}
	if err := p.commit(c.now, ev, recs...); err != nil {
		return nil, err
	}
	return success{Success: true, ID: it.ID}, nil
}

// edit takes the fields of the request over into the item.
func (p *Portal) edit(c *call, it *item) error {
	clear := c.form.Get("clearEmptyFields") == "true"
	given := func(name string) (string, bool) {
		v := c.form.Get(name)
		return v, v != "" || (clear && c.form.Has(name))
	}
	if v := c.form.Get("title"); v != "" {
		it.Title = v
	}
	for name, field := range map[string]*string{
		"description": &it.Fields.Description, "snippet": &it.Fields.Snippet, "url": &it.Fields.URL,
		"culture": &it.Fields.Culture, "accessInformation": &it.Fields.AccessInformation,
		"licenseInfo": &it.Fields.LicenseInfo, "documentation": &it.Fields.Documentation,
	} {
		if v, ok := given(name); ok {
			*field = v
		}
	}
	if v, ok := given("tags"); ok {
		it.Tags = csv(v)
	}
	if v, ok := given("categories"); ok {
		it.Categories = csv(v)
	}
	if v, ok := given("typeKeywords"); ok {
		it.TypeKeywords = keepReserved(csv(v), it.TypeKeywords)
	}
	if v, ok := given("properties"); ok {
		if v != "" && !json.Valid([]byte(v)) {
			return errBad("'properties' must be JSON.")
		}
		it.Properties = json.RawMessage(v)
		if v == "" {
			it.Properties = nil
		}
	}
	known := c.knobs.KeyCredentials == KeyCredentialsKnown
	if known && (it.ClientID != "" || c.knobs.DatesBeforeRegistration) {
		for i, name := range []string{"apiToken1ExpirationDate", "apiToken2ExpirationDate"} {
			if c.form.Get(name) == "" {
				continue
			}
			ms, err := p.date(c, name)
			if err != nil {
				return err
			}
			it.Expires[i] = ms
		}
	}
	it.Modified = wholeSecond(c.now)
	return nil
}

// keepReserved keeps the keywords that only registration sets.
func keepReserved(wanted, had []string) []string {
	var list []string
	for _, word := range wanted {
		if word != keywordRegistered && word != keywordKeys {
			list = append(list, word)
		}
	}
	for _, word := range []string{keywordRegistered, keywordKeys} {
		if slices.Contains(had, word) {
			list = append(list, word)
		}
	}
	return list
}
