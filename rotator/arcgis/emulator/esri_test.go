//go:build esri

package emulator_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// TestEsriJavaScriptClient runs clientcheck: Esri's own client against the emulated portal. It needs Node 20
// or later, npm and a package registry, and fails without them. Newcomers' tests need only Go, so it stands
// behind a build tag, which CI sets:
//
//	go test -tags esri -run TestEsriJavaScriptClient ./rotator/arcgis/emulator
func TestEsriJavaScriptClient(t *testing.T) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed: %v", tool, err)
		}
	}
	dir := t.TempDir() // node_modules must not lie in the checkout
	for _, name := range []string{".npmrc", "package.json", "package-lock.json", "check.mjs", "credentials.mjs"} {
		data, err := os.ReadFile(filepath.Join("clientcheck", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	run := func(env []string, name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		t.Logf("%s %s\n%s", name, strings.Join(args, " "), out)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	b := start(t, emulator.Config{Now: time.Now})
	run(nil, "npm", "ci", "--ignore-scripts")
	run([]string{
		"KEYTURN_PORTAL_URL=" + b.root, "KEYTURN_RESOURCE_URL=" + b.srv.URL + "/emulator/resource",
		"KEYTURN_USERNAME=" + emulator.DefaultUser, "KEYTURN_PASSWORD=" + emulator.DefaultPassword,
	}, "node", "check.mjs")
}
