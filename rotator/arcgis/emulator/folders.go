package emulator

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

type folderView struct {
	Username string `json:"username"`
	ID       string `json:"id"`
	Title    string `json:"title"`
	Created  int64  `json:"created,omitempty"`
}

func viewFolder(f *folder) folderView { return folderView{f.Owner, f.ID, f.Title, f.Created} }

func errNoFolder() error {
	return &portalError{Code: 400, MessageCode: "CONT_0001", Message: "Folder does not exist or is inaccessible."}
}

func (p *Portal) hasFolder(owner, id string) bool {
	f := p.state.folders[id]
	return f != nil && f.Owner == owner
}

// ownerIn checks the user of a path /content/users/{user}/… The caller holds p.mu.
func (p *Portal) ownerIn(c *call, act action) error {
	if err := p.may(c, act, c.vars["user"], ""); err != nil {
		return err
	}
	if _, ok := p.cfg.Users[c.vars["user"]]; !ok {
		return &portalError{Code: 400, MessageCode: "COM_0018", Message: "User does not exist or is inaccessible."}
	}
	return nil
}

func (p *Portal) createFolder(c *call) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ownerIn(c, actCreate); err != nil {
		return nil, err
	}
	owner, title := c.vars["user"], c.form.Get("title")
	if title == "" {
		title = c.form.Get("foldername") // an older spelling
	}
	if err := folderTitle(title); err != nil {
		return nil, err
	}
	if p.state.titles[[2]string{owner, title}] != "" {
		return nil, errBad("Unable to create folder.", "Folder title '"+title+"' not available.")
	}
	f := &folder{ID: randomHex(16), Owner: owner, Title: title, Created: wholeSecond(c.now)}
	if err := p.commit(c.now, Event{Kind: "folder-created", Actor: c.who.String(), Detail: f.ID}, record{Folder: f}); err != nil {
		return nil, err
	}
	v := viewFolder(f)
	v.Created = 0
	return map[string]any{"success": true, "folder": v}, nil
}

func folderTitle(title string) error {
	if n := utf8.RuneCountInString(title); n == 0 || n > 250 {
		return errBad("Unable to create folder.", "The title must have 1 to 250 characters.")
	}
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" -_.", r)
	}
	if strings.ContainsFunc(title, odd) {
		return errBad("Unable to create folder.", "The title must be alphanumeric.")
	}
	return nil
}

// deleteFolder takes everything in the folder with it.
func (p *Portal) deleteFolder(c *call) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ownerIn(c, actDelete); err != nil {
		return nil, err
	}
	owner, id := c.vars["user"], c.vars["folder"]
	if !p.hasFolder(owner, id) {
		return nil, errNoFolder()
	}
	var recs []record
	for _, itemID := range p.state.inPlace[place{owner, id}] {
		it := p.state.items[itemID]
		if it.Protected {
			return nil, errBad("Unable to delete folder.", "Item "+itemID+" is protected.")
		}
		recs = append(recs, p.deleteRecords(it)...)
	}
	f := p.state.folders[id]
	recs = append(recs, record{Folder: f, Gone: true})
	if err := p.commit(c.now, Event{Kind: "folder-deleted", Actor: c.who.String(), Detail: id}, recs...); err != nil {
		return nil, err
	}
	v := viewFolder(f)
	v.Created = 0
	return map[string]any{"success": true, "folder": v}, nil
}

// listContent is the root of a user's content (with the list of folders) or one folder.
func (p *Portal) listContent(c *call) (any, error) {
	window, err := c.paging(10)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if err := p.ownerIn(c, actView); err != nil {
		return nil, err
	}
	owner, id := c.vars["user"], c.vars["folder"]
	var current any
	folders := []folderView{}
	if id != "" {
		if !p.hasFolder(owner, id) {
			return nil, errNoFolder()
		}
		current = viewFolder(p.state.folders[id])
	} else {
		for _, f := range p.state.ofUser[owner] {
			folders = append(folders, viewFolder(p.state.folders[f]))
		}
	}
	ids := p.state.inPlace[place{owner, id}]
	if strings.EqualFold(c.form.Get("foldertype"), "recyclebin") {
		ids = p.state.inBin[owner]
	}
	var less func(a, b *item) int
	if field := c.form.Get("sortField"); field != "" {
		less = itemOrder(field, c.form.Get("sortOrder"))
		ids = slices.Clone(ids)
		slices.SortStableFunc(ids, func(a, b string) int { return less(p.state.items[a], p.state.items[b]) })
	}
	from, to, next := window.cut(len(ids))
	items := make([]itemView, 0, to-from)
	for _, itemID := range ids[from:to] {
		v := p.view(p.state.items[itemID], "")
		if c.knobs.ListMinusOne {
			v.Expires1, v.Expires2 = noDate, noDate
		}
		items = append(items, v)
	}
	return struct {
		Username      string       `json:"username"`
		Total         int          `json:"total"`
		Start         int          `json:"start"`
		Num           int          `json:"num"`
		NextStart     int          `json:"nextStart"`
		CurrentFolder any          `json:"currentFolder"`
		Items         []itemView   `json:"items"`
		Folders       []folderView `json:"folders"`
	}{owner, len(ids), window.start, len(items), next, current, items, folders}, nil
}
