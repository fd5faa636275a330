package engine_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// A daemon that starts with a clock a year ahead, before its issuer has
// answered it anything: nothing is due, and nobody is dead.
func TestADaemonThatStartsWithAWrongClock(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("finding/start")
	w.register(t, name, w.long(t))
	must(t, drive(t.Context(), w.engine(t, w.ports(t), engine.Hooks{}), name, ended(1)))
	c := &clocks{world: w, ours: &shifted{}}
	c.ours.by(year)
	e := c.engineOf(t, undisturbed)
	result, err := e.Pass(t.Context(), name)
	must(t, err)
	t.Logf("%+v", result.Next)
	for _, entry := range w.history(t, name)[5:] {
		t.Errorf("%s %+v", entry.Event.Fact.Type(), entry.Event.Fact)
	}
}

// A promotion that Vault already shows and the record does not: the settings
// change and are taken back; the key that applications have must not be
// generated over without a drain.
func TestAKeyThatVaultShowsIsGeneratedOver(t *testing.T) {
	w := newWorld(t)
	const long = time.Second
	s := w.standing(t, "finding/shown", long)
	w.rotate(t, s.name)
	writes := 0
	dying := w.tap(t, func(c call) mode {
		if c.what == "store.Write" {
			if writes++; writes == 2 { // store, promote
				return stopAfter
			}
		}
		return pass
	})
	if err := drive(s.ctx, w.engine(t, dying.ports(), engine.Hooks{}), s.name, ended(2)); err == nil {
		t.Fatal("the daemon was not stopped")
	}
	shown, err := w.store.Read(t.Context(), s.name)
	must(t, err)
	changed := specOf(string(s.name), w.policy(t, lifetime, lead, long))
	changed.Item.Privileges = append(changed.Item.Privileges, "premium:user:geocode")
	w.command(t, s.name, credential.Register{Actor: "test", Spec: changed})
	abandoned := false
	s.engine = w.engine(t, w.tap(t, func(c call) mode {
		if c.what == "record.Append "+string(credential.TypeStarted) && !abandoned {
			abandoned = true // taken back before the succession begins
			w.command(t, s.name, credential.Register{Actor: "test", Spec: specOf(string(s.name), w.policy(t, lifetime, lead, long))})
		}
		return pass
	}).ports(), engine.Hooks{})
	s.until(t, func(r engine.Result) bool {
		return r.State.Rotation != nil && r.State.Rotation.Phase == credential.PhaseDrain
	})
	if !w.portal.KeyWorks(shown.Primary.Secret.Reveal(), "") {
		t.Error("a key that Vault showed as the primary died without a drain")
	}
	s.until(t, func(r engine.Result) bool { return r.State.Rotation == nil && len(r.State.Seats) == 1 })
	s.app.check(t)
}
