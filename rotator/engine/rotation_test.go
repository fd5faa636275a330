package engine_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

func TestFirstKeyThenAWholeRotation(t *testing.T) {
	w := newWorld(t)
	const name = credential.Name("maps/web")
	w.register(t, name, w.policy(t, 5*time.Minute, 6*time.Second, time.Second))
	e := w.engine(t, w.ports(t), engine.Hooks{})

	first := run(t.Context(), t, e, name, func(r engine.Result) bool { return r.State.Generation == 1 })
	if first.State.Rotation != nil {
		t.Errorf("the first rotation is still open after its promotion: %+v", first.State.Rotation)
	}
	stored, err := w.store.Read(t.Context(), name)
	must(t, err)
	old := stored.Primary.Secret
	if !w.portal.KeyWorks(old.Reveal(), "") {
		t.Fatal("the first key does not work")
	}

	w.rotate(t, name)
	second := run(t.Context(), t, e, name, func(r engine.Result) bool {
		return r.State.Generation == 2 && r.State.Rotation == nil
	})
	stored, err = w.store.Read(t.Context(), name)
	must(t, err)
	if !w.portal.KeyWorks(stored.Primary.Secret.Reveal(), "") {
		t.Error("the new key does not work")
	}
	if w.portal.KeyWorks(old.Reveal(), "") {
		t.Error("the old key still works after its invalidation")
	}
	if len(second.State.Seats) != 1 || !stored.Secondary.Secret.Empty() {
		t.Errorf("left over: seats %v, secondary %v", second.State.Seats, stored.Secondary.Fingerprint)
	}
	var types []credential.EventType
	for _, entry := range w.history(t, name) {
		types = append(types, entry.Event.Fact.Type())
	}
	want := []credential.EventType{
		credential.TypeRegistered,
		credential.TypeStarted, credential.TypeStepClaimed, credential.TypeIssued, credential.TypePromoted,
		credential.TypeUpdated, // the request
		credential.TypeStarted, credential.TypeIssued, credential.TypePromoted,
		credential.TypeRetiring, credential.TypeInvalidated,
	}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
