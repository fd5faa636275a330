package asyncapi

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict/schematest"
	"github.com/keyturn/keyturn/rotator/credential"
)

// golden is a released event.
type golden struct {
	kind    string
	headers map[string]any
	data    map[string]any
}

func goldens(t *testing.T) (all []golden) {
	t.Helper()
	paths, err := filepath.Glob("../../../../publisher/testdata/golden/*.json")
	if err != nil || len(paths) < 17 {
		t.Fatalf("%d golden files, %v", len(paths), err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Headers, Data map[string]any
		}
		if err := json.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		all = append(all, golden{strings.TrimSuffix(filepath.Base(path), ".json"), file.Headers, file.Data})
	}
	return all
}

func (g golden) check(t *testing.T, s *schematest.Schema, part string, value any) []string {
	t.Helper()
	return s.Check(t, value, "components", "messages", strings.TrimPrefix(g.kind, "io.keyturn."), part)
}

// TestReleasedEventsAreAsDescribed, with every field that they have.
func TestReleasedEventsAreAsDescribed(t *testing.T) {
	s, closed := schematest.Read(t, documentPath), schematest.Read(t, documentPath)
	closed.Close()
	for _, g := range goldens(t) {
		if wrong := g.check(t, s, "headers", g.headers); len(wrong) > 0 {
			t.Errorf("%s: headers %v", g.kind, wrong)
		}
		if wrong := g.check(t, closed, "payload", g.data); len(wrong) > 0 {
			t.Errorf("%s: %v", g.kind, wrong)
		}
	}
}

// TestTheDescriptionIsStrict takes each field of each released event away, and
// gives each another type: where the field is always written, or by its type, the
// description refuses it.
func TestTheDescriptionIsStrict(t *testing.T) {
	s := schematest.Read(t, documentPath)
	missing, mistyped := 0, 0
	for i, g := range goldens(t) {
		each(g.data, nil, func(path []string, parent map[string]any, key string) {
			if i > 0 && len(path) > 1 && path[0] == "state" {
				return // the same in all
			}
			value := parent[key]
			for _, other := range []any{"text", 1.5, true, nil, []any{map[string]any{}}, map[string]any{"x": []any{}}} {
				if parent[key] = other; fmt.Sprintf("%T", other) == fmt.Sprintf("%T", value) {
					continue
				}
				if mistyped++; len(g.check(t, s, "payload", g.data)) == 0 {
					t.Errorf("%s: %s may be %v", g.kind, strings.Join(path, "."), other)
				}
			}
			delete(parent, key)
			if always(t, g, path) {
				if missing++; len(g.check(t, s, "payload", g.data)) == 0 {
					t.Errorf("%s: %s may be missing", g.kind, strings.Join(path, "."))
				}
			}
			parent[key] = value
		})
		for key := range g.headers {
			value := g.headers[key]
			for _, other := range []any{1.0, "", "\x00"} {
				if g.headers[key] = other; strings.HasPrefix(key, "ce-") && len(g.check(t, s, "headers", g.headers)) == 0 {
					t.Errorf("%s: header %s may be %q", g.kind, key, other)
				}
			}
			delete(g.headers, key)
			if strings.HasPrefix(key, "ce-") && key != "ce-keyturnprev" && len(g.check(t, s, "headers", g.headers)) == 0 {
				t.Errorf("%s: header %s may be missing", g.kind, key)
			}
			g.headers[key] = value
		}
	}
	if missing < 150 || mistyped < 1000 {
		t.Errorf("only %d fields were taken away, %d changed", missing, mistyped)
	}
}

// each calls fn for every field of every object within.
func each(object map[string]any, path []string, fn func(path []string, parent map[string]any, key string)) {
	for key, value := range object {
		inner := append(path[:len(path):len(path)], key)
		fn(inner, object, key)
		var walk func(any)
		walk = func(value any) {
			switch value := value.(type) {
			case map[string]any:
				each(value, inner, fn)
			case []any:
				for _, element := range value {
					walk(element)
				}
			}
		}
		walk(value)
	}
}

// always reports whether a field that was taken away is written all the same
// once the event was decoded: then it is in every event.
func always(t *testing.T, g golden, path []string) bool {
	t.Helper()
	if len(path) == 1 {
		return path[0] != "request"
	}
	text, err := json.Marshal(g.data[path[0]])
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if path[0] == "state" {
		var state credential.State
		err = json.Unmarshal(text, &state)
		value = state
	} else {
		value, err = credential.DecodeFact(credential.EventType(g.kind), text)
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var written map[string]any
	if err := json.Unmarshal(again, &written); err != nil {
		t.Fatal(err)
	}
	was, is := count(g.data[path[0]], path[1:]), count(written, path[1:])
	return is > was
}

// count is how often a path occurs, through all elements of lists.
func count(value any, path []string) (n int) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			n += count(element, path)
		}
	case map[string]any:
		inner, ok := value[path[0]]
		switch {
		case ok && len(path) == 1:
			n++
		case ok:
			n += count(inner, path[1:])
		}
	}
	return n
}

// TestEveryReferenceLeadsSomewhere, and every operation and channel to messages.
func TestEveryReferenceLeadsSomewhere(t *testing.T) {
	s := schematest.Read(t, documentPath)
	references := 0
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, inner := range node {
				walk(inner)
			}
		case map[string]any:
			if target, ok := node["$ref"].(string); ok {
				references++
				var keys []any
				for key := range strings.SplitSeq(strings.TrimPrefix(target, "#/"), "/") {
					keys = append(keys, key)
				}
				s.At(t, keys...)
			}
			for _, inner := range node {
				walk(inner)
			}
		}
	}
	walk(s.At(t))
	if references < 60 || s.At(t)["asyncapi"] != "3.0.0" {
		t.Errorf("%d references in asyncapi %v", references, s.At(t)["asyncapi"])
	}
	for name := range s.At(t, "operations") {
		if s.At(t, "operations", name, "channel")["$ref"] == nil {
			t.Errorf("operation %s has no channel", name)
		}
	}
}

// TestAcknowledgementsAreAsDescribed: what a daemon would refuse for its form is
// refused by the description, too.
func TestAcknowledgementsAreAsDescribed(t *testing.T) {
	s := schematest.Read(t, documentPath)
	for text, right := range map[string]bool{
		`{"name":"shop/maps","fingerprint":"0123456789abcdef"}`: true,
		`{"name":"shop","fingerprint":"0123456789abcdef"}`:      false, `{"name":"shop/maps","fingerprint":"AAPTkey"}`: false,
		`{"name":"shop/maps"}`: false, `{"fingerprint":"0123456789abcdef"}`: false, `{"name":"shop/maps","fingerprint":"0123456789abcdef","x":1}`: false,
	} {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if wrong := s.Check(t, value, "components", "messages", "acknowledgement", "payload"); (len(wrong) == 0) != right {
			t.Errorf("%s: %v", text, wrong)
		}
	}
}
