package emulator

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// noDate is an expiration date that is not set.
const noDate = -1

// item, app and folder are never changed once they are in the state: a change is a changed copy.

type item struct {
	ID           string          `json:"id"`
	Owner        string          `json:"owner"`
	Folder       string          `json:"folder,omitempty"` // folder id; empty = root
	Title        string          `json:"title"`
	Type         string          `json:"type"`
	TypeKeywords []string        `json:"typeKeywords,omitempty"`
	Tags         []string        `json:"tags,omitempty"`
	Categories   []string        `json:"categories,omitempty"`
	Properties   json.RawMessage `json:"properties,omitempty"`
	Fields       textFields      `json:"fields"`
	Created      int64           `json:"created"`
	Modified     int64           `json:"modified"`
	Protected    bool            `json:"protected,omitempty"`
	Recycled     int64           `json:"recycled,omitempty"` // when it went into the recycle bin; 0 = it did not
	Expires      [2]int64        `json:"expires"`            // apiToken1ExpirationDate, apiToken2ExpirationDate
	ClientID     string          `json:"clientId,omitempty"` // of the registered app
}

// textFields are the item's free texts.
type textFields struct {
	Description       string `json:"description,omitempty"`
	Snippet           string `json:"snippet,omitempty"`
	URL               string `json:"url,omitempty"`
	Culture           string `json:"culture,omitempty"`
	AccessInformation string `json:"accessInformation,omitempty"`
	LicenseInfo       string `json:"licenseInfo,omitempty"`
	Documentation     string `json:"documentation,omitempty"`
}

type app struct {
	ItemID        string   `json:"itemId"`
	Owner         string   `json:"owner"`
	ClientID      string   `json:"clientId"`
	Secret        string   `json:"secret"`
	AppType       string   `json:"appType"`
	RedirectURIs  []string `json:"redirectUris"`
	HTTPReferrers []string `json:"httpReferrers"`
	Privileges    []string `json:"privileges"`
	Registered    int64    `json:"registered"`
	Modified      int64    `json:"modified"`
	Personal      bool     `json:"personal,omitempty"`
	Slots         [2]slot  `json:"slots"`
}

// slot is one of the two places for a key. The key itself is nowhere, only its hash.
type slot struct {
	Hash        string `json:"hash,omitempty"` // SHA-256 of the key that was generated last, in hex
	Active      bool   `json:"active,omitempty"`
	Expires     int64  `json:"expires,omitempty"`     // of that key, fixed when it was generated
	Generated   int64  `json:"generated,omitempty"`   // when
	Generations int    `json:"generations,omitempty"` // how many keys this slot has had
	Changed     int64  `json:"changed,omitempty"`     // when Active was set last
	WasActive   bool   `json:"wasActive,omitempty"`   // Active before that
}

func (s *slot) setActive(active bool, now time.Time) {
	s.WasActive, s.Active, s.Changed = s.Active, active, now.UnixMilli()
}

type folder struct {
	ID      string `json:"id"`
	Owner   string `json:"owner"`
	Title   string `json:"title"`
	Created int64  `json:"created"`
}

// keyHash is the SHA-256 of a key.
type keyHash [32]byte

// keyRef says to which slot a key belongs or belonged.
type keyRef struct {
	clientID string
	slot     int // 0 or 1
}

// grave is a dead key that may still be accepted for a while.
type grave struct {
	app     *app // as it was
	slot    int
	expires int64
	killed  time.Time
}

// place is a folder of a user; folder "" is the root.
type place struct{ owner, folder string }

// state is everything that the journal holds, with the indexes over it.
type state struct {
	meta     meta
	items    map[string]*item     // item id → item
	apps     map[string]*app      // client id → app
	folders  map[string]*folder   // folder id → folder
	order    []string             // item ids, oldest first
	inPlace  map[place][]string   // folder → item ids, oldest first
	inBin    map[string][]string  // owner → item ids in the recycle bin
	ofUser   map[string][]string  // owner → folder ids, oldest first
	titles   map[[2]string]string // owner, folder title → folder id
	keys     map[keyHash]keyRef   // live keys
	graves   map[keyHash]grave    // dead keys
	toForget []keyHash            // graves, oldest first
}

// meta belongs to the portal as a whole.
type meta struct {
	Secret string `json:"secret"` // signs tokens, in hex
	Epoch  int    `json:"epoch"`  // tokens of an earlier epoch are dead
}

