package publisher

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The attributes of CloudEvents 1.0 in binary mode, and the extensions.
const (
	attributePrefix = "ce-"
	extensionPrefix = "keyturn"

	headerSpec      = "ce-specversion"
	headerID        = "ce-id"
	headerSource    = "ce-source"
	headerType      = "ce-type"
	headerSubject   = "ce-subject"
	headerTime      = "ce-time"
	headerContent   = "ce-datacontenttype"
	headerAfter     = "ce-keyturnafter"
	headerPrev      = "ce-keyturnprev"
	headerSigner    = "ce-keyturnsigner"
	headerSignature = "ce-keyturnsignature"

	specVersion = "1.0"
	contentJSON = "application/json"
	timeLayout  = time.RFC3339Nano
)

// body is the data of an event.
type body struct {
	Schema  int              `json:"schema"`
	Actor   string           `json:"actor"`
	Daemon  string           `json:"daemon"`
	Request string           `json:"request,omitempty"`
	Digest  string           `json:"digest,omitempty"`
	Fact    json.RawMessage  `json:"fact"`
	State   credential.State `json:"state"`
}

// newMessage makes a message with the attributes that all events share.
// Previous is the head it is appended to.
func newMessage(subject, about, source, kind, id string, at time.Time, previous credential.Head, data []byte) *nats.Msg {
	header := nats.Header{
		headerSpec:    {specVersion},
		headerID:      {id},
		headerSource:  {source},
		headerType:    {kind},
		headerSubject: {about},
		headerTime:    {at.UTC().Format(timeLayout)},
		headerContent: {contentJSON},
		headerAfter:   {strconv.FormatUint(previous.Sequence, 10)},
	}
	if previous.Hash != "" {
		header[headerPrev] = []string{previous.Hash}
	}
	return &nats.Msg{Subject: subject, Header: header, Data: data}
}

// encode makes the signed message of an event, and the head that it will be,
// without its sequence.
func encode(name credential.Name, source string, previous credential.Head, event credential.Event, state credential.State, signer *Signer) (*nats.Msg, credential.Head, error) {
	switch {
	case event.Fact == nil:
		return nil, credential.Head{}, errors.New("the event holds no fact")
	case event.At.IsZero():
		return nil, credential.Head{}, errors.New("the event has no time")
	case state.Name != name:
		return nil, credential.Head{}, fmt.Errorf("the state is that of %q", state.Name)
	case (previous.Sequence == 0) != (previous.Hash == ""):
		return nil, credential.Head{}, errors.New("the head is neither that of an event nor that of a new record")
	}
	fact, err := json.Marshal(event.Fact)
	if err != nil {
		return nil, credential.Head{}, fmt.Errorf("encode the fact: %w", err)
	}
	data, err := json.Marshal(body{
		Schema: credential.Schema, Actor: event.Actor, Daemon: event.Daemon, Request: event.Request, Digest: event.Digest,
		Fact: fact, State: state,
	})
	if err != nil {
		return nil, credential.Head{}, fmt.Errorf("encode the event: %w", err)
	}
	msg := newMessage(RecordSubject(name), string(name), source, string(event.Fact.Type()), event.ID, event.At, previous, data)
	head, err := seal(msg, signer)
	return msg, head, err
}

// decode reads a stored message. It checks the form, not the signature.
func decode(subject string, sequence uint64, header nats.Header, data []byte) (credential.Entry, error) {
	name, at, b, err := decodeState(subject, header, data)
	if err != nil {
		return credential.Entry{}, err
	}
	id := attribute(header, headerID)
	fact, err := credential.DecodeFact(credential.EventType(attribute(header, headerType)), b.Fact)
	if err != nil {
		return credential.Entry{}, fmt.Errorf("event %s: %w", id, err)
	}
	head, err := headOf(subject, sequence, header, data)
	if err != nil {
		return credential.Entry{}, fmt.Errorf("event %s: %w", id, err)
	}
	return credential.Entry{
		Name: name,
		Head: head,
		Event: credential.Event{
			ID: id, At: at, Actor: b.Actor, Daemon: b.Daemon, Request: b.Request, Digest: b.Digest, Fact: fact,
		},
		State: b.State,
	}, nil
}

// decodeState reads all of an event but its fact.
func decodeState(subject string, header nats.Header, data []byte) (name credential.Name, at time.Time, b body, err error) {
	if name, err = NameOfSubject(subject); err != nil {
		return "", at, b, err
	}
	if v := attribute(header, headerSpec); v != specVersion {
		return "", at, b, fmt.Errorf("not an event of keyturn: %s is %q, not %s", headerSpec, v, specVersion)
	}
	if about := attribute(header, headerSubject); about != string(name) {
		return "", at, b, fmt.Errorf("the event is about %q but stands on the record of %q", about, name)
	}
	id := attribute(header, headerID)
	if id == "" {
		return "", at, b, errors.New("the event has no id")
	}
	if at, err = time.Parse(timeLayout, attribute(header, headerTime)); err != nil {
		return "", at, b, fmt.Errorf("the time of event %s: %w", id, err)
	}
	if err := decodeBody(data, &b); err != nil {
		return "", at, b, fmt.Errorf("event %s: %w", id, err)
	}
	if b.State.Name != name {
		return "", at, b, fmt.Errorf("event %s carries the state of %q", id, b.State.Name)
	}
	return name, at, b, nil
}

// decodeBody tells data of a newer schema from data that is broken.
func decodeBody(data []byte, b *body) error {
	var err error
	if !fastUnmarshal(data, b) {
		err = json.Unmarshal(data, b)
	}
	if schema := max(b.Schema, b.State.Schema); schema > credential.Schema {
		return newerSchema(schema)
	}
	if err == nil {
		return nil
	}
	var version struct {
		Schema int `json:"schema"`
	}
	if json.Unmarshal(data, &version) == nil && version.Schema > credential.Schema {
		return newerSchema(version.Schema)
	}
	return fmt.Errorf("its data: %w", err)
}

func newerSchema(schema int) error {
	return fmt.Errorf("schema %d is newer than the %d that this keyturn reads: %s", schema, credential.Schema, hintNewer)
}

// attribute is the value of a header, "" for none.
func attribute(header nats.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
