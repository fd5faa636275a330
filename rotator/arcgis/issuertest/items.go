package issuertest

import (
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

func (s *suite) marked() []credential.MarkedItem {
	s.Helper()
	items, err := s.Issuer.Marked(s.Context(), "conformance", []credential.Name{"ns/one", "ns/two"})
	s.must(err)
	return items
}

func settings(s *suite) {
	order := s.order("ns/one", "r-1")
	item := s.item("ns/one")
	told := func() string {
		status, err := s.Issuer.Describe(s.Context(), item)
		s.must(err)
		return status.Settings
	}
	if got := told(); got != order.Spec.SettingsHash() {
		s.Errorf("the settings are %q, want %q", got, order.Spec.SettingsHash())
	}
	other := order.Spec
	other.Privileges = append(slices.Clone(other.Privileges), "premium:user:places")
	s.must(s.Issuer.Edit(s.Context(), item, order.Marker, other))
	if got := told(); got != order.Spec.SettingsHash() {
		s.Errorf("an edit made them %q", got)
	}
}

func edit(s *suite) {
	order := s.order("ns/one", "r-1")
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	key := s.issue(seat).Key
	spec := order.Spec
	spec.Title, spec.Description, spec.Tags, spec.Folder = "another title", "why it is there", []string{"one", "two"}, "another folder"
	marker := order.Marker
	marker.Rotation = ""
	s.must(s.Issuer.Edit(s.Context(), seat.Item, marker, spec))
	items := s.marked()
	if len(items) != 1 || items[0].Title != spec.Title || items[0].Name != "ns/one" || items[0].Rotation != "r-1" {
		s.Errorf("it is now %+v", items)
	}
	before := s.mutations()
	s.must(s.Issuer.Edit(s.Context(), seat.Item, marker, spec))
	if after := s.mutations(); after != before {
		s.Errorf("the same edit again made %d changes", after-before)
	}
	s.must(s.Issuer.Edit(s.Context(), seat.Item, order.Marker, order.Spec)) // with what it was before
	if items := s.marked(); len(items) != 1 || items[0].Title != order.Spec.Title {
		s.Errorf("it is now %+v", items)
	}
	s.works(key, true)
	s.class(s.Issuer.Edit(s.Context(), s.Absent, marker, spec), credential.ClassNotFound)
}

func editOther(s *suite) {
	order := s.order("ns/one", "r-1")
	item := s.item("ns/one")
	before := s.mutations()
	for _, marker := range []credential.Marker{
		{Installation: "somebody-else", Name: "ns/one"}, {Installation: "conformance"}, {Name: "ns/one"},
	} {
		s.class(s.Issuer.Edit(s.Context(), item, marker, order.Spec), credential.ClassPermanent)
	}
	untitled := order.Spec
	untitled.Title = ""
	s.class(s.Issuer.Edit(s.Context(), item, order.Marker, untitled), credential.ClassPermanent)
	if after := s.mutations(); after != before {
		s.Errorf("%d changes were made", after-before)
	}
	// another credential of the installation may have taken it over: the record knows
	two := credential.Marker{Installation: "conformance", Name: "ns/two"}
	s.must(s.Issuer.Edit(s.Context(), item, two, order.Spec))
	if items := s.marked(); len(items) != 1 || items[0].Name != two.Name {
		s.Errorf("it is now %+v", items)
	}
}

func marked(s *suite) {
	if items := s.marked(); len(items) != 0 {
		s.Errorf("before anything was made: %+v", items)
	}
	want := map[string]credential.MarkedItem{}
	for _, o := range []struct{ name, rotation, folder, as string }{
		{"ns/one", "r-1", "", "ns/one"}, {"ns/one", "r-2", "a folder", "ns/one"}, {"ns/two", "r-1", "another", "ns/two"}, {"ns/three", "r-1", "", ""},
	} {
		order := s.order(credential.Name(o.name), o.rotation)
		order.Spec.Folder = o.folder
		item, err := s.Issuer.EnsureItem(s.Context(), order)
		s.must(err)
		want[item] = credential.MarkedItem{Item: item, Title: o.name, Name: credential.Name(o.as), Rotation: o.rotation}
	}
	items := s.marked()
	for _, item := range items {
		if !item.Created.IsZero() {
			s.near(item.Created, s.Now())
		}
		item.Created = want[item.Item].Created
		if item != want[item.Item] {
			s.Errorf("got %+v, want %+v", item, want[item.Item])
		}
	}
	if len(items) != len(want) {
		s.Errorf("%d items of %d", len(items), len(want))
	}
	other, err := s.Issuer.Marked(s.Context(), "somebody-else", nil)
	s.must(err)
	if len(other) != 0 {
		s.Errorf("of somebody else: %+v", other)
	}
}

func removeLive(s *suite) {
	for _, slot := range []int{1, 2} {
		name := []credential.Name{"ns/one", "ns/two"}[slot-1]
		seat := credential.SeatID{Item: s.item(name), Slot: slot}
		key := s.issue(seat).Key
		before := s.mutations()
		err := s.Issuer.Remove(s.Context(), seat.Item, false)
		s.class(err, credential.ClassPermanent)
		if want := []string{"slot 1", "slot 2"}[slot-1]; !strings.Contains(err.Error(), want) {
			s.Errorf("want %q in: %v", want, err)
		}
		if after := s.mutations(); after != before {
			s.Errorf("%d changes were made", after-before)
		}
		s.works(key, true)
		s.must(s.Issuer.Remove(s.Context(), seat.Item, true))
		s.works(key, false)
		_, err = s.Issuer.Describe(s.Context(), seat.Item)
		s.class(err, credential.ClassNotFound)
	}
}

func removeTwice(s *suite) {
	seat := credential.SeatID{Item: s.item("ns/one"), Slot: 1}
	s.issue(seat)
	s.must(s.Issuer.Revoke(s.Context(), seat))
	for range 2 {
		s.must(s.Issuer.Remove(s.Context(), seat.Item, false))
	}
	s.must(s.Issuer.Remove(s.Context(), s.Absent, true))
	s.class(s.Issuer.Remove(s.Context(), "", true), credential.ClassPermanent)
	if items := s.marked(); len(items) != 0 {
		s.Errorf("left: %+v", items)
	}
	_, err := s.Issuer.Describe(s.Context(), seat.Item)
	s.class(err, credential.ClassNotFound)
	if again := s.item("ns/one"); again == seat.Item {
		s.Error("a removed item was found")
	}
}
