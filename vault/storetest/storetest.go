// Package storetest is the conformance suite of the store of secrets: what the
// rotator relies on, whatever the store is. The real adapter passes it against
// a real Vault, and a fake that stands in for it must pass it too.
package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Store is what the suite tests.
type Store interface {
	Read(ctx context.Context, name credential.Name) (credential.Stored, error)
	Write(ctx context.Context, name credential.Name, doc credential.Document, cas uint64) (version uint64, err error)
	EnsureMetadata(ctx context.Context, name credential.Name, owner string) error
	Destroy(ctx context.Context, name credential.Name, from, below uint64) error
	Erase(ctx context.Context, name credential.Name, upto uint64) error
}

// Run runs the suite. open gives a store in which the namespace "suite" is
// empty.
func Run(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := credential.Name("suite/" + slug(test.name))
			test.run(s{t, open(t), name})
		})
	}
}

var tests = []struct {
	name string
	run  func(s s)
}{
	{"what was never written is missing with version 0", func(s s) {
		if got := s.read(); !got.Missing || got.Version != 0 {
			s.t.Errorf("got %+v", got)
		}
	}},
	{"metadata before the first write leaves the version at 0", func(s s) {
		s.ensure("team map")
		if got := s.read(); !got.Missing || got.Version != 0 {
			s.t.Errorf("got %+v", got)
		}
		s.write(Doc(1), 0)
	}},
	{"metadata can be set again and changes no secret", func(s s) {
		s.ensure("team map")
		version := s.write(Doc(1), 0)
		s.ensure("team map")
		s.ensure("another team")
		s.ensure("")
		s.want(Doc(1), version)
	}},
	{"a document comes back as it was written", func(s s) {
		doc := Doc(7)
		doc.Secondary = Key("candidate", 2)
		doc.Secondary.Expires = time.Date(2027, 3, 1, 12, 0, 0, 123_000_000, time.UTC)
		version := s.write(doc, 0)
		s.want(doc, version)
	}},
	{"the first issue has a secondary and no primary", func(s s) {
		doc := credential.Document{Secondary: Key("first", 1), RotationID: "r1", Revision: 3}
		version := s.write(doc, 0)
		s.want(doc, version)
	}},
	{"a key without an expiry keeps none", func(s s) {
		doc := Doc(1)
		doc.Primary.Expires = time.Time{}
		s.want(doc, s.write(doc, 0))
	}},
	{"a key that was put there by hand and accepted has no seat", func(s s) {
		doc := Doc(4)
		doc.Primary.Seat, doc.Primary.Mint, doc.Primary.Expires = credential.SeatID{}, 0, time.Time{}
		doc.Secondary = Key("candidate", 1)
		s.want(doc, s.write(doc, 0))
	}},
	{"a write replaces all of the document", func(s s) {
		doc := Doc(1)
		doc.Secondary = Key("draining", 2)
		version := s.write(doc, 0)
		version = s.write(Doc(2), version)
		s.want(Doc(2), version)
	}},
	{"versions count up by one", func(s s) {
		for want := uint64(1); want <= 4; want++ {
			if got := s.write(Doc(want), want-1); got != want {
				s.t.Errorf("version %d, want %d", got, want)
			}
		}
	}},
	{"a write that names another version is a conflict", func(s s) {
		s.ensure("")
		s.fail(Doc(1), 1, credential.ClassConflict)
		version := s.write(Doc(1), 0)
		for _, cas := range []uint64{0, version + 1, version + 100} {
			s.fail(Doc(2), cas, credential.ClassConflict)
		}
		s.want(Doc(1), version)
		version = s.write(Doc(2), version)
		s.fail(Doc(3), version-1, credential.ClassConflict)
		s.want(Doc(2), version)
	}},
	{"of writers that name the same version one wins", func(s s) {
		s.ensure("")
		const writers = 8
		for cas := range uint64(5) {
			won, group := make(chan uint64, writers), sync.WaitGroup{}
			for i := range writers {
				group.Go(func() {
					revision := cas*writers + uint64(i) + 1
					switch _, err := s.store.Write(s.t.Context(), s.name, Doc(revision), cas); {
					case err == nil:
						won <- revision
					case !credential.IsClass(err, credential.ClassConflict):
						s.t.Errorf("a loser got %v", err)
					}
				})
			}
			group.Wait()
			close(won)
			if len(won) != 1 {
				s.t.Fatalf("%d writers won at version %d", len(won), cas)
			}
			s.want(Doc(<-won), cas+1)
		}
	}},
	{"a document that must not be stored is refused", func(s s) {
		version := s.write(Doc(1), 0)
		bad := map[string]func(*credential.Document){
			"no key at all":                 func(d *credential.Document) { d.Primary = credential.Key{} },
			"a redacted key":                func(d *credential.Document) { d.Primary = Key(credential.Secret{}.String(), 1) },
			"a fingerprint without its key": func(d *credential.Document) { d.Primary.Secret = credential.Secret{}; d.Secondary = Key("x", 2) },
			"the fingerprint of another":    func(d *credential.Document) { d.Primary.Fingerprint = Key("other", 1).Fingerprint },
			"no revision":                   func(d *credential.Document) { d.Revision = 0 },
			"a seat without a slot":         func(d *credential.Document) { d.Primary.Seat.Slot = 0 },
		}
		for what, change := range bad {
			doc := Doc(2)
			change(&doc)
			if _, err := s.store.Write(s.t.Context(), s.name, doc, version); !credential.IsClass(err, credential.ClassPermanent) {
				s.t.Errorf("%s: got %v", what, err)
			}
		}
		s.want(Doc(1), version)
	}},
	{"older versions are destroyed and the latest stays", func(s s) {
		s.ensure("")
		var version uint64
		for revision := uint64(1); revision <= 4; revision++ {
			version = s.write(Doc(revision), version)
		}
		s.destroy(0, 3)
		s.destroy(1, version)
		s.destroy(1, version)
		s.destroy(version, version)
		s.want(Doc(4), version)
		s.want(Doc(5), s.write(Doc(5), version))
	}},
	{"the latest version is never destroyed", func(s s) {
		version := s.write(Doc(1), 0)
		if err := s.store.Destroy(s.t.Context(), s.name, 0, version+1); !credential.IsClass(err, credential.ClassConflict) {
			s.t.Errorf("got %v", err)
		}
		s.want(Doc(1), version)
	}},
	{"destroying where there is nothing is no failure", func(s s) { s.destroy(0, 9) }},
	{"what is erased is gone and what is written since stays", func(s s) {
		s.ensure("")
		version := s.write(Doc(2), s.write(Doc(1), 0))
		other := s
		other.name += "-other"
		kept := other.write(Doc(1), 0)
		erase := func(upto uint64) {
			if err := s.store.Erase(s.t.Context(), s.name, upto); err != nil {
				s.t.Fatalf("erase up to %d: %v", upto, err)
			}
		}
		for range 2 {
			erase(version)
			if stored := s.read(); !stored.Missing || stored.Version != version {
				s.t.Errorf("it reads as version %d, missing %t", stored.Version, stored.Missing)
			}
		}
		next := s.write(Doc(3), version)
		erase(version) // one that comes late
		s.want(Doc(3), next)
		other.want(Doc(1), kept)
		s.name += "-never"
		erase(9)
	}},
	{"credentials do not touch each other", func(s s) {
		version := s.write(Doc(1), 0)
		other := s
		other.name += "-other"
		other.write(Doc(2), 0)
		s.want(Doc(1), version)
	}},
	{"what is no credential name is refused", func(s s) {
		for _, name := range []credential.Name{"", "suite", "suite/", "suite/a/b", "_system/signing", "suite/../x"} {
			s.name = name
			if _, err := s.store.Read(s.t.Context(), name); !credential.IsClass(err, credential.ClassPermanent) {
				s.t.Errorf("read %q: got %v", name, err)
			}
			s.fail(Doc(1), 0, credential.ClassPermanent)
		}
	}},
	{"a call whose context is over changes nothing", func(s s) {
		version := s.write(Doc(1), 0)
		ctx, cancel := context.WithCancel(s.t.Context())
		cancel()
		if _, err := s.store.Read(ctx, s.name); !credential.IsClass(err, credential.ClassRetryable) {
			s.t.Errorf("read: got %v", err)
		}
		if _, err := s.store.Write(ctx, s.name, Doc(2), version); !credential.IsClass(err, credential.ClassRetryable) {
			s.t.Errorf("write: got %v", err)
		}
		s.want(Doc(1), version)
	}},
}

