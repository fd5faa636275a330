package emulator

import "time"

// moveItem puts an item into another folder, or with "/" into the root.
func (p *Portal) moveItem(c *call) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, err := p.owned(c, actUpdate)
	if err != nil {
		return nil, err
	}
	to := c.form.Get("folder")
	if to == "/" {
		to = ""
	} else if !p.hasFolder(old.Owner, to) {
		return nil, errNoFolder()
	}
	it := *old
	it.Folder, it.Modified = to, wholeSecond(c.now)
	ev := Event{Kind: "item-moved", ItemID: it.ID, Actor: c.who.String()}
	if err := p.commit(c.now, ev, record{Item: &it}); err != nil {
		return nil, err
	}
	return struct {
		Success bool   `json:"success"`
		ItemID  string `json:"itemId"`
		Owner   string `json:"owner"`
		Folder  string `json:"folder"`
	}{true, it.ID, it.Owner, it.Folder}, nil
}

func errProtected() error {
	return errBad("Unable to delete item. Delete protection is turned on.")
}

// deleteItem puts an item into the recycle bin (online), or away for good.
func (p *Portal) deleteItem(c *call) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.may(c, actDelete, c.vars["user"], c.vars["item"]); err != nil {
		return nil, err
	}
	it := p.state.items[c.vars["item"]]
	if f, inFolder := c.vars["folder"]; it == nil || it.Owner != c.vars["user"] || (inFolder && f != it.Folder) {
		return nil, errNoItem()
	}
	if it.Protected {
		return nil, errProtected()
	}
	permanent := p.cfg.Edition == Enterprise || c.form.Get("permanentDelete") == "true"
	if it.Recycled != 0 && !permanent {
		return nil, errNoItem()
	}
	kind, recs := "item-recycled", p.recycleRecords(c.now, c.knobs, it)
	if permanent {
		kind, recs = "item-deleted", p.deleteRecords(it)
	}
	ev := Event{Kind: kind, ItemID: it.ID, Actor: c.who.String()}
	if err := p.commit(c.now, ev, recs...); err != nil {
		return nil, err
	}
	return success{Success: true, ItemID: it.ID}, nil
}

// deleteRecords end an item and its app. The caller holds p.mu.
func (p *Portal) deleteRecords(it *item) []record {
	recs := []record{{Item: it, Gone: true}}
	if a := p.state.apps[it.ClientID]; a != nil {
		recs = append(recs, record{App: a, Gone: true})
	}
	return recs
}

func (p *Portal) recycleRecords(now time.Time, k Knobs, it *item) []record {
	gone := *it
	gone.Recycled, gone.Folder = now.UnixMilli(), ""
	recs := []record{{Item: &gone}}
	if a := p.state.apps[it.ClientID]; a != nil && k.RecycledKeys == RecycledDead {
		recs = append(recs, record{App: killed(a, now)})
	}
	return recs
}

// killed is the app without live keys.
func killed(a *app, now time.Time) *app {
	b := *a
	for i := range b.Slots {
		if b.Slots[i].Active {
			b.Slots[i].setActive(false, now)
		}
	}
	return &b
}

// restoreItem takes an item out of the recycle bin, into the root folder.
func (p *Portal) restoreItem(c *call) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.may(c, actUpdate, c.vars["user"], c.vars["item"]); err != nil {
		return nil, err
	}
	old := p.state.items[c.vars["item"]]
	if old == nil || old.Owner != c.vars["user"] || old.Recycled == 0 {
		return nil, errNoItem()
	}
	it := *old
	it.Recycled = 0
	ev := Event{Kind: "item-restored", ItemID: it.ID, Actor: c.who.String()}
	if err := p.commit(c.now, ev, record{Item: &it}); err != nil {
		return nil, err
	}
	return success{Success: true, ItemID: it.ID}, nil
}

func (p *Portal) canDelete(c *call) (any, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	it, err := p.owned(c, actDelete)
	if err != nil {
		return nil, err
	}
	if it.Protected {
		return nil, errProtected()
	}
	return success{Success: true, ItemID: it.ID}, nil
}

func (p *Portal) canRecycle(c *call) (any, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	it, err := p.owned(c, actDelete)
	if err != nil {
		return nil, err
	}
	if p.cfg.Edition == Enterprise {
		return nil, &portalError{Code: 400, MessageCode: "CONT_0298", Message: "Item type is not supported by the recycle bin."}
	}
	return success{Success: true, ItemID: it.ID}, nil
}

func (p *Portal) protectItem(c *call) (any, error) { return p.protect(c, true) }

func (p *Portal) unprotectItem(c *call) (any, error) { return p.protect(c, false) }

func (p *Portal) protect(c *call, on bool) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, err := p.owned(c, actUpdate)
	if err != nil {
		return nil, err
	}
	it := *old
	it.Protected = on
	kind := "item-unprotected"
	if on {
		kind = "item-protected"
	}
	ev := Event{Kind: kind, ItemID: it.ID, Actor: c.who.String()}
	if err := p.commit(c.now, ev, record{Item: &it}); err != nil {
		return nil, err
	}
	return success{Success: true, ItemID: it.ID}, nil
}
