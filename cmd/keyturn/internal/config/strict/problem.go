package strict

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pos is a place in a file; lines and columns count from 1.
type Pos struct {
	File   string
	Line   int
	Column int
}

// String is "file:line:column".
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing that is wrong with a file.
type Problem struct {
	Pos Pos
	// Path is the field, such as "policy.lifetime"; empty = the document.
	Path string
	// Message says what is wrong and what is wanted.
	Message string

	unread bool // nothing below the field was read
	beside bool // an unknown field: says nothing about the known ones
}

// Error is "file:line:column: field: message".
func (p *Problem) Error() string {
	text := p.Pos.String() + ": "
	if p.Path != "" {
		text += p.Path + ": "
	}
	return printable(text + p.Message)
}

// printable escapes what could move the cursor of a terminal or add a line: a
// field's name may hold anything.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// Problems are all that is wrong with a file, in the order of its lines.
type Problems []*Problem

// maxShown bounds the text of Problems.
const maxShown = 50

// Error has one problem on each line.
func (p Problems) Error() string {
	lines := make([]string, 0, len(p))
	for i, problem := range p {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("and %d more", len(p)-maxShown))
			break
		}
		lines = append(lines, problem.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the problems to errors.As.
func (p Problems) Unwrap() []error {
	list := make([]error, len(p))
	for i, problem := range p {
		list[i] = problem
	}
	return list
}

// Err sorts the problems and is nil if there are none.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return p
}

// Positions are where the fields of a struct stand: path → place.
type Positions map[string]Pos

// At is where a field stands, or the nearest thing around it that is there.
func (p Positions) At(path string) Pos {
	for {
		if pos, ok := p[path]; ok || path == "" {
			return pos
		}
		path = parent(path)
	}
}

// parent cuts the last step off: "a.b[2]" → "a.b" → "a" → "".
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// Report is what a decode found, and takes what its caller finds besides.
type Report struct {
	// Positions of all fields that were there.
	Positions Positions
	// Problems so far.
	Problems Problems
}

// Given reports whether the file has the field, be it empty.
func (r *Report) Given(path string) bool {
	_, ok := r.Positions[path]
	return ok
}

// Hollow reports whether the file has the field but nothing in it.
func (r *Report) Hollow(path string) bool {
	for other := range r.Positions {
		if other != path && within(other, path) {
			return false
		}
	}
	return r.Given(path)
}

// Sound reports whether nothing is known to be wrong with the field and what
// lies in it, so that a rule about its value makes sense.
func (r *Report) Sound(path string) bool {
	for _, p := range r.Problems {
		if !p.beside && within(p.Path, path) || p.unread && within(path, p.Path) {
			return false
		}
	}
	return true
}

// within reports whether a path is another one or lies below it.
func within(path, other string) bool {
	rest, ok := strings.CutPrefix(path, other)
	return ok && (rest == "" || other == "" || rest[0] == '.' || rest[0] == '[')
}

// Addf adds a problem with a field, unless one with it is known already.
func (r *Report) Addf(path, format string, args ...any) {
	if !r.Sound(path) {
		return
	}
	r.Problems = append(r.Problems, &Problem{Pos: r.Positions.At(path), Path: path, Message: fmt.Sprintf(format, args...)})
}

// Join makes one list of errors; those that are Problems are merged and sorted.
func Join(list ...error) error {
	var all Problems
	var others []error
	for _, err := range list {
		var problems Problems
		switch {
		case err == nil:
		case errors.As(err, &problems):
			all = append(all, problems...)
		default:
			others = append(others, err)
		}
	}
	if len(others) == 0 {
		return all.Err()
	}
	return errors.Join(append(others, all.Err())...)
}