// Key is a key for tests.
func Key(value string, slot int) credential.Key {
	secret := credential.NewSecret("AAPT-" + value)
	if value == (credential.Secret{}).String() {
		secret = credential.NewSecret(value)
	}
	return credential.Key{
		Secret: secret, Fingerprint: secret.Fingerprint(),
		Expires: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
		Seat:    credential.SeatID{Item: "0123456789abcdef0123456789abcdef", Slot: slot}, Mint: 12,
	}
}

// Doc is a document for tests with only a primary, different for each
// revision.
func Doc(revision uint64) credential.Document {
	return credential.Document{
		Primary: Key(fmt.Sprintf("primary-%d", revision), 1), RotationID: fmt.Sprintf("rotation-%d", revision), Revision: revision,
	}
}

// s is one test: a store and the credential that it uses.
type s struct {
	t     *testing.T
	store Store
	name  credential.Name
}

func (s s) read() credential.Stored {
	s.t.Helper()
	got, err := s.store.Read(s.t.Context(), s.name)
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	return got
}

func (s s) write(doc credential.Document, cas uint64) uint64 {
	s.t.Helper()
	version, err := s.store.Write(s.t.Context(), s.name, doc, cas)
	if err != nil {
		s.t.Fatalf("write: %v", err)
	}
	return version
}

func (s s) fail(doc credential.Document, cas uint64, class credential.Class) {
	s.t.Helper()
	if _, err := s.store.Write(s.t.Context(), s.name, doc, cas); !credential.IsClass(err, class) {
		s.t.Errorf("write over version %d: got %v, want %s", cas, err, class)
	}
}

func (s s) ensure(owner string) {
	s.t.Helper()
	if err := s.store.EnsureMetadata(s.t.Context(), s.name, owner); err != nil {
		s.t.Fatalf("metadata: %v", err)
	}
}

func (s s) destroy(from, below uint64) {
	s.t.Helper()
	if err := s.store.Destroy(s.t.Context(), s.name, from, below); err != nil {
		s.t.Fatalf("destroy %d…%d: %v", from, below, err)
	}
}

// want checks what is stored.
func (s s) want(doc credential.Document, version uint64) {
	s.t.Helper()
	want := credential.Stored{Document: doc, Version: version}
	if diff := cmp.Diff(want, s.read(), compareSecrets); diff != "" {
		s.t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// compareSecrets compares keys by value and shows fingerprints.
var compareSecrets = cmp.Comparer(func(a, b credential.Secret) bool { return a == b })

func slug(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), " ", "-")
}
