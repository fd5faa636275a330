package control_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// early is a daemon that looked before anything was kept.
type early struct{ control.Outcomes }

func (early) Outcome(context.Context, string) ([]byte, error) { return nil, nil }

// kept is how many messages the stream of requests holds.
func (s *site) kept(t testing.TB) uint64 {
	t.Helper()
	stream, err := s.js.Stream(t.Context(), publisher.RequestsStream)
	must(t, err)
	return stream.CachedInfo().State.Msgs
}

// TestOnlyWhatLeftNothingOnTheRecordIsKept: not what the record knows, what cannot
// change anything, or what was denied.
func TestOnlyWhatLeftNothingOnTheRecordIsKept(t *testing.T) {
	s, admin := newSite(t)
	d := s.open(t, admin)
	d.declared("maps/web")
	viewer := newPerson(t)
	s.keys[viewer.Public()] = operator("vera", control.RoleViewer, "*")
	dry := `{"name":"maps/web","dry_run":true,"spec":{"issuer":"portal","item":{"title":"T"},"policy":{"lifetime":"1h"}}}`
	for n, m := range []struct {
		who                person
		subject, arguments string
		kept               uint64
	}{
		{admin, control.SubjectHold, `{"name":"maps/web","reason":"audit"}`, 0},
		{admin, control.SubjectWhoami, `{}`, 0},
		{admin, control.SubjectLimits, `{}`, 0},
		{admin, control.SubjectApply, dry, 0},
		{viewer, control.SubjectRelease, `{"name":"maps/web"}`, 0},
		{admin, control.SubjectRelease, `{"name":"maps/we`, 0},
		{admin, control.SubjectRetry, `{"name":"maps/web"}`, 1},
		{admin, control.SubjectRetry, `{"name":"maps/none"}`, 1},
	} {
		before := s.kept(t)
		message := m.who.message(t, m.subject, body(fmt.Sprint("r-", n), time.Now(), m.arguments))
		for range 2 {
			d.send(t, message)
		}
		if got := s.kept(t) - before; got != m.kept {
			t.Errorf("%s %s: %d kept, want %d", m.subject, m.arguments, got, m.kept)
		}
	}
}

// TestWithoutTheStreamOnlyEmergenciesGoOn: the rest is refused, with a hint, and
// nothing is done; what is read is answered.
func TestWithoutTheStreamOnlyEmergenciesGoOn(t *testing.T) {
	s, admin := newSite(t)
	core, logs := observer.New(zapcore.WarnLevel)
	d := s.open(t, admin, func(c *control.Config) { c.Logger = zap.New(core) })
	d.declared("maps/web")
	for _, name := range []credential.Name{"a/leak", "a/held"} {
		d.issued(name, capturedKey)
	}
	d.ask(t, d.request("r-0", control.SubjectHold, `{"name":"a/held","reason":"audit"}`))
	must(t, s.js.DeleteStream(t.Context(), publisher.RequestsStream))
	for subject, arguments := range map[string]string{
		control.SubjectHold: `{"name":"maps/web","reason":"audit"}`, control.SubjectRelease: `{"name":"maps/web"}`, control.SubjectFreeze: `{"reason":"incident"}`,
	} {
		_, code, text := d.send(t, d.request("r-"+subject, subject, arguments))
		if code != control.CodeUnavailable || !strings.Contains(text, "nothing was done") || !strings.Contains(text, "keyturn setup") {
			t.Errorf("%s: %s %s", subject, code, text)
		}
	}
	if hold, err := d.record.Frozen(t.Context()); d.state("maps/web").Revision != 1 || hold != nil || err != nil {
		t.Errorf("something was done: %+v, %v, %v", d.state("maps/web"), hold, err)
	}
	if _, err := d.client.Limits(t.Context()); err != nil {
		t.Errorf("limits: %v", err)
	}
	if a := d.ask(t, d.request("r-1", control.SubjectInvalidate, `{"name":"a/leak","key":"all","reason":"leak"}`)); a.Result != control.ResultCompromised {
		t.Errorf("the emergency: %+v", a)
	}
	if logs.FilterMessageSnippet("being about a leaked key").Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
	_, code, text := d.send(t, d.request("r-2", control.SubjectInvalidate, `{"name":"a/held","key":"all","reason":"leak"}`))
	if code != control.CodeUnavailable || !strings.Contains(text, "a hold stands") || !strings.Contains(text, "--override-hold") || !strings.Contains(text, "keyturn setup") {
		t.Errorf("a refusal that cannot be kept: %s %s", code, text)
	}
	must(t, publisher.SetupRequests(t.Context(), s.js, 1))
	if a := d.ask(t, d.request("r-release", control.SubjectRelease, `{"name":"maps/web"}`)); a.Result != control.ResultUnchanged || s.kept(t) != 1 {
		t.Errorf("once the stream is there: %+v, %d kept", a, s.kept(t))
	}
}

// TestAFullStreamStopsOnlyWhatChangesNothing: an answer that cannot be kept is not
// given; what is on record needs no place.
func TestAFullStreamStopsOnlyWhatChangesNothing(t *testing.T) {
	s, admin := newSite(t)
	d := s.open(t, admin)
	d.declared("maps/web")
	for _, name := range []credential.Name{"a/leak", "a/import"} {
		d.issued(name, capturedKey)
	}
	config := publisher.RequestsStreamConfig(1)
	config.MaxBytes, config.MaxMsgSize = 700, -1 // one fits
	_, err := s.js.UpdateStream(t.Context(), config)
	must(t, err)
	first := d.request("r-1", control.SubjectRelease, `{"name":"maps/web"}`)
	d.ask(t, first)
	for range 2 { // and it was not decided
		_, code, text := d.send(t, d.request("r-2", control.SubjectRelease, `{"name":"maps/web"}`))
		if code != control.CodeUnavailable || !strings.Contains(text, "changes nothing") || !strings.Contains(text, "is full") || !strings.Contains(text, "in some minutes") {
			t.Errorf("no place: %s %s", code, text)
		}
	}
	if a := d.ask(t, first); a.Result != control.ResultUnchanged || a.Request != "r-1" || s.kept(t) != 1 {
		t.Errorf("the one that was kept: %+v, %d kept", a, s.kept(t))
	}
	if a := d.ask(t, d.request("r-3", control.SubjectHold, `{"name":"maps/web","reason":"audit"}`)); a.Result != control.ResultHeld {
		t.Errorf("a hold: %+v", a)
	}
	if a := d.ask(t, d.request("r-4", control.SubjectInvalidate, `{"name":"a/leak","key":"all","reason":"leak"}`)); a.Result != control.ResultCompromised {
		t.Errorf("an emergency: %+v", a)
	}
	if a := d.ask(t, d.request("r-5", control.SubjectImport, d.importOf("a/import", capturedKey))); a.Result != control.ResultCompromised {
		t.Errorf("an import: %+v", a)
	}
	stream, err := s.js.Stream(t.Context(), publisher.RequestsStream)
	must(t, err)
	if stream.CachedInfo().Config.Discard != jetstream.DiscardNew {
		t.Error("it drops what is fresh")
	}
}
