package asyncapi

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/keyturn/keyturn/rotator/credential"
)

// source is what only the source of the core tells: comments and constants.
type source struct {
	comments map[string]string   // "Type" or "Type.Field" → its comment on one line
	values   map[string][]string // type → its constants, but for the empty one
}

func readSource(t *testing.T) source {
	t.Helper()
	const dir = "../../../../rotator/credential"
	packages, err := parser.ParseDir(token.NewFileSet(), dir, nil, parser.ParseComments) //nolint:staticcheck // without types, which are not needed
	if err != nil {
		t.Fatal(err)
	}
	s := source{map[string]string{}, map[string][]string{}}
	for _, file := range doc.New(packages["credential"], dir, doc.AllDecls|doc.PreserveAST).Types {
		s.comments[file.Name] = oneLine(file.Doc)
	}
	ast.Inspect(packages["credential"], func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if structure, ok := n.Type.(*ast.StructType); ok {
				for _, field := range structure.Fields.List {
					for _, name := range field.Names {
						s.comments[n.Name.Name+"."+name.Name] = oneLine(field.Doc.Text() + field.Comment.Text())
					}
				}
			}
		case *ast.ValueSpec:
			kind, typed := n.Type.(*ast.Ident)
			if !typed || len(n.Values) != 1 {
				return true
			}
			if lit, ok := n.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				if text != "" {
					s.values[kind.Name] = append(s.values[kind.Name], text)
				}
			}
		}
		return true
	})
	for _, values := range s.values {
		slices.Sort(values) // files are parsed in no order
	}
	return s
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// facts are the types of events and of what stands in them, by type of event.
func (s source) facts(t *testing.T) map[string]reflect.Type {
	t.Helper()
	facts := map[string]reflect.Type{}
	for _, kind := range s.values["EventType"] {
		fact, err := credential.DecodeFact(credential.EventType(kind), []byte("{}"))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		facts[kind] = reflect.TypeOf(fact)
	}
	if len(facts) < 17 {
		t.Fatalf("found only %d types of events in the source", len(facts))
	}
	return facts
}

func is(key string, value any) yaml.MapItem { return yaml.MapItem{Key: key, Value: value} }

// object is an ordered mapping.
func object(items ...yaml.MapItem) yaml.MapSlice { return items }

func ref(path string) yaml.MapSlice { return object(is("$ref", "#/"+path)) }

// schemas turns Go types into JSON Schemas, one for each named struct.
type schemas struct {
	source
	made map[string]yaml.MapSlice
}

// of is the schema of a type, as encoding/json writes it.
func (s *schemas) of(t *testing.T, typ reflect.Type) yaml.MapSlice {
	t.Helper()
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return object(is("type", "string"), is("format", "date-time"))
	case typ == reflect.TypeFor[credential.Duration]():
		return object(is("type", "string"), is("pattern", `^-?([0-9.]+(h|m|s|ms|µs|ns))+$`), is("description", "A duration, such as 720h0m0s."))
	case typ == reflect.TypeFor[credential.Fingerprint]():
		return object(is("type", "string"), is("pattern", "^[0-9a-f]{16}$"), is("description", "The first 16 hexadecimal characters of the SHA-256 of a key."))
	case typ == reflect.TypeFor[credential.Name]():
		return object(is("type", "string"), is("pattern", "^[a-z0-9-]{1,63}/[a-z0-9-]{1,63}$"))
	}
	switch typ.Kind() { //nolint:exhaustive // the others fail below
	case reflect.Pointer:
		return s.of(t, typ.Elem())
	case reflect.String:
		if values := s.values[typ.Name()]; typ.PkgPath() != "" && len(values) > 0 {
			return object(is("type", "string"), is("enum", values))
		}
		return object(is("type", "string"))
	case reflect.Bool:
		return object(is("type", "boolean"))
	case reflect.Int, reflect.Int64:
		return object(is("type", "integer"))
	case reflect.Uint64:
		return object(is("type", "integer"), is("minimum", 0))
	case reflect.Float64:
		return object(is("type", "number"))
	case reflect.Slice:
		return object(is("type", "array"), is("items", s.of(t, typ.Elem())))
	case reflect.Map:
		return object(is("type", "object"), is("additionalProperties", s.of(t, typ.Elem())))
	case reflect.Struct:
		s.structure(t, typ)
		return ref("components/schemas/" + typ.Name())
	}
	t.Fatalf("%s cannot stand in an event", typ)
	return nil
}

func (s *schemas) structure(t *testing.T, typ reflect.Type) {
	t.Helper()
	if _, ok := s.made[typ.Name()]; ok {
		return
	}
	s.made[typ.Name()] = nil // met again while it is made
	properties, required := yaml.MapSlice{}, []string{}
	s.fields(t, typ, &properties, &required)
	schema := object(is("type", "object"))
	if text := s.comments[typ.Name()]; text != "" {
		schema = append(schema, is("description", text))
	}
	if len(required) > 0 {
		schema = append(schema, is("required", required))
	}
	s.made[typ.Name()] = append(schema, is("properties", properties))
}

func (s *schemas) fields(t *testing.T, typ reflect.Type, properties *yaml.MapSlice, required *[]string) {
	t.Helper()
	for i := range typ.NumField() {
		field := typ.Field(i)
		if field.Anonymous {
			s.fields(t, field.Type, properties, required)
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			t.Fatalf("%s.%s has no name in JSON", typ, field.Name)
		}
		if options == "" {
			*required = append(*required, name)
		}
		schema := s.of(t, field.Type)
		if text := s.comments[typ.Name()+"."+field.Name]; text != "" {
			schema = slices.DeleteFunc(schema, func(item yaml.MapItem) bool { return item.Key == "description" })
			schema = append(schema, is("description", text))
		}
		*properties = append(*properties, is(name, schema))
	}
}
