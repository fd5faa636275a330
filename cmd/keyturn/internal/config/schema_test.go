package config

import (
	"reflect"
	"testing"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict/schematest"
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
