package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

const someItem = "0123456789abcdef0123456789abcdef"

// proving answers for the world outside.
func proving(asked *atomic.Int64, err error) func(*control.Config) {
	return func(c *control.Config) {
		c.Prove = func(_ context.Context, r control.Adopt) (credential.Adopt, error) {
			asked.Add(1)
			return credential.Adopt{
				Spec: r.Spec, Seat: credential.SeatID{Item: r.Item, Slot: 2}, Fingerprint: r.Fingerprint, Expires: time.Now().Add(time.Hour),
				Version: 3, Settings: r.Spec.Item.SettingsHash(),
			}, err
		}
	}
}

func adoption(name string) control.Adopt {
	return control.Adopt{Name: credential.Name(name), Spec: spec(time.Hour), Item: someItem, Fingerprint: "0123456789abcdef"}
}

// TestAdoptIsProvenAndOnRecord, once; a repeat gets the first answer from any daemon.
func TestAdoptIsProvenAndOnRecord(t *testing.T) {
	s, ann := newSite(t)
	var asked atomic.Int64
	d := s.open(t, ann, proving(&asked, nil))
	_, err := d.client.Freeze(t.Context(), control.Freeze{Reason: "incident"})
	must(t, err)
	arguments, err := json.Marshal(adoption("maps/web"))
	must(t, err)
	message := d.request("r-adopt", control.SubjectAdopt, string(arguments))
	for range 2 {
		if answer := d.ask(t, message); answer.Result != control.ResultAdopted || answer.Revision != 1 || answer.Name != "maps/web" {
			t.Errorf("answered %+v", answer)
		}
	}
	state := d.state("maps/web")
	primary, _ := state.Primary()
	if asked.Load() != 1 || primary.Slot != 2 || primary.Fingerprint != "0123456789abcdef" || state.Vault.Version != 3 || state.Spec.Policy.RotateBefore == 0 {
		t.Errorf("proven %d times, %+v", asked.Load(), state)
	}
	if state.Frozen == nil || state.Frozen.Reason != "incident" {
		t.Errorf("it is not frozen: %+v", state.Frozen)
	}
	var last credential.Event
	must(t, d.record.History(t.Context(), "maps/web", func(e credential.Entry) error { last = e.Event; return nil }))
	if last.Actor != "ann" || last.Request != "r-adopt" {
		t.Errorf("the event is of %s, request %s", last.Actor, last.Request)
	}
	if answer, err := d.client.Adopt(t.Context(), adoption("maps/web")); err != nil || answer.Result != control.ResultUnchanged {
		t.Errorf("the same key again: %+v, %v", answer, err)
	}
	other := adoption("maps/web")
	other.Fingerprint = "fedcba9876543210"
	if _, err := d.client.Adopt(t.Context(), other); err == nil || !strings.Contains(err.Error(), "managed already") {
		t.Errorf("another key: %v", err)
	}
	for _, fact := range []credential.Fact{credential.Removing{}, credential.Removed{}} {
		state, head, err := d.record.Load(t.Context(), "maps/web")
		must(t, err)
		event := credential.Event{ID: engine.NewID(), At: time.Now().UTC(), Actor: "ann", Daemon: "d-test", Fact: fact}
		after := credential.Evolve(state, event)
		after.Name = "maps/web"
		_, err = d.record.Append(t.Context(), "maps/web", head, event, after)
		must(t, err)
	}
	if answer := d.ask(t, message); answer.Result != control.ResultAdopted || answer.Revision != 1 || d.state("maps/web").Status != credential.StatusRemoved {
		t.Errorf("a repeat after the removal: %+v, %s", answer, d.state("maps/web").Status)
	}
	if asked.Load() != 1 {
		t.Errorf("proven %d times", asked.Load())
	}
}

// TestARepeatedDeclarationUnderAFreeze is answered as the first.
func TestARepeatedDeclarationUnderAFreeze(t *testing.T) {
	d := open(t)
	_, err := d.client.Freeze(t.Context(), control.Freeze{Reason: "incident"})
	must(t, err)
	arguments, err := json.Marshal(control.Apply{Name: "maps/web", Spec: spec(time.Hour)})
	must(t, err)
	message := d.request("r-apply", control.SubjectApply, string(arguments))
	for range 2 {
		if answer := d.ask(t, message); answer.Result != control.ResultRegistered {
			t.Errorf("answered %+v", answer)
		}
	}
	if state := d.state("maps/web"); state.Revision != 1 || state.Frozen == nil {
		t.Errorf("revision %d, frozen %+v", state.Revision, state.Frozen)
	}
}

// TestAdoptIsRefused: what is wrong in itself, and what the world does not allow; one
// that may work later is told as such.
func TestAdoptIsRefused(t *testing.T) {
	for class, want := range map[credential.Class]string{
		credential.ClassPermanent: control.CodeConflict, credential.ClassDenied: control.CodeConflict, credential.ClassNotFound: control.CodeConflict,
		credential.ClassRetryable: control.CodeUnavailable, credential.ClassUnknown: control.CodeUnavailable,
	} {
		s, ann := newSite(t)
		var asked atomic.Int64
		d := s.open(t, ann, proving(&asked, &credential.Fault{Class: class, System: "portal", Op: "look", Hint: "look yourself"}))
		var no *control.Refusal
		if _, err := d.client.Adopt(t.Context(), adoption("maps/web")); !errors.As(err, &no) || no.Code != want || !strings.Contains(no.Text, "look yourself") || no.Resent {
			t.Errorf("%s: %+v, want %s", class, no, want)
		}
		for what, change := range map[string]func(*control.Adopt){
			"no item":        func(a *control.Adopt) { a.Item = "" },
			"no fingerprint": func(a *control.Adopt) { a.Fingerprint = "" },
			"a key":          func(a *control.Adopt) { a.Fingerprint = "AAPT-not-for-logs" },
			"no such issuer": func(a *control.Adopt) { a.Spec.Issuer = "nobody" },
		} {
			bad := adoption("maps/web")
			change(&bad)
			if _, err := d.client.Adopt(t.Context(), bad); !errors.As(err, &no) || no.Code != control.CodeBad || strings.Contains(no.Text, "AAPT") {
				t.Errorf("%s: %v", what, no)
			}
		}
		if asked.Load() != 1 || d.state("maps/web").Status != credential.StatusUnknown {
			t.Errorf("%d asked, %+v", asked.Load(), d.state("maps/web"))
		}
	}
}

