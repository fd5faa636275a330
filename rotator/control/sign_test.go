package control_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestWhatIsNotSignedAsItStandsIsDenied: nothing changes, the sender is told why,
// and the denial is kept without what the request held.
func TestWhatIsNotSignedAsItStandsIsDenied(t *testing.T) {
	s, admin := newSite(t)
	d := s.open(t, admin)
	d.declared("maps/web")
	stranger := newPerson(t)
	const arguments = `{"name":"maps/web","reason":"words-of-the-request"}`
	at := func(age time.Duration) []byte { return body("r-1", time.Now().Add(-age), arguments) }
	hold := func(p person, data []byte) *nats.Msg { return p.message(t, control.SubjectHold, data) }
	changed := func(change func(*nats.Msg)) *nats.Msg {
		m := hold(admin, at(0))
		change(m)
		return m
	}
	cases := []struct {
		what    string
		message *nats.Msg
		reason  control.Reason
		text    string
	}{
		{"unsigned", &nats.Msg{Subject: control.SubjectHold, Data: at(0)}, control.ReasonUnsigned, "not signed"},
		{"a key without a signature", changed(func(m *nats.Msg) { m.Header.Del(control.HeaderSignature) }), control.ReasonUnsigned, "not signed"},
		{"a key that nobody knows", hold(stranger, at(0)), control.ReasonUnknown, stranger.Public()},
		{"a stranger's signature under a known key", changed(func(m *nats.Msg) {
			m.Header[control.HeaderSignature] = hold(stranger, m.Data).Header[control.HeaderSignature]
		}), control.ReasonSignature, "not that of ann"},
		{"a signature that is none", changed(func(m *nats.Msg) { m.Header.Set(control.HeaderSignature, "???") }), control.ReasonSignature, "not that of ann"},
		{"another argument", changed(func(m *nats.Msg) { m.Data = bytes.Replace(m.Data, []byte("words"), []byte("Words"), 1) }), control.ReasonSignature, "not that of ann"},
		{"one more blank", changed(func(m *nats.Msg) { m.Data = append(m.Data, ' ') }), control.ReasonSignature, "not that of ann"},
		{"another endpoint", changed(func(m *nats.Msg) { m.Subject = control.SubjectRelease }), control.ReasonSignature, "not that of ann"},
		{"another installation", hold(admin, bytes.Replace(at(0), []byte(`"test"`), []byte(`"prod"`), 1)), control.ReasonInstallation, `for installation "prod"`},
		{"an old one", hold(admin, at(credential.Freshness+2*time.Second)), control.ReasonStale, "more than 5m apart"},
		{"one of the future", hold(admin, at(-credential.Freshness-2*time.Second)), control.ReasonStale, "more than 5m apart"},
	}
	for _, c := range cases {
		_, code, text := d.send(t, c.message)
		if code != control.CodeDenied || !strings.Contains(text, c.text) {
			t.Errorf("%s: %s %q, want %s with %q", c.what, code, text, control.CodeDenied, c.text)
		}
	}
	if got := d.state("maps/web"); got.Revision != 1 || got.Hold != nil {
		t.Errorf("a denied request changed the record: %+v", got)
	}
	natstest.Eventually(t, "all denials are kept", func() bool { return len(s.denials(t)) == len(cases) })
	for i, denial := range s.denials(t) {
		want := control.Denial{
			Endpoint: "hold", Reason: cases[i].reason, Key: cases[i].message.Header.Get(control.HeaderOperator),
			Credential: "maps/web", Request: "r-1", Daemon: "d-test",
		}
		if want.Key == admin.Public() {
			want.Operator = "ann"
		}
		if cases[i].message.Subject == control.SubjectRelease {
			want.Endpoint = "release"
		}
		if at := denial.At; time.Since(at) > time.Minute || at.IsZero() {
			t.Errorf("%s: the time is %v", cases[i].what, at)
		}
		denial.At = time.Time{}
		if denial != want {
			t.Errorf("%s: kept %+v, want %+v", cases[i].what, denial, want)
		}
	}
	if answer := d.ask(t, hold(admin, at(0))); answer.Result != control.ResultHeld {
		t.Errorf("the sound one: %+v", answer)
	}
	if actor := d.state("maps/web").Hold.Actor; actor != "ann" {
		t.Errorf("the record says that %s did it, want the operator's name", actor)
	}
}

// TestARequestIsFreshUpToTheBound by the daemon's clock, in both directions.
func TestARequestIsFreshUpToTheBound(t *testing.T) {
	s, admin := newSite(t)
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	d := s.open(t, admin, func(c *control.Config) { c.Now = func() time.Time { return now } })
	for age, want := range map[time.Duration]string{
		credential.Freshness: "", -credential.Freshness: "",
		credential.Freshness + 1: control.CodeDenied, -credential.Freshness - 1: control.CodeDenied,
	} {
		if _, code, text := d.send(t, admin.message(t, control.SubjectLimits, body("r", now.Add(-age), `{}`))); code != want {
			t.Errorf("%v old: %s %s, want %q", age, code, text, want)
		}
	}
	if _, code, text := d.send(t, admin.message(t, control.SubjectLimits, []byte(`{"installation":"test","request":"r","arguments":{}}`))); code != control.CodeDenied {
		t.Errorf("without a time: %s %s", code, text)
	}
}

