package simulation

import (
	"context"
	"fmt"
	"slices"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Edit changes an item in place, and its marker; its settings and keys stay.
func (p *Portal) Edit(ctx context.Context, id string, marker credential.Marker, spec credential.ItemSpec) error {
	op := "edit item " + id
	if err := given(ctx, "issuer portal", op); err != nil {
		return err
	}
	if marker.Installation == "" || marker.Name == "" || spec.Title == "" {
		return fault(credential.ClassPermanent, "issuer portal", op, "a marker or title is empty")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	it, ok := p.items[id]
	switch {
	case !ok || it.deleted:
		return fault(credential.ClassNotFound, "issuer portal", op, "it is not there")
	case it.marker.Installation != marker.Installation:
		return fault(credential.ClassPermanent, "issuer portal", op, "it is managed already")
	}
	if marker.Rotation == "" {
		marker.Rotation = it.marker.Rotation
	}
	same := it.marker == marker && it.spec.Title == spec.Title && it.spec.Folder == spec.Folder &&
		it.spec.Description == spec.Description && slices.Equal(it.spec.Tags, spec.Tags)
	if same {
		return nil
	}
	it.marker = marker
	it.spec.Title, it.spec.Folder, it.spec.Description, it.spec.Tags = spec.Title, spec.Folder, spec.Description, slices.Clone(spec.Tags)
	p.changes++
	return nil
}

// Remove deletes an item, whose live keys it revokes if asked to, and otherwise
// refuses to kill.
func (p *Portal) Remove(ctx context.Context, id string, revoke bool) error {
	op := "remove item " + id
	if err := given(ctx, "issuer portal", op); err != nil {
		return err
	}
	if id == "" {
		return fault(credential.ClassPermanent, "issuer portal", op, "no item is named")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	it, ok := p.items[id]
	if !ok || it.deleted {
		return nil
	}
	for i, s := range it.slots {
		if s.active && p.Now().Before(s.expires) && !revoke {
			return fault(credential.ClassPermanent, "issuer portal", op, fmt.Sprintf("slot %d has a live key", i+1))
		}
	}
	for i := range it.slots {
		it.slots[i].active, it.slots[i].key = false, ""
	}
	it.deleted = true
	p.changes++
	return nil
}

// Marked lists an installation's items, the oldest first.
func (p *Portal) Marked(ctx context.Context, installation string, names []credential.Name) ([]credential.MarkedItem, error) {
	if err := given(ctx, "issuer portal", "list items"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var marked []credential.MarkedItem
	for _, id := range p.order {
		it := p.items[id]
		if it.deleted || it.marker.Installation != installation {
			continue
		}
		m := credential.MarkedItem{Item: id, Title: it.spec.Title, Rotation: it.marker.Rotation, Created: it.created}
		if slices.Contains(names, it.marker.Name) {
			m.Name = it.marker.Name
		}
		marked = append(marked, m)
	}
	return marked, nil
}
