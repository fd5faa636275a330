package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/schedule"
)

// sound is a configuration in lines 1 to 13; the tests change one piece of it.
const sound = `installation: prod
nats:
  url: nats://127.0.0.1:4222
vault:
  addr: https://vault.example.com:8200
  login:
    token: {env: VAULT_TOKEN}
issuers:
  example:
    type: arcgis
    url: https://www.arcgis.com/sharing/rest
    username: manager
    password: {env: PORTAL}
`

func TestErrors(t *testing.T) {
	const nats, addr, token, portal, password, user = "  url: nats://127.0.0.1:4222", "  addr: https://vault.example.com:8200",
		"    token: {env: VAULT_TOKEN}", "    url: https://www.arcgis.com/sharing/rest", "    password: {env: PORTAL}", "    username: manager"
	for _, test := range []struct{ name, old, new, want string }{
		{"an unknown field", "installation: prod", "installation: prod\nintsallation: x", `c.yaml:2:1: unknown field "intsallation"; did you mean installation?`},
		{"an unknown field deep inside", user, user + "\n    minLifetime: 1d", `c.yaml:13:5: issuers.example: unknown field "minLifetime"; did you mean min_lifetime?`},
		{"a field one level too high", addr, addr + "\n  approle: {}", `c.yaml:6:3: vault: unknown field "approle"; did you mean login.approle?`},
		{"a field like no other", nats, nats + "\n  xyzzy: 1", `c.yaml:4:3: nats: unknown field "xyzzy"; there are url, urls, creds_file, nkey_seed, user, password, token, tls, inbox_prefix, replicas, signer_root, embedded`},
		{"the same key twice", nats, nats + "\n" + nats, `c.yaml:4:3: nats: the same key stands here twice`},
		{"no installation", "installation: prod\n", "", "c.yaml:1:1: installation: missing"},
		{"an empty installation", "installation: prod", "installation:", "c.yaml:1:1: installation: missing"},
		{"a bad installation", "prod", "Prod!", `c.yaml:1:15: installation: "Prod!" is not a name: want a-z, 0-9 and -, 1 to 32 characters`},
		{"a number for text", "prod", "2024", "c.yaml:1:15: installation: want text; got a number: put it in quotes"},
		{"no NATS", nats + "\n", "  # none\n", "c.yaml:2:1: nats.url: missing: give url, urls or embedded, or set KEYTURN_NATS_URL"},
		{"two NATS", nats, nats + "\n  embedded: {store_dir: x}", "c.yaml:4:3: nats.embedded: want one of url, urls and embedded, not url and embedded"},
		{"a NATS login in the URL", "127.0.0.1:4222", "u:hunter2@host", "c.yaml:3:8: nats.url: carries a login: give user and password, or token, instead"},
		{"a NATS scheme", "nats://127", "http://127", `c.yaml:3:8: nats.url: "http" is not a scheme of NATS: want nats, tls, ws or wss`},
		{"a bad NATS URL in a list", nats, "  urls: [nats://a, 'nats://']", "c.yaml:3:20: nats.urls[1]: not an address: want nats://host:4222"},
		{"two NATS logins", nats, nats + "\n  creds_file: x\n  token: {env: T}", "c.yaml:5:3: nats.token: want one way to log in, not creds_file and token"},
		{"a user without password", nats, nats + "\n  user: u", "c.yaml:4:9: nats.user: password is missing beside it"},
		{"a password without user", nats, nats + "\n  password: {env: P}", "c.yaml:4:3: nats.password: user is missing beside it"},
		{"replicas", nats, nats + "\n  replicas: 2", "c.yaml:4:13: nats.replicas: want 1, 3 or 5"},
		{"an inbox for all", nats, nats + "\n  inbox_prefix: '_INBOX.>'", `c.yaml:4:17: nats.inbox_prefix: "_INBOX.>" is not the beginning of a subject: want such as _INBOX_ops`},
		{"a fraction of a replica", nats, nats + "\n  replicas: 1.5", "c.yaml:4:13: nats.replicas: want a whole number; got a number"},
		{"a signer root", nats, nats + "\n  signer_root: SUAX", "c.yaml:4:16: nats.signer_root: not the public key that `keyturn setup` printed: it begins with U and has 56 characters"},
		{"an open embedded server", nats, "  embedded: {store_dir: x, listen: '0.0.0.0:4222'}", `c.yaml:3:36: nats.embedded.listen: "0.0.0.0:4222" is not on the loopback: the embedded server is for a single node; for more, run a NATS server and give its url`},
		{"an embedded server without a folder", nats, "  embedded: {}", "c.yaml:3:3: nats.embedded.store_dir: missing"},
		{"half a client certificate", nats, nats + "\n  tls: {cert: x}", "c.yaml:4:15: nats.tls.cert: key is missing beside it"},
		{"the other half", addr, addr + "\n  tls: {key: x}", "c.yaml:6:14: vault.tls.key: cert is missing beside it"},
		{"no Vault", addr + "\n", "", "c.yaml:4:1: vault.addr: missing: give the address, or set VAULT_ADDR"},
		{"a bad Vault address", addr, "  addr: vault:8200", "c.yaml:5:9: vault.addr: not an address: want https://vault.example.com:8200"},
		{"a Vault path", addr, addr + "\n  prefix: a/../b", `c.yaml:6:11: vault.prefix: "a/../b" is not a path in Vault: want words with / between them`},
		{"two Vault logins", token, token + "\n    kubernetes: {role: r}", "c.yaml:8:5: vault.login.kubernetes: want one way to log in, not token and kubernetes"},
		{"a Vault token from Vault", token, "    token:\n      vault: {path: a, field: b}", "c.yaml:8:7: vault.login.token.vault: what opens Vault cannot come from Vault: use file or env"},
		{"half an AppRole", token, "    approle: {role_id: r}", "c.yaml:7:5: vault.login.approle.secret_id: missing"},
		{"an empty token", token, "    token: {}", "c.yaml:7:5: vault.login.token: empty: want one of value, file, env and vault"},
		{"two sources", password, "    password: {env: A, file: b}", "c.yaml:13:5: issuers.example.password: want exactly one of value, file, env and vault"},
		{"a source as text", password, "    password: hunter2", "c.yaml:13:15: issuers.example.password: want a mapping with the fields value, file, env, vault; got text"},
		{"a secret as a key", password, "    password: {hunter2}", "c.yaml:13:16: issuers.example.password: unknown field; there are value, file, env, vault"},
		{"a secret as a number", password, "    password: {value: 12345}", "c.yaml:13:23: issuers.example.password.value: want text; got a number: put it in quotes"},
		{"half a place in Vault", password, "    password: {vault: {path: a}}", "c.yaml:13:16: issuers.example.password.vault.field: missing"},
		{"no issuers", sound[strings.Index(sound, "issuers"):], "", "c.yaml:1:1: issuers: missing"},
		{"an empty map of issuers", sound[strings.Index(sound, "issuers"):], "issuers: {}\n", "c.yaml:8:1: issuers: no issuer is configured"},
		{"an issuer without a name", sound[strings.Index(sound, "issuers"):], "issuers:\n  - type: arcgis\n", "c.yaml:9:5: issuers[0]: name is missing"},
		{"an issuer's name", "example:", "Example:", "c.yaml:9:3: issuers.Example: not a name: want a-z, 0-9 and -, 1 to 63 characters"},
		{"another name than the key", user, user + "\n    name: other", `c.yaml:13:11: issuers.example.name: "other" is not the key "example" that it stands under`},
		{"a type of issuer", "arcgis\n", "arcgsi\n", `c.yaml:10:11: issuers.example.type: "arcgsi" is not one of arcgis; did you mean arcgis?`},
		{"not a REST root", portal, "    url: https://www.arcgis.com", "c.yaml:11:10: issuers.example.url: not the REST root of a portal: it ends in /sharing/rest, such as https://www.arcgis.com/sharing/rest"},
		{"a portal in the clear", portal, "    url: http://gis.example.com/sharing/rest", "c.yaml:11:10: issuers.example.url: would send passwords in the clear: want https"},
		{"a portal's URL with a login", portal, "    url: https://u:hunter2@h/sharing/rest", "c.yaml:11:10: issuers.example.url: carries a login: leave it out"},
		{"a portal's URL with a query", portal, portal + "?f=json", "c.yaml:11:10: issuers.example.url: has something after ? or #: leave it out"},
		{"no username", user + "\n", "", "c.yaml:9:3: issuers.example.username: missing"},
		{"no password", password + "\n", "", "c.yaml:9:3: issuers.example.password: missing: want it or api_key"},
		{"password and key", password, password + "\n    api_key: {env: K}", "c.yaml:14:5: issuers.example.api_key: want one of password and api_key, not both"},
		{"a lifetime without unit", user, user + "\n    min_lifetime: 90", `c.yaml:13:19: issuers.example.min_lifetime: "90" is not a duration: want a number with a unit, such as 90d, 12h or 30s`},
		{"too long a lifetime", user, user + "\n    min_lifetime: 53w", "c.yaml:13:19: issuers.example.min_lifetime: want 1s to 365d"},
		{"a negative rate", user, user + "\n    rate_limit: -1", "c.yaml:13:17: issuers.example.rate_limit: want calls a second, 0 for no limit"},
		{"a referer that no header carries", user, user + "\n    referer: Zürich", "c.yaml:13:14: issuers.example.referer: not what a header can carry: want ASCII text such as https://keyturn.example.com"},
		{"half a client certificate of a portal", user, user + "\n    tls: {cert: a.pem}", "c.yaml:13:17: issuers.example.tls.cert: key is missing beside it"},
		{"a web adaptor without the REST root", portal, "    url: https://gis.example.com/portal", "c.yaml:11:10: issuers.example.url: not the REST root of a portal: it ends in /sharing/rest, such as https://www.arcgis.com/sharing/rest"},
		{"concurrency", user, user + "\n    concurrency: 2000", "c.yaml:13:18: issuers.example.concurrency: want 1 to 1024"},
		{"an open listener", password, password + "\ndaemon:\n  http: :9464", `c.yaml:15:9: daemon.http: ":9464" is not on the loopback: everybody could read it; if that is wanted, set allow_non_loopback: true`},
		{"no listener at all", password, password + "\ndaemon:\n  http: localhost", `c.yaml:15:9: daemon.http: "localhost" is not an address: want host:port such as 127.0.0.1:9464`},
		{"yes for true", password, password + "\ndaemon:\n  allow_non_loopback: yes", "c.yaml:15:23: daemon.allow_non_loopback: want true or false; got text"},
		{"a sweep", password, password + "\ndaemon:\n  sweep: '* * *'", `c.yaml:15:10: daemon.sweep: "* * *" is not a cron spec: expected exactly 5 fields, found 3: [* * *]`},
		{"a sweep that panics the parser", password, password + "\ndaemon:\n  sweep: CRON_TZ=UTC", `c.yaml:15:10: daemon.sweep: "CRON_TZ=UTC" is not a cron spec: nothing follows the time zone; want CRON_TZ=Europe/Berlin 0 3 * * *`},
		{"a sweep that never comes", password, password + "\ndaemon:\n  sweep: 0 0 31 2 *", `c.yaml:15:10: daemon.sweep: "0 0 31 2 *" never fires`},
		{"a log level", password, password + "\ndaemon:\n  log_level: warning", `c.yaml:15:14: daemon.log_level: "warning" is not one of debug, info, warn, error`},
		{"a list for a section", sound[strings.Index(sound, "nats:"):strings.Index(sound, "vault:")], "nats: []\n", "c.yaml:2:7: nats: want a mapping with the fields url, urls, creds_file, nkey_seed, user, password, token, tls, inbox_prefix, replicas, signer_root, embedded; got a list"},
		{"two documents", password, password + "\n---\na: b", "c.yaml: want one YAML document, not 2"},
		{"no document", sound, "# nothing\n", "c.yaml: want one YAML document, not 0"},
		{"broken YAML", password, "    password: 'hunter2", "c.yaml:13:15: could not find end character of single-quoted text"},
		{"a tab", password, "\tpassword: hunter2", "c.yaml:13:1: found character '\\t' that cannot start any token"},
		{"a secret that looks like an alias", password, "    password: {value: *hunter2}", "c.yaml:13:23: issuers.example.password.value: an alias for which there is no anchor: put the value in quotes if it is text"},
		{"a secret that looks like a block", password, "    password:\n      value: |hunter2", "c.yaml:14:14: nothing may follow | or > on its line: put the value in quotes if it is text"},
		{"a secret that looks like a tag", password, "    password:\n      value: !hunter2 x", "c.yaml:14:14: issuers.example.password.value: YAML tags such as !!str are not supported: put the value in quotes if it is text"},
		{"an alias to nowhere", "prod", "*prod", "c.yaml:1:15: installation: an alias for which there is no anchor: put the value in quotes if it is text"},
		{"a YAML tag", "prod", "!!str 1", "c.yaml:1:15: installation: YAML tags such as !!str are not supported: put the value in quotes if it is text"},
	} {
		t.Run(test.name, func(t *testing.T) { wrong(t, test.old, test.new, test.want) })
	}
}

