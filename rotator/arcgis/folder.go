package arcgis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"

	"github.com/keyturn/keyturn/rotator/credential"
)

// pageSize is how many entries a list is read at a time; the portal's most.
const pageSize = 100

// pages is how many pages a list may have: more is a portal that goes round.
const pages = 10_000

// next is where the next page of a list begins; 0 = this was the last one.
// Lists that name no next start end with a page that is not full.
func next(start, got, named int) int {
	switch {
	case named > start:
		return named
	case named == 0 && got >= pageSize:
		return start + got
	}
	return 0
}

// place is a folder by its title, in somebody's content; an empty title is the root.
type place struct{ owner, title string }

// folderID returns the id of a folder, and makes it if it is not there; the root
// has an empty id.
func (p *Portal) folderID(ctx context.Context, at place) (string, error) {
	if at.title == "" {
		return "", nil
	}
	p.mu.Lock()
	id := p.folders[at]
	p.mu.Unlock()
	if id != "" {
		return id, nil
	}
	id, err := p.findFolder(ctx, at)
	if id == "" && err == nil {
		id, err = p.makeFolder(ctx, at)
	}
	if err == nil {
		p.mu.Lock()
		p.folders[at] = id
		p.mu.Unlock()
	}
	return id, err
}

func (p *Portal) forgetFolder(at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.folders, at)
}

type folder struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// listFolders lists an owner's folders; the root is not among them.
func (p *Portal) listFolders(ctx context.Context, owner string) ([]folder, error) {
	var listing struct {
		Folders []folder `json:"folders"`
	}
	r := request{name: "list-folders", op: "list folders", path: userPath(owner), form: url.Values{"num": {"1"}}}
	_, err := p.manage(ctx, r, &listing)
	return listing.Folders, err
}

func (p *Portal) findFolder(ctx context.Context, at place) (string, error) {
	folders, err := p.listFolders(ctx, at.owner)
	if err != nil {
		return "", err
	}
	for _, folder := range folders {
		if folder.Title == at.title {
			return folder.ID, nil
		}
	}
	return "", nil
}

func (p *Portal) makeFolder(ctx context.Context, at place) (string, error) {
	var made struct {
		Folder folder `json:"folder"`
	}
	r := request{
		name: "make-folder", op: "make folder " + at.title, path: userPath(at.owner, "createFolder"),
		form: url.Values{"title": {at.title}}, changes: true,
	}
	_, err := p.manage(ctx, r, &made)
	if isRefusal(err) { // titles are unique: somebody else may have made it
		if id, again := p.findFolder(ctx, at); again == nil && id != "" {
			return id, nil
		}
	}
	if err != nil {
		return "", err
	}
	if made.Folder.ID == "" {
		return "", p.garbled(r, "a new folder without an id")
	}
	return made.Folder.ID, nil
}

// titles are the titles of folders, read once for each owner.
type titles struct {
	portal *Portal
	mu     sync.Mutex
	of     map[string]map[string]string // owner → id of a folder → its title
}

// title is that of a folder; the root has none.
func (t *titles) title(ctx context.Context, owner, id string) (string, error) {
	if id == "" {
		return "", nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[owner] == nil {
		folders, err := t.portal.listFolders(ctx, owner)
		if err != nil {
			return "", err
		}
		t.of[owner] = map[string]string{}
		for _, folder := range folders {
			t.of[owner][folder.ID] = folder.Title
		}
	}
	title, ok := t.of[owner][id]
	if !ok {
		return "", t.portal.fault(request{op: "list folders"}, credential.ClassRetryable, fmt.Errorf("the folder %s of %s is not there", cut(printable(id)), owner), "ask again: it may have been deleted just now")
	}
	return title, nil
}

// listed is an item as a folder's listing shows it. Its dates are not to be
// trusted there, so they are not read.
type listed struct {
	ID           string   `json:"id"`
	Title        string   `json:"title"`
	Created      int64    `json:"created"`
	TypeKeywords []string `json:"typeKeywords"`
}

// findItems looks through an owner's folder, page by page, for the items to
// keep: the registered ones first, then the oldest.
func (p *Portal) findItems(ctx context.Context, owner, folder string, keep func(listed) bool) ([]listed, error) {
	var found []listed
	known := map[string]bool{"": true}
	start := 1
	for range pages {
		var page struct {
			Items     []listed `json:"items"`
			NextStart int      `json:"nextStart"`
		}
		r := request{
			name: "list-items", op: "list the owner's items", path: userPath(owner, folder),
			form: url.Values{"num": {itoa(pageSize)}, "start": {itoa(start)}},
		}
		if _, err := p.manage(ctx, r, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if !known[item.ID] && keep(item) {
				known[item.ID] = true
				found = append(found, item)
			}
		}
		if start = next(start, len(page.Items), page.NextStart); start == 0 {
			slices.SortFunc(found, func(a, b listed) int {
				return cmp.Or(
					cmp.Compare(order(a.registered()), order(b.registered())),
					cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID),
				)
			})
			return found, nil
		}
	}
	return nil, p.fault(request{op: "list the owner's items"}, credential.ClassPermanent, errors.New("the list has no end"), "give keyturn's items a folder of their own")
}

// everywhere is findItems in the root and in every folder of an owner. What is
// moved meanwhile may be missed.
func (p *Portal) everywhere(ctx context.Context, owner string, keep func(listed) bool) (map[folder][]listed, error) {
	folders, err := p.listFolders(ctx, owner)
	if err != nil {
		return nil, err
	}
	all := map[folder][]listed{}
	for _, at := range append([]folder{{}}, folders...) {
		found, err := p.findItems(ctx, owner, at.ID, keep)
		if credential.IsClass(err, credential.ClassNotFound) && at.ID != "" {
			continue // it was deleted meanwhile, with what was in it
		}
		if err != nil {
			return nil, err
		}
		all[at] = found
	}
	return all, nil
}

func (l listed) registered() bool { return slices.Contains(l.TypeKeywords, keywordRegistered) }

func order(first bool) int {
	if first {
		return 0
	}
	return 1
}

func hasAll(have, want []string) bool {
	for _, keyword := range want {
		if !slices.Contains(have, keyword) {
			return false
		}
	}
	return true
}
