package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// maxSecret bounds the file of a secret.
const maxSecret = 64 << 10

// Source says where a secret comes from; exactly one field is given.
type Source struct {
	// Value is the secret itself; for development only.
	Value credential.Secret `yaml:"value"`
	// File holds the secret; line breaks at its end do not count.
	File string `yaml:"file"`
	// Env is the name of a variable.
	Env string `yaml:"env"`
	// Vault is a field of a secret in Vault; not for what opens Vault.
	Vault *VaultField `yaml:"vault"`

	plain bool // Value is no secret: plain text where that is expected
}

// VaultField is a field of a secret in Vault.
type VaultField struct {
	// Path as for `vault kv get`: the mount and the secret.
	Path string `yaml:"path,required"`
	// Field of the secret.
	Field string `yaml:"field,required"`
}

// VaultGet reads a field of a secret in Vault.
type VaultGet func(ctx context.Context, path, field string) (credential.Secret, error)

// SetText takes a value that is written without a mapping.
func (s *Source) SetText(text string) { *s = Source{Value: credential.NewSecret(text), plain: true} }

// Given reports whether the source is declared at all.
func (s Source) Given() bool { return s.ways() > 0 }

func (s Source) ways() int {
	ways := 0
	for _, given := range []bool{!s.Value.Empty(), s.File != "", s.Env != "", s.Vault != nil} {
		if given {
			ways++
		}
	}
	return ways
}

// String names the source, never the secret.
func (s Source) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "environment variable " + s.Env
	case s.Vault != nil:
		return "field " + s.Vault.Field + " of " + s.Vault.Path + " in Vault"
	case !s.Value.Empty():
		return "the configuration file"
	}
	return "nowhere"
}

// GoString names the source, never the secret.
func (s Source) GoString() string { return s.String() }

// MarshalJSON names the source, never the secret.
func (s Source) MarshalJSON() ([]byte, error) {
	if s.plain {
		return json.Marshal(s.Value.Reveal()) // no secret
	}
	return json.Marshal(s.String())
}

// Read reads the secret, each time anew. Get reads Vault; it may be nil where
// the source is not there. An error names the source and says what to try.
func (s Source) Read(ctx context.Context, get VaultGet) (credential.Secret, error) {
	var secret credential.Secret
	var err error
	hint := "put the secret there"
	switch {
	case s.File != "":
		secret, err = readFile(s.File)
		if errors.Is(err, os.ErrPermission) {
			hint = "let the user that runs keyturn read it"
		}
	case s.Env != "":
		text, ok := os.LookupEnv(s.Env)
		if !ok {
			err = errors.New("it is not set")
		}
		secret, hint = credential.NewSecret(strings.TrimRight(text, "\r\n")), "set it for the process that runs keyturn"
	case s.Vault != nil && get == nil:
		err, hint = errors.New("Vault is not at hand here"), "use file or env"
	case s.Vault != nil:
		secret, err = get(ctx, s.Vault.Path, s.Vault.Field)
		hint = fmt.Sprintf("vault kv get -field=%s %s, with the token of keyturn", s.Vault.Field, s.Vault.Path)
	default:
		secret, hint = s.Value, "give one of value, file, env and vault"
	}
	if err == nil && secret.Empty() {
		err = errors.New("it is empty")
	}
	if err != nil {
		return credential.Secret{}, fmt.Errorf("secret from %s: %w (try: %s)", s, err, hint)
	}
	return secret, nil
}

func readFile(name string) (credential.Secret, error) {
	file, err := os.Open(name)
	if err != nil {
		return credential.Secret{}, bare(err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	switch {
	case err != nil:
		return credential.Secret{}, bare(err)
	case len(data) > maxSecret:
		return credential.Secret{}, fmt.Errorf("larger than %d KiB", maxSecret>>10)
	}
	return credential.NewSecret(strings.TrimRight(string(data), "\r\n")), nil
}

// bare takes the file's name off an error that stands behind it anyway.
func bare(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// source checks a source that may be left out.
func (k *checker) source(path string, s Source, fromVault bool) {
	switch {
	case s.ways() > 1:
		k.Addf(path, "want exactly one of value, file, env and vault")
	case s.ways() == 0 && k.Given(path):
		k.Addf(path, "empty: want one of value, file, env and vault")
	case s.Vault != nil && !fromVault:
		k.Addf(path+".vault", "what opens Vault cannot come from Vault: use file or env")
	}
}

// present checks a source that must be there.
func (k *checker) present(path string, s Source, fromVault bool) {
	k.source(path, s, fromVault)
	if !s.Given() {
		k.Addf(path, "empty: want one of value, file, env and vault")
	}
}
