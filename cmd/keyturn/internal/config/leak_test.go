package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/schedule"
)

// marker stands for a secret that must not be seen.
const marker = "hunter2hunter2"

// TestNoErrorQuotesWhatStandsWhereASecretBelongs: the mistakes that people make
// with a secret, each of which YAML reads in its own way.
func TestNoErrorQuotesWhatStandsWhereASecretBelongs(t *testing.T) {
	for _, value := range []string{
		"*hunter2hunter2", "&hunter2hunter2", "!hunter2hunter2", "!!hunter2hunter2", "!!hunter2hunter2 x", "!<hunter2hunter2> x", "%hunter2hunter2", "@hunter2hunter2",
		"`hunter2hunter2", "|hunter2hunter2", ">hunter2hunter2", "|1hunter2hunter2", "'hunter2hunter2", `"hunter2hunter2`, `"hunter2hunter2\q"`, `"\uhunter2hunter2"`,
		"'hunter2'hunter2hunter2", "[hunter2hunter2", "[hunter2hunter2]", "{hunter2hunter2", "{hunter2hunter2}", "{hunter2hunter2: x}", "{x: hunter2hunter2}", "hunter2hunter2: x",
		"x: hunter2hunter2", "? hunter2hunter2", "- hunter2hunter2", ", hunter2hunter2", "]hunter2hunter2", "}hunter2hunter2", "a\nhunter2hunter2",
		"a\n\thunter2hunter2", "a\n      - hunter2hunter2", "|\nhunter2hunter2", "<<: *hunter2hunter2", "{<<: *hunter2hunter2}", "&a *hunter2hunter2", "\x01hunter2hunter2",
		"\n%YAML hunter2hunter2\n---\n", "\n%TAG hunter2hunter2\n---\n", "--- hunter2hunter2", "1\n        hunter2hunter2: 2", "'x' hunter2hunter2: 1", "&hunter2hunter2 &x y", "*hunter2hunter2 : x",
	} {
		for _, field := range []string{"    password: ", "    password:\n      value: ", "    password: {value: "} {
			closing := ""
			if strings.Contains(field, "{") {
				closing = "}"
			}
			text := strings.Replace(sound, "    password: {env: PORTAL}", field+value+closing, 1)
			_, err := parse("c.yaml", []byte(text), &schedule.Calendar{}, environment{}.get)
			if err != nil && strings.Contains(err.Error(), marker) {
				t.Errorf("%q: %v", field+value+closing, err)
			}
		}
	}
}

// everywhere is a configuration with a secret in each place that takes one.
func everywhere(t *testing.T, login string) *Config {
	t.Helper()
	const secret = "{value: " + marker + "}"
	text := strings.NewReplacer(
		"  url: nats://127.0.0.1:4222\n", "  url: nats://127.0.0.1:4222\n"+login,
		"    token: {env: VAULT_TOKEN}", "    approle: {role_id: r, secret_id: "+secret+"}",
		"{env: PORTAL}", secret,
	).Replace(sound)
	c, err := parse("c.yaml", []byte(text), &schedule.Calendar{}, environment{}.get)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNoSecretIsShownWhicheverWayItIsPrinted: by each verb, encoded, by itself
// and within what holds it.
func TestNoSecretIsShownWhicheverWayItIsPrinted(t *testing.T) {
	for _, login := range []string{
		"  nkey_seed: {value: " + marker + "}\n", "  token: {value: " + marker + "}\n", "  user: u\n  password: {value: " + marker + "}\n",
	} {
		c := everywhere(t, login)
		c.Vault.Login.Token = &c.Vault.Login.AppRole.SecretID // as if it were one
		shown := strings.Join(c.Warnings(), "\n") + c.Digest()
		for _, v := range []any{
			c, *c, c.NATS, &c.NATS, c.Vault, c.Vault.Login, *c.Vault.Login.AppRole, c.Issuers, c.Issuers["example"], c.NATS.Token, c.Vault.Login.Token, c.sources(),
		} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
				shown += fmt.Sprintf(verb, v)
			}
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			shown += string(text)
		}
		for _, form := range []string{marker, fmt.Sprintf("%x", marker), fmt.Sprintf("%X", marker), fmt.Sprint([]byte(marker))} { //nolint:staticcheck // QF1010: the bytes are what is scanned
			if i := strings.Index(shown, strings.Trim(form, "[]")); i >= 0 {
				t.Errorf("a secret is shown: …%s…", shown[max(0, i-80):i+len(form)])
			}
		}
	}
}

// FuzzNoErrorQuotesASecret: a secret within one line, whatever stands around it.
func FuzzNoErrorQuotesASecret(f *testing.F) {
	for _, around := range [][2]string{{"*", ""}, {"&", " x"}, {"!", " x"}, {"\"", "\\q\""}, {"'", ""}, {"a: ", ""}, {"%YAML ", ""}, {"{", "}"}, {"[*", "]"}, {"- ", ": x"}, {"? ", ""}} {
		f.Add(around[0], around[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.ContainsAny(before+after, "\r\n") {
			return // it would be another field
		}
		for _, field := range []string{"    password: ", "    password:\n      value: "} {
			text := strings.Replace(sound, "    password: {env: PORTAL}", field+before+marker+after, 1)
			_, err := parse("c.yaml", []byte(text), &schedule.Calendar{}, environment{}.get)
			if err != nil && strings.Contains(err.Error(), marker) {
				t.Errorf("%q: %v", field+before+marker+after, err)
			}
		}
	})
}
