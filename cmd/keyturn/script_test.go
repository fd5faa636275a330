package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keyturn": func() { os.Exit(run()) }})
}

// devVault is the built dev Vault; a missing one fails, it does not skip.
func devVault(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", "devvault"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal("bin/devvault is missing: run make build")
	}
	return path
}

func TestScripts(t *testing.T) {
	vault := devVault(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("KEYTURN_DEVVAULT", vault)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"waitfile": waitFile,
			"loadenv":  loadEnv,
			"jsonlist": jsonList,
			"nosecret": noSecret,
			"until":    untilOutput,
			"append":   appendFile,
			"mode":     fileMode,
		},
		RequireExplicitExec: false,
	})
}

// waitFile waits until a file is there: waitfile PATH.
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	ts.Fatalf("%s is not there after a minute", args[0])
}

// loadEnv sets the variables of a file of export lines: loadenv PATH.
func loadEnv(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	if info.Mode().Perm() != 0o600 {
		ts.Fatalf("%s has mode %v, want 0600", args[0], info.Mode().Perm())
	}
	seen := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(ts.ReadFile(args[0])))
	for lines.Scan() {
		name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		if !ok || value == "" || !strings.HasPrefix(lines.Text(), "export ") {
			ts.Fatalf("not an export line: %q", name)
		}
		seen[name] = true
		ts.Setenv(name, strings.Trim(value, "'"))
	}
	for _, name := range []string{
		"VAULT_ADDR", "VAULT_TOKEN", "KEYTURN_NATS_URL", "KEYTURN_PORTAL_URL",
		"KEYTURN_PORTAL_USER", "KEYTURN_PORTAL_PASSWORD", "KEYTURN_CONFIG",
	} {
		if !seen[name] {
			ts.Fatalf("%s does not set %s", args[0], name)
		}
	}
	if !strings.HasSuffix(ts.Getenv("KEYTURN_PORTAL_URL"), "/sharing/rest") {
		ts.Fatalf("KEYTURN_PORTAL_URL does not end in /sharing/rest")
	}
}

// jsonList checks that the last output is a JSON array of that many elements,
// each with a name: jsonlist N.
func jsonList(ts *testscript.TestScript, _ bool, args []string) {
	var list []struct{ Name string }
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &list); err != nil {
		ts.Fatalf("not a JSON array: %v", err)
	}
	if want := args[0]; want != "+" && len(list) != len(want) {
		ts.Fatalf("%d elements, want %d", len(list), len(want))
	}
	for _, element := range list {
		if !strings.Contains(element.Name, "/") {
			ts.Fatalf("an element has the name %q", element.Name)
		}
	}
}

// appendFile puts a file at the end of another: append TO FROM.
func appendFile(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0]) + ts.ReadFile(args[1])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// fileMode checks the mode of a file: mode PATH OCTAL.
func fileMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if have := fmt.Sprintf("%o", info.Mode().Perm()); have != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], have, args[1])
	}
}

// noSecret checks that the last output holds no secret of dev.env and no key.
func noSecret(ts *testscript.TestScript, _ bool, _ []string) {
	output := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	for _, name := range []string{"VAULT_TOKEN", "KEYTURN_PORTAL_PASSWORD"} {
		if secret := ts.Getenv(name); secret == "" || strings.Contains(output, secret) {
			ts.Fatalf("the output holds %s, or it is not set", name)
		}
	}
	seed := ts.ReadFile(filepath.Join(filepath.Dir(ts.Getenv("KEYTURN_CONFIG")), "operator.nk"))
	if strings.Contains(output, strings.TrimSpace(seed)) {
		ts.Fatalf("the output holds the operator's seed")
	}
	if strings.Contains(output, "AAPT") {
		ts.Fatalf("the output holds a key")
	}
}

// untilOutput runs keyturn again and again until its output holds a text:
// until TEXT ARGS...
func untilOutput(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := ts.Exec("keyturn", args[1:]...)
		if err == nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after a minute keyturn %s does not say %q", strings.Join(args[1:], " "), args[0])
		}
		time.Sleep(100 * time.Millisecond)
	}
}
