package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// verdict is an answer, or the code and text of a no.
type verdict struct{ answer, code, text string }

func verdictOf(t testing.TB, answer control.Answer, code, text string) verdict {
	t.Helper()
	data, err := json.Marshal(answer)
	must(t, err)
	return verdict{string(data), code, text}
}

// captured is a request that changed nothing when it was answered, and would
// change something after what happened meanwhile.
type captured struct {
	what, subject     string
	name              credential.Name // empty: it is about the installation
	more              string          // arguments besides the name
	before, meanwhile func(d *desk)
	want              string // the code, or the result
}

func (c captured) arguments(d *desk) string {
	switch {
	case c.subject == control.SubjectImport:
		return d.importOf(c.name, capturedKey)
	case c.name == "":
		return "{" + c.more + "}"
	case c.more == "":
		return fmt.Sprintf(`{"name":%q}`, c.name)
	}
	return fmt.Sprintf(`{"name":%q,%s}`, c.name, c.more)
}

// state is what the request would change.
func (c captured) state(d *desk) string {
	if c.name != "" {
		return fmt.Sprint(d.state(c.name).Revision)
	}
	hold, err := d.record.Frozen(d.t.Context())
	must(d.t, err)
	return fmt.Sprint(hold != nil)
}

const capturedKey = credential.Fingerprint("00000000000000aa")

// captures are requests to every endpoint that can change anything. In an instant,
// the daemons are given the issuer "new", or a key that they can prove.
func captures(given, proven *atomic.Bool) []captured {
	nothing := func(*desk) {}
	do := func(subject, arguments string) func(d *desk) {
		return func(d *desk) { d.ask(d.t, d.request("m-"+fmt.Sprint(time.Now().UnixNano()), subject, arguments)) }
	}
	declared := func(name credential.Name) func(d *desk) { return func(d *desk) { d.declared(name) } }
	return []captured{
		{
			"a release of nothing", control.SubjectRelease, "a/release", "", declared("a/release"),
			do(control.SubjectHold, `{"name":"a/release","reason":"audit"}`), string(control.ResultUnchanged),
		},
		{
			"an invalidation on hold", control.SubjectInvalidate, "a/leak", `"key":"all","reason":"leak"`,
			func(d *desk) {
				d.issued("a/leak", capturedKey)
				do(control.SubjectHold, `{"name":"a/leak","reason":"audit"}`)(d)
			},
			do(control.SubjectRelease, `{"name":"a/leak"}`), control.CodeConflict,
		},
		{
			"an import on hold", control.SubjectImport, "a/import", "",
			func(d *desk) {
				d.issued("a/import", capturedKey)
				do(control.SubjectHold, `{"name":"a/import","reason":"audit"}`)(d)
			},
			do(control.SubjectRelease, `{"name":"a/import"}`), control.CodeConflict,
		},
		{
			"a thaw without a freeze", control.SubjectThaw, "", "", nothing,
			do(control.SubjectFreeze, `{"reason":"incident"}`), string(control.ResultUnchanged),
		},
		{
			"a freeze in that freeze", control.SubjectFreeze, "", `"reason":"incident"`, do(control.SubjectFreeze, `{"reason":"incident"}`),
			do(control.SubjectThaw, `{}`), string(control.ResultUnchanged),
		},
		{
			"a hold on what is unknown", control.SubjectHold, "a/hold", `"reason":"audit"`, nothing,
			declared("a/hold"), control.CodeUnknown,
		},
		{
			"a rotation of what is unknown", control.SubjectRotate, "a/rotate", `"now":true`, nothing,
			declared("a/rotate"), control.CodeUnknown,
		},
		{
			"a retry of what has not failed", control.SubjectRetry, "a/retry", "", declared("a/retry"),
			func(d *desk) { d.fails("a/retry") }, string(control.ResultUnchanged),
		},
		{
			"an acknowledgement too early", control.SubjectAck, "a/ack", fmt.Sprintf(`"fingerprint":%q`, capturedKey), nothing,
			func(d *desk) { d.issued("a/ack", capturedKey, "ann") }, control.CodeUnknown,
		},
		{
			"a declaration for an issuer that is not there", control.SubjectApply, "a/apply",
			`"spec":{"issuer":"new","item":{"title":"T"},"policy":{"lifetime":"1h"}}`, nothing,
			func(*desk) { given.Store(true) }, control.CodeBad,
		},
		{
			"a removal of what is unknown", control.SubjectRemove, "a/remove", `"reason":"gone"`, nothing,
			declared("a/remove"), control.CodeUnknown,
		},
		{
			"an adoption of what cannot be", control.SubjectAdopt, "a/adopt",
			fmt.Sprintf(`"spec":{"issuer":"portal","item":{"title":"T"},"policy":{"lifetime":"1h"}},"item":"unfit","fingerprint":%q`, capturedKey), nothing,
			func(*desk) { proven.Store(true) }, control.CodeConflict,
		},
	}
}

