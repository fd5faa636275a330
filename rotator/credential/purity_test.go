package credential_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTheCoreIsPure: the standard library only, no clock, no timer, no
// randomness, and nothing that reaches outside the process.
func TestTheCoreIsPure(t *testing.T) {
	outside := []string{"math/rand", "math/rand/v2", "crypto/rand", "os", "net", "net/http", "log", "log/slog", "sync", "context", "unsafe"}
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local"}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		checked++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
				t.Errorf("%s imports %s, which is not of the standard library", path, imported)
			}
			if slices.Contains(outside, imported) {
				t.Errorf("%s imports %s", path, imported)
			}
			if imported == "time" && spec.Name != nil {
				t.Errorf("%s renames the import of time", path)
			}
		}
		ast.Inspect(file, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if of, ok := selector.X.(*ast.Ident); ok && of.Name == "time" && slices.Contains(clock, selector.Sel.Name) {
				t.Errorf("%s uses time.%s", set.Position(node.Pos()), selector.Sel.Name)
			}
			return true
		})
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "init" {
				t.Errorf("%s has an init function", path)
			}
		}
	}
	if checked < 15 {
		t.Errorf("only %d files were looked at: did the folder move?", checked)
	}
}
