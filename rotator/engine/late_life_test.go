package engine_test

import (
	"context"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// lateStore holds its first write back until it is let go.
type lateStore struct {
	engine.SecretStore
	held, free chan struct{}
	done       bool
}

func (l *lateStore) Write(ctx context.Context, name credential.Name, doc credential.Document, cas uint64) (uint64, error) {
	if !l.done {
		l.done = true
		close(l.held)
		<-l.free
	}
	return l.SecretStore.Write(ctx, name, doc, cas)
}

// TestAWriteOfTheLifeBefore comes when the next one has a key: a daemon was paused
// over the removal and the new declaration. It changes nothing.
func TestAWriteOfTheLifeBefore(t *testing.T) {
	w := newWorld(t)
	s := w.standing(t, "removal/late", drain)
	s.app.stop()
	p := w.ports(t)
	l := &lateStore{SecretStore: p.store, held: make(chan struct{}), free: make(chan struct{})}
	p.store = l
	paused := w.engine(t, p, engine.Hooks{})
	w.rotate(t, s.name)
	done := make(chan struct{})
	go func() { defer close(done); _, _ = paused.Pass(s.ctx, s.name) }()
	<-l.held
	w.command(t, s.name, credential.Remove{Actor: "test", Reason: "a test"})
	s.until(t, s.removed)
	w.checkGone(t, s.name)
	w.register(t, s.name, w.policy(t, 20*lifetime, lead, drain))
	s.until(t, ended(1))
	before, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	close(l.free)
	<-done
	after, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	if after.Primary.Fingerprint != before.Primary.Fingerprint || !w.portal.KeyWorks(after.Primary.Secret.Reveal(), "") {
		t.Errorf("applications get %s, mint %d, works %t", after.Primary.Fingerprint, after.Primary.Mint, w.portal.KeyWorks(after.Primary.Secret.Reveal(), ""))
	}
}
