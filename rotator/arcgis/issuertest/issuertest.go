package issuertest

import (
	"context"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Issuer is the port under test.
type Issuer interface {
	EnsureItem(ctx context.Context, order credential.ItemOrder) (item string, err error)
	Describe(ctx context.Context, item string) (credential.ItemStatus, error)
	Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error)
	Probe(ctx context.Context, request credential.ProbeRequest) (credential.Proof, error)
	Revoke(ctx context.Context, seat credential.SeatID) error
	Edit(ctx context.Context, item string, marker credential.Marker, spec credential.ItemSpec) error
	Remove(ctx context.Context, item string, revoke bool) error
	Marked(ctx context.Context, installation string, names []credential.Name) ([]credential.MarkedItem, error)
}

// Fixture is an issuer with the system behind it, fresh and empty.
type Fixture struct {
	Issuer Issuer
	// Accepts asks the system itself whether a key works.
	Accepts func(key credential.Secret) bool
	// Now is the system's clock; nil = time.Now.
	Now func() time.Time
	// Spec is an item that the issuer can make, without referrers; its title is
	// changed.
	Spec credential.ItemSpec
	// Absent is an item id of the right form that does not exist.
	Absent string
	// Lifetime is how long keys are asked to live; Tolerance is how far the
	// issuer may round that. Zero = 30 days and 2 s.
	Lifetime, Tolerance time.Duration
	// LoseGenerate makes the system do the next generate and lose the answer;
	// LoseRevoke the same for the next revoke. Nil = not tested.
	LoseGenerate, LoseRevoke func()
	// DeleteItem is somebody deleting the item. Nil = not tested.
	DeleteItem func(item string)
	// Stop makes the system unreachable for good. Nil = not tested.
	Stop func()
	// Mutations counts what the system was asked to change so far. Nil = not tested.
	Mutations func() int
}

// Run runs every case against a fixture of its own.
func Run(t *testing.T, open func(t testing.TB) Fixture) {
	t.Helper()
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			f := open(t)
			if f.Now == nil {
				f.Now = time.Now
			}
			if f.Lifetime == 0 {
				f.Lifetime = 30 * 24 * time.Hour
			}
			if f.Tolerance == 0 {
				f.Tolerance = 2 * time.Second
			}
			c.run(&suite{T: t, Fixture: f})
		})
	}
}

// suite is one case with its fixture.
type suite struct {
	*testing.T
	Fixture
}

func (s *suite) order(name credential.Name, rotation string) credential.ItemOrder {
	spec := s.Spec
	spec.Title = string(name)
	return credential.ItemOrder{Marker: credential.Marker{Installation: "conformance", Name: name, Rotation: rotation}, Spec: spec}
}

func (s *suite) item(name credential.Name) string {
	s.Helper()
	item, err := s.Issuer.EnsureItem(s.Context(), s.order(name, "r-1"))
	s.must(err)
	if item == "" {
		s.Fatal("an item without an id")
	}
	return item
}

func (s *suite) issue(seat credential.SeatID) credential.Minted {
	s.Helper()
	minted, err := s.Issuer.Issue(s.Context(), seat, s.asked())
	s.must(err)
	if minted.Key.Empty() {
		s.Fatal("a key without a value")
	}
	return minted
}

func (s *suite) asked() time.Time { return s.Now().Add(s.Lifetime).UTC().Truncate(time.Second) }

func (s *suite) active(seat credential.SeatID) bool {
	s.Helper()
	status, err := s.Issuer.Describe(s.Context(), seat.Item)
	s.must(err)
	return status.Slot(seat.Slot).Active
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// class demands a fault of one of the classes.
func (s *suite) class(err error, want ...credential.Class) {
	s.Helper()
	for _, class := range want {
		if credential.IsClass(err, class) {
			return
		}
	}
	s.Fatalf("want a fault of class %q, got %v", want, err)
}

func (s *suite) near(got, want time.Time) {
	s.Helper()
	if d := got.Sub(want); d > s.Tolerance || d < -s.Tolerance {
		s.Errorf("the date is %s, want %s within %s", got, want, s.Tolerance)
	}
}

func (s *suite) works(key credential.Secret, want bool) {
	s.Helper()
	if got := s.Accepts(key); got != want {
		s.Errorf("the system accepts the key: %t, want %t", got, want)
	}
}
