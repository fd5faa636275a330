package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/schedule"
)

// TestMoreErrors has the rarer mistakes, in the form of TestErrors.
func TestMoreErrors(t *testing.T) {
	const nats, addr, token, portal, password, user = "  url: nats://127.0.0.1:4222", "  addr: https://vault.example.com:8200",
		"    token: {env: VAULT_TOKEN}", "    url: https://www.arcgis.com/sharing/rest", "    password: {env: PORTAL}", "    username: manager"
	issuers := sound[strings.Index(sound, "issuers"):]
	for _, test := range []struct{ name, old, new, want string }{
		{"a port of NATS", nats, "  url: nats://host:99999", "c.yaml:3:8: nats.url: 99999 is not a port"},
		{"an empty list of URLs", nats, "  urls: []", "c.yaml:2:1: nats.url: missing: give url, urls or embedded, or set KEYTURN_NATS_URL"},
		{"url and urls", nats, nats + "\n  urls: [nats://b]", "c.yaml:4:3: nats.urls: want one of url, urls and embedded, not url and urls"},
		{"an embedded server nowhere", nats, "  embedded: {store_dir: x, listen: nowhere}", `c.yaml:3:36: nats.embedded.listen: "nowhere" is not an address: want host:port such as 127.0.0.1:4222`},
		{"an embedded server that nobody finds", nats, "  embedded: {store_dir: x, listen: 'localhost:0'}", `c.yaml:3:36: nats.embedded.listen: "localhost:0" has no fixed port: other processes look for it there`},
		{"a record in a folder without name", nats, "  embedded: {store_dir: ''}", "c.yaml:3:25: nats.embedded.store_dir: empty"},
		{"an empty seed", nats, nats + "\n  nkey_seed:", "c.yaml:4:3: nats.nkey_seed: empty: want one of value, file, env and vault"},
		{"a user with an empty password", nats, nats + "\n  user: u\n  password: {}", "c.yaml:5:3: nats.password: empty: want one of value, file, env and vault"},
		{"a port of Vault", addr, "  addr: https://h:99999", "c.yaml:5:9: vault.addr: 99999 is not a port"},
		{"a Vault address with a login", addr, "  addr: https://u:hunter2@h", "c.yaml:5:9: vault.addr: carries a login: leave it out"},
		{"a mount", addr, addr + "\n  mount: /kv/", `c.yaml:6:10: vault.mount: "/kv/" is not a path in Vault: want words with / between them`},
		{"two other Vault logins", token, "    approle: {role_id: r, secret_id: {env: S}}\n    kubernetes: {role: r}", "c.yaml:8:5: vault.login.kubernetes: want one way to log in, not approle and kubernetes"},
		{"a login that is announced only", token, "    token:", "c.yaml:7:5: vault.login.token: empty: fill it in, or leave it out for the variable VAULT_TOKEN"},
		{"an AppRole that is announced only", token, "    approle:", "c.yaml:7:5: vault.login.approle: empty: fill it in, or leave it out for the variable VAULT_TOKEN"},
		{"Kubernetes without a role", token, "    kubernetes: {}", "c.yaml:7:5: vault.login.kubernetes.role: missing"},
		{"an AppRole from Vault", token, "    approle: {role_id: r, secret_id: {vault: {path: a, field: b}}}", "c.yaml:7:39: vault.login.approle.secret_id.vault: what opens Vault cannot come from Vault: use file or env"},
		{"an empty role id", token, "    approle: {role_id: '', secret_id: {env: S}}", "c.yaml:7:24: vault.login.approle.role_id: empty: want one of value, file, env and vault"},
		{"a mount of a login", token, "    kubernetes: {role: r, mount: ../x}", `c.yaml:7:34: vault.login.kubernetes.mount: "../x" is not a path in Vault: want words with / between them`},
		{"a place in Vault without name", password, "    password: {vault: {path: '', field: f}}", "c.yaml:13:30: issuers.example.password.vault.path: empty"},
		{"the same issuer twice in a list", issuers, "issuers: [{name: a, type: arcgis, url: 'https://h/sharing/rest', username: u, password: {env: A}}, {name: a}]\n", "c.yaml:8:100: issuers.a: the same name stands here twice"},
		{"text for issuers", issuers, "issuers: x\n", "c.yaml:8:10: issuers: want a mapping from names, or a list; got text"},
		{"an empty issuer", issuers, "issuers: {a: }\n", "c.yaml:8:11: issuers.a: missing"},
		{"an empty list of issuers", issuers, "issuers: []\n", "c.yaml:8:1: issuers: no issuer is configured"},
		{"issuers from nowhere", issuers, "issuers: *x\n", "c.yaml:8:1: issuers: an alias for which there is no anchor: put the value in quotes if it is text"},
		{"an issuer with a long name", "example:", strings.Repeat("e", 64) + ":", "c.yaml:9:3: issuers.eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee: not a name: want a-z, 0-9 and -, 1 to 63 characters"},
		{"a name that moves the cursor", "example:", `"e\e[2J\n":`, `c.yaml:9:3: issuers.e\x1b[2J\n: not a name: want a-z, 0-9 and -, 1 to 63 characters`},
		{"an empty username", user, "    username: ''", "c.yaml:12:15: issuers.example.username: empty"},
		{"an empty URL", portal, "    url: ''", "c.yaml:11:10: issuers.example.url: empty"},
		{"an empty type", "type: arcgis", "type: ''", "c.yaml:10:11: issuers.example.type: empty"},
		{"a port of a portal", portal, "    url: https://h:77777/sharing/rest", "c.yaml:11:10: issuers.example.url: 77777 is not a port"},
		{"a timeout", user, user + "\n    timeout: 10ms", "c.yaml:13:14: issuers.example.timeout: want 100ms to 10m"},
		{"a clock skew", user, user + "\n    max_clock_skew: 25h", "c.yaml:13:21: issuers.example.max_clock_skew: want 1s to 24h"},
		{"the daemon's clock skew", password, password + "\ndaemon:\n  max_clock_skew: 0", "c.yaml:15:19: daemon.max_clock_skew: want 1s to 24h"},
		{"too short a time between probes", password, password + "\ndaemon:\n  probe_interval: 10ms", "c.yaml:15:19: daemon.probe_interval: want 1s to 24h"},
		{"too short a grace", password, password + "\ndaemon:\n  stray_grace: 9m", "c.yaml:15:16: daemon.stray_grace: want 10m to 30d"},
		{"how often checkpoints", password, password + "\ndaemon:\n  checkpoint_every: 8d", "c.yaml:15:21: daemon.checkpoint_every: want 1s to 7d"},
		{"a rate that is none", user, user + "\n    rate_limit: .inf", "c.yaml:13:17: issuers.example.rate_limit: want a decimal number; got one without a value"},
		{"too high a rate", user, user + "\n    rate_limit: 2000000", "c.yaml:13:17: issuers.example.rate_limit: want calls a second, 0 for no limit"},
		{"a list for a duration", user, user + "\n    timeout: [1s]", "c.yaml:13:14: issuers.example.timeout: want a duration such as 90d, 12h or 30s; got a list"},
		{"workers", password, password + "\ndaemon: {workers: 2000}", "c.yaml:14:19: daemon.workers: want 1 to 1024"},
		{"a named port", password, password + "\ndaemon: {http: '127.0.0.1:http'}", `c.yaml:14:16: daemon.http: "127.0.0.1:http" is not an address: want host:port such as 127.0.0.1:9464`},
		{"a list for all", sound, "- a\n", "c.yaml:1:1: want a mapping with the fields installation, nats, vault, issuers, daemon, operators, operator, break_glass; got a list"},
		{"text for all", sound, "text\n", "c.yaml:1:1: want a mapping with the fields installation, nats, vault, issuers, daemon, operators, operator, break_glass; got text"},
		{"an empty file", sound, "", "c.yaml: want one YAML document, not 0"},
		{"an empty installation as text", "prod", "''", "c.yaml:1:15: installation: empty"},
	} {
		t.Run(test.name, func(t *testing.T) { wrong(t, test.old, test.new, test.want) })
	}
}

