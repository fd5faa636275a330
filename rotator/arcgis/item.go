package arcgis

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The keywords by which an item is found again. An item without all three is
// not ours.
const (
	keywordInstallation = "keyturn-installation:"
	keywordCredential   = "keyturn-credential:"
	keywordRotation     = "keyturn-rotation:"
)

func keywords(m credential.Marker) []string {
	return []string{
		keywordInstallation + m.Installation, keywordCredential + string(m.Name), keywordRotation + m.Rotation,
	}
}

// EnsureItem finds the item with the marker in the owner's folder listing
// (which, unlike the search index, shows what was just written), or makes it,
// and registers it if it is not.
func (p *Portal) EnsureItem(ctx context.Context, order credential.ItemOrder) (string, error) {
	folder, err := p.folder(ctx, order.Spec.Folder)
	if err != nil {
		return "", err
	}
	item, err := p.findItem(ctx, folder, order.Marker)
	if err != nil {
		return "", err
	}
	if item == "" {
		if item, err = p.addItem(ctx, folder, order); err != nil {
			return "", err
		}
	} else if _, err := p.registration(ctx, p.config.Username, item); err == nil {
		return item, nil
	} else if class := credential.ClassOf(err); class != credential.ClassNotFound && class != credential.ClassPermanent && class != credential.ClassDenied {
		return "", err
	}
	return item, p.register(ctx, item, order.Spec)
}

func (p *Portal) content(parts ...string) string {
	path := "/content/users/" + url.PathEscape(p.config.Username)
	for _, part := range parts {
		if part != "" {
			path += "/" + url.PathEscape(part)
		}
	}
	return path
}

// folder returns the id of a folder by its title, and makes it if it is not
// there; an empty title is the root, with an empty id.
func (p *Portal) folder(ctx context.Context, title string) (string, error) {
	if title == "" {
		return "", nil
	}
	type entry struct {
		ID    string `json:"id"`
		Title string `json:"title"`
	}
	var listing struct {
		Folders []entry `json:"folders"`
	}
	if _, err := p.manage(ctx, request{op: "list folders", path: p.content(), form: url.Values{"num": {"1"}}}, &listing); err != nil {
		return "", err
	}
	for _, folder := range listing.Folders {
		if folder.Title == title {
			return folder.ID, nil
		}
	}
	var made struct {
		Folder entry `json:"folder"`
	}
	r := request{op: "make folder " + title, path: p.content("createFolder"), form: url.Values{"title": {title}}, changes: true}
	if _, err := p.manage(ctx, r, &made); err != nil {
		// somebody else may have made it in between: the next attempt finds it
		return "", err
	}
	if made.Folder.ID == "" {
		return "", p.garbled(r, "a new folder without an id")
	}
	return made.Folder.ID, nil
}

// findItem looks through the owner's folder, page by page, for the oldest item
// with the marker; empty = there is none.
func (p *Portal) findItem(ctx context.Context, folder string, marker credential.Marker) (string, error) {
	type entry struct {
		ID           string   `json:"id"`
		Created      int64    `json:"created"`
		TypeKeywords []string `json:"typeKeywords"`
	}
	var best entry
	for start := 1; start > 0; {
		var page struct {
			Items     []entry `json:"items"`
			NextStart int     `json:"nextStart"`
		}
		form := url.Values{"num": {"100"}, "start": {itoa(start)}}
		if _, err := p.manage(ctx, request{op: "list the owner's items", path: p.content(folder), form: form}, &page); err != nil {
			return "", err
		}
		for _, item := range page.Items {
			if hasAll(item.TypeKeywords, keywords(marker)) && (best.ID == "" || item.Created < best.Created) {
				best = item
			}
		}
		if page.NextStart <= start {
			break
		}
		start = page.NextStart
	}
	return best.ID, nil
}

func hasAll(have, want []string) bool {
	for _, keyword := range want {
		if !slices.Contains(have, keyword) {
			return false
		}
	}
	return true
}

func (p *Portal) addItem(ctx context.Context, folder string, order credential.ItemOrder) (string, error) {
	spec := order.Spec
	form := url.Values{
		"type": {"Application"}, "title": {spec.Title},
		"tags":         {strings.Join(spec.Tags, ",")},
		"typeKeywords": {strings.Join(keywords(order.Marker), ",")},
	}
	if spec.Description != "" {
		form.Set("description", spec.Description)
	}
	if spec.Personal {
		form.Set("isPersonalAPIToken", "true")
	}
	var answer struct {
		ID string `json:"id"`
	}
	r := request{op: "make item " + spec.Title, path: p.content(folder, "addItem"), form: form, changes: true}
	if _, err := p.manage(ctx, r, &answer); err != nil {
		return "", err
	}
	if answer.ID == "" {
		return "", p.garbled(r, "a new item without an id")
	}
	return answer.ID, nil
}

