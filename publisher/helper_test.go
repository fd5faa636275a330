package publisher

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	installation = "test-1"
	mapKey       = credential.Name("team/maps")
)

// site is one or three servers with the stream set up.
type site struct {
	url     string
	nc      *nats.Conn
	js      jetstream.JetStream
	cluster *natstest.Cluster // nil for one server
}

// sites are the servers that a test runs against.
var sites = []struct {
	name  string
	start func(t testing.TB) *site
}{
	{"one node", func(t testing.TB) *site { return newSite(t, natstest.Start(t).ClientURL(), 1) }},
	{"three nodes", func(t testing.TB) *site { return newClusterSite(t, natstest.StartCluster(t, 3), 3) }},
}

func onEachSite(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) { test(t, s.start(t)) })
	}
}

func oneNode(t testing.TB) *site { return sites[0].start(t) }

func newSite(t testing.TB, url string, replicas int) *site {
	t.Helper()
	nc, js := natstest.Connect(t, url)
	if err := Setup(t.Context(), js, replicas); err != nil {
		t.Fatalf("Setup: %v", err)
	}
	return &site{url: url, nc: nc, js: js}
}

func newClusterSite(t testing.TB, cluster *natstest.Cluster, replicas int) *site {
	t.Helper()
	s := newSite(t, cluster.URL(), replicas)
	s.cluster = cluster
	s.interested(t, signerSubject)
	return s
}

// interested waits until each server knows who listens to the subject.
func (s *site) interested(t testing.TB, subject string) {
	t.Helper()
	if s.cluster != nil {
		s.cluster.Interested(t, subject)
	}
}

func newSigner(t testing.TB) *Signer {
	t.Helper()
	seed, _, err := GenerateSeed()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(seed)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// open opens a record with a signer that is announced.
func (s *site) open(t testing.TB, change ...func(*Config)) *Record {
	t.Helper()
	signer := newSigner(t)
	if err := PublishSigner(t.Context(), s.js, signer, installation, nil); err != nil {
		t.Fatalf("PublishSigner: %v", err)
	}
	return s.openAs(t, signer, change...)
}

func (s *site) openAs(t testing.TB, signer *Signer, change ...func(*Config)) *Record {
	t.Helper()
	cfg := Config{JetStream: s.js, Signer: signer, Installation: installation, Timeout: 30 * time.Second,
		OnBad: func(subject string, sequence uint64, err error) {
			t.Errorf("message %d on %s: %v", sequence, subject, err)
		}}
	for _, c := range change {
		c(&cfg)
	}
	r, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return r
}

func mustAppend(t testing.TB, r *Record, name credential.Name, head credential.Head, revision uint64) credential.Head {
	t.Helper()
	next, err := r.Append(t.Context(), name, head, recordtest.Event(credential.Released{}), recordtest.State(name, revision))
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return next
}

func mustLoad(t testing.TB, r *Record, name credential.Name) (credential.State, credential.Head) {
	t.Helper()
	state, head, err := r.Load(t.Context(), name)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return state, head
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
