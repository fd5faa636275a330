package publisher

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

// wire writes headers as they stand on the wire: NAME:VALUE in lines.
func wire(header nats.Header) string {
	var lines []string
	for name, values := range header {
		for _, value := range values {
			lines = append(lines, name+":"+value)
		}
	}
	return strings.Join(lines, "\n")
}

func unwire(text string) nats.Header {
	header := nats.Header{}
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			header[name] = append(header[name], value)
		}
	}
	return header
}

// goldens are the messages of the golden files.
func goldens(t testing.TB) []*nats.Msg {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var all []*nats.Msg
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, unmarshalGolden(t, text))
	}
	return all
}

// FuzzEvent: whatever stands in the stream, a message is read or refused; one
// that is read can be written, signed and read again as the same.
func FuzzEvent(f *testing.F) {
	for _, m := range goldens(f) {
		f.Add(m.Subject, wire(m.Header), m.Data)
	}
	m := goldens(f)[0]
	for _, change := range [][2]string{
		{"ce-time:", "ce-time:0000-01-01T00:00:00Z "}, {"ce-id:", "ce-id: "}, {"ce-specversion:1.0", "ce-specversion:1.0\nce-specversion:1.0"},
		{"ce-type:", "ce-type:io.keyturn.key.polished"}, {"ce-subject:", "Ce-Subject:"}, {"ce-keyturnafter:", "ce-keyturnafter:-"},
	} {
		f.Add(m.Subject, strings.Replace(wire(m.Header), change[0], change[1], 1), m.Data)
	}
	f.Add(signerSubject, wire(m.Header), m.Data)
	f.Add(m.Subject, wire(m.Header), m.Data[:len(m.Data)/2])
	f.Add(m.Subject, wire(m.Header), []byte(`{"schema":1,"fact":null,"state":{"name":"team/maps"}}`))
	signer := newSigner(f)
	f.Fuzz(func(t *testing.T, subject, headers string, data []byte) {
		const sequence = 7
		entry, err := decode(subject, sequence, unwire(headers), data)
		if err != nil {
			if most := 1000 + 8*(len(subject)+len(headers)+len(data)); len(err.Error()) > most {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			if entry.Event.Fact != nil || entry.Head.Sequence != 0 {
				t.Fatalf("half an entry beside %v: %+v", err, entry)
			}
			return
		}
		if entry.Name != entry.State.Name || entry.Event.ID == "" || entry.Head.Sequence != sequence || entry.Event.Fact == nil {
			t.Fatalf("%+v", entry)
		}
		msg, head, err := encode(entry.Name, "keyturn/test", credential.Head{}, entry.Event, entry.State, signer)
		if err != nil {
			return // what cannot be written (an id with a blank, the year 10000) was not written here
		}
		again, err := decode(msg.Subject, sequence, msg.Header, msg.Data)
		if err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
		if head.Sequence = sequence; again.Head != head || !signed(again.Head) {
			t.Fatalf("the head is %+v, want %+v, signed", again.Head, head)
		}
		again.Head, again.Event.At = entry.Head, again.Event.At.In(entry.Event.At.Location())
		if a, b := text(t, entry), text(t, again); a != b {
			t.Fatalf("read, written and read it differs:\n%s\n%s", a, b)
		}
	})
}

func text(t *testing.T, entry credential.Entry) string {
	t.Helper()
	all, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// FuzzSubject: a subject belongs to a credential whose subject it is, and to no
// other; what is for the installation belongs to none.
func FuzzSubject(f *testing.F) {
	for _, subject := range []string{
		"keyturn.record.team.maps", "keyturn.events.team.maps", "keyturn.record._system.signers", "keyturn.record.team", "keyturn.record.team.maps.x",
		"keyturn.record.*.>", "keyturn.record.>", "keyturn.events.a.b\r\n", "keyturn.record.keyturn.events.a.b", "", "KEYTURN.record.a.b",
	} {
		f.Add(subject)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		if name, err := NameOfSubject(subject); err == nil {
			if RecordSubject(name) != subject && EventSubject(name) != subject {
				t.Fatalf("%q belongs to %q, whose subjects are %s and %s", subject, name, RecordSubject(name), EventSubject(name))
			}
			if strings.HasPrefix(subject, systemPrefix) || strings.ContainsAny(subject, "*> \t\r\n") || strings.Count(subject, ".") != 3 {
				t.Fatalf("%q belongs to %q", subject, name)
			}
		} else if name != "" {
			t.Fatalf("%q beside %v", name, err)
		}
		name, err := credential.ParseName(subject) // as if it were a name
		if err != nil {
			if name, err = credential.ParseName(strings.Replace(strings.TrimPrefix(subject, recordPrefix), ".", "/", 1)); err != nil {
				return
			}
		}
		for _, made := range []string{RecordSubject(name), EventSubject(name)} {
			if back, err := NameOfSubject(made); err != nil || back != name {
				t.Fatalf("%q becomes %s, which belongs to %q, %v", name, made, back, err)
			}
		}
	})
}

// FuzzSigner: nobody who is not vouched for becomes a signer.
func FuzzSigner(f *testing.F) {
	root, other := newSigner(f), newSigner(f)
	announce := func(public string, by *Signer) (string, []byte) {
		data, err := json.Marshal(announcement{Schema: 1, Public: public})
		if err != nil {
			f.Fatal(err)
		}
		msg := newMessage(signerSubject, systemToken+"/"+signersFacts, "keyturn/test", TypeSigner, "id", at(0), credential.Head{}, data)
		if _, err := seal(msg, by); err != nil {
			f.Fatal(err)
		}
		return wire(msg.Header), msg.Data
	}
	for _, by := range []*Signer{root, other} {
		for _, public := range []string{root.public, other.public, "U", ""} {
			headers, data := announce(public, by)
			f.Add(headers, data, true)
			f.Add(headers, data, false)
		}
	}
	f.Add("ce-type:"+TypeSigner, []byte(`{"schema":99}`), false)
	f.Fuzz(func(t *testing.T, headers string, data []byte, alone bool) {
		signers, pinned := map[string]SignerInfo{}, root.public
		if !alone {
			signers[root.public] = SignerInfo{Public: root.public}
		}
		msg := &jetstream.RawStreamMsg{Subject: signerSubject, Sequence: 3, Header: unwire(headers), Data: data}
		info, head, err := readSigner(msg, credential.Head{}, signers, pinned)
		if head.Sequence != msg.Sequence {
			t.Fatalf("the head is %s: the next one would be looked for in a wrong place", strconv.FormatUint(head.Sequence, 10))
		}
		if err != nil {
			if info != (SignerInfo{}) {
				t.Fatalf("%+v beside %v", info, err)
			}
			return
		}
		if info.VouchedBy != root.public || !signed(head) || head.Signer != root.public {
			t.Fatalf("%+v is believed", info)
		}
	})
}
