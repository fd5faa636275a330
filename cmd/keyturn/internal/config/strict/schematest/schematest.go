// Package schematest keeps a JSON Schema and the Go struct that reads the same
// file in step: every field, its type, its values and whether it is required.
package schematest

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/credential"
)

// Schema is a JSON Schema file.
type Schema struct {
	root map[string]any
	// Raw is what a strict.Raw holds.
	Raw reflect.Type
}

// Read reads a file that is a schema, or holds some; JSON or YAML.
func Read(t *testing.T, file string) *Schema {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	documents := generic(t, data)
	root, ok := documents[0].(map[string]any)
	if !ok || len(documents) != 1 {
		t.Fatalf("%s: want one document with an object", file)
	}
	return &Schema{root: root}
}

// Check is what is wrong with a value, as encoding/json reads it, by the part of
// the schema under these keys and indices.
func (s *Schema) Check(t *testing.T, v any, keys ...any) (wrong []string) {
	t.Helper()
	return s.check(t, "", s.At(t, keys...), v)
}

// Close makes every object of the schema refuse fields that it does not name.
func (s *Schema) Close() {
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, inner := range node {
				walk(inner)
			}
		case map[string]any:
			for _, inner := range node {
				walk(inner)
			}
			if node["type"] == "object" && node["additionalProperties"] == nil {
				node["additionalProperties"] = false
			}
		}
	}
	walk(s.root)
}

// At is the part of the schema under these keys and indices.
func (s *Schema) At(t *testing.T, keys ...any) map[string]any {
	t.Helper()
	var node any = s.root
	for _, key := range keys {
		switch key := key.(type) {
		case string:
			m, _ := node.(map[string]any)
			node = m[key]
		case int:
			node = node.([]any)[key]
		}
	}
	m, ok := node.(map[string]any)
	if !ok {
		t.Fatalf("the schema has nothing at %v", keys)
	}
	return m
}

// Compare reports every difference between a part of the schema and a type.
func (s *Schema) Compare(t *testing.T, path string, node map[string]any, typ reflect.Type) {
	t.Helper()
	node = s.follow(t, node)
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	want := func(kind string) {
		t.Helper()
		if node["type"] != kind {
			t.Errorf("%s: the schema says %v, want %s", path, node["type"], kind)
		}
	}
	switch {
	case typ == reflect.TypeFor[strict.Duration]():
		variants, _ := node["anyOf"].([]any)
		if len(variants) != 2 || variants[0].(map[string]any)["pattern"] != strict.DurationPattern {
			t.Errorf("%s: not a duration in the schema", path)
		}
	case typ == reflect.TypeFor[strict.Raw]():
		s.Compare(t, path, node, s.Raw)
	case typ == reflect.TypeFor[credential.Secret](), typ.Kind() == reflect.String:
		want("string")
	case typ.Kind() == reflect.Bool:
		want("boolean")
	case typ.Kind() == reflect.Int:
		want("integer")
	case typ.Kind() == reflect.Float64:
		want("number")
	case typ.Kind() == reflect.Slice:
		want("array")
		s.Compare(t, path+"[]", part(node, "items"), typ.Elem())
	case typ.Kind() == reflect.Map:
		want("object")
		s.Compare(t, path+".*", part(node, "additionalProperties"), typ.Elem())
	case typ.Kind() == reflect.Struct:
		want("object")
		s.object(t, path, node, typ)
	default:
		t.Errorf("%s: a %s cannot stand in a file", path, typ)
	}
}

func (s *Schema) object(t *testing.T, path string, node map[string]any, typ reflect.Type) {
	t.Helper()
	if node["additionalProperties"] != false {
		t.Errorf("%s: the schema lets unknown fields pass", path)
	}
	fields := strict.Fields(typ)
	properties := part(node, "properties")
	for name := range properties {
		if !slices.Contains(strict.Names(fields), name) {
			t.Errorf("%s.%s: in the schema only", path, name)
		}
	}
	var required []string
	for _, f := range fields {
		inner := path + "." + f.Name
		if f.Required {
			required = append(required, f.Name)
		}
		property, ok := properties[f.Name].(map[string]any)
		if !ok {
			t.Errorf("%s: not in the schema", inner)
			continue
		}
		if text, _ := property["description"].(string); text == "" && s.follow(t, property)["description"] == nil {
			t.Errorf("%s: no description in the schema", inner)
		}
		switch {
		case f.Named:
			variants := property["oneOf"].([]any)
			s.Compare(t, inner, variants[0].(map[string]any), f.Type)
			s.Compare(t, inner, variants[1].(map[string]any), reflect.SliceOf(f.Type.Elem()))
			continue
		case f.Text:
			variants := property["oneOf"].([]any)
			if variants[0].(map[string]any)["type"] != "string" {
				t.Errorf("%s: no plain text in the schema", inner)
			}
			property = variants[1].(map[string]any)
		}
		if f.Type.Kind() == reflect.String {
			if have := texts(property["enum"]); !slices.Equal(have, f.Enum) {
				t.Errorf("%s: the schema allows %v, the struct %v", inner, have, f.Enum)
			}
		}
		s.Compare(t, inner, property, f.Type)
	}
	have := texts(node["required"])
	slices.Sort(have)
	slices.Sort(required)
	if !slices.Equal(have, required) {
		t.Errorf("%s: the schema requires %v, the struct %v", path, have, required)
	}
}

// follow replaces a reference by what it names.
func (s *Schema) follow(t *testing.T, node map[string]any) map[string]any {
	t.Helper()
	if all, ok := node["allOf"].([]any); ok {
		node = all[0].(map[string]any)
	}
	if ref, ok := node["$ref"].(string); ok {
		var keys []any
		for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			keys = append(keys, key)
		}
		return s.At(t, keys...)
	}
	return node
}

func part(node map[string]any, key string) map[string]any {
	m, _ := node[key].(map[string]any)
	return m
}

func texts(list any) []string {
	values, _ := list.([]any)
	out := []string{}
	for _, v := range values {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out
}
