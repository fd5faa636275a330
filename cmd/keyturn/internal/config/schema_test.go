package config

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict/schematest"
	"github.com/keyturn/keyturn/rotator/schedule"
)

const schemaFile = "../../../../deploy/schema/config.schema.json"

func TestSchemaIsInStep(t *testing.T) {
	s := schematest.Read(t, schemaFile)
	s.Compare(t, "config", s.At(t), reflect.TypeFor[Config]())
	for _, test := range []struct {
		path []any
		want string
	}{
		{[]any{"properties", "installation"}, installationID.String()},
		{[]any{"$defs", "issuer", "properties", "name"}, issuerName.String()},
		{[]any{"properties", "vault", "properties", "mount"}, vaultPath.String()},
		{[]any{"properties", "vault", "properties", "prefix"}, vaultPath.String()},
		{[]any{"properties", "nats", "properties", "signer_root"}, signerKey.String()},
		{[]any{"properties", "nats", "properties", "inbox_prefix"}, inboxPrefix.String()},
		{[]any{"$defs", "issuer", "properties", "referer"}, refererValue.String()},
	} {
		if have := s.At(t, test.path...)["pattern"]; have != test.want {
			t.Errorf("%v: the pattern is %v, in the program %s", test.path, have, test.want)
		}
	}
	for _, test := range []struct {
		path []any
		want any
	}{
		{[]any{"$defs", "issuer", "properties", "concurrency"}, float64(DefaultConcurrency)},
		{[]any{"properties", "daemon", "properties", "workers"}, float64(DefaultWorkers)},
		{[]any{"properties", "daemon", "properties", "http"}, DefaultHTTP},
		{[]any{"properties", "daemon", "properties", "sweep"}, DefaultSweep},
		{[]any{"properties", "daemon", "properties", "log_level"}, DefaultLogLevel},
		{[]any{"properties", "vault", "properties", "mount"}, DefaultMount},
		{[]any{"properties", "vault", "properties", "prefix"}, DefaultPrefix},
		{[]any{"properties", "nats", "properties", "embedded", "properties", "listen"}, DefaultListen},
	} {
		if have := s.At(t, test.path...)["default"]; have != test.want {
			t.Errorf("%v: the default is %v, in the program %v", test.path, have, test.want)
		}
	}
}

// TestSchemaAgreesWithTheProgram: an editor underlines nothing that works, and
// what it can see of what does not.
func TestSchemaAgreesWithTheProgram(t *testing.T) {
	s := schematest.Read(t, schemaFile)
	env := environment{"KEYTURN_NATS_URL": "nats://h", "VAULT_ADDR": "https://v"}
	for _, name := range []string{"testdata/full.yaml", "testdata/minimal.yaml", "../../../../deploy/schema/examples/keyturn.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := parse(name, data, &schedule.Calendar{}, env.get); err != nil {
			t.Error(err)
		} else if strings.Contains(name, "examples") && c.Warnings() != nil {
			t.Errorf("%s: %v", name, c.Warnings())
		}
		if wrong := s.Validate(t, data); len(wrong) > 0 {
			t.Errorf("%s: %v", name, wrong)
		}
	}
	if wrong := s.Validate(t, []byte(sound)); len(wrong) > 0 {
		t.Errorf("%v", wrong)
	}
	for _, change := range [][2]string{
		{"prod", "Prod!"}, {"installation", "instalation"}, {"url: nats", "uri: nats"}, {"prod\n", "prod\nextra: 1\n"}, {"token: {env: VAULT_TOKEN}", "token: {env: A, file: b}"},
		{"token: {env: VAULT_TOKEN}", "token: {env: A}\n    kubernetes: {role: r}"}, {"token: {env: VAULT_TOKEN}", "kubernetes: {}"}, {"{env: PORTAL}", "hunter2"}, {"{env: PORTAL}", "{}"},
		{"{env: PORTAL}", "{value: 5}"}, {"{env: PORTAL}", "{vault: {path: a}}"}, {"{env: PORTAL}", "{env: P}\n    api_key: {env: K}"}, {"    password: {env: PORTAL}\n", ""},
		{"arcgis\n", "arcgsi\n"}, {"/sharing/rest", ""}, {"username: manager", "username: ''"}, {"username: manager", "username: m\n    timeout: 5"}, {"username: manager", "username: m\n    concurrency: 0.5"},
		{"username: manager", "username: m\n    rate_limit: 2000000"}, {"{env: PORTAL}", "{env: P}\ndaemon: {workers: 2000}"}, {"{env: PORTAL}", "{env: P}\ndaemon: {log_level: loud}"},
		{"{env: PORTAL}", "{env: P}\n    tls: {cert: a}"}, {"4222", "4222\n  user: u"}, {"4222", "4222\n  replicas: 2"}, {"4222", "4222\n  urls: [nats://b]"}, {"  url: nats://127.0.0.1:4222", "  embedded: {}"},
		{"4222", "4222\n  creds_file: a\n  token: {env: T}"}, {"4222", "4222\n  token: {env: T}\n  user: u\n  password: {env: P}"},
	} {
		text := []byte(strings.Replace(sound, change[0], change[1], 1))
		if _, err := parse("c.yaml", text, &schedule.Calendar{}, environment{}.get); err == nil || len(s.Validate(t, text)) == 0 {
			t.Errorf("%q → %q: the program says %v, the schema %v", change[0], change[1], err, s.Validate(t, text))
		}
	}
}
