package schematest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// Validate is what an editor that has the schema would underline in a file of
// YAML documents; empty documents have nothing to underline.
func (s *Schema) Validate(t *testing.T, data []byte) (wrong []string) {
	t.Helper()
	for _, document := range generic(t, data) {
		if document != nil {
			wrong = append(wrong, s.check(t, "", s.root, document)...)
		}
	}
	return wrong
}

// generic decodes YAML documents as encoding/json would decode the same in JSON.
func generic(t *testing.T, data []byte) (documents []any) {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(document) // so that numbers and maps are JSON's
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		documents = append(documents, document)
	}
}

// keywords are those that check knows; a test of the schema fails at others.
var keywords = []string{
	"$schema", "$id", "$defs", "title", "description", "default", "$ref", "type", "enum", "const", "pattern", "format", "minLength", "maxLength", "minimum", "maximum",
	"properties", "additionalProperties", "required", "propertyNames", "minProperties", "maxProperties", "dependentRequired", "items", "minItems", "maxItems",
	"uniqueItems", "allOf", "anyOf", "oneOf", "not",
}

// check is the part of JSON Schema that the schemas use.
func (s *Schema) check(t *testing.T, path string, node map[string]any, v any) (wrong []string) {
	t.Helper()
	for keyword, want := range node {
		if !slices.Contains(keywords, keyword) {
			t.Fatalf("the schema uses %q, which the test does not know", keyword)
		}
		switch keyword {
		case "$ref":
			wrong = append(wrong, s.check(t, path, s.follow(t, map[string]any{"$ref": want}), v)...)
		case "allOf", "anyOf", "oneOf":
			wrong = append(wrong, s.some(t, path, keyword, want.([]any), v)...)
		case "not":
			if len(s.check(t, path, want.(map[string]any), v)) == 0 {
				wrong = append(wrong, path+": is what it must not be")
			}
		case "type":
			if kind(v) != want && (want != "number" || kind(v) != "integer") {
				wrong = append(wrong, fmt.Sprintf("%s: a %s, want %s", path, kind(v), want))
			}
		case "enum":
			if !slices.ContainsFunc(want.([]any), func(one any) bool { return reflect.DeepEqual(one, v) }) {
				wrong = append(wrong, fmt.Sprintf("%s: %v is none of %v", path, v, want))
			}
		case "const":
			if !reflect.DeepEqual(want, v) {
				wrong = append(wrong, fmt.Sprintf("%s: %v is not %v", path, v, want))
			}
		}
	}
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); node["format"] == "date-time" && err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %q is not a time", path, v))
		}
		length := float64(utf8.RuneCountInString(v))
		if pattern, ok := node["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) || outside(node, "minLength", "maxLength", length) {
			wrong = append(wrong, fmt.Sprintf("%s: %q is not of the wanted form or length", path, v))
		}
	case float64:
		if outside(node, "minimum", "maximum", v) {
			wrong = append(wrong, fmt.Sprintf("%s: %v is out of bounds", path, v))
		}
	case []any:
		wrong = append(wrong, s.array(t, path, node, v)...)
	case map[string]any:
		wrong = append(wrong, s.members(t, path, node, v)...)
	}
	return wrong
}

// some checks alternatives.
func (s *Schema) some(t *testing.T, path, keyword string, variants []any, v any) (wrong []string) {
	t.Helper()
	fit := 0
	for _, variant := range variants {
		faults := s.check(t, path, variant.(map[string]any), v)
		wrong = append(wrong, faults...)
		if len(faults) == 0 {
			fit++
		}
	}
	if keyword == "allOf" && fit == len(variants) || keyword == "anyOf" && fit > 0 || keyword == "oneOf" && fit == 1 {
		return nil
	}
	return append(wrong, fmt.Sprintf("%s: fits %d of %d under %s", path, fit, len(variants), keyword))
}

func (s *Schema) array(t *testing.T, path string, node map[string]any, list []any) (wrong []string) {
	t.Helper()
	if outside(node, "minItems", "maxItems", float64(len(list))) {
		wrong = append(wrong, fmt.Sprintf("%s: %d items", path, len(list)))
	}
	for i, v := range list {
		if items, ok := node["items"].(map[string]any); ok {
			wrong = append(wrong, s.check(t, fmt.Sprintf("%s[%d]", path, i), items, v)...)
		}
		if node["uniqueItems"] == true && slices.ContainsFunc(list[:i], func(one any) bool { return reflect.DeepEqual(one, v) }) {
			wrong = append(wrong, fmt.Sprintf("%s[%d]: stands there twice", path, i))
		}
	}
	return wrong
}

func (s *Schema) members(t *testing.T, path string, node, v map[string]any) (wrong []string) {
	t.Helper()
	if outside(node, "minProperties", "maxProperties", float64(len(v))) {
		wrong = append(wrong, fmt.Sprintf("%s: %d fields", path, len(v)))
	}
	need := texts(node["required"])
	for name, others := range part(node, "dependentRequired") {
		if _, ok := v[name]; ok {
			need = append(need, texts(others)...)
		}
	}
	for _, name := range need {
		if _, ok := v[name]; !ok {
			wrong = append(wrong, path+"."+name+": missing")
		}
	}
	for name, value := range v {
		inner := path + "." + name
		if names, ok := node["propertyNames"].(map[string]any); ok {
			wrong = append(wrong, s.check(t, inner, names, name)...)
		}
		if property, ok := part(node, "properties")[name].(map[string]any); ok {
			wrong = append(wrong, s.check(t, inner, property, value)...)
		} else if other, ok := node["additionalProperties"].(map[string]any); ok {
			wrong = append(wrong, s.check(t, inner, other, value)...)
		} else if node["additionalProperties"] == false {
			wrong = append(wrong, inner+": unknown")
		}
	}
	return wrong
}

// outside reports whether a number breaks one of two bounds.
func outside(node map[string]any, low, high string, n float64) bool {
	least, hasLeast := node[low].(float64)
	most, hasMost := node[high].(float64)
	return hasLeast && n < least || hasMost && n > most
}

// kind is the type as JSON Schema names it.
func kind(v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}
