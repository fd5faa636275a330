package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestNewCredentialsBeginUnderTheFreeze, until it is thawed or has ended; those
// that exist are not touched.
func TestNewCredentialsBeginUnderTheFreeze(t *testing.T) {
	d := open(t)
	d.declared("maps/before")
	answer, err := d.client.Freeze(t.Context(), control.Freeze{Reason: "incident"})
	if err != nil || answer.Result != control.ResultFrozen || answer.Revision != 1 {
		t.Fatalf("%+v, %v", answer, err)
	}
	d.declared("maps/during")
	answer, err = d.client.Freeze(t.Context(), control.Freeze{Reason: "incident"})
	if err != nil || answer.Result != control.ResultUnchanged {
		t.Errorf("the same freeze: %+v, %v", answer, err)
	}
	answer, err = d.client.Thaw(t.Context(), control.Thaw{Reason: "it is over"})
	if err != nil || answer.Result != control.ResultThawed || answer.Revision != 2 {
		t.Errorf("%+v, %v", answer, err)
	}
	d.declared("maps/after")
	until := time.Now().Add(time.Hour)
	_, err = d.client.Freeze(t.Context(), control.Freeze{Reason: "for an hour", Until: until})
	must(t, err)
	d.declared("maps/hour")

	for name, want := range map[credential.Name]string{"maps/before": "", "maps/during": "incident", "maps/after": "", "maps/hour": "for an hour"} {
		got := d.state(name).Frozen
		switch {
		case (got == nil) != (want == ""):
			t.Errorf("%s: frozen %+v, want %q", name, got, want)
		case got != nil && (got.Reason != want || got.Actor != "ann"):
			t.Errorf("%s: frozen %+v, want %q by ann", name, got, want)
		}
	}
	if got := d.state("maps/hour").Frozen.Until; !got.Equal(until) {
		t.Errorf("it ends at %v, want %v", got, until)
	}
	for what, request := range map[string]control.Freeze{"no reason": {}, "an end that is over": {Reason: "x", Until: time.Now().Add(-time.Minute)}} {
		if _, err := d.client.Freeze(t.Context(), request); err == nil || !strings.Contains(err.Error(), map[bool]string{true: "no reason", false: "is over"}[request.Reason == ""]) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestAnEndedFreezeBindsNobody.
func TestAnEndedFreezeBindsNobody(t *testing.T) {
	s, admin := newSite(t)
	d := s.open(t, admin, func(c *control.Config) {
		c.Now = func() time.Time { return time.Now().Add(-2 * time.Minute) } // of then
	})
	_, err := d.client.Freeze(t.Context(), control.Freeze{Reason: "short", Until: time.Now().Add(-time.Minute)})
	must(t, err)
	must(t, d.end())
	d = s.open(t, admin)
	d.declared("maps/web")
	if got := d.state("maps/web").Frozen; got != nil {
		t.Errorf("it begins under %+v", got)
	}
}

// TestAFreezeIsAnsweredOnce: a repeat gets the first answer, whichever daemon it
// comes to and whatever happened since; a replayed thaw does not thaw again.
func TestAFreezeIsAnsweredOnce(t *testing.T) {
	s, admin := newSite(t)
	desks := [2]*desk{s.open(t, admin), s.open(t, admin)}
	d := desks[0]
	frozen := func() *credential.Hold {
		t.Helper()
		hold, err := d.record.Frozen(t.Context())
		must(t, err)
		return hold
	}
	first := d.request("f-1", control.SubjectFreeze, `{"reason":"incident"}`)
	thaw := d.request("t-1", control.SubjectThaw, `{}`)
	for range 2 {
		if a := d.ask(t, first); a.Result != control.ResultFrozen || a.Revision != 1 || a.Request != "f-1" {
			t.Errorf("the freeze: %+v", a)
		}
	}
	d.ask(t, thaw)
	d.ask(t, d.request("f-2", control.SubjectFreeze, `{"reason":"again"}`))
	for range 20 { // both daemons get some
		if a := d.ask(t, thaw); a.Result != control.ResultThawed || a.Revision != 2 {
			t.Fatalf("the replayed thaw: %+v", a)
		}
		if a := d.ask(t, first); a.Result != control.ResultFrozen || a.Revision != 1 {
			t.Fatalf("the replayed freeze: %+v", a)
		}
	}
	if hold := frozen(); hold == nil || hold.Reason != "again" {
		t.Errorf("after the replays it is frozen by %+v", hold)
	}
	if _, code, text := d.send(t, d.request("t-1", control.SubjectThaw, `{"reason":"x"}`)); code != control.CodeConflict {
		t.Errorf("another request under the id of the thaw: %s %s", code, text)
	}
	for _, desk := range desks {
		must(t, desk.end())
	}
	d = s.open(t, admin)
	if a := d.ask(t, thaw); a.Revision != 2 || frozen() == nil {
		t.Errorf("the replayed thaw at a new daemon: %+v", a)
	}
}
