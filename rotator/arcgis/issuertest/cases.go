package issuertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

type testCase struct {
	name string
	run  func(*suite)
}

func cases() []testCase {
	return []testCase{
		{"an item is made once for a marker", onceForAMarker},
		{"a fresh item has two inactive slots", freshItem},
		{"an item that does not exist is not-found", absentItem},
		{"a new key works until the date that was asked", newKey},
		{"the two slots do not touch each other", twoSlots},
		{"a new key on a slot kills the old one", regenerate},
		{"revoke kills one slot and leaves the other", revoke},
		{"revoke of an empty slot succeeds", revokeEmpty},
		{"a seat without a slot is refused before anything is sent", noSlot},
		{"a date that is over is refused before anything is sent", badDates},
		{"a probe accepts a live key and names its expiry", probeLive},
		{"a probe denies a key that is dead or invented", probeDead},
		{"a probe tells a key of another item", probeOther},
		{"a lost answer to generate is outcome-unknown and the next key works", loseGenerate},
		{"a lost answer to revoke is outcome-unknown and can be repeated", loseRevoke},
		{"a deleted item is not-found by every call", deletedItem},
		{"the settings are told, and an edit does not change them", settings},
		{"an edit changes the item in place, sends nothing twice and kills no key", edit},
		{"an item of somebody else is not edited", editOther},
		{"marked items are found whatever the rotation", marked},
		{"an item with a live key is removed only if that is asked for", removeLive},
		{"a removed item is gone, and removing it again is no error", removeTwice},
		{"an unreachable system is retryable and silent", unreachable},
		{"a call that is given up ends", givenUp},
		{"many credentials at once do not mix", atOnce},
	}
}

func onceForAMarker(s *suite) {
	one := s.item("ns/one")
	if again := s.item("ns/one"); again != one {
		s.Errorf("the same marker got %s and %s", one, again)
	}
	if other := s.item("ns/two"); other == one {
		s.Error("two credentials got one item")
	}
	other, err := s.Issuer.EnsureItem(s.Context(), s.order("ns/one", "r-2"))
	s.must(err)
	if other == one {
		s.Error("two rotations got one item")
	}
}

func freshItem(s *suite) {
	item := s.item("ns/one")
	status, err := s.Issuer.Describe(s.Context(), item)
	s.must(err)
	if status.Item != item || status.Slot(1).Active || status.Slot(2).Active {
		s.Errorf("a fresh item is %+v", status)
	}
	s.near(status.Clock, s.Now())
}

func absentItem(s *suite) {
	_, err := s.Issuer.Describe(s.Context(), s.Absent)
	s.class(err, credential.ClassNotFound)
	_, err = s.Issuer.Issue(s.Context(), credential.SeatID{Item: s.Absent, Slot: 1}, s.asked())
	s.class(err, credential.ClassNotFound)
	s.class(s.Issuer.Revoke(s.Context(), credential.SeatID{Item: s.Absent, Slot: 1}), credential.ClassNotFound)
}

func newKey(s *suite) {
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	asked := s.asked()
	minted := s.issue(seat)
	s.works(minted.Key, true)
	s.near(minted.Expires, asked)
	status, err := s.Issuer.Describe(s.Context(), seat.Item)
	s.must(err)
	if !status.Slot(1).Active {
		s.Error("the slot of a new key is not active")
	}
	s.near(status.Slot(1).Expires, asked)
}

func twoSlots(s *suite) {
	one := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	first, second := s.issue(one), s.issue(one.Sibling())
	if first.Key == second.Key {
		s.Error("both slots have one key")
	}
	s.works(first.Key, true)
	s.works(second.Key, true)
}

func regenerate(s *suite) {
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 2}
	first, second := s.issue(seat), s.issue(seat)
	s.works(first.Key, false)
	s.works(second.Key, true)
}

func revoke(s *suite) {
	one := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	first, second := s.issue(one), s.issue(one.Sibling())
	s.must(s.Issuer.Revoke(s.Context(), one))
	s.works(first.Key, false)
	s.works(second.Key, true)
	if s.active(one) || !s.active(one.Sibling()) {
		s.Error("Describe does not say what Revoke did")
	}
	s.works(s.issue(one).Key, true)
}

func revokeEmpty(s *suite) {
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	s.must(s.Issuer.Revoke(s.Context(), seat))
	s.issue(seat)
	s.must(s.Issuer.Revoke(s.Context(), seat))
	s.must(s.Issuer.Revoke(s.Context(), seat))
}

func noSlot(s *suite) {
	item := s.item("ns/one")
	key := s.issue(credential.SeatID{Item: item, Slot: 1}).Key
	before := s.mutations()
	for _, slot := range []int{-1, 0, 3} {
		seat := credential.SeatID{Item: item, Slot: slot}
		_, err := s.Issuer.Issue(s.Context(), seat, s.asked())
		s.class(err, credential.ClassPermanent)
		s.class(s.Issuer.Revoke(s.Context(), seat), credential.ClassPermanent)
	}
	s.class(s.Issuer.Revoke(s.Context(), credential.SeatID{Slot: 1}), credential.ClassPermanent)
	if after := s.mutations(); after != before {
		s.Errorf("%d changes were sent", after-before)
	}
	s.works(key, true)
}

func badDates(s *suite) {
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	key := s.issue(seat).Key
	before := s.mutations()
	for _, date := range []time.Time{{}, time.Unix(0, 0), s.Now().Add(-time.Minute)} {
		_, err := s.Issuer.Issue(s.Context(), seat, date)
		s.class(err, credential.ClassPermanent)
	}
	if after := s.mutations(); after != before {
		s.Errorf("%d changes were sent", after-before)
	}
	s.works(key, true)
}

