// Package asyncapi keeps deploy/asyncapi.yaml, which describes the events to
// those who subscribe, in step with the types that are written: all below the
// marker in that file is made from them.
//
//	go test ./cmd/keyturn/internal/asyncapi -update
package asyncapi

import (
	"flag"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

var update = flag.Bool("update", false, "write the generated part of deploy/asyncapi.yaml anew")

const (
	documentPath = "../../../../deploy/asyncapi.yaml"
	marker       = "# Generated from here on; see cmd/keyturn/internal/asyncapi.\n"
)

func TestTheDocumentIsInStep(t *testing.T) {
	have, err := os.ReadFile(documentPath)
	if err != nil {
		t.Fatal(err)
	}
	head, generated, ok := strings.Cut(string(have), marker)
	if !ok {
		t.Fatalf("%s has no line %q", documentPath, marker)
	}
	want := render(t)
	if *update {
		if err := os.WriteFile(documentPath, []byte(head+marker+want), 0o644); err != nil {
			t.Fatal(err)
		}
		generated = want
	}
	if diff := cmp.Diff(generated, want); diff != "" {
		t.Errorf("deploy/asyncapi.yaml is out of step with the types (run this test with -update):\n%s", diff)
	}
}

func render(t *testing.T) string {
	t.Helper()
	s := &schemas{source: readSource(t), made: map[string]yaml.MapSlice{}}
	facts := s.facts(t)
	messages, onChannels := yaml.MapSlice{}, yaml.MapSlice{}
	for _, kind := range slices.Sorted(maps.Keys(facts)) {
		name := strings.TrimPrefix(kind, "io.keyturn.")
		messages = append(messages, is(name, s.event(t, kind, facts[kind])))
		onChannels = append(onChannels, is(name, ref("components/messages/"+name)))
	}
	messages = append(messages,
		is("acknowledgement", object(is("summary", "A consumer's word that it uses a key."), is("payload", closed(s.inline(t, reflect.TypeFor[control.Acknowledge]()))))),
		is("answer", object(
			is("summary", "What became of an acknowledgement: acknowledged, or already. A refusal has no payload and says why in its headers."),
			is("headers", object(is("type", "object"), is("properties", object(
				is("Nats-Service-Error-Code", object(is("type", "string"), is("pattern", "^[0-9]{3}$"))),
				is("Nats-Service-Error", object(is("type", "string"))),
			)))),
			is("payload", s.inline(t, reflect.TypeFor[control.Answer]())))),
	)
	parameters := object(
		is("namespace", object(is("description", "The namespace of the credential."))),
		is("name", object(is("description", "The name of the credential in its namespace."))))
	channels := object(
		is("events", object(
			is("address", "keyturn.events.{namespace}.{name}"), is("title", "Events as they happen"),
			is("description", "Core NATS. Each committed event is sent once; who is not there does not hear it."),
			is("parameters", parameters), is("messages", onChannels))),
		is("record", object(
			is("address", "keyturn.record.{namespace}.{name}"), is("title", "The record, for replay"),
			is("description", "The subjects of the JetStream stream KEYTURN. Read them by a durable consumer; only daemons publish here."),
			is("parameters", parameters), is("messages", onChannels))),
		is("acknowledge", object(
			is("address", control.SubjectConsumer+"{consumer}"), is("title", "A consumer confirms that it uses a key"),
			is("parameters", object(is("consumer", object(is("description", "The name of the consumer, as the policy names it."))))),
			is("messages", object(is("acknowledgement", ref("components/messages/acknowledgement")))))),
		is("answers", object(
			is("address", nil), is("title", "The reply subject of the acknowledgement, if it has one"),
			is("messages", object(is("answer", ref("components/messages/answer")))))),
	)
	s.of(t, reflect.TypeFor[credential.State]())
	all := object(is("Headers", headers(slices.Sorted(maps.Keys(facts)))))
	for _, name := range slices.Sorted(maps.Keys(s.made)) {
		all = append(all, is(name, s.made[name]))
	}
	text, err := yaml.MarshalWithOptions(object(
		is("channels", channels),
		is("components", object(is("messages", messages), is("schemas", all))),
	), yaml.IndentSequence(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// event is the message of one type of event.
func (s *schemas) event(t *testing.T, kind string, fact reflect.Type) yaml.MapSlice {
	t.Helper()
	str := object(is("type", "string"))
	return object(
		is("name", kind), is("summary", s.comments[fact.Name()]),
		is("headers", object(is("allOf", []yaml.MapSlice{
			ref("components/schemas/Headers"),
			object(is("properties", object(is("ce-type", object(is("const", kind)))))),
		}))),
		is("payload", object(
			is("type", "object"), is("required", []string{"schema", "actor", "daemon", "fact", "state"}),
			is("properties", object(
				is("schema", object(is("const", credential.Schema), is("description", "The version of this schema; a higher one was written by a newer keyturn."))),
				is("actor", object(is("type", "string"), is("description", "Who wanted it: policy, sweep, or the name of an operator or consumer."))),
				is("daemon", object(is("type", "string"), is("description", "Which daemon appended it."))),
				is("request", append(str, is("description", "The id of the operator's request; absent for planned work."))),
				is("digest", append(str, is("description", "A hash of that request, in the event that answers it."))),
				is("fact", s.of(t, fact)),
				is("state", s.of(t, reflect.TypeFor[credential.State]())),
			)))))
}

// inline is the schema of a struct that stands in one place only.
func (s *schemas) inline(t *testing.T, typ reflect.Type) yaml.MapSlice {
	t.Helper()
	properties, required := yaml.MapSlice{}, []string{}
	s.fields(t, typ, &properties, &required)
	return object(is("type", "object"), is("required", required), is("properties", properties))
}

func closed(schema yaml.MapSlice) yaml.MapSlice {
	return append(schema, is("additionalProperties", false))
}

// headers are the attributes of CloudEvents 1.0 in binary mode.
func headers(kinds []string) yaml.MapSlice {
	text := func(description string, more ...yaml.MapItem) yaml.MapSlice {
		return append(append(object(is("type", "string")), more...), is("description", description))
	}
	return object(
		is("type", "object"),
		is("required", []string{"ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "ce-datacontenttype", "ce-keyturnafter", "ce-keyturnsigner", "ce-keyturnsignature"}),
		is("properties", object(
			is("ce-specversion", object(is("const", "1.0"))),
			is("ce-id", text("A UUID; an event that comes again has the same.", is("pattern", "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"))),
			is("ce-source", text("keyturn/ and the name of the installation.", is("pattern", `^keyturn/[A-Za-z0-9._-]{1,63}$`))),
			is("ce-type", text("What happened.", is("enum", kinds))),
			is("ce-subject", text("The credential, as namespace/name.", is("pattern", "^[a-z0-9-]{1,63}/[a-z0-9-]{1,63}$"))),
			is("ce-time", text("When it happened, in UTC.", is("format", "date-time"))),
			is("ce-datacontenttype", object(is("const", "application/json"))),
			is("ce-keyturnafter", text("The stream sequence of the event before it of this credential; 0 = none.", is("pattern", "^[0-9]+$"))),
			is("ce-keyturnprev", text("The hash of the event before it; absent in the first one.", is("pattern", "^[0-9a-f]{64}$"))),
			is("ce-keyturnsigner", text("The public nkey of the signer.", is("pattern", "^U[A-Z2-7]{55}$"))),
			is("ce-keyturnsignature", text("The Ed25519 signature, in base64 for URLs without padding.", is("pattern", "^[A-Za-z0-9_-]{86}$"))),
		)))
}
