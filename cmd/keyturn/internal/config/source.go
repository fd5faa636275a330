package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Source says where a secret comes from; exactly one field is set.
type Source struct {
	// Value is the secret itself; for development only.
	Value string `yaml:"value"`
	// File holds the secret; a line break at its end does not count.
	File string `yaml:"file"`
	// Env is the name of a variable.
	Env string `yaml:"env"`
	// Vault is a field of a secret in Vault.
	Vault *VaultField `yaml:"vault"`
}

// VaultField is a field of a secret in Vault.
type VaultField struct {
	// Path as for `vault kv get`: the mount and the secret.
	Path  string `yaml:"path"`
	Field string `yaml:"field"`
}

// VaultGet reads a field of a secret in Vault.
type VaultGet func(ctx context.Context, path, field string) (credential.Secret, error)

// Given reports whether the source is declared at all.
func (s Source) Given() bool { return s.Value != "" || s.File != "" || s.Env != "" || s.Vault != nil }

// String names the source, never the secret.
func (s Source) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "environment variable " + s.Env
	case s.Vault != nil:
		return "field " + s.Vault.Field + " of " + s.Vault.Path + " in Vault"
	case s.Value != "":
		return "the configuration file"
	}
	return "nowhere"
}

// GoString names the source, never the secret.
func (s Source) GoString() string { return s.String() }

// Read reads the secret, each time anew.
func (s Source) Read(ctx context.Context, get VaultGet) (credential.Secret, error) {
	var text string
	switch {
	case s.File != "":
		data, err := os.ReadFile(s.File)
		if err != nil {
			return credential.Secret{}, fmt.Errorf("read the secret: %w", err)
		}
		text = strings.TrimRight(string(data), "\r\n")
	case s.Env != "":
		text = os.Getenv(s.Env)
	case s.Vault != nil:
		if get == nil {
			return credential.Secret{}, errors.New("read the secret: Vault is not at hand here")
		}
		return get(ctx, s.Vault.Path, s.Vault.Field)
	default:
		text = s.Value
	}
	if text == "" {
		return credential.Secret{}, fmt.Errorf("the secret is empty (from %s)", s)
	}
	return credential.NewSecret(text), nil
}

// check wants exactly one field.
func (s Source) check(field string, fromVault bool, wrong complain) {
	ways := 0
	for _, given := range []bool{s.Value != "", s.File != "", s.Env != "", s.Vault != nil} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		wrong(field, "want exactly one of file, env, vault and value")
	}
	if s.Vault == nil {
		return
	}
	if !fromVault {
		wrong(field+".vault", "what opens Vault cannot come from Vault")
	}
	if s.Vault.Path == "" || s.Vault.Field == "" {
		wrong(field+".vault", "want path and field")
	}
}
