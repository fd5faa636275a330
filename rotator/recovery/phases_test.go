package recovery_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

func TestVaultLostInEveryPhase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	both := func(f func(*credential.Policy)) func(*credential.Policy) {
		return func(p *credential.Policy) {
			p.RotateBefore = credential.Duration(12 * time.Second)
			f(p)
		}
	}
	w.make(t, "maps/drain", both(func(p *credential.Policy) {
		p.Drain, p.RotateBefore = credential.Duration(20*time.Minute), credential.Duration(30*time.Minute)
	}))
	w.rotate(t, "maps/drain", promoted(2))
	w.make(t, "maps/ready", both(func(p *credential.Policy) {
		p.Confirm = &credential.Confirm{Consumers: []string{"app"}, Before: credential.BeforePromote, Deadline: credential.Duration(10 * time.Second), Then: credential.ThenHalt}
	}))
	w.rotateSlowly(t, "maps/ready", ready)
	w.newVault(t)
	var asked []credential.Name
	results := w.reissue(t, 50*time.Second, &asked)
	for _, r := range results {
		t.Logf("%s done %v why %s asked %v", r.Name, r.Done, r.Why, asked)
		if !r.Done {
			t.Errorf("%s not done", r.Name)
			_ = w.record.History(t.Context(), r.Name, func(e credential.Entry) error {
				t.Logf("%s %s %+v", e.Event.At.Format("05.000"), e.Event.Fact.Type(), e.Event.Fact)
				return nil
			})
		}
	}
}
