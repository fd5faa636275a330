package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
)

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func TestSourceIsReadAnewEachTime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	stored := "v1"
	get := func(_ context.Context, path, field string) (credential.Secret, error) {
		return credential.NewSecret(path + "#" + field + "=" + stored), nil
	}
	read := func(s Source, want string) {
		t.Helper()
		secret, err := s.Read(t.Context(), get)
		if err != nil || secret.Reveal() != want {
			t.Errorf("%s: %v, %v; want %q", s, secret.Reveal(), err, want)
		}
	}
	write(t, file, "one\r\n", 0o600)
	read(Source{File: file}, "one")
	write(t, file, " two \n\n", 0o600)
	read(Source{File: file}, " two ")
	t.Setenv("KEYTURN_TEST_SECRET", "a")
	read(Source{Env: "KEYTURN_TEST_SECRET"}, "a")
	t.Setenv("KEYTURN_TEST_SECRET", "b\n")
	read(Source{Env: "KEYTURN_TEST_SECRET"}, "b")
	vault := Source{Vault: &VaultField{Path: "secret/p", Field: "f"}}
	read(vault, "secret/p#f=v1")
	stored = "v2"
	read(vault, "secret/p#f=v2")
	read(Source{Value: credential.NewSecret("inline")}, "inline")
}

func TestSourceErrorsNameTheSource(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	write(t, empty, "\n", 0o600)
	big := filepath.Join(dir, "big")
	write(t, big, strings.Repeat("x", maxSecret+1), 0o600)
	denied := errors.New("permission denied")
	failing := func(context.Context, string, string) (credential.Secret, error) { return credential.Secret{}, denied }
	vault := Source{Vault: &VaultField{Path: "secret/p", Field: "f"}}
	for _, test := range []struct {
		source Source
		get    VaultGet
		want   string
	}{
		{Source{File: dir + "/none"}, nil, "secret from file " + dir + "/none: no such file or directory (try: put the secret there)"},
		{Source{File: empty}, nil, "secret from file " + empty + ": it is empty (try: put the secret there)"},
		{Source{File: big}, nil, "secret from file " + big + ": larger than 64 KiB (try: put the secret there)"},
		{Source{File: dir}, nil, "secret from file " + dir + ": is a directory (try: put the secret there)"},
		{Source{Env: "KEYTURN_NONE"}, nil, "secret from environment variable KEYTURN_NONE: it is not set (try: set it for the process that runs keyturn)"},
		{vault, nil, "secret from field f of secret/p in Vault: Vault is not at hand here (try: use file or env)"},
		{vault, failing, "secret from field f of secret/p in Vault: permission denied (try: vault kv get -field=f secret/p, with the token of keyturn)"},
		{Source{}, nil, "secret from nowhere: it is empty (try: give one of value, file, env and vault)"},
	} {
		_, err := test.source.Read(t.Context(), test.get)
		if err == nil || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
	if _, err := vault.Read(t.Context(), failing); !errors.Is(err, denied) {
		t.Error("the cause is lost")
	}
}

func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "open"), "x", 0o644)
	write(t, filepath.Join(dir, "writable"), "x", 0o620)
	write(t, filepath.Join(dir, "private"), "x", 0o440)
	c := &Config{
		NATS: NATS{URL: "nats://10.0.0.1:4222,127.0.0.1,tls://h", CredsFile: dir + "/private", Password: Source{File: dir + "/none"}},
		Vault: Vault{Addr: "http://vault:8200", Login: Login{AppRole: &AppRole{
			RoleID: Source{Value: credential.NewSecret("id"), plain: true}, SecretID: Source{File: dir + "/open"},
		}}},
		Issuers: map[string]Issuer{"p": {Password: Source{Value: credential.NewSecret("hunter2")}, TLS: TLS{Key: dir + "/writable"}}},
		Daemon:  Daemon{AllowNonLoopback: true},
	}
	want := []string{
		"vault.login.approle.secret_id: " + dir + "/open may be read by everybody (mode 0644); try: chmod 600",
		"issuers.p.password: the secret stands in the configuration file; use file, env or vault outside of development",
		"issuers.p.tls.key: " + dir + "/writable may be changed by others (mode 0620); try: chmod 600",
		"vault.addr: keys cross the network unencrypted; use https",
		"nats.url: 10.0.0.1:4222 is reached unencrypted unless the server insists on TLS; use tls://",
		"daemon.allow_non_loopback: metrics and health are readable from the network",
	}
	if have := c.Warnings(); !slices.Equal(have, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}
