package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// TestDiffNamesFields as they stand in the file, and no value of them.
func TestDiffNamesFields(t *testing.T) {
	const base = `installation: test
nats: {url: "nats://127.0.0.1:4222", user: u, password: {value: one}, tls: {ca: a.pem}}
vault: {addr: "https://vault.example.com", login: {approle: {role_id: r, secret_id: {file: s}}}}
issuers:
  portal: {type: arcgis, url: "https://portal.example.com/sharing/rest", username: keeper, password: {file: p}}
daemon: {max_clock_skew: 5m}
`
	read := func(pairs ...string) *config.Config {
		c, err := config.Parse("k.yaml", []byte(strings.NewReplacer(pairs...).Replace(base)), &schedule.Calendar{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for want, pairs := range map[string][]string{
		"[]":                              {},
		"[installation]":                  {"test", "prod"},
		"[nats.password]":                 {"value: one", "value: two"},
		"[nats.tls.ca nats.url]":          {"a.pem", "b.pem", "4222", "4223"},
		"[vault.login.approle.secret_id]": {"file: s", "env: s"},
		"[issuers.portal.password]":       {"file: p", "file: q"},
		"[issuers.portal.username]":       {"keeper", "other"},
		"[issuers.other issuers.portal]":  {"portal:", "other:"},
		"[daemon.max_clock_skew issuers.portal.max_clock_skew]":        {"5m", "6m"},
		"[nats.embedded nats.password nats.tls.ca nats.url nats.user]": {`nats: {url: "nats://127.0.0.1:4222", user: u, password: {value: one}, tls: {ca: a.pem}}`, `nats: {embedded: {store_dir: d, listen: "127.0.0.1:4333"}}`},
		"[vault.login.approle vault.login.token]":                      {"approle: {role_id: r, secret_id: {file: s}}", "token: {env: T}"},
		"[daemon.log_level]": {"daemon: {", "daemon: {log_level: debug, "},
	} {
		if got := fmt.Sprint(config.Diff(read(), read(pairs...))); got != want {
			t.Errorf("%v: %s, want %s", pairs, got, want)
		}
		if got := fmt.Sprint(config.Diff(read(pairs...), read())); got != want {
			t.Errorf("%v, the other way round: %s, want %s", pairs, got, want)
		}
	}
}
