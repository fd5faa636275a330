package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/schedule"
)

// environment is a fixed one: variable → value.
type environment map[string]string

func (e environment) get(name string) string { return e[name] }

func load(t *testing.T, name string, env environment) *Config {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	c, err := parse("/etc/keyturn/"+name, data, &schedule.Calendar{}, env.get)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// values flattens what a configuration says.
func values(t *testing.T, c *Config) map[string]any {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	flat := map[string]any{}
	var walk func(string, any)
	walk = func(path string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			flat[path] = v
			return
		}
		for key, value := range m {
			walk(strings.TrimPrefix(path+"."+key, "."), value)
		}
	}
	walk("", tree)
	return flat
}

func TestLoadFull(t *testing.T) {
	c := load(t, "full.yaml", nil)
	have := values(t, c)
	for path, want := range map[string]any{
		"Installation":                     "prod",
		"NATS.URL":                         "tls://n1.example.com:4222,tls://n2.example.com:4222",
		"NATS.User":                        "keyturn",
		"NATS.Password":                    "file /etc/keyturn/nats-password",
		"NATS.InboxPrefix":                 "_INBOX_keyturn",
		"NATS.Replicas":                    3.0,
		"NATS.TLS.CA":                      "/etc/keyturn/ca.pem",
		"Vault.Login.AppRole.Mount":        "approle-ci",
		"Vault.Login.AppRole.RoleID":       "0b1c2d3e",
		"Vault.Login.AppRole.SecretID":     "environment variable KEYTURN_SECRET_ID",
		"Issuers.online.Name":              "online",
		"Issuers.online.URL":               "https://www.arcgis.com/sharing/rest",
		"Issuers.online.Password":          "field password of secret/portal in Vault",
		"Issuers.online.RateLimit":         2.5,
		"Issuers.online.Timeout.Value":     float64(20 * time.Second),
		"Issuers.enterprise.Concurrency":   8.0,
		"Issuers.enterprise.APIKey":        "file /run/secrets/portal-key",
		"Issuers.enterprise.Timeout.Value": float64(15 * time.Second),
		"Daemon.Workers":                   32.0,
		"Daemon.LogLevel":                  "debug",
	} {
		if diff := cmp.Diff(want, have[path]); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if skew := c.Issuers["enterprise"].MaxClockSkew.Value; skew != time.Minute {
		t.Errorf("the daemon's clock skew does not count for the issuer: %v", skew)
	}
}

func TestEnvironmentFillsInWhatTheFileIsSilentAbout(t *testing.T) {
	env := environment{
		"KEYTURN_NATS_URL": "nats://env:4222", "VAULT_ADDR": "https://env:8200", "VAULT_TOKEN": "s.token",
		"VAULT_NAMESPACE": "env", "VAULT_CACERT": "/env/ca.pem",
	}
	c := load(t, "minimal.yaml", env)
	if c.NATS.URL != "nats://env:4222" || c.Vault.Addr != "https://env:8200" || c.Vault.Namespace != "env" || c.Vault.TLS.CA != "/env/ca.pem" {
		t.Errorf("%+v", c)
	}
	if c.Vault.Login.Token == nil || c.Vault.Login.Token.Env != "VAULT_TOKEN" {
		t.Errorf("login %+v", c.Vault.Login)
	}
	if c.Vault.Mount != DefaultMount || c.Daemon.HTTP != DefaultHTTP || c.Issuers["portal"].MinLifetime.Value != DefaultMinLifetime {
		t.Errorf("%+v", c)
	}
	full := load(t, "full.yaml", env)
	if strings.Contains(fmt.Sprintf("%+v", full), "env:") || full.Vault.Login.Token != nil || full.Vault.Namespace != "team" {
		t.Errorf("the environment wins over the file: %+v", full)
	}
}

func TestNothingShowsAnInlineSecret(t *testing.T) {
	c := load(t, "minimal.yaml", environment{"KEYTURN_NATS_URL": "n", "VAULT_ADDR": "https://v"})
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %s %v", c, c, c, c.Issuers["portal"].Password, text, c.Warnings())
	if strings.Contains(shown, "hunter2") {
		t.Errorf("the secret is shown in %s", shown)
	}
}

func TestDigest(t *testing.T) {
	env := environment{"KEYTURN_NATS_URL": "nats://env:4222", "VAULT_ADDR": "https://env:8200"}
	digest := func(old, new string) string {
		t.Helper()
		data, err := os.ReadFile("testdata/minimal.yaml")
		if err != nil {
			t.Fatal(err)
		}
		c, err := parse("/etc/keyturn.yaml", []byte(strings.Replace(string(data), old, new, 1)), &schedule.Calendar{}, env.get)
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest()
	}
	first := digest("", "")
	if len(first) != 16 {
		t.Errorf("digest %q", first)
	}
	for _, same := range [][2]string{
		{"hunter2-secret", "another"},
		{"installation: dev", "installation: 'dev' # the same"},
		{"    username: admin", "    username: admin\n    concurrency: 8\n    min_lifetime: 1d"},
		{"  - name: portal\n   ", "  portal:\n   "},
	} {
		if d := digest(same[0], same[1]); d != first {
			t.Errorf("%q → %q changes the digest", same[0], same[1])
		}
	}
	for _, other := range [][2]string{
		{"installation: dev", "installation: prod"},
		{"{value: hunter2-secret}", "{env: PORTAL}"},
		{"    username: admin", "    username: admin\n    rate_limit: 3"},
	} {
		if d := digest(other[0], other[1]); d == first {
			t.Errorf("%q → %q does not change the digest", other[0], other[1])
		}
	}
	env["VAULT_ADDR"] = "https://other:8200"
	if digest("", "") == first {
		t.Error("the environment does not count")
	}
}

func TestLoadFindsTheFile(t *testing.T) {
	t.Setenv(EnvPath, "")
	if _, err := Load("", &schedule.Calendar{}); err == nil || !strings.Contains(err.Error(), "try: --config FILE, or set KEYTURN_CONFIG") {
		t.Error(err)
	}
	t.Setenv(EnvPath, "testdata/full.yaml")
	c, err := Load("", &schedule.Calendar{})
	if err != nil || c.Path != "testdata/full.yaml" {
		t.Error(err)
	}
	if _, err := Load("testdata/none.yaml", &schedule.Calendar{}); err == nil || !strings.Contains(err.Error(), "testdata/none.yaml") {
		t.Error(err)
	}
}

func TestEmbedded(t *testing.T) {
	text := "installation: dev\nnats:\n  embedded: {store_dir: jetstream}\nvault: {addr: https://v}\nissuers:\n  p: {type: arcgis, url: https://h/sharing/rest, username: u, api_key: {env: K}}\n"
	c, err := parse("/etc/keyturn.yaml", []byte(text), &schedule.Calendar{}, environment{"KEYTURN_NATS_URL": "nats://env"}.get)
	if err != nil {
		t.Fatal(err)
	}
	if c.NATS.URL != "nats://"+DefaultListen || c.NATS.Embedded.StoreDir != "/etc/jetstream" {
		t.Errorf("%+v %+v", c.NATS, c.NATS.Embedded)
	}
}
