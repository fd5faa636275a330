package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Diff names the fields in which two configurations differ, as they stand in the
// file ("issuers.portal.rate_limit"), sorted. An issuer that only one of them has
// is named as a whole. No value is told.
func Diff(a, b *Config) []string {
	var paths []string
	diff("", reflect.ValueOf(*a), reflect.ValueOf(*b), &paths)
	slices.Sort(paths)
	return paths
}

func diff(path string, a, b reflect.Value, paths *[]string) {
	switch {
	case a.Kind() == reflect.Struct && !leaf(a.Type()):
		for i := range a.NumField() {
			name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ",")
			if name != "" && name != "-" {
				diff(strings.TrimPrefix(path+"."+name, "."), a.Field(i), b.Field(i), paths)
			}
		}
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		diff(path, a.Elem(), b.Elem(), paths)
	case a.Kind() == reflect.Map:
		names := map[string]bool{}
		for _, m := range []reflect.Value{a, b} {
			for _, key := range m.MapKeys() {
				names[key.String()] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			left, right := a.MapIndex(reflect.ValueOf(name)), b.MapIndex(reflect.ValueOf(name))
			if !left.IsValid() || !right.IsValid() {
				*paths = append(*paths, path+"."+name)
				continue
			}
			diff(path+"."+name, left, right, paths)
		}
	case !reflect.DeepEqual(a.Interface(), b.Interface()):
		*paths = append(*paths, path)
	}
}

// leaf reports whether a type is compared as one value.
func leaf(t reflect.Type) bool {
	return t == reflect.TypeFor[Duration]() || t == reflect.TypeFor[Source]()
}
