// Package yamlfile reads YAML strictly: a field that nobody asked for is an
// error, and every error names file, line and column.
package yamlfile

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/keyturn/keyturn/rotator/credential"
)

// File is a YAML file that was parsed once, to find the lines of what is wrong.
type File struct {
	name string
	data []byte
	tree *ast.File
}

// Parse checks the syntax.
func Parse(name string, data []byte) (*File, error) {
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, located(name, err)
	}
	return &File{name: name, data: data, tree: tree}, nil
}

// Documents is how many documents the file holds.
func (f *File) Documents() int { return len(f.tree.Docs) }

// Decode reads one document into out; an unknown field is an error. An empty
// document leaves out as it is.
func (f *File) Decode(document int, out any) error {
	doc := f.tree.Docs[document]
	if doc.Body == nil {
		return nil
	}
	decoder := yaml.NewDecoder(strings.NewReader(""), yaml.DisallowUnknownField())
	if err := decoder.DecodeFromNode(doc.Body, out); err != nil && !errors.Is(err, io.EOF) {
		return located(f.name, err)
	}
	return nil
}

// At is "file:line:column" of a path such as "$.credentials[0].policy.drain";
// of the nearest part that is there, where the path itself is not.
func (f *File) At(document int, path string) string {
	for path != "$" && path != "" {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterNode(f.tree.Docs[document].Body); err == nil && node != nil && node.GetToken() != nil {
				position := node.GetToken().Position
				return fmt.Sprintf("%s:%d:%d", f.name, position.Line, position.Column)
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return f.name + ":1:1"
}

// Errorf is an error at a path.
func (f *File) Errorf(document int, path, format string, args ...any) error {
	return fmt.Errorf("%s: %s", f.At(document, path), fmt.Sprintf(format, args...))
}

// located puts file, line and column before what the decoder says. The source
// is not quoted: a line of it may hold a secret.
func located(name string, err error) error {
	var precise yaml.Error
	if errors.As(err, &precise) && precise.GetToken() != nil {
		position := precise.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", name, position.Line, position.Column, precise.GetMessage())
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Duration reads Go durations, and days and weeks: 90d, 2w, 1h30m.
type Duration struct {
	Value time.Duration
	Set   bool
}

// UnmarshalYAML reads the text.
func (d *Duration) UnmarshalYAML(decode func(any) error) error {
	var text string
	if err := decode(&text); err != nil {
		return err
	}
	value, err := ParseDuration(text)
	d.Value, d.Set = value, err == nil
	return err
}

// Core is the value as the core has it.
func (d Duration) Core() credential.Duration { return credential.Duration(d.Value) }

// ParseDuration reads a duration with days and weeks.
func ParseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		number, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(number+"\n", "%d\n", &n); err != nil || n < 0 || n > 100_000 {
			return 0, fmt.Errorf("%q is not a duration (want e.g. 90d, 12h, 30m)", text)
		}
		return time.Duration(n) * length, nil
	}
	value, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration (want e.g. 90d, 12h, 30m)", text)
	}
	return value, nil
}

// Nearest returns the candidate that differs least from a word, or "" if none
// is near: for "did you mean".
func Nearest(word string, candidates []string) string {
	best, least := "", 3
	for _, candidate := range candidates {
		if d := distance(word, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