func (s *suite) mutations() int {
	if s.Mutations == nil {
		return 0
	}
	return s.Mutations()
}

func probeLive(s *suite) {
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	minted := s.issue(seat)
	proof, err := s.Issuer.Probe(s.Context(), credential.ProbeRequest{Key: minted.Key, Item: seat.Item})
	s.must(err)
	if !proof.Expires.IsZero() {
		s.near(proof.Expires, minted.Expires)
	}
	s.near(proof.Clock, s.Now())
}

func probeDead(s *suite) {
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	key := s.issue(seat).Key
	probe := func(key credential.Secret) error {
		_, err := s.Issuer.Probe(s.Context(), credential.ProbeRequest{Key: key, Item: seat.Item})
		return err
	}
	s.must(probe(key))
	s.must(s.Issuer.Revoke(s.Context(), seat))
	s.class(probe(key), credential.ClassDenied)
	s.class(probe(credential.NewSecret("an-invented-key-that-never-lived.AT1_00000000")), credential.ClassDenied)
	s.class(probe(credential.Secret{}), credential.ClassPermanent)
}

func probeOther(s *suite) {
	one, two := s.item("ns/one"), s.item("ns/two")
	key := s.issue(credential.SeatID{Item: one, Slot: 1}).Key
	_, err := s.Issuer.Probe(s.Context(), credential.ProbeRequest{Key: key, Item: two})
	s.class(err, credential.ClassPermanent)
}

func loseGenerate(s *suite) {
	if s.LoseGenerate == nil {
		s.Skip("no LoseGenerate")
	}
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	other := s.issue(seat.Sibling())
	s.LoseGenerate()
	_, err := s.Issuer.Issue(s.Context(), seat, s.asked())
	s.class(err, credential.ClassUnknown)
	if !s.active(seat) {
		s.Error("the lost key should be there")
	}
	s.works(s.issue(seat).Key, true)
	s.works(other.Key, true)
}

func loseRevoke(s *suite) {
	if s.LoseRevoke == nil {
		s.Skip("no LoseRevoke")
	}
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	key := s.issue(seat).Key
	s.LoseRevoke()
	s.class(s.Issuer.Revoke(s.Context(), seat), credential.ClassUnknown)
	s.must(s.Issuer.Revoke(s.Context(), seat))
	s.works(key, false)
}

func deletedItem(s *suite) {
	if s.DeleteItem == nil {
		s.Skip("no DeleteItem")
	}
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	s.issue(seat) // so that what is remembered of the item is out of date
	s.DeleteItem(seat.Item)
	_, err := s.Issuer.Issue(s.Context(), seat.Sibling(), s.asked())
	s.class(err, credential.ClassNotFound)
	s.class(s.Issuer.Revoke(s.Context(), seat), credential.ClassNotFound)
	_, err = s.Issuer.Describe(s.Context(), seat.Item)
	s.class(err, credential.ClassNotFound)
	if again := s.item("ns/one"); again == seat.Item {
		s.Error("a deleted item was found")
	}
}

func unreachable(s *suite) {
	if s.Stop == nil {
		s.Skip("no Stop")
	}
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	key := s.issue(seat).Key
	s.Stop()
	silent := func(err error) {
		s.Helper()
		var fault *credential.Fault
		if !errors.As(err, &fault) || fault.Class != credential.ClassRetryable || !fault.Silent {
			s.Errorf("want a retryable and silent fault, got %#v", err)
		}
	}
	_, err := s.Issuer.Describe(s.Context(), seat.Item)
	silent(err)
	_, err = s.Issuer.Issue(s.Context(), seat, s.asked())
	silent(err)
	_, err = s.Issuer.Probe(s.Context(), credential.ProbeRequest{Key: key, Item: seat.Item})
	silent(err)
	silent(s.Issuer.Revoke(s.Context(), seat))
	_, err = s.Issuer.EnsureItem(s.Context(), s.order("ns/two", "r-1"))
	silent(err)
}

func givenUp(s *suite) {
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	key := s.issue(seat).Key
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if _, err := s.Issuer.Describe(ctx, seat.Item); err == nil {
		s.Error("Describe does not look at its context")
	}
	if _, err := s.Issuer.Issue(ctx, seat, s.asked()); err == nil {
		s.Error("Issue does not look at its context")
	}
	if err := s.Issuer.Revoke(ctx, seat); err == nil {
		s.Error("Revoke does not look at its context")
	}
	s.works(key, true)
}

func atOnce(s *suite) {
	const many = 8
	keys := make([]credential.Secret, many)
	items := make([]string, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			item, err := s.Issuer.EnsureItem(s.Context(), s.order(credential.Name(fmt.Sprintf("ns/c%d", i)), "r-1"))
			if err != nil {
				s.Error(err)
				return
			}
			minted, err := s.Issuer.Issue(s.Context(), credential.SeatID{Item: item, Slot: 1 + i%2}, s.asked())
			if err != nil {
				s.Error(err)
				return
			}
			items[i], keys[i] = item, minted.Key
		})
	}
	all.Wait()
	if s.Failed() {
		return
	}
	for i := range many {
		_, err := s.Issuer.Probe(s.Context(), credential.ProbeRequest{Key: keys[i], Item: items[i]})
		s.must(err)
	}
}
