package strict

import (
	"reflect"
	"strconv"

	"github.com/goccy/go-yaml/ast"

	"github.com/keyturn/keyturn/rotator/credential"
)

// scalar decodes a word into a value. Only a duration is repeated in a message.
func (dec *decoder) scalar(n ast.Node, pos Pos, to reflect.Value, path string) {
	switch to.Type() {
	case reflect.TypeFor[credential.Secret]():
		if text, ok := dec.text(n, pos, path); ok {
			to.Set(reflect.ValueOf(credential.NewSecret(text)))
		}
		return
	case reflect.TypeFor[Duration]():
		dec.duration(n, pos, to, path)
		return
	}
	switch to.Kind() {
	case reflect.String:
		if text, ok := dec.text(n, pos, path); ok {
			to.SetString(text)
		}
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			dec.problem(pos, path, "want true or false; got %s", kind(n))
			return
		}
		to.SetBool(b.Value)
	case reflect.Int:
		i, err := strconv.Atoi(n.GetToken().Value)
		if _, ok := n.(*ast.IntegerNode); !ok || err != nil {
			dec.problem(pos, path, "want a whole number; got %s", kind(n))
			return
		}
		to.SetInt(int64(i))
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.GetToken().Value, 64)
		if !number(n) || err != nil {
			dec.problem(pos, path, "want a decimal number; got %s", kind(n))
			return
		}
		to.SetFloat(f)
	default:
		dec.problem(pos, path, "this field cannot be read from a file")
	}
}

// text is a text value; anything else is a problem.
func (dec *decoder) text(n ast.Node, pos Pos, path string) (string, bool) {
	if text, ok := textOf(n); ok {
		return text, true
	}
	hint := ": put it in quotes"
	if _, ok := n.(*ast.SequenceNode); ok {
		hint = ""
	}
	dec.problem(pos, path, "want text; got %s%s", kind(n), hint) // within braces, the parser makes a mapping of a:b
	return "", false
}

func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		if n.Value != nil {
			return n.Value.Value, true
		}
		return "", true
	}
	return "", false
}

func (dec *decoder) duration(n ast.Node, pos Pos, to reflect.Value, path string) {
	text, ok := textOf(n)
	if number(n) {
		text, ok = n.GetToken().Value, true
	}
	if !ok {
		dec.problem(pos, path, "want a duration such as 90d, 12h or 30s; got %s", kind(n))
		return
	}
	d, err := ParseDuration(text)
	if err != nil {
		dec.problem(pos, path, "%v", err)
		return
	}
	to.Set(reflect.ValueOf(Duration{Value: d, Set: true}))
}

func number(n ast.Node) bool {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		return true
	}
	return false
}

// kind names what stands in the file, without its value.
func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	case *ast.InfinityNode, *ast.NanNode:
		return "one without a value"
	case *ast.BoolNode:
		return "true or false"
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a mapping"
	}
	return "something else"
}
