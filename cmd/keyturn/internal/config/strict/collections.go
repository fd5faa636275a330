package strict

import (
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml/ast"
)

// mapping decodes a map with text keys.
func (dec *decoder) mapping(n ast.Node, pos Pos, to reflect.Value, path string) {
	if _, ok := n.(ast.MapNode); !ok {
		dec.mismatch(n, pos, path, "a mapping")
		return
	}
	to.Set(reflect.MakeMap(to.Type()))
	for _, e := range dec.doc.entries(n, func(p Pos, message string) { dec.problem(p, path, "%s", message) }) {
		inner := join(path, e.name)
		dec.place(e, inner)
		element := reflect.New(to.Type().Elem()).Elem()
		dec.value(e.value, element, inner)
		to.SetMapIndex(reflect.ValueOf(e.name).Convert(to.Type().Key()), element)
	}
}

// list decodes a slice.
func (dec *decoder) list(n ast.Node, pos Pos, to reflect.Value, path string) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		dec.mismatch(n, pos, path, "a list")
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), len(sequence.Values), len(sequence.Values)))
	for i, v := range sequence.Values {
		inner := fmt.Sprintf("%s[%d]", path, i)
		dec.report.Positions[inner] = dec.doc.start(v)
		if null(dec.doc, v) {
			dec.problem(dec.doc.start(v), inner, "an empty entry")
			continue
		}
		dec.value(v, to.Index(i), inner)
	}
}

// named decodes a map from names that may be written as a list.
func (dec *decoder) named(n ast.Node, to reflect.Value, path string) {
	n, fault := dec.doc.follow(n)
	if fault != "" {
		dec.problem(dec.report.Positions.At(path), path, "%s", fault)
		return
	}
	var elements []entry
	switch node := n.(type) {
	case nil, *ast.NullNode:
		return
	case ast.MapNode:
		elements = dec.doc.entries(n, func(p Pos, message string) { dec.problem(p, path, "%s", message) })
	case *ast.SequenceNode:
		elements = dec.elements(node, path)
	default:
		dec.mismatch(n, dec.report.Positions.At(path), path, "a mapping from names, or a list")
		return
	}
	to.Set(reflect.MakeMap(to.Type()))
	for _, e := range elements {
		inner := join(path, e.name)
		if to.MapIndex(reflect.ValueOf(e.name)).IsValid() {
			dec.problem(e.key, inner, "the same name stands here twice")
			continue
		}
		dec.place(e, inner)
		element := reflect.New(to.Type().Elem()).Elem()
		if null(dec.doc, e.value) {
			dec.problem(e.key, inner, "missing")
			continue
		}
		dec.value(e.value, element, inner)
		if name := element.FieldByName("Name"); name.String() == "" {
			name.SetString(e.name)
		} else if name.String() != e.name {
			dec.problem(dec.report.Positions[inner+".name"], inner+".name", "%q is not the key %q that it stands under", clip(name.String()), clip(e.name))
		}
		to.SetMapIndex(reflect.ValueOf(e.name), element)
	}
}

// elements takes the names out of the elements of a list.
func (dec *decoder) elements(list *ast.SequenceNode, path string) []entry {
	var elements []entry
	for i, v := range list.Values {
		element, _ := dec.doc.follow(v)
		found := false
		for _, e := range dec.doc.entries(element, nil) {
			name, fault := dec.doc.follow(e.value)
			if text, ok := textOf(name); ok && fault == "" && e.name == "name" {
				elements, found = append(elements, entry{text, dec.doc.start(v), v}), true
			}
		}
		if !found {
			dec.problem(dec.doc.start(v), fmt.Sprintf("%s[%d]", path, i), "name is missing")
		}
	}
	return elements
}
