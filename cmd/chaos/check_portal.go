package main

import (
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// check looks at everything.
func check(e evidence, r *result) {
	h := checkStream(e.Messages, r)
	checkSightings(h, e.Sightings, r)
	checkSecrets(e.Messages, r)
	for _, name := range e.Names {
		checkRotations(name, h.of[name], r)
		checkQuiet(name, h.last(name), e, r)
	}
	checkItems(h, e, r)
	checkCalls(h, e.Portal, r)
	checkUsage(e.Usage, e.Drain, r)
}

// checkQuiet: only the primary is left, it is alive, and Vault shows it.
func checkQuiet(name credential.Name, s credential.State, e evidence, r *result) {
	r.looked[badQuiet]++
	primary, ok := s.Primary()
	if !ok || len(s.Seats) != 1 || s.Rotation != nil {
		r.violate(badQuiet, name, "at the end: %s", summary(s))
	}
	r.looked[badDead]++
	slot, found := slotOf(e.Portal.Items, primary.SeatID)
	if !found || !slot.Active || !e.Now.Before(slot.KeyExpires) || slot.Fingerprint != string(primary.Fingerprint) {
		r.violate(badDead, name, "the primary is %s on %s; at the portal: %+v", primary.Fingerprint, primary.SeatID, slot)
	}
	r.looked[badVault]++
	if v := e.Vault[name]; v.Primary != primary.Fingerprint || v.Secondary != "" {
		r.violate(badVault, name, "Vault shows %+v, the record %s", v, primary.Fingerprint)
	}
}

func slotOf(items []emulator.ItemState, seat credential.SeatID) (emulator.SlotState, bool) {
	for _, item := range items {
		if item.ID == seat.Item && !item.Recycled && (seat.Slot == 1 || seat.Slot == 2) {
			return item.Slots[seat.Slot-1], true
		}
	}
	return emulator.SlotState{}, false
}

// checkItems: the portal holds nothing that is not on a seat list.
func checkItems(h *history, e evidence, r *result) {
	for _, item := range e.Portal.Items {
		name := credential.Name(item.Title)
		s := h.last(name)
		listed := false
		for _, seat := range s.Seats {
			listed = listed || seat.Item == item.ID
		}
		r.looked[badItem]++
		if !listed {
			r.violate(badItem, name, "item %s is on no seat list; recycled: %t", item.ID, item.Recycled)
		}
		for i, slot := range item.Slots {
			if !slot.Active || !e.Now.Before(slot.KeyExpires) {
				continue
			}
			r.looked[badKey]++
			id := credential.SeatID{Item: item.ID, Slot: i + 1}
			if seat, ok := s.Seat(id); !ok || string(seat.Fingerprint) != slot.Fingerprint {
				r.violate(badKey, name, "key %s is alive on %s, where the record has %q", slot.Fingerprint, id, seat.Fingerprint)
			}
		}
	}
}

// call is a claim on the record, or what was done under it.
type call struct {
	claim  credential.Claim
	stored time.Time
	used   int // keys that were made under it
}

// checkCalls: what changed at the portal was claimed before, for that time, and
// no primary was touched.
func checkCalls(h *history, portal portalState, r *result) {
	names := map[string]credential.Name{}
	for _, item := range portal.Items {
		names[item.ID] = credential.Name(item.Title)
	}
	for name, entries := range h.of { // of those that are deleted, too
		for _, e := range entries {
			for _, seat := range e.state.Seats {
				names[seat.Item] = name
			}
		}
	}
	claims := map[credential.Name][]*call{}
	for name, entries := range h.of {
		for _, e := range entries {
			if c, ok := claimOf(e.event.Fact); ok {
				claims[name] = append(claims[name], &call{claim: c, stored: e.stored})
			}
		}
	}
	for _, event := range portal.Events {
		op, ok := operations()[event.Kind]
		name := names[event.ItemID]
		if !ok || name == "" {
			continue
		}
		seat := credential.SeatID{Item: event.ItemID, Slot: event.Slot}
		checkPrimary(h, name, op, seat, event.Time, r)
		r.looked[badUnclaimed]++
		c := covering(claims[name], op, seat, event.Time)
		switch {
		case c == nil:
			r.violate(badUnclaimed, name, "%s %s on %s without a claim", event.Time.Local().Format(clockLayout), event.Kind, seat)
		case op == credential.OpGenerate:
			if c.used++; c.used > 1 {
				r.violate(badUnclaimed, name, "%s %d keys were made under claim %s", event.Time.Local().Format(clockLayout), c.used, c.claim.ID)
			}
		}
	}
}

// operations names the changes at the portal that need a claim, and which.
func operations() map[string]credential.Operation {
	return map[string]credential.Operation{
		"key-generated": credential.OpGenerate, "key-revoked": credential.OpRevoke,
		"item-created": credential.OpCreateItem, "item-deleted": credential.OpDeleteItem,
	}
}

// checkPrimary: nothing is made or killed on the seat that applications use.
func checkPrimary(h *history, name credential.Name, op credential.Operation, seat credential.SeatID, at time.Time, r *result) {
	if op == credential.OpCreateItem {
		return
	}
	r.looked[badPrimary]++
	primary, ok := h.at(name, at).Primary()
	if ok && primary.Item == seat.Item && (seat.Slot == 0 || seat.Slot == primary.Slot) {
		r.violate(badPrimary, name, "%s %s on %s while it was the primary", at.Local().Format(clockLayout), op, seat)
	}
}

// covering is the last claim that allows a call at that time: it was stored
// before, and its window and margin are not over.
func covering(claims []*call, op credential.Operation, seat credential.SeatID, at time.Time) (found *call) {
	for _, c := range claims {
		covers := c.claim.Op == op && (op == credential.OpCreateItem || c.claim.Seat == seat || (c.claim.Seat.Item == seat.Item && c.claim.Seat.Slot == 0))
		if covers && !at.Before(c.stored) && !at.After(c.claim.Opened.Add(c.claim.Over())) {
			found = c
		}
	}
	return found
}

func claimOf(fact credential.Fact) (credential.Claim, bool) {
	switch f := fact.(type) {
	case credential.Started:
		return f.Claim, true
	case credential.StepClaimed:
		return f.Claim, true
	case credential.Retiring:
		return f.Claim, true
	}
	return credential.Claim{}, false
}

// checkUsage: no key that Vault had shown was refused before the drain was over.
func checkUsage(u usage, drain time.Duration, r *result) {
	r.usage = u
	r.looked[badRefused] = u.Accepted + len(u.Refused)
	for _, one := range u.Refused {
		if one.Answered.Sub(one.Read) > drain {
			r.stale++
			continue
		}
		r.violate(badRefused, one.Name, "%s", one)
	}
	for _, text := range u.Keyless {
		r.violate(badRefused, "", "%s", text)
	}
}
