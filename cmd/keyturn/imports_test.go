package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestImportsPointInward: the core knows nobody, adapters know the core only,
// and the emulated portal shares nothing with its client.
func TestImportsPointInward(t *testing.T) {
	const module = "github.com/keyturn/keyturn/"
	rules := []struct {
		pkg   string   // folder, and those below it
		allow []string // packages of this module that it may import, with those below
	}{
		{"rotator/credential", nil},
		{"rotator/arcgis/emulator", []string{"rotator/arcgis/emulator"}},
		{"rotator/arcgis", []string{"rotator/credential", "rotator/together", "rotator/arcgis"}},
		{"rotator/schedule", []string{"rotator/credential", "rotator/logkey"}},
		{"rotator/peers", []string{"rotator/credential", "rotator/logkey"}},
		{"rotator/control", []string{"rotator/credential", "rotator/logkey"}},
		{"rotator/report", []string{"rotator/credential"}},
		{"rotator/recovery", []string{"rotator/credential"}},
		{"rotator/engine", []string{"rotator/credential", "rotator/logkey", "rotator/together"}},
		{"rotator/together", nil},
		{"publisher", []string{"rotator/credential", "publisher"}},
		{"vault", []string{"rotator/credential", "vault"}},
	}
	root := filepath.Join("..", "..")
	checked := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, rule := range rules {
			if !below(folder, rule.pkg) {
				continue
			}
			checked++
			for _, spec := range file.Imports {
				imported, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
				if !ours {
					continue
				}
				allowed := false
				for _, allow := range rule.allow {
					allowed = allowed || below(imported, allow)
				}
				if !allowed || (imported == "rotator/arcgis/emulator" && folder == "rotator/arcgis") {
					t.Errorf("%s imports %s", path, imported)
				}
			}
			break // the most special rule comes first
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 30 {
		t.Errorf("only %d files were looked at: did a folder move?", checked)
	}
}

func below(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}