func newState() *state {
	return &state{
		items: map[string]*item{}, apps: map[string]*app{}, folders: map[string]*folder{},
		inPlace: map[place][]string{}, inBin: map[string][]string{}, ofUser: map[string][]string{},
		titles: map[[2]string]string{}, keys: map[keyHash]keyRef{}, graves: map[keyHash]grave{},
	}
}

// record is an entity after a change, or its end.
type record struct {
	Meta   *meta   `json:"meta,omitempty"`
	Folder *folder `json:"folder,omitempty"`
	Item   *item   `json:"item,omitempty"`
	App    *app    `json:"app,omitempty"`
	Gone   bool    `json:"gone,omitempty"`
}

// apply is the only way in which the state changes.
func (s *state) apply(r record, now time.Time) {
	switch {
	case r.Meta != nil:
		s.meta = *r.Meta
	case r.Folder != nil:
		s.applyFolder(r.Folder, r.Gone)
	case r.Item != nil:
		s.applyItem(r.Item, r.Gone)
	case r.App != nil:
		s.applyApp(r.App, r.Gone, now)
	}
}

func (s *state) applyFolder(f *folder, gone bool) {
	title := [2]string{f.Owner, f.Title}
	_, known := s.folders[f.ID]
	if gone {
		if known {
			delete(s.folders, f.ID)
			delete(s.titles, title)
			s.ofUser[f.Owner] = without(s.ofUser[f.Owner], f.ID)
		}
		return
	}
	s.folders[f.ID] = f
	s.titles[title] = f.ID
	if !known {
		s.ofUser[f.Owner] = append(s.ofUser[f.Owner], f.ID)
	}
}

func (s *state) applyItem(it *item, gone bool) {
	old := s.items[it.ID]
	if old != nil && (gone || old.Folder != it.Folder || (old.Recycled == 0) != (it.Recycled == 0)) {
		s.unlist(old)
		if gone {
			delete(s.items, it.ID)
			s.order = without(s.order, it.ID)
			return
		}
		s.list(it)
	}
	if gone {
		return
	}
	s.items[it.ID] = it
	if old == nil {
		s.order = append(s.order, it.ID)
		s.list(it)
	}
}

func (s *state) list(it *item) {
	if it.Recycled != 0 {
		s.inBin[it.Owner] = append(s.inBin[it.Owner], it.ID)
		return
	}
	at := place{it.Owner, it.Folder}
	s.inPlace[at] = append(s.inPlace[at], it.ID)
}

func (s *state) unlist(it *item) {
	if it.Recycled != 0 {
		s.inBin[it.Owner] = without(s.inBin[it.Owner], it.ID)
		return
	}
	at := place{it.Owner, it.Folder}
	s.inPlace[at] = without(s.inPlace[at], it.ID)
}

func (s *state) applyApp(a *app, gone bool, now time.Time) {
	old := s.apps[a.ClientID]
	for i := range a.Slots {
		stays := !gone && a.Slots[i].Active
		if old != nil && old.Slots[i].Active && (!stays || old.Slots[i].Hash != a.Slots[i].Hash) {
			s.bury(old, i, now)
		}
		if h, ok := parseHash(a.Slots[i].Hash); ok && stays {
			s.keys[h] = keyRef{a.ClientID, i}
		}
	}
	if gone {
		delete(s.apps, a.ClientID)
		return
	}
	s.apps[a.ClientID] = a
}

func (s *state) bury(a *app, i int, now time.Time) {
	h, ok := parseHash(a.Slots[i].Hash)
	if !ok {
		return
	}
	delete(s.keys, h)
	s.graves[h] = grave{app: a, slot: i, expires: a.Slots[i].Expires, killed: now}
	s.toForget = append(s.toForget, h)
}

// forget drops graves from before t.
func (s *state) forget(t time.Time) {
	n := 0
	for n < len(s.toForget) && s.graves[s.toForget[n]].killed.Before(t) {
		delete(s.graves, s.toForget[n])
		n++
	}
	s.toForget = s.toForget[n:]
}

func parseHash(text string) (h keyHash, ok bool) {
	n, err := hex.Decode(h[:], []byte(text))
	return h, err == nil && n == len(h) && len(text) == 2*len(h)
}

func without(list []string, id string) []string {
	if i := slices.Index(list, id); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