// TestARefusalAfterARepeatSaysSo: the first sending was heard by somebody who did not
// answer, and may still do it.
func TestARefusalAfterARepeatSaysSo(t *testing.T) {
	s, ann := newSite(t)
	var heard atomic.Int64
	_, err := s.conn.Subscribe(control.SubjectRemove, func(m *nats.Msg) {
		if heard.Add(1) > 1 {
			must(t, m.RespondMsg(&nats.Msg{Header: nats.Header{"Nats-Service-Error-Code": {"409"}, "Nats-Service-Error": {"no"}}}))
		}
	})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err = control.NewClient(s.conn, ann.Identity).Remove(ctx, control.Remove{Name: "maps/web", Reason: "closed"})
	var no *control.Refusal
	if !errors.As(err, &no) || !no.Resent || heard.Load() != 2 {
		t.Errorf("%+v after %d sendings", err, heard.Load())
	}
}

// TestRemoveIsOnRecord with who wanted it and what to keep; nothing but the removal
// goes on.
func TestRemoveIsOnRecord(t *testing.T) {
	s, ann := newSite(t)
	d := s.open(t, ann)
	d.declared("maps/web")
	refused := func(what, want string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	remove := control.Remove{Name: "maps/web", Reason: "closed", KeepSecret: true}
	_, err := d.client.Remove(t.Context(), control.Remove{Name: "maps/web"})
	refused("without a reason", "no reason is given", err)
	_, err = d.client.Remove(t.Context(), control.Remove{Name: "maps/none", Reason: "x"})
	refused("an unknown name", "no such credential", err)
	_, err = d.client.Hold(t.Context(), control.Hold{Name: "maps/web", Reason: "audit"})
	must(t, err)
	_, err = d.client.Remove(t.Context(), remove)
	refused("under a hold", "keyturn release maps/web", err)
	_, err = d.client.Release(t.Context(), control.Release{Name: "maps/web"})
	must(t, err)
	answer, err := d.client.Remove(t.Context(), remove)
	if err != nil || answer.Result != control.ResultRemoving {
		t.Fatalf("%+v, %v", answer, err)
	}
	if r := d.state("maps/web").Removing; r == nil || r.Actor != "ann" || r.Reason != "closed" || !r.KeepSecret || r.KeepItem {
		t.Errorf("on record is %+v", r)
	}
	if answer, err := d.client.Remove(t.Context(), remove); err != nil || answer.Result != control.ResultUnchanged {
		t.Errorf("again: %+v, %v", answer, err)
	}
	remove.KeepItem = true
	if answer, err := d.client.Remove(t.Context(), remove); err != nil || answer.Result != control.ResultRemoving || !d.state("maps/web").Removing.KeepItem {
		t.Errorf("with the item kept: %+v, %v", answer, err)
	}
	for _, dry := range []bool{true, false} {
		_, err = d.client.Apply(t.Context(), control.Apply{Name: "maps/web", Spec: spec(2 * time.Hour), DryRun: dry})
		refused("a declaration", "being removed since", err)
	}
	_, err = d.client.Adopt(t.Context(), adoption("maps/web"))
	refused("an adoption", "being removed since", err)
}

// TestDeclarationsForetell what follows at the issuer.
func TestDeclarationsForetell(t *testing.T) {
	s, ann := newSite(t)
	var asked atomic.Int64
	d := s.open(t, ann, proving(&asked, nil))
	_, err := d.client.Adopt(t.Context(), adoption("maps/web"))
	must(t, err)
	for what, test := range map[string]struct {
		change func(*credential.ItemSpec)
		words  []string
		silent bool
	}{
		"settings": {func(i *credential.ItemSpec) { i.Privileges = []string{"premium:user:places"} }, []string{"a new item is made (succession)", "works 10m longer", "item " + someItem + " is deleted for good"}, false},
		"words":    {func(i *credential.ItemSpec) { i.Title, i.Tags = "New", []string{"a"} }, []string{"edited in place"}, false},
		"both":     {func(i *credential.ItemSpec) { i.Title, i.Referrers = "New", []string{"https://example.com"} }, []string{"(succession)", "edited in place"}, false},
		"neither":  {func(*credential.ItemSpec) {}, nil, true},
	} {
		wanted := spec(time.Hour)
		test.change(&wanted.Item)
		answer, err := d.client.Apply(t.Context(), control.Apply{Name: "maps/web", Spec: wanted, DryRun: true})
		must(t, err)
		for _, word := range test.words {
			if !strings.Contains(answer.Detail, word) {
				t.Errorf("%s: %q lacks %q", what, answer.Detail, word)
			}
		}
		if (answer.Detail == "") != test.silent {
			t.Errorf("%s: %q", what, answer.Detail)
		}
	}
}