// TestWhatIsMalformedIsNoDenial: it is refused before anybody's rights matter, and
// nothing is kept of it.
func TestWhatIsMalformedIsNoDenial(t *testing.T) {
	s, admin := newSite(t)
	d := s.open(t, admin)
	twice := d.request("r", control.SubjectLimits, `{}`)
	twice.Header[control.HeaderOperator] = []string{admin.Public(), newPerson(t).Public()}
	for what, m := range map[string]*nats.Msg{
		"a header twice":       twice,
		"too large":            d.request("r", control.SubjectLimits, fmt.Sprintf(`{"x":%q}`, strings.Repeat("x", 64<<10))),
		"an id with a newline": admin.message(t, control.SubjectLimits, []byte(`{"request":"a\nb"}`)),
		"an id that is long":   d.request(strings.Repeat("x", 65), control.SubjectLimits, `{}`),
		"a field more":         admin.message(t, control.SubjectLimits, []byte(`{"request":"a","admin":true}`)),
		"something after it":   admin.message(t, control.SubjectLimits, append(body("r", time.Now(), `{}`), '}')),
		"an argument more":     d.request("r", control.SubjectWhoami, `{"name":"a/b"}`),
	} {
		_, code, text := d.send(t, m)
		if code != control.CodeBad || (what == "too large" && !strings.Contains(text, "larger than 64 KiB")) {
			t.Errorf("%s: %s %s, want %s", what, code, text, control.CodeBad)
		}
	}
	must(t, d.end())
	if got := s.denials(t); len(got) != 0 {
		t.Errorf("kept: %+v", got)
	}
}

// TestNoOperatorsMeansNobody, and the one who asks is told what to do about it.
func TestNoOperatorsMeansNobody(t *testing.T) {
	s, admin := newSite(t)
	clear(s.keys)
	d := s.open(t, admin)
	_, err := d.client.Whoami(t.Context())
	if err == nil || !strings.Contains(err.Error(), "keyturn operator new") {
		t.Errorf("got %v, want a hint", err)
	}
}

// TestAnIdentityShowsItsPublicKeyOnly, and only a user's seed makes one.
func TestAnIdentityShowsItsPublicKeyOnly(t *testing.T) {
	pair, err := nkeys.CreateUser()
	must(t, err)
	seed, err := pair.Seed()
	must(t, err)
	identity, err := control.NewIdentity("test", credential.NewSecret(string(seed)))
	must(t, err)
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %d", identity, identity, identity, identity, identity, identity, identity)
	if strings.Contains(shown, string(seed)) || strings.Count(shown, identity.Public()) != 7 {
		t.Errorf("shown: %s", shown)
	}
	account, err := nkeys.CreateAccount()
	must(t, err)
	wrong, err := account.Seed()
	must(t, err)
	for _, bad := range []string{string(wrong), "", "SUX", identity.Public(), string(seed[:50])} {
		if _, err := control.NewIdentity("test", credential.NewSecret(bad)); err == nil || (bad != "" && strings.Contains(err.Error(), bad)) {
			t.Errorf("%.4s…: %v", bad, err)
		}
	}
}

// TestNoAnswerGoesWhereADaemonAloneMayPublish: whoever may send a request could
// otherwise have the daemon write to the record, or delete its stream, in its own
// name. Such a request is not carried out either.
func TestNoAnswerGoesWhereADaemonAloneMayPublish(t *testing.T) {
	s, admin := newSite(t)
	d := s.open(t, admin)
	d.declared("maps/web")
	sound := func(reply string) *nats.Msg {
		m := d.request("r-1", control.SubjectHold, `{"name":"maps/web","reason":"x"}`)
		m.Reply = reply
		return m
	}
	messages := []*nats.Msg{
		sound("keyturn.record.maps.web"), sound("keyturn.record._system.signers"), sound("elsewhere"),
		{Subject: control.SubjectHold, Reply: "$JS.API.STREAM.DELETE." + publisher.StreamName},
	}
	for _, m := range messages {
		must(t, s.conn.PublishMsg(m))
	}
	natstest.Eventually(t, "all are kept as denied", func() bool { return len(s.denials(t)) == len(messages) })
	for _, denial := range s.denials(t) {
		if denial.Reason != control.ReasonReply {
			t.Errorf("kept %+v", denial)
		}
	}
	if got := d.state("maps/web"); got.Revision != 1 {
		t.Errorf("revision %d", got.Revision)
	}
	if signers, err := d.record.Signers(t.Context()); err != nil || len(signers) != 1 {
		t.Errorf("signers %v, %v", signers, err)
	}
	must(t, s.conn.PublishMsg(sound(""))) // nobody waits for the answer
	natstest.Eventually(t, "one without a reply subject is carried out", func() bool { return d.state("maps/web").Hold != nil })
}
