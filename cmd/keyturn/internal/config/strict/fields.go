package strict

import (
	"reflect"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Field is a field of a struct as it stands in a file.
type Field struct {
	Name     string
	Required bool
	Named    bool     // a map from names that may be a list
	Text     bool     // a mapping that may be plain text
	Enum     []string // the only values; nil = any
	Type     reflect.Type
	index    []int
}

// Fields are what a struct accepts.
func Fields(t reflect.Type) []Field {
	var list []Field
	for _, f := range reflect.VisibleFields(t) {
		tag, ok := f.Tag.Lookup("yaml")
		if !ok || tag == "-" || !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		list = append(list, Field{
			Name:     name,
			Required: strings.Contains(options, "required"),
			Named:    strings.Contains(options, "named"),
			Text:     strings.Contains(options, "text"),
			Enum:     strings.Fields(f.Tag.Get("enum")),
			Type:     f.Type,
			index:    f.Index,
		})
	}
	return list
}

// Names are the names of fields.
func Names(fields []Field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

// secretive reports whether a struct can hold a secret itself.
func secretive(fields []Field) bool {
	for _, f := range fields {
		if f.Type == reflect.TypeFor[credential.Secret]() {
			return true
		}
	}
	return false
}
