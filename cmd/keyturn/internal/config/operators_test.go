package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict/schematest"
	"github.com/keyturn/keyturn/rotator/schedule"
)

const keyA, keyB = "UARCD3JUA22FDV23U7FR2JWWMEL7CALX4NVJZJZVAWEHGMEZ3G6L7RI5", "UAZBODL3GY4OP6SVPL66NCWML3G76LGGTWF7OAWUZ45VQHGD3VNT2VGI"

// TestErrorsOfOperators has the mistakes with file, line and column; those that a
// schema can see, it sees too.
func TestErrorsOfOperators(t *testing.T) {
	schema := schematest.Read(t, schemaFile)
	const one = "\noperators:\n  oncall:\n    key: " + keyA + "\n    roles: [{role: viewer, namespaces: [maps]}]\n"
	const roles = "[{role: viewer, namespaces: [maps]}]"
	seed := "SUAKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYK"
	for _, test := range []struct {
		name, old, new, want string
		unseen               bool // by the schema
	}{
		{name: "a name", old: "oncall", new: "On Call", want: "c.yaml:16:3: operators.On Call: not a name: want a-z, 0-9 and -, 1 to 63 characters"},
		{name: "a taken name", old: "oncall", new: "policy", want: "c.yaml:16:3: operators.policy: a name that the record has for what nobody asked for: want another one", unseen: true},
		{name: "no key", old: "    key: " + keyA + "\n", new: "", want: "c.yaml:16:3: operators.oncall.key: missing"},
		{name: "no roles", old: "    roles: " + roles + "\n", new: "", want: "c.yaml:16:3: operators.oncall.roles: missing"},
		{name: "half a key", old: keyA, new: keyA[:40], want: "c.yaml:17:10: operators.oncall.key: not a public key that `keyturn operator new` printed: it begins with U and has 56 characters"},
		{name: "a key with a letter changed", old: keyA, new: keyA[:55] + "A", want: "c.yaml:17:10: operators.oncall.key: not a public key that `keyturn operator new` printed: it begins with U and has 56 characters", unseen: true},
		{name: "the seed for the key", old: keyA, new: seed, want: "c.yaml:17:10: operators.oncall.key: this is the seed, which only oncall may have: want the public key, which begins with U; make another one (keyturn operator new)"},
		{name: "no role in the list", old: roles, new: "[]", want: "c.yaml:18:5: operators.oncall.roles: empty: want at least one role"},
		{name: "a role", old: "viewer", new: "veiwer", want: `c.yaml:18:20: operators.oncall.roles[0].role: "veiwer" is not one of viewer, rotator, responder, admin, consumer; did you mean viewer?`},
		{name: "no namespaces", old: ", namespaces: [maps]", new: "", want: "c.yaml:18:13: operators.oncall.roles[0].namespaces: missing"},
		{name: "none in the list", old: "[maps]", new: "[]", want: `c.yaml:18:28: operators.oncall.roles[0].namespaces: empty: want names, or "*" for all`},
		{name: "a star within", old: "[maps]", new: "[a, 'm*s']", want: `c.yaml:18:44: operators.oncall.roles[0].namespaces[1]: "m*s" is not a namespace: want a-z, 0-9 and -, with * at its end for all that begin so`},
		{name: "a key twice", old: one, new: one + "  zoe: {key: " + keyA + ", roles: " + roles + "}\n", want: "c.yaml:19:14: operators.zoe.key: this is the key of oncall as well: each operator has one of its own", unseen: true},
		{name: "a name twice", old: one, new: "\noperators: [{name: a, key: " + keyA + ", roles: " + roles + "}, {name: a}]\n", want: "c.yaml:15:132: operators.a: the same name stands here twice"},
		{name: "two seeds", old: one, new: one + "operator: {seed: {file: a, env: B}}\n", want: "c.yaml:19:12: operator.seed: want exactly one of value, file, env and vault"},
		{name: "an empty seed", old: one, new: one + "operator:\n  seed:\n", want: "c.yaml:20:3: operator.seed: empty: want one of value, file, env and vault"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := []byte(sound + strings.Replace(one, test.old, test.new, 1))
			_, err := parse("c.yaml", text, &schedule.Calendar{}, environment{}.get)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
			if seen := len(schema.Validate(t, text)) > 0; seen == test.unseen {
				t.Errorf("the schema sees it: %v", seen)
			}
		})
	}
	for what, pattern := range map[string]struct {
		path []any
		want string
	}{
		"name":      {[]any{"$defs", "operator", "properties", "name"}, operatorName.String()},
		"key":       {[]any{"$defs", "operator", "properties", "key"}, signerKey.String()},
		"namespace": {[]any{"$defs", "grant", "properties", "namespaces", "items"}, namespacePattern.String()},
	} {
		if have := schema.At(t, pattern.path...)["pattern"]; have != pattern.want {
			t.Errorf("the pattern of a %s is %v, in the program %s", what, have, pattern.want)
		}
	}
}

