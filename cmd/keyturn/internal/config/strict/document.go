package strict

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a file.
const (
	maxSize  = 64 << 20
	maxDepth = 100
)

// Document is one YAML document of a file.
type Document struct {
	file    string
	offset  int // lines of the file before this document
	root    ast.Node
	anchors map[string]ast.Node // anchor → what it names
	budget  int                 // nodes that may yet be visited: aliases multiply
}

// Documents reads the YAML documents of a file; empty ones are left out. The
// good ones are returned even if others cannot be read.
func Documents(file string, data []byte) ([]*Document, error) {
	whole := func(message string) error {
		return Problems{{Pos: Pos{File: file}, Message: message}}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch {
	case len(data) > maxSize:
		return nil, whole(fmt.Sprintf("larger than %d MiB", maxSize>>20))
	case !utf8.Valid(data):
		return nil, whole("not UTF-8 text")
	case bytes.IndexByte(data, 0) >= 0:
		return nil, whole("not a text file: it holds a zero byte")
	}
	var docs []*Document
	var problems Problems
	for _, part := range split(string(data)) {
		doc, problem := parse(file, part)
		switch {
		case problem != nil:
			problems = append(problems, problem)
		case doc != nil:
			docs = append(docs, doc)
		}
	}
	return docs, problems.Err()
}

// section is the text of one document.
type section struct {
	text string
	line int // lines before it
}

// split cuts a file at its document markers. The parser loses what follows a
// document of comments only, so it gets one document at a time.
func split(text string) []section {
	marker := func(line, mark string) bool {
		rest, ok := strings.CutPrefix(line, mark)
		return ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\r\n"))
	}
	var sections []section
	var current strings.Builder
	start, n := 0, 0
	cut := func(next int) {
		sections = append(sections, section{current.String(), start})
		current.Reset()
		start = next
	}
	for line := range strings.Lines(text) {
		if marker(line, "---") || marker(line, "...") {
			cut(n)
			line = "   " + line[3:] // content may follow on the line
		}
		current.WriteString(line)
		n++
	}
	cut(n)
	return sections
}

// parse reads one document; nil = it is empty.
func parse(file string, part section) (doc *Document, problem *Problem) {
	if blank(part.text) {
		return nil, nil
	}
	first := Pos{File: file, Line: part.line + 1, Column: 1}
	defer func() {
		if recover() != nil { // the parser's own fault; its text may quote the file
			doc, problem = nil, &Problem{Pos: first, Message: "this document cannot be read as YAML"}
		}
	}()
	tokens := lexer.Tokenize(part.text)
	if t := tooDeep(tokens); t != nil {
		return nil, &Problem{Pos: position(file, part.line, t), Message: fmt.Sprintf("nested more than %d deep", maxDepth)}
	}
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		p := &Problem{Pos: first, Message: "this document cannot be read as YAML"}
		var located yaml.Error
		if errors.As(err, &located) { // its Error quotes the file, its message does not
			p.Message = unquoted(located.GetMessage())
			if t := located.GetToken(); t != nil {
				p.Pos = position(file, part.line, t)
			}
		}
		return nil, p
	}
	if len(parsed.Docs) != 1 || parsed.Docs[0].Body == nil {
		return nil, &Problem{Pos: first, Message: "this document cannot be read as YAML"}
	}
	doc = &Document{file: file, offset: part.line, root: parsed.Docs[0].Body, anchors: map[string]ast.Node{}}
	doc.budget = 1000 + 10*len(tokens)
	ast.Walk(anchors(doc.anchors), doc.root)
	return doc, nil
}

// unquoted is a message of the parser without what it quotes from the file,
// which may be a secret. One character that it names is kept.
func unquoted(message string) string {
	if strings.HasPrefix(message, "invalid header option") { // it quotes the rest of the line
		return "nothing may follow | or > on its line: put the value in quotes if it is text"
	}
	if strings.Contains(message, `"`) {
		return "this cannot be read as YAML: put the value in quotes if it is text"
	}
	return message
}

// blank reports whether a document has nothing but comments.
func blank(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return false
		}
	}
	return true
}

// tooDeep is the token at which the nesting exceeds the limit.
func tooDeep(tokens token.Tokens) *token.Token {
	depth, dashes, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position != nil && t.Position.Line != line {
			dashes, line = 0, t.Position.Line
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			dashes++
		}
		if depth+dashes > maxDepth || t.Position != nil && t.Position.IndentLevel > maxDepth {
			return t
		}
	}
	return nil
}

// anchors collects what the anchors of a document name.
type anchors map[string]ast.Node

// Visit is called for each node.
func (a anchors) Visit(n ast.Node) ast.Visitor {
	if anchor, ok := n.(*ast.AnchorNode); ok && anchor.Name != nil && anchor.Value != nil {
		a[anchor.Name.GetToken().Value] = anchor.Value
	}
	return a
}

// position is where a token stands in the file.
func position(file string, offset int, t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{File: file, Line: offset + 1, Column: 1}
	}
	return Pos{File: file, Line: offset + t.Position.Line, Column: max(1, t.Position.Column)}
}

// start is where a node begins; a block mapping begins at its first key.
func (d *Document) start(n ast.Node) Pos {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return d.start(n.Values[0].Key)
		}
		return position(d.file, d.offset, n.Start)
	case *ast.MappingValueNode:
		return d.start(n.Key)
	case *ast.SequenceNode:
		return position(d.file, d.offset, n.Start)
	case *ast.MappingKeyNode:
		if n.Value != nil {
			return d.start(n.Value)
		}
	}
	return position(d.file, d.offset, n.GetToken())
}

// Has reports whether the document is a mapping with that key.
func (d *Document) Has(key string) bool {
	for _, e := range d.entries(d.root, nil) {
		if e.name == key {
			return true
		}
	}
	return false
}
