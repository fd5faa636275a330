package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The secrets of the installation itself. "_system" is no valid namespace, so
// it never meets a credential.
const (
	signingPath = "_system/signing"
	fieldSeed   = "seed"
)

// SigningSeed returns the seed that events are signed with. It is a fault of
// ClassNotFound when setup has not made one.
func (c *Client) SigningSeed(ctx context.Context) (credential.Secret, error) {
	p := c.at(signingPath)
	data, _, err := c.readAt(ctx, "signing", p)
	if err != nil {
		return credential.Secret{}, err
	}
	seed, _ := data[fieldSeed].(string)
	if seed == "" {
		return credential.Secret{}, notFound("read "+p.shown, errors.New("there is no signing seed"), "keyturn setup")
	}
	return credential.NewSecret(seed), nil
}

// StoreSigningSeed stores the first signing seed. It is a conflict when there
// is one or was one, so of two setups one wins.
func (c *Client) StoreSigningSeed(ctx context.Context, seed credential.Secret) error {
	p := c.at(signingPath)
	if seed.Empty() || strings.Contains(seed.Reveal(), credential.Secret{}.String()) {
		return refuse("write "+p.shown, errors.New("the seed is empty or a redacted text"))
	}
	// The metadata comes after: once there is some, Vault takes the first
	// version for an update, and setup may create only.
	_, err := c.writeAt(ctx, "signing", p, map[string]string{fieldSeed: seed.Reveal()}, 0, seed)
	if credential.IsClass(err, credential.ClassDenied) {
		if _, readErr := c.SigningSeed(ctx); readErr == nil {
			return &credential.Fault{
				Class: credential.ClassConflict, System: system, Op: "write " + p.shown,
				Err: errors.New("there is a signing seed already"),
			}
		}
	}
	if err != nil {
		return err
	}
	return c.ensureMetadataAt(ctx, p, "")
}

// Get reads one field of any KV secret, for what the config takes from Vault.
// The path is written as for `vault kv get`: the mount and the secret, without
// "data" in between; both versions of KV are understood. A value that is empty
// counts as not found.
func (c *Client) Get(ctx context.Context, path, field string) (credential.Secret, error) {
	what := fmt.Sprintf("read field %q of %s", field, path)
	if !cleanPath(path) {
		return credential.Secret{}, refuse(what, fmt.Errorf("%q is not a path", path))
	}
	m, err := c.mount(ctx, path)
	if err != nil {
		return credential.Secret{}, err
	}
	rest, ok := strings.CutPrefix(path, m.path)
	if !ok || rest == "" || !m.kv {
		return credential.Secret{}, refuse(what, fmt.Errorf("%q is not a secret in a KV mount", path))
	}
	k := call{op: "get", what: what, method: http.MethodGet, path: path, need: `"read"`}
	if m.version == 2 {
		k.path = m.path + "data/" + strings.TrimPrefix(rest, "data/")
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return credential.Secret{}, err
	}
	data := a.data
	if m.version == 2 {
		data = object(a.data["data"])
	}
	if data == nil {
		return credential.Secret{}, notFound(what, errors.New("there is no such secret"), "vault kv put "+path)
	}
	var value string
	switch v := data[field].(type) {
	case string:
		value = v
	case json.Number:
		value = v.String()
	case nil:
	default:
		return credential.Secret{}, refuse(what, errors.New("the value is neither a text nor a number"))
	}
	if value == "" {
		return credential.Secret{}, notFound(what, errors.New("there is no such field, or it is empty"),
			"one of the fields "+strings.Join(slices.Sorted(maps.Keys(data)), ", "))
	}
	return credential.NewSecret(value), nil
}

func notFound(what string, err error, hint string) error {
	return &credential.Fault{Class: credential.ClassNotFound, System: system, Op: what, Err: err, Hint: hint}
}

// mountInfo is what Vault says of a mount.
type mountInfo struct {
	path    string // with a slash at its end
	kv      bool
	version int
}

// mount asks which mount holds a path. Every valid token may ask for what it
// has any access to.
func (c *Client) mount(ctx context.Context, path string) (mountInfo, error) {
	k := call{
		op: "mount", what: "look up the mount of " + path, method: http.MethodGet,
		path: "sys/internal/ui/mounts/" + path, need: `"read"`,
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return mountInfo{}, err
	}
	var m mountInfo
	m.path, _ = a.data["path"].(string)
	kind, _ := a.data["type"].(string)
	m.kv, m.version = kind == "kv" || kind == "generic", 1
	if version, _ := object(a.data["options"])["version"].(string); version == "2" {
		m.version = 2
	}
	if m.path == "" {
		return mountInfo{}, &credential.Fault{Class: credential.ClassRetryable, System: system, Op: k.what, Err: errUnreadable}
	}
	return m, nil
}

// requireMount is nil when the configured mount is there and is KV v2, so that
// a missing secret is a missing secret.
func (c *Client) requireMount(ctx context.Context, what string) error {
	m, err := c.mount(ctx, c.config.Mount)
	switch {
	case credential.IsClass(err, credential.ClassDenied):
		return c.mountFault(what, "is missing, or the token has no access to it at all")
	case err != nil:
		return err
	case m.path != c.config.Mount+"/":
		return c.mountFault(what, "is missing")
	case !m.kv || m.version != 2:
		return c.mountFault(what, "is not KV v2")
	}
	return nil
}

// notKV2 explains an answer that KV v2 does not give.
func (c *Client) notKV2(what string) error {
	return c.mountFault(what, "is not KV v2: its answer carries no version")
}

func (c *Client) mountFault(what, state string) error {
	return &credential.Fault{
		Class: credential.ClassPermanent, System: system, Op: what,
		Err:  fmt.Errorf("the mount %q %s", c.config.Mount, state),
		Hint: mountHint(c.config.Mount),
	}
}

func mountHint(mount string) string {
	return fmt.Sprintf("vault secrets enable -path=%s kv-v2, or correct the mount in the config", mount)
}