// importOf is a file about one key, as arguments.
func (d *desk) importOf(name credential.Name, key credential.Fingerprint) string {
	d.t.Helper()
	file, err := d.identity.Seal(control.BreakGlass{
		ID: "x", Name: name, At: time.Now(), Reason: "leak",
		Keys: []control.BrokenKey{{Seat: credential.SeatID{Item: "i", Slot: 1}, Fingerprint: key, Dead: true}},
	})
	must(d.t, err)
	arguments, err := json.Marshal(control.Import{Name: name, File: string(file)})
	must(d.t, err)
	return string(arguments)
}

// fails records a failed attempt that is tried again in an hour.
func (d *desk) fails(name credential.Name) {
	d.t.Helper()
	state, head, err := d.record.Load(d.t.Context(), name)
	must(d.t, err)
	event, err := credential.Decide(state, credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassRetryable, Message: "away", Wait: time.Hour},
		credential.View{Now: time.Now(), Daemon: "d-test", ID: "e-fails"})
	must(d.t, err)
	_, err = d.record.Append(d.t.Context(), name, head, event, credential.Evolve(state, event))
	must(d.t, err)
}

// TestWhatChangedNothingChangesNothingLater: a request that somebody has captured
// gets its first answer from any daemon, also from one that was started since; the
// same wish under another id is carried out.
func TestWhatChangedNothingChangesNothingLater(t *testing.T) {
	var given, proven atomic.Bool
	lenient := func(c *control.Config) {
		check := c.Check
		c.Check = func(spec credential.Spec) (credential.Spec, error) {
			if spec.Issuer == "new" && given.Load() {
				spec.Issuer = "portal"
			}
			return check(spec)
		}
		c.Prove = func(_ context.Context, r control.Adopt) (credential.Adopt, error) {
			if !proven.Load() {
				return credential.Adopt{}, &credential.Fault{Class: credential.ClassPermanent, System: "adoption", Op: "adopt"}
			}
			return credential.Adopt{
				Spec: r.Spec, Seat: credential.SeatID{Item: r.Item, Slot: 1}, Fingerprint: r.Fingerprint,
				Expires: time.Now().Add(time.Hour), Version: 1, Settings: r.Spec.Item.SettingsHash(),
			}, nil
		}
	}
	d, both, stop := pair(t, lenient)
	list := captures(&given, &proven)
	messages, first, endpoints := map[string]*nats.Msg{}, map[string]verdict{}, map[string]bool{}
	for n, c := range list {
		c.before(d)
		m := d.request(fmt.Sprintf("r.%d", n), c.subject, c.arguments(d))
		answer, code, text := d.send(t, m)
		if c.want != code && c.want != string(answer.Result) {
			t.Fatalf("%s: %+v %s %s, want %s", c.what, answer, code, text, c.want)
		}
		messages[c.what], first[c.what], endpoints[c.subject] = m, verdictOf(t, answer, code, text), true
		c.meanwhile(d)
		before := c.state(d)
		atBoth(t, d, both, m, func(answer control.Answer, code, text string) {
			if got := verdictOf(t, answer, code, text); got != first[c.what] {
				t.Fatalf("%s, again: %+v, want %+v", c.what, got, first[c.what])
			}
		})
		if after := c.state(d); after != before {
			t.Errorf("%s: the replay was carried out: %s, was %s", c.what, after, before)
		}
	}
	if len(endpoints) != 12 {
		t.Errorf("tried at %v, want each endpoint that changes something", endpoints)
	}
	stop()
	restarted := d.open(t, d.identity, lenient)
	for n, c := range list {
		if c.name == "" { // the two undo each other
			c.meanwhile(restarted)
		}
		before := c.state(restarted)
		answer, code, text := restarted.send(t, messages[c.what])
		if got := verdictOf(t, answer, code, text); got != first[c.what] || c.state(restarted) != before {
			t.Errorf("%s, at a new daemon: %+v and %s, want %+v and %s", c.what, got, c.state(restarted), first[c.what], before)
		}
		restarted.ask(t, restarted.request(fmt.Sprintf("s.%d", n), c.subject, c.arguments(restarted)))
		if c.state(restarted) == before {
			t.Errorf("%s: a new request changes nothing, so the replay proved nothing", c.what)
		}
	}
}

