package strict

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Raw is a part of a document that is decoded later, with paths and positions
// of its own.
type Raw struct {
	doc  *Document
	node ast.Node
	pos  Pos
}

// Empty reports whether there is nothing to decode.
func (r Raw) Empty() bool { return r.doc == nil }

// Decode decodes the part.
func (r Raw) Decode(into any) *Report { return r.doc.decode(r.node, r.pos, into) }

// Texter is a struct that can also be written as plain text.
type Texter interface{ SetText(text string) }

// Decode fills a struct.
func (d *Document) Decode(into any) *Report { return d.decode(d.root, d.start(d.root), into) }

func (d *Document) decode(node ast.Node, pos Pos, into any) *Report {
	dec := decoder{doc: d, report: &Report{Positions: Positions{"": pos}}}
	dec.value(node, reflect.ValueOf(into).Elem(), "")
	return dec.report
}

// decoder is one pass over a document.
type decoder struct {
	doc    *Document
	report *Report
}

func (dec *decoder) problem(pos Pos, path, format string, args ...any) {
	dec.report.Problems = append(dec.report.Problems, &Problem{Pos: pos, Path: path, Message: fmt.Sprintf(format, args...)})
}

// mismatch reports a value of another kind than wanted.
func (dec *decoder) mismatch(n ast.Node, pos Pos, path, want string) {
	dec.problem(pos, path, "want %s; got %s", want, kind(n))
	dec.report.Problems[len(dec.report.Problems)-1].unread = true
}

// follow replaces an alias or anchor by what it stands for.
func (d *Document) follow(n ast.Node) (ast.Node, string) {
	for range maxDepth {
		switch node := n.(type) {
		case *ast.AnchorNode:
			n = node.Value
		case *ast.AliasNode:
			target, ok := d.anchors[node.Value.GetToken().Value]
			if !ok { // not named: it may be a secret that begins with a star
				return nil, "an alias for which there is no anchor: put the value in quotes if it is text"
			}
			n = target
		case *ast.TagNode:
			return nil, "YAML tags such as !!str are not supported: put the value in quotes if it is text"
		default:
			return n, ""
		}
	}
	return nil, "an alias that leads to itself"
}

// value decodes a node into a Go value.
func (dec *decoder) value(n ast.Node, to reflect.Value, path string) {
	if dec.doc.budget--; dec.doc.budget < 0 {
		if dec.doc.budget == -1 {
			dec.problem(dec.report.Positions.At(path), path, "too much is repeated by aliases")
		}
		return
	}
	if to.Type() == reflect.TypeFor[Raw]() {
		to.Set(reflect.ValueOf(Raw{doc: dec.doc, node: n, pos: dec.doc.start(n)}))
		return
	}
	pos := dec.doc.start(n)
	n, fault := dec.doc.follow(n)
	if fault != "" {
		dec.problem(pos, path, "%s", fault)
		dec.report.Problems[len(dec.report.Problems)-1].unread = true
		return
	}
	if _, null := n.(*ast.NullNode); n == nil || null {
		return
	}
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		to = to.Elem()
	}
	if scalar(to.Type()) {
		dec.scalar(n, pos, to, path)
		return
	}
	switch to.Kind() {
	case reflect.Struct:
		dec.object(n, pos, to, path)
	case reflect.Map:
		dec.mapping(n, pos, to, path)
	case reflect.Slice:
		dec.list(n, pos, to, path)
	}
}

// object decodes a struct.
func (dec *decoder) object(n ast.Node, pos Pos, to reflect.Value, path string) {
	fields := Fields(to.Type())
	if _, ok := n.(ast.MapNode); !ok {
		dec.mismatch(n, pos, path, "a mapping with the fields "+strings.Join(Names(fields), ", "))
		return
	}
	entries := dec.doc.entries(n, func(p Pos, message string) { dec.problem(p, path, "%s", message) })
	for _, e := range entries {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == e.name })
		if i < 0 {
			dec.unknown(e, path, fields)
			continue
		}
		dec.field(e, fields[i], to.FieldByIndex(fields[i].index), path)
	}
	for _, f := range fields {
		if f.Required && !slices.ContainsFunc(entries, func(e entry) bool { return e.name == f.Name && !null(dec.doc, e.value) }) {
			dec.problem(dec.report.Positions.At(join(path, f.Name)), join(path, f.Name), "missing")
		}
	}
}

// field decodes one field of a struct.
func (dec *decoder) field(e entry, f Field, to reflect.Value, path string) {
	path = join(path, f.Name)
	dec.place(e, path)
	if f.Named {
		dec.named(e.value, to, path)
		return
	}
	if f.Text && dec.plain(e.value, to) {
		return
	}
	dec.value(e.value, to, path)
	if f.Required && to.Kind() == reflect.String && to.String() == "" && !null(dec.doc, e.value) && dec.report.Sound(path) {
		dec.problem(dec.report.Positions[path], path, "empty")
	}
	if len(f.Enum) > 0 && to.String() != "" && !slices.Contains(f.Enum, to.String()) {
		dec.problem(dec.report.Positions[path], path, "%q is not one of %s%s", to.String(), strings.Join(f.Enum, ", "), DidYouMean(to.String(), f.Enum))
	}
}

// plain decodes a struct that is written as plain text.
func (dec *decoder) plain(n ast.Node, to reflect.Value) bool {
	node, fault := dec.doc.follow(n)
	text, ok := textOf(node)
	if fault != "" || !ok {
		return false
	}
	to.Addr().Interface().(Texter).SetText(text)
	return true
}

// place notes where an entry stands: a scalar itself, the key of anything else.
func (dec *decoder) place(e entry, path string) {
	dec.report.Positions[path] = e.key
	if n, fault := dec.doc.follow(e.value); fault == "" && n != nil {
		if _, ok := n.(ast.ScalarNode); ok && !null(dec.doc, n) {
			dec.report.Positions[path] = dec.doc.start(e.value)
		}
	}
}

// unknown reports a field that the struct does not have.
func (dec *decoder) unknown(e entry, path string, fields []Field) {
	if secretive(fields) { // the key may be the secret itself
		dec.problem(e.key, path, "unknown field; there are %s", strings.Join(Names(fields), ", "))
		return
	}
	hint := DidYouMean(e.name, Names(fields))
	for _, f := range fields {
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if hint == "" && inner.Kind() == reflect.Struct && !scalar(inner) && slices.Contains(Names(Fields(inner)), e.name) {
			hint = "; did you mean " + f.Name + "." + e.name + "?"
		}
	}
	if hint == "" {
		hint = "; there are " + strings.Join(Names(fields), ", ")
	}
	dec.problem(e.key, path, "unknown field %q%s", clip(e.name), hint)
	dec.report.Problems[len(dec.report.Problems)-1].beside = true
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func null(d *Document, n ast.Node) bool {
	n, fault := d.follow(n)
	_, isNull := n.(*ast.NullNode)
	return fault == "" && (n == nil || isNull)
}

// clip keeps a long name out of a message.
func clip(name string) string {
	if len(name) > 40 {
		return strings.ToValidUTF8(name[:40], "") + "…"
	}
	return name
}

// scalar reports whether a type is written as one word.
func scalar(t reflect.Type) bool {
	if t == reflect.TypeFor[credential.Secret]() || t == reflect.TypeFor[Duration]() {
		return true
	}
	return t.Kind() != reflect.Struct && t.Kind() != reflect.Map && t.Kind() != reflect.Slice
}
