package emulator

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Hooks for tests and demonstrations: what the portal holds, what happened to it, and what people do to it.

// ItemState is one item as the portal holds it.
type ItemState struct {
	ID         string       `json:"id"`
	Owner      string       `json:"owner"`
	Folder     string       `json:"folder,omitempty"` // folder id
	Title      string       `json:"title"`
	Tags       []string     `json:"tags,omitempty"`
	ClientID   string       `json:"clientId,omitempty"` // empty = not registered
	Privileges []string     `json:"privileges,omitempty"`
	Referrers  []string     `json:"httpReferrers,omitempty"`
	Recycled   bool         `json:"recycled,omitempty"`
	Slots      [2]SlotState `json:"slots"` // slot 1 and slot 2
}

// SlotState is one slot of a credential.
type SlotState struct {
	Active      bool      `json:"active"`      // a key was generated and not killed; it may have expired
	ItemExpires time.Time `json:"itemExpires"` // the item's date; zero = none
	KeyExpires  time.Time `json:"keyExpires"`  // of the key that was generated last
	Generations int       `json:"generations"` // keys generated here so far
	Generated   time.Time `json:"generated"`   // when the last one was
	Fingerprint string    `json:"fingerprint"` // first 16 hex characters of its SHA-256
}

// Snapshot returns all items, oldest first.
func (p *Portal) Snapshot() []ItemState {
	p.mu.RLock()
	defer p.mu.RUnlock()
	list := make([]ItemState, 0, len(p.state.order))
	for _, id := range p.state.order {
		it := p.state.items[id]
		v := ItemState{ID: it.ID, Owner: it.Owner, Folder: it.Folder, Title: it.Title, Tags: slices.Clone(it.Tags),
			ClientID: it.ClientID, Recycled: it.Recycled != 0}
		a := p.state.apps[it.ClientID]
		for i := range v.Slots {
			v.Slots[i].ItemExpires = timeOf(it.Expires[i])
			if a != nil {
				s := a.Slots[i]
				v.Slots[i].Active, v.Slots[i].Generations = s.Active, s.Generations
				v.Slots[i].KeyExpires, v.Slots[i].Generated = timeOf(s.Expires), timeOf(s.Generated)
				v.Slots[i].Fingerprint = s.Hash[:min(16, len(s.Hash))]
			}
		}
		if a != nil {
			v.Privileges, v.Referrers = slices.Clone(a.Privileges), slices.Clone(a.HTTPReferrers)
		}
		list = append(list, v)
	}
	return list
}

func timeOf(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Event is one change of the portal's state.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"` // for example "key-generated"
	ItemID string    `json:"itemId,omitempty"`
	Slot   int       `json:"slot,omitempty"` // 1 or 2; 0 = not about one slot
	Actor  string    `json:"actor"`          // user, "app …", "key of …" or "hand"
	Detail string    `json:"detail,omitempty"`
}

// eventLog keeps the last max events.
type eventLog struct {
	mu     sync.Mutex
	max    int
	events []Event
	oldest int // where the oldest stands once the log is full
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) < l.max {
		l.events = append(l.events, e)
		return
	}
	l.events[l.oldest] = e
	l.oldest = (l.oldest + 1) % l.max
}

// Events returns the last changes (Config.MaxEvents of them at most), oldest first.
func (p *Portal) Events() []Event {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	return slices.Concat(p.log.events[p.log.oldest:], p.log.events[:p.log.oldest])
}

// Calls returns how many requests reached each endpoint, by its path with {names}, and the resource. A
// request that a fault kept away from the portal is not among them.
func (p *Portal) Calls() map[string]int {
	calls := make(map[string]int, len(p.calls))
	for path, n := range p.calls {
		if n := n.Load(); n > 0 {
			calls[path] = int(n)
		}
	}
	return calls
}

// byHand finds an item's app and checks the slot (1 or 2). The caller holds p.mu.
func (p *Portal) byHand(itemID string, slot int) (*app, error) {
	it := p.state.items[itemID]
	if it == nil {
		return nil, fmt.Errorf("emulator: no item %q", itemID)
	}
	a := p.state.apps[it.ClientID]
	if a == nil {
		return nil, fmt.Errorf("emulator: item %q is not registered", itemID)
	}
	if slot != 1 && slot != 2 {
		return nil, fmt.Errorf("emulator: no slot %d", slot)
	}
	return a, nil
}

// RegenerateByHand is a person pressing "regenerate" for the slot (1 or 2). It returns the new key.
func (p *Portal) RegenerateByHand(itemID string, slot int) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, err := p.byHand(itemID, slot)
	if err != nil {
		return "", err
	}
	t, err := p.generate(p.cfg.Now(), p.Knobs(), a, slot-1, true, "hand")
	return t.AccessToken, err
}

// InvalidateByHand is a person pressing "invalidate" for the slot (1 or 2).
func (p *Portal) InvalidateByHand(itemID string, slot int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, err := p.byHand(itemID, slot)
	if err != nil {
		return err
	}
	return p.revoke(p.cfg.Now(), p.Knobs(), a, []int{slot - 1}, "hand")
}

// DeleteByHand is a person deleting the item for good.
func (p *Portal) DeleteByHand(itemID string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	it := p.state.items[itemID]
	if it == nil {
		return fmt.Errorf("emulator: no item %q", itemID)
	}
	return p.commit(p.cfg.Now(), Event{Kind: "item-deleted", ItemID: itemID, Actor: "hand"}, p.deleteRecords(it)...)
}

// RecycleByHand is a person deleting the item into the recycle bin.
func (p *Portal) RecycleByHand(itemID string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	it := p.state.items[itemID]
	if it == nil || it.Recycled != 0 || p.cfg.Edition == Enterprise {
		return fmt.Errorf("emulator: no item %q that could go into a recycle bin", itemID)
	}
	now := p.cfg.Now()
	return p.commit(now, Event{Kind: "item-recycled", ItemID: itemID, Actor: "hand"}, p.recycleRecords(now, p.Knobs(), it)...)
}

// ChangeSecretByHand gives the item's app another client secret, should the portal have a way to do so.
func (p *Portal) ChangeSecretByHand(itemID string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, err := p.byHand(itemID, 1)
	if err != nil {
		return err
	}
	b := *a
	b.Secret = randomHex(16)
	return p.commit(p.cfg.Now(), Event{Kind: "secret-changed", ItemID: itemID, Actor: "hand"}, record{App: &b})
}
