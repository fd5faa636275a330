package publisher

import (
	"bytes"
	"crypto/sha256"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
)

func sha(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// declaredTypes reads the types of events out of the source of the core, so that
// a new one cannot be forgotten here.
func declaredTypes(t *testing.T) []credential.EventType {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../rotator/credential/event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []credential.EventType
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Type") {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, credential.EventType(text))
		}
		return true
	})
	if len(kinds) < 16 {
		t.Fatalf("found only %d types of events in the source", len(kinds))
	}
	return kinds
}

func TestSubjects(t *testing.T) {
	if got := RecordSubject("team/maps"); got != "keyturn.record.team.maps" {
		t.Errorf("RecordSubject = %s", got)
	}
	if got := EventSubject("team/maps"); got != "keyturn.events.team.maps" {
		t.Errorf("EventSubject = %s", got)
	}
	for subject, want := range map[string]credential.Name{
		"keyturn.record.team.maps":       "team/maps",
		"keyturn.events.team.maps":       "team/maps",
		"keyturn.record._system.signers": "",
		"keyturn.record.team":            "",
		"keyturn.record.team.maps.x":     "",
		"keyturn.record.team.":           "",
		"keyturn.other.team.maps":        "",
		"":                               "",
	} {
		got, err := NameOfSubject(subject)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("NameOfSubject(%q) = %q, %v; want %q", subject, got, err, want)
		}
	}
}

func encoded(t *testing.T) *nats.Msg {
	t.Helper()
	msg, _, err := encode(mapKey, "keyturn/test", credential.Head{}, recordtest.Event(credential.Released{}), recordtest.State(mapKey, 1), newSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*nats.Msg)
		want   string
	}{
		{"a newer schema", func(m *nats.Msg) { m.Data = bytes.Replace(m.Data, []byte(`"schema":1`), []byte(`"schema":2`), 1) }, "upgrade keyturn"},
		{"a newer schema whose fields have other types", func(m *nats.Msg) { m.Data = []byte(`{"schema":2,"actor":["x"],"fact":1,"state":[]}`) }, "upgrade keyturn"},
		{"a newer schema of the state", func(m *nats.Msg) {
			m.Data = bytes.Replace(m.Data, []byte(`"state":{"schema":1`), []byte(`"state":{"schema":9`), 1)
		}, "upgrade keyturn"},
		{"an unknown type", func(m *nats.Msg) { m.Header.Set(headerType, "io.keyturn.key.polished") }, "key.polished"},
		{"broken data", func(m *nats.Msg) { m.Data = m.Data[:len(m.Data)/2] }, "data"},
		{"no attributes", func(m *nats.Msg) { m.Header = nil }, headerSpec},
		{"another version of CloudEvents", func(m *nats.Msg) { m.Header[headerSpec] = []string{"2.0"} }, headerSpec},
		{"no id", func(m *nats.Msg) { delete(m.Header, headerID) }, "no id"},
		{"a broken time", func(m *nats.Msg) { m.Header[headerTime] = []string{"noon"} }, "time"},
		{"the record of another credential", func(m *nats.Msg) { m.Subject = RecordSubject("team/other") }, "team/other"},
		{"the state of another credential", func(m *nats.Msg) { m.Data = bytes.Replace(m.Data, []byte("team/maps"), []byte("team/mops"), 1) }, "team/mops"},
		{"an attribute twice", func(m *nats.Msg) { m.Header[headerPrev] = []string{"a", "b"} }, headerPrev},
		{"no credential's subject", func(m *nats.Msg) { m.Subject = "keyturn.record.x" }, "no credential"},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg := encoded(t)
			if c.name == "an unknown type" {
				msg.Header[headerType] = []string{"io.keyturn.key.polished"}
			} else {
				c.change(msg)
			}
			_, err := decode(msg.Subject, 1, msg.Header, msg.Data)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("decode says %v, want something with %q", err, c.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	signer := newSigner(t)
	for _, c := range []struct {
		name   string
		change func(*credential.Head, *credential.Event, *credential.State)
	}{
		{"no fact", func(_ *credential.Head, e *credential.Event, _ *credential.State) { e.Fact = nil }},
		{"no time", func(_ *credential.Head, e *credential.Event, _ *credential.State) { e.At = time.Time{} }},
		{"no id", func(_ *credential.Head, e *credential.Event, _ *credential.State) { e.ID = "" }},
		{"an id that splits a header", func(_ *credential.Head, e *credential.Event, _ *credential.State) { e.ID = "a\r\nb" }},
		{"an id with a blank", func(_ *credential.Head, e *credential.Event, _ *credential.State) { e.ID = "a " }},
		{"the state of another credential", func(_ *credential.Head, _ *credential.Event, s *credential.State) { s.Name = "a/b" }},
		{"a head without its hash", func(h *credential.Head, _ *credential.Event, _ *credential.State) { h.Sequence = 4 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			head, event, state := credential.Head{}, recordtest.Event(credential.Released{}), recordtest.State(mapKey, 1)
			c.change(&head, &event, &state)
			if _, _, err := encode(mapKey, "keyturn/test", head, event, state, signer); err == nil {
				t.Error("it was encoded")
			}
		})
	}
}

// TestDigestCoversEverything changes each part of a message.
func TestDigestCoversEverything(t *testing.T) {
	msg := encoded(t)
	head, err := headOf(msg.Subject, 1, msg.Header, msg.Data)
	if err != nil || !signed(head) {
		t.Fatalf("a fresh message is not signed: %v", err)
	}
	changes := map[string]func(m *nats.Msg){
		"subject":          func(m *nats.Msg) { m.Subject += "x" },
		"data":             func(m *nats.Msg) { m.Data = append(bytes.Clone(m.Data), ' ') },
		"an extra ce- one": func(m *nats.Msg) { m.Header["ce-x"] = []string{"1"} },
	}
	for name := range msg.Header {
		changes["changed "+name] = func(m *nats.Msg) { m.Header[name] = []string{m.Header[name][0] + "x"} }
		changes["dropped "+name] = func(m *nats.Msg) { delete(m.Header, name) }
		if strings.HasPrefix(name, attributePrefix) {
			changes["another "+name+" in capitals"] = func(m *nats.Msg) { m.Header[strings.ToUpper(name)] = []string{"x"} }
		}
	}
	for what, change := range changes {
		changed := &nats.Msg{Subject: msg.Subject, Header: nats.Header{}, Data: msg.Data}
		for name, values := range msg.Header {
			changed.Header[name] = values
		}
		change(changed)
		head, err := headOf(changed.Subject, 1, changed.Header, changed.Data)
		if err == nil && signed(head) {
			t.Errorf("%s: the signature still holds", what)
		}
	}
}