// registered is what the portal says of an app; a field that is missing is false.
type registered struct {
	ItemID       string `json:"itemId"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Active1      bool   `json:"apiToken1Active"`
	Active2      bool   `json:"apiToken2Active"`
}

func (p *Portal) register(ctx context.Context, item string, spec credential.ItemSpec) error {
	privileges := slices.Clone(spec.Privileges)
	for _, id := range spec.Items {
		privileges = append(privileges, "portal:app:access:item:"+id)
	}
	form := url.Values{
		"itemId": {item}, "appType": {"multiple"},
		"redirect_uris": {jsonArray([]string{"urn:ietf:wg:oauth:2.0:oob"})},
		"httpReferrers": {jsonArray(spec.Referrers)},
		"privileges":    {jsonArray(privileges)},
	}
	if spec.Personal {
		form.Set("isPersonalAPIToken", "true")
	}
	var answer registered
	r := request{op: "register item " + item, path: "/oauth2/registerApp", form: form, changes: true}
	if _, err := p.manage(ctx, r, &answer); err != nil {
		return err
	}
	if answer.ClientID == "" || answer.ClientSecret == "" {
		return p.garbled(r, "a registration without client id and secret")
	}
	p.remember(item, app{owner: p.config.Username, clientID: answer.ClientID, secret: credential.NewSecret(answer.ClientSecret)})
	return nil
}

// jsonArray is how the portal wants privileges, referrers and redirect URIs.
func jsonArray(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	text, err := json.Marshal(list)
	if err != nil { // strings always encode
		return "[]"
	}
	return string(text)
}

// registration reads an app and remembers its client id and secret.
func (p *Portal) registration(ctx context.Context, owner, item string) (registered, error) {
	var answer registered
	r := request{
		op:   "read the registration of item " + item,
		path: "/content/users/" + url.PathEscape(owner) + "/items/" + url.PathEscape(item) + "/registeredAppInfo",
	}
	if _, err := p.manage(ctx, r, &answer); err != nil {
		return registered{}, err
	}
	if answer.ClientID == "" || answer.ClientSecret == "" {
		return registered{}, p.fault(r, credential.ClassDenied, errNoSecret, "log in as the item's owner or an administrator")
	}
	p.remember(item, app{owner: owner, clientID: answer.ClientID, secret: credential.NewSecret(answer.ClientSecret)})
	return answer, nil
}

// details is what the portal says of an item.
type details struct {
	ID       string `json:"id"`
	Owner    string `json:"owner"`
	Expires1 int64  `json:"apiToken1ExpirationDate"`
	Expires2 int64  `json:"apiToken2ExpirationDate"`
}

func (p *Portal) details(ctx context.Context, item string) (details, time.Time, error) {
	var answer details
	r := request{op: "read item " + item, path: "/content/items/" + url.PathEscape(item)}
	clock, err := p.manage(ctx, r, &answer)
	if err == nil && answer.ID != item {
		err = p.garbled(r, "another item than the one asked for")
	}
	return answer, clock, err
}

// Describe reads the item and its registration at the same time.
func (p *Portal) Describe(ctx context.Context, item string) (credential.ItemStatus, error) {
	owner := p.config.Username
	known, ok := p.remembered(item)
	if ok {
		owner = known.owner
	}
	var info registered
	var infoErr error
	var item1 details
	var clock time.Time
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		info, infoErr = p.registration(groupCtx, owner, item)
		return nil // the item's own answer says more
	})
	group.Go(func() (err error) {
		item1, clock, err = p.details(groupCtx, item)
		return err
	})
	if err := group.Wait(); err != nil {
		return credential.ItemStatus{}, err
	}
	if infoErr != nil && item1.Owner != "" && item1.Owner != owner {
		info, infoErr = p.registration(ctx, item1.Owner, item) // somebody else's item
	}
	if infoErr != nil {
		return credential.ItemStatus{}, infoErr
	}
	return credential.ItemStatus{
		Item: item, Clock: clock,
		Slots: [2]credential.SlotStatus{
			{Active: info.Active1, Expires: date(item1.Expires1)},
			{Active: info.Active2, Expires: date(item1.Expires2)},
		},
	}, nil
}

// date reads epoch milliseconds; -1 and 0 are no date.
func date(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