// TestErrorsNameTheVariable: what does not stand in the file has no line.
func TestErrorsNameTheVariable(t *testing.T) {
	text := "installation: prod\n" + sound[strings.Index(sound, "issuers"):]
	for _, test := range []struct {
		env  environment
		want string
	}{
		{nil, `c.yaml:1:1: nats.url: missing: give url, urls or embedded, or set KEYTURN_NATS_URL
c.yaml:1:1: vault.addr: missing: give the address, or set VAULT_ADDR`},
		{environment{"KEYTURN_NATS_URL": "nats://u:hunter2@h", "VAULT_ADDR": "https://v"}, "c.yaml:1:1: nats.url: from KEYTURN_NATS_URL: carries a login: give user and password, or token, instead"},
		{environment{"KEYTURN_NATS_URL": "nats://h", "VAULT_ADDR": "nowhere"}, "c.yaml:1:1: vault.addr: from VAULT_ADDR: not an address: want https://vault.example.com:8200"},
	} {
		_, err := parse("c.yaml", []byte(text), &schedule.Calendar{}, test.env.get)
		if err == nil {
			t.Errorf("%v: no error", test.env)
			continue
		}
		if diff := cmp.Diff(test.want, err.Error()); diff != "" {
			t.Error(diff)
		}
	}
}
