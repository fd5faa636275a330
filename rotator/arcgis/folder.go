package arcgis

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"

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

// folderID returns the id of a folder by its title, and makes it if it is not
// there; an empty title is the root, with an empty id.
func (p *Portal) folderID(ctx context.Context, title string) (string, error) {
	if title == "" {
		return "", nil
	}
	p.mu.Lock()
	id := p.folders[title]
	p.mu.Unlock()
	if id != "" {
		return id, nil
	}
	id, err := p.findFolder(ctx, title)
	if id == "" && err == nil {
		id, err = p.makeFolder(ctx, title)
	}
	if err == nil {
		p.mu.Lock()
		p.folders[title] = id
		p.mu.Unlock()
	}
	return id, err
}

func (p *Portal) forgetFolder(title string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.folders, title)
}

type folder struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

func (p *Portal) findFolder(ctx context.Context, title string) (string, error) {
	var listing struct {
		Folders []folder `json:"folders"`
	}
	r := request{name: "list-folders", op: "list folders", path: userPath(p.config.Username), form: url.Values{"num": {"1"}}}
	if _, err := p.manage(ctx, r, &listing); err != nil {
		return "", err
	}
	for _, folder := range listing.Folders {
		if folder.Title == title {
			return folder.ID, nil
		}
	}
	return "", nil
}

func (p *Portal) makeFolder(ctx context.Context, title string) (string, error) {
	var made struct {
		Folder folder `json:"folder"`
	}
	r := request{
		name: "make-folder", op: "make folder " + title, path: userPath(p.config.Username, "createFolder"),
		form: url.Values{"title": {title}}, changes: true,
	}
	_, err := p.manage(ctx, r, &made)
	if isRefusal(err) { // titles are unique: somebody else may have made it
		if id, again := p.findFolder(ctx, title); again == nil && id != "" {
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

// listed is an item as a folder's listing shows it. Its dates are not to be
// trusted there, so they are not read.
type listed struct {
	ID           string   `json:"id"`
	Created      int64    `json:"created"`
	TypeKeywords []string `json:"typeKeywords"`
}

// findItems looks through the owner's folder, page by page, for items with all
// the keywords: the registered ones first, then the oldest.
func (p *Portal) findItems(ctx context.Context, folder string, keywords []string) ([]listed, error) {
	var found []listed
	start := 1
	for range pages {
		var page struct {
			Items     []listed `json:"items"`
			NextStart int      `json:"nextStart"`
		}
		r := request{
			name: "list-items", op: "list the owner's items", path: userPath(p.config.Username, folder),
			form: url.Values{"num": {itoa(pageSize)}, "start": {itoa(start)}},
		}
		if _, err := p.manage(ctx, r, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			known := slices.ContainsFunc(found, func(f listed) bool { return f.ID == item.ID })
			if !known && item.ID != "" && hasAll(item.TypeKeywords, keywords) {
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

func (l listed) registered() bool { return slices.Contains(l.TypeKeywords, "Registered App") }

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