// TestTheOperatorsSeed comes from the file of the configuration, else from the
// environment; who runs the command line does not make daemons differ.
func TestTheOperatorsSeed(t *testing.T) {
	const both = "KEYTURN_OPERATOR_SEED_FILE"
	read := func(more string, env environment) *Config {
		t.Helper()
		c, err := parse("/etc/c.yaml", []byte(sound+more), &schedule.Calendar{}, env.get)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, test := range []struct {
		more string
		env  environment
		want string
	}{
		{"", nil, "nowhere"},
		{"operator: {seed: {file: me.nk}}", environment{both: "/x"}, "file /etc/me.nk"},
		{"", environment{both: "/x", "KEYTURN_OPERATOR_SEED": "SU"}, "file /x"},
		{"", environment{"KEYTURN_OPERATOR_SEED": "SU"}, "environment variable KEYTURN_OPERATOR_SEED"},
		{"operator: {seed: {vault: {path: secret/me, field: seed}}}", nil, "field seed of secret/me in Vault"},
	} {
		c := read(test.more, test.env)
		if have := c.Operator.Seed.String(); have != test.want {
			t.Errorf("%s %v: %s, want %s", test.more, test.env, have, test.want)
		}
		if c.Digest() != read("", nil).Digest() {
			t.Errorf("%s %v changes the digest", test.more, test.env)
		}
	}
	operators := "operators: {oncall: {key: " + keyA + ", roles: [{role: viewer, namespaces: [a]}]}}"
	if read(operators, nil).Digest() == read("", nil).Digest() {
		t.Error("operators do not change the digest")
	}
	want := "[operators.oncall]"
	if have := strings.Join(Diff(read("", nil), read(operators, nil)), " "); "["+have+"]" != want {
		t.Errorf("they differ in %s", have)
	}
}

func TestExposed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "seed")
	write(t, name, "x", 0o600)
	for mode, want := range map[os.FileMode]string{0o600: "", 0o440: "", 0o644: "read by everybody", 0o660: "changed by others"} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if have := Exposed(name); (have == "") != (want == "") || !strings.Contains(have, want) {
			t.Errorf("%v: %q, want %q", mode, have, want)
		}
	}
}

// TestErrorsOfBreakGlass: the operator's own rights are as strict as the daemons'.
func TestErrorsOfBreakGlass(t *testing.T) {
	schema := schematest.Read(t, schemaFile)
	for _, test := range []struct {
		name, text, want string
		unseen           bool // by the schema
	}{
		{name: "no such issuer", text: "{issuers: {exampel: {username: me, password: {env: X}}}}", want: "c.yaml:15:25: break_glass.issuers.exampel: there is no such issuer; did you mean example?", unseen: true},
		{name: "no user", text: "{issuers: {example: {password: {env: X}}}}", want: "c.yaml:15:25: break_glass.issuers.example.username: missing"},
		{name: "no password", text: "{issuers: {example: {username: me}}}", want: "c.yaml:15:25: break_glass.issuers.example.password: missing: want it or api_key"},
		{name: "both", text: "{issuers: {example: {username: me, password: {env: X}, api_key: {env: Y}}}}", want: "c.yaml:15:69: break_glass.issuers.example.api_key: want one of password and api_key, not both"},
		{name: "an unknown field", text: "{issuers: {example: {username: me, password: {env: X}, url: x}}}", want: `c.yaml:15:69: break_glass.issuers.example: unknown field "url"; there are name, username, password, api_key`},
		{name: "what opens Vault in Vault", text: "{vault_login: {token: {vault: {path: a, field: b}}}}", want: "c.yaml:15:37: break_glass.vault_login.token.vault: what opens Vault cannot come from Vault: use file or env", unseen: true},
		{name: "two logins", text: "{vault_login: {token: {env: X}, kubernetes: {role: r}}}", want: "c.yaml:15:46: break_glass.vault_login.kubernetes: want one way to log in, not token and kubernetes"},
		{name: "an empty login", text: "{vault_login: {token: }}", want: "c.yaml:15:29: break_glass.vault_login.token: empty: fill it in, or leave it out for that of vault.login"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := []byte(sound + "\nbreak_glass: " + test.text + "\n")
			_, err := parse("c.yaml", text, &schedule.Calendar{}, environment{}.get)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
			if seen := len(schema.Validate(t, text)) > 0; seen == test.unseen {
				t.Errorf("the schema sees it: %v", seen)
			}
		})
	}
	c := load(t, "full.yaml", nil)
	if own := c.BreakGlass; own.VaultLogin.Token.String() != "file /etc/keyturn/responder-token" || own.Issuers["online"].Password.String() != "file /etc/keyturn/responder-password" {
		t.Errorf("%+v", own)
	}
}