// TestAnotherRequestUnderTheIDOfOneThatChangedNothing is refused as such, and takes
// nothing from the first.
func TestAnotherRequestUnderTheIDOfOneThatChangedNothing(t *testing.T) {
	d := open(t)
	d.declared("maps/web")
	first := d.request("r-1", control.SubjectRelease, `{"name":"maps/web"}`)
	want := d.ask(t, first)
	for _, other := range []*nats.Msg{
		d.request("r-1", control.SubjectRelease, `{"name":"maps/web","reason":"another"}`),
		d.request("r-1", control.SubjectRetry, `{"name":"maps/web"}`),
		d.request("r-1", control.SubjectHold, `{"name":"maps/other","reason":"audit"}`),
	} {
		if _, code, text := d.send(t, other); code != control.CodeConflict || text != "another request had the id r-1" {
			t.Errorf("%s: %s %s", other.Subject, code, text)
		}
	}
	if got := d.ask(t, first); got.Result != want.Result || got.Detail != want.Detail {
		t.Errorf("the first again: %+v, want %+v", got, want)
	}
	// and what is on record is not hidden by the refusal of another one
	hold := d.request("r-2", control.SubjectHold, `{"name":"maps/web","reason":"audit"}`)
	d.ask(t, hold)
	if _, code, _ := d.send(t, d.request("r-2", control.SubjectRelease, `{"name":"maps/web"}`)); code != control.CodeConflict {
		t.Errorf("a release under the id of the hold: %s", code)
	}
	if got := d.ask(t, hold); got.Result != control.ResultHeld || got.Revision != 2 {
		t.Errorf("the hold again: %+v", got)
	}
}

// TestTwoDaemonsThatDecideAtOnceGiveOneAnswer: the second one looked before the
// first had kept its answer, and found another state.
func TestTwoDaemonsThatDecideAtOnceGiveOneAnswer(t *testing.T) {
	s, admin := newSite(t)
	d := s.open(t, admin)
	d.issued("maps/web", capturedKey)
	d.ask(t, d.request("h-1", control.SubjectHold, `{"name":"maps/web","reason":"audit"}`))
	leak := d.request("r-1", control.SubjectInvalidate, `{"name":"maps/web","key":"all","reason":"leak"}`)
	_, code, want := d.send(t, leak)
	if code != control.CodeConflict || !strings.Contains(want, "audit") {
		t.Fatalf("%s %s", code, want)
	}
	d.ask(t, d.request("h-2", control.SubjectHold, `{"name":"maps/web","reason":"another"}`))
	must(t, d.end())
	late := s.open(t, admin, func(c *control.Config) { c.Outcomes = early{c.Outcomes} })
	if _, code, text := late.send(t, leak); code != control.CodeConflict || text != want {
		t.Errorf("the other daemon: %s %s, want %s", code, text, want)
	}
}
