package simulation

import (
	"context"
	"fmt"
	"sync"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Store is the simulated store of secrets: numbered versions with check-and-set.
type Store struct {
	mu       sync.Mutex
	versions map[credential.Name][]*credential.Document // version - 1 → content; nil = destroyed or deleted
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{versions: map[credential.Name][]*credential.Document{}} }

// Latest is what applications read.
func (s *Store) Latest(name credential.Name) credential.Stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := s.versions[name]
	stored := credential.Stored{Version: uint64(len(versions)), Missing: true}
	if n := len(versions); n > 0 && versions[n-1] != nil {
		stored.Document, stored.Missing = *versions[n-1], false
	}
	return stored
}

// Put writes a version without check-and-set, as a person would.
func (s *Store) Put(name credential.Name, doc *credential.Document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[name] = append(s.versions[name], doc)
}

// Read implements engine.SecretStore.
func (s *Store) Read(ctx context.Context, name credential.Name) (credential.Stored, error) {
	if err := usable(ctx, "read", name); err != nil {
		return credential.Stored{}, err
	}
	return s.Latest(name), nil
}

// Write implements engine.SecretStore.
func (s *Store) Write(ctx context.Context, name credential.Name, doc credential.Document, cas uint64) (uint64, error) {
	if err := usable(ctx, "write", name); err != nil {
		return 0, err
	}
	if why := storable(doc); why != "" {
		return 0, fault(credential.ClassPermanent, "vault", "write "+string(name), why)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := uint64(len(s.versions[name])); last != cas {
		return 0, fault(credential.ClassConflict, "vault", "write "+string(name), fmt.Sprintf("the version is %d", last))
	}
	s.versions[name] = append(s.versions[name], &doc)
	return cas + 1, nil
}

// storable says why a document must not be stored; empty = it may.
func storable(doc credential.Document) string {
	if doc.Revision == 0 {
		return "no revision"
	}
	if doc.Primary.Secret.Empty() && doc.Secondary.Secret.Empty() {
		return "no key"
	}
	for _, key := range []credential.Key{doc.Primary, doc.Secondary} {
		switch {
		case key.Secret.Empty() && key.Fingerprint != "":
			return "a fingerprint without its key"
		case key.Secret.Empty():
		case key.Secret.Reveal() == key.Secret.String():
			return "a redacted key"
		case key.Fingerprint != key.Secret.Fingerprint():
			return "the fingerprint of another key"
		case key.Seat.Item != "" && (key.Seat.Slot < 1 || key.Seat.Slot > 2):
			return "a seat without a slot"
		}
	}
	return ""
}

// EnsureMetadata implements engine.SecretStore.
func (s *Store) EnsureMetadata(ctx context.Context, name credential.Name, _ string) error {
	return usable(ctx, "set metadata of", name)
}

// Destroy implements engine.SecretStore.
func (s *Store) Destroy(ctx context.Context, name credential.Name, from, below uint64) error {
	if err := usable(ctx, "destroy versions of", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := s.versions[name]
	if below > uint64(len(versions)) && len(versions) > 0 {
		return fault(credential.ClassConflict, "vault", "destroy versions of "+string(name), "the latest lies in the range")
	}
	for v := max(from, 1); v < below && v <= uint64(len(versions)); v++ {
		versions[v-1] = nil
	}
	return nil
}

// Erase implements engine.SecretStore.
func (s *Store) Erase(ctx context.Context, name credential.Name, upto uint64) error {
	if err := usable(ctx, "erase", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := uint64(1); v <= upto && v <= uint64(len(s.versions[name])); v++ {
		s.versions[name][v-1] = nil
	}
	return nil
}

func usable(ctx context.Context, op string, name credential.Name) error {
	if _, err := credential.ParseName(string(name)); err != nil {
		return &credential.Fault{Class: credential.ClassPermanent, System: "vault", Op: op + " " + string(name), Err: err}
	}
	return given(ctx, "vault", op+" "+string(name))
}
