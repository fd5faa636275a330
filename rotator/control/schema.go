package control

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// schemaOf writes the shape of a request as a JSON Schema.
func schemaOf(request any) string {
	text, err := json.Marshal(schemaOfType(reflect.TypeOf(request)))
	if err != nil {
		return "{}"
	}
	return string(text)
}

func schemaOfType(t reflect.Type) map[string]any {
	if t == reflect.TypeFor[time.Time]() {
		return map[string]any{"type": "string", "format": "date-time"}
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return map[string]any{"type": "string"}
	}
	switch t.Kind() { //nolint:exhaustive // no request holds any other
	case reflect.Pointer:
		return schemaOfType(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOfType(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOfType(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Struct:
		properties, required := map[string]any{}, []string{}
		for i := range t.NumField() {
			field, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if field == "" || field == "-" {
				continue
			}
			properties[field] = schemaOfType(t.Field(i).Type)
			if options == "" {
				required = append(required, field)
			}
		}
		return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	}
	return map[string]any{"type": "string"}
}