// wrong changes a piece of sound and wants exactly one error.
func wrong(t *testing.T, old, changed, want string) {
	t.Helper()
	if !strings.Contains(sound, old) {
		t.Fatalf("%q is not in the configuration", old)
	}
	_, err := parse("c.yaml", []byte(strings.Replace(sound, old, changed, 1)), &schedule.Calendar{}, environment{}.get)
	if err == nil {
		t.Fatalf("no error, want %s", want)
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error shows the secret")
	}
}

func TestAllErrorsAtOnceInTheOrderOfLines(t *testing.T) {
	text := strings.NewReplacer("prod", "Prod", "arcgis\n", "x\n", "{env: PORTAL}", "{}", "addr: https:", "addr: ftp:").Replace(sound) + "extra: 1\n"
	_, err := parse("c.yaml", []byte(text), &schedule.Calendar{}, environment{}.get)
	want := `c.yaml:1:15: installation: "Prod" is not a name: want a-z, 0-9 and -, 1 to 32 characters
c.yaml:5:9: vault.addr: not an address: want https://vault.example.com:8200
c.yaml:10:11: issuers.example.type: "x" is not one of arcgis
c.yaml:13:5: issuers.example.password: empty: want one of value, file, env and vault
c.yaml:14:1: unknown field "extra"; there are installation, nats, vault, issuers, daemon, operators, operator, break_glass`
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(sound)
	f.Add("a: &x [*x]\n<<: *x")
	f.Add("installation: &a\n  <<: *a\nissuers: [{name: x}, {name: x}, *b]")
	f.Add("nats: {url: 'nats://%zz', embedded: {listen: ':'}}\ndaemon: {http: '[', sweep: 'TZ='}")
	f.Add("? [a]\n: b\n!!map x: 1\n--- |\n t\n...\n%YAML 1.2")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("c.yaml", []byte(text), &schedule.Calendar{}, environment{}.get)
		if (c == nil) == (err == nil) {
			t.Errorf("config %v, error %v", c, err)
		}
		if c != nil {
			c.Digest()
			c.Warnings()
		}
	})
}
