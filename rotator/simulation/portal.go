package simulation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Portal is the simulated issuer: items with two slots each.
type Portal struct {
	// Now is the portal's own clock.
	Now func() time.Time
	// Ripen is how long a new key may still be refused by some of its servers;
	// nil = not at all. Fresh says which server answers a probe in that time.
	Ripen func() time.Duration
	Fresh func() bool

	mu      sync.Mutex
	items   map[string]*item
	order   []string // ids, the oldest first
	serial  int
	changes int
}

type item struct {
	id      string
	marker  credential.Marker
	spec    credential.ItemSpec
	created time.Time
	deleted bool
	slots   [2]slot
}

type slot struct {
	active  bool
	key     string
	expires time.Time
	ripe    time.Time // accepted everywhere from then on
	by      string    // who generated it: "" = keyturn
}

// NewPortal returns a portal without items.
func NewPortal(now func() time.Time) *Portal {
	return &Portal{Now: now, items: map[string]*item{}}
}

// Accepts reports whether every server of the portal accepts a key.
func (p *Portal) Accepts(key credential.Secret) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, s := p.find(key.Reveal())
	return s != nil && !time.Now().Before(s.ripe)
}

// find returns the slot of a live key.
func (p *Portal) find(key string) (*item, *slot) {
	for _, id := range p.order {
		it := p.items[id]
		for i := range it.slots {
			s := &it.slots[i]
			if !it.deleted && s.active && s.key == key && key != "" && p.Now().Before(s.expires) {
				return it, s
			}
		}
	}
	return nil, nil
}

// live lists the seats with a live key of a credential's items.
func (p *Portal) live(name credential.Name) map[credential.SeatID]slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := map[credential.SeatID]slot{}
	for _, id := range p.order {
		it := p.items[id]
		for i, s := range it.slots {
			if it.marker.Name == name && !it.deleted && s.active && p.Now().Before(s.expires) {
				found[credential.SeatID{Item: id, Slot: i + 1}] = s
			}
		}
	}
	return found
}

// EnsureItem implements engine.Issuer.
func (p *Portal) EnsureItem(ctx context.Context, order credential.ItemOrder) (string, error) {
	if err := given(ctx, "issuer portal", "make item"); err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range p.order {
		if it := p.items[id]; !order.First && it.marker == order.Marker && !it.deleted {
			return id, nil
		}
	}
	p.serial++
	id := fmt.Sprintf("item%d", p.serial)
	p.items[id] = &item{id: id, marker: order.Marker, spec: order.Spec, created: p.Now()}
	p.order = append(p.order, id)
	p.changes++
	return id, nil
}

// Describe implements engine.Issuer.
func (p *Portal) Describe(ctx context.Context, id string) (credential.ItemStatus, error) {
	if err := given(ctx, "issuer portal", "describe item "+id); err != nil {
		return credential.ItemStatus{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	it, ok := p.items[id]
	if !ok || it.deleted {
		return credential.ItemStatus{}, fault(credential.ClassNotFound, "issuer portal", "describe item "+id, "it is not there")
	}
	status := credential.ItemStatus{Item: id, Settings: it.spec.SettingsHash(), Clock: p.Now()}
	for i, s := range it.slots {
		status.Slots[i] = credential.SlotStatus{Active: s.active, Expires: s.expires}
	}
	return status, nil
}

// seat finds a slot; it is called with the lock held.
func (p *Portal) seat(ctx context.Context, op string, seat credential.SeatID) (*slot, error) {
	op = op + " " + seat.String()
	if err := given(ctx, "issuer portal", op); err != nil {
		return nil, err
	}
	if seat.Item == "" || seat.Slot < 1 || seat.Slot > 2 {
		return nil, fault(credential.ClassPermanent, "issuer portal", op, "no such slot")
	}
	it, ok := p.items[seat.Item]
	if !ok || it.deleted {
		return nil, fault(credential.ClassNotFound, "issuer portal", op, "the item is not there")
	}
	return &it.slots[seat.Slot-1], nil
}

// Issue implements engine.Issuer.
func (p *Portal) Issue(ctx context.Context, id credential.SeatID, expires time.Time) (credential.Minted, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.seat(ctx, "generate on", id)
	if err != nil {
		return credential.Minted{}, err
	}
	if !expires.After(p.Now()) {
		return credential.Minted{}, fault(credential.ClassPermanent, "issuer portal", "generate on "+id.String(), "the date is over")
	}
	p.generate(s, expires, "")
	return credential.Minted{Key: credential.NewSecret(s.key), Expires: s.expires}, nil
}

func (p *Portal) generate(s *slot, expires time.Time, by string) {
	p.serial++
	p.changes++
	*s = slot{active: true, key: fmt.Sprintf("SECRET-KEY-%d", p.serial), expires: expires, ripe: time.Now(), by: by}
	if p.Ripen != nil {
		s.ripe = s.ripe.Add(p.Ripen())
	}
}

// Probe implements engine.Issuer.
func (p *Portal) Probe(ctx context.Context, request credential.ProbeRequest) (credential.Proof, error) {
	const op = "probe a key"
	if err := given(ctx, "issuer portal", op); err != nil {
		return credential.Proof{}, err
	}
	if request.Key.Empty() {
		return credential.Proof{}, fault(credential.ClassPermanent, "issuer portal", op, "no key")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	it, s := p.find(request.Key.Reveal())
	switch {
	case s == nil, time.Now().Before(s.ripe) && p.Fresh != nil && !p.Fresh():
		return credential.Proof{}, fault(credential.ClassDenied, "issuer portal", op, "it is refused")
	case it.id != request.Item:
		return credential.Proof{}, fault(credential.ClassPermanent, "issuer portal", op, "it is a key of another item")
	}
	return credential.Proof{Expires: s.expires, Clock: p.Now()}, nil
}

// Revoke implements engine.Issuer.
func (p *Portal) Revoke(ctx context.Context, id credential.SeatID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.seat(ctx, "revoke", id)
	if err != nil {
		return err
	}
	p.changes++
	s.active, s.key = false, ""
	return nil
}

// Delete is somebody deleting an item.
func (p *Portal) Delete(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if it, ok := p.items[id]; ok {
		it.deleted = true
	}
}

// Changes counts the changes so far.
func (p *Portal) Changes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes
}

// gone reports whether the items of all seats were deleted by hand: nobody can
// say whether their keys are dead.
func (p *Portal) gone(seats []credential.Seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, seat := range seats {
		if it := p.items[seat.Item]; it == nil || !it.deleted {
			return false
		}
	}
	return len(seats) > 0
}
