package vault

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/keyturn/keyturn/rotator/credential"
)

// managedBy is the custom metadata that tells people who writes a secret.
const managedBy = "keyturn"

// maxOwner is the longest value that custom metadata may have, in bytes.
const maxOwner = 512

// place is where a secret lies.
type place struct{ data, metadata, destroy, remove, shown string }

// at gives the place of a path below the prefix.
func (c *Client) at(path string) place {
	below := c.config.Prefix + "/" + path
	return place{
		data:     c.config.Mount + "/data/" + below,
		metadata: c.config.Mount + "/metadata/" + below,
		destroy:  c.config.Mount + "/destroy/" + below,
		remove:   c.config.Mount + "/delete/" + below,
		shown:    c.config.Mount + "/" + below,
	}
}

// locate gives the place of a credential.
func (c *Client) locate(verb string, name credential.Name) (place, error) {
	if _, err := credential.ParseName(string(name)); err != nil {
		return place{}, refuse(verb, err)
	}
	return c.at(string(name)), nil
}

// refuse is a request that is not sent.
func refuse(what string, err error) error {
	return &credential.Fault{Class: credential.ClassPermanent, System: system, Op: what, Err: err}
}

// Read returns the latest version of a credential's secret. Missing with
// Version 0 means that none was ever written; with another, that the latest
// one is deleted. A missing mount is a Fault.
func (c *Client) Read(ctx context.Context, name credential.Name) (credential.Stored, error) {
	p, err := c.locate("read", name)
	if err != nil {
		return credential.Stored{}, err
	}
	data, version, err := c.readAt(ctx, "read", p)
	if err != nil {
		return credential.Stored{}, err
	}
	if data == nil {
		return credential.Stored{Version: version, Missing: true}, nil
	}
	return credential.Stored{Document: decode(data), Version: version}, nil
}

// readAt reads the latest version at a place; data is nil when there is none.
func (c *Client) readAt(ctx context.Context, op string, p place) (data map[string]any, version uint64, err error) {
	return c.readCall(ctx, call{op: op, what: "read " + p.shown, method: http.MethodGet, path: p.data, need: `"read"`})
}

func (c *Client) readCall(ctx context.Context, k call) (data map[string]any, version uint64, err error) {
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, 0, err
	}
	version, ok := number(object(a.data["metadata"])["version"])
	data = object(a.data["data"])
	if !ok || version == 0 {
		if !a.missing {
			return nil, 0, c.notKV2(k.what)
		}
		return nil, 0, c.requireMount(ctx, k.what)
	}
	return data, version, nil
}

// Write replaces the secret, provided that its latest version is cas (0 =
// there is none), and returns the new version. It is sent once.
func (c *Client) Write(ctx context.Context, name credential.Name, doc credential.Document, cas uint64) (uint64, error) {
	p, err := c.locate("write", name)
	if err != nil {
		return 0, err
	}
	fields, err := encode(doc)
	if err != nil {
		return 0, refuse("write "+p.shown, err)
	}
	return c.writeAt(ctx, "write", p, fields, cas, doc.Primary.Secret, doc.Secondary.Secret)
}

// writeAt writes fields at a place.
func (c *Client) writeAt(ctx context.Context, op string, p place, fields any, cas uint64, hide ...credential.Secret) (uint64, error) {
	k := call{
		op: op, what: "write " + p.shown, method: http.MethodPut, path: p.data, need: `"update"`, hide: hide,
		body: map[string]any{"options": map[string]any{"cas": cas}, "data": fields},
	}
	if cas == 0 {
		k.need = `"create" and "update"` // update, where there is metadata already
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return 0, err
	}
	if a.data == nil {
		return 0, c.notKV2(k.what)
	}
	version, ok := number(a.data["version"])
	if !ok || version == 0 {
		return 0, &credential.Fault{
			Class: credential.ClassUnknown, System: system, Op: k.what, Err: errUnreadable,
			Hint: "read the secret: it may have been written",
		}
	}
	return version, nil
}

// EnsureMetadata makes the secret's metadata say that writes need
// check-and-set, who owns it and who manages it. It comes before the first
// write, does nothing when all is so already, and keeps what others added.
func (c *Client) EnsureMetadata(ctx context.Context, name credential.Name, owner string) error {
	p, err := c.locate("set metadata", name)
	if err != nil {
		return err
	}
	return c.ensureMetadataAt(ctx, p, owner)
}

func (c *Client) ensureMetadataAt(ctx context.Context, p place, owner string) error {
	meta, err := c.metadata(ctx, p)
	if err != nil {
		return err
	}
	want := map[string]string{"managed-by": managedBy}
	if owner = printable(owner); owner != "" {
		want["owner"] = owner
	}
	custom := make(map[string]any)
	maps.Copy(custom, object(meta["custom_metadata"]))
	required, _ := meta["cas_required"].(bool)
	same := required
	for key, value := range want {
		same = same && custom[key] == any(value)
		custom[key] = value
	}
	if _, stale := custom["owner"]; stale && owner == "" {
		delete(custom, "owner")
		same = false
	}
	if same {
		return nil
	}
	k := call{
		op: "metadata", what: "set metadata of " + p.shown, method: http.MethodPut, path: p.metadata,
		need: `"update"`, repeatable: true,
		body: map[string]any{"cas_required": true, "custom_metadata": custom},
	}
	if meta == nil {
		k.need = `"create"`
	}
	_, err = c.do(ctx, k)
	return err
}

// metadata reads the metadata at a place; nil when there is none.
func (c *Client) metadata(ctx context.Context, p place) (map[string]any, error) {
	k := call{op: "metadata", what: "read metadata of " + p.shown, method: http.MethodGet, path: p.metadata, need: `"read"`}
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	if a.data == nil {
		return nil, c.requireMount(ctx, k.what)
	}
	return a.data, nil
}

// Destroy destroys the versions from…below-1 for good, so that the keys in
// them cannot be read again. Versions that are gone already are no failure. It
// never touches the latest version: when that one lies in the range, the
// secret is not what the caller thinks, which is a conflict.
func (c *Client) Destroy(ctx context.Context, name credential.Name, from, below uint64) error {
	p, err := c.locate("destroy", name)
	if err != nil {
		return err
	}
	left, err := c.below(ctx, p, from, below)
	if err != nil || len(left) == 0 {
		return err
	}
	k := call{
		op: "destroy", what: fmt.Sprintf("destroy versions below %d of %s", below, p.shown), method: http.MethodPut,
		path: p.destroy, need: `"update"`, repeatable: true, body: map[string]any{"versions": left},
	}
	_, err = c.do(ctx, k)
	return err
}

// below lists the versions in a range that are not destroyed; the latest is not to be
// among them.
func (c *Client) below(ctx context.Context, p place, from, below uint64) ([]uint64, error) {
	if from >= below {
		return nil, nil
	}
	meta, err := c.metadata(ctx, p)
	if err != nil {
		return nil, err
	}
	if current, _ := number(meta["current_version"]); meta != nil && below > current {
		return nil, &credential.Fault{
			Class: credential.ClassConflict, System: system,
			Op:   fmt.Sprintf("destroy versions below %d of %s", below, p.shown),
			Err:  fmt.Errorf("the latest version is %d", current),
			Hint: "the secret was made anew by somebody else: read again and decide again",
		}
	}
	return undestroyed(meta, from, below), nil
}

// undestroyed lists the versions in a range, by a secret's metadata, that are not
// destroyed; nil metadata has none.
func undestroyed(meta map[string]any, from, below uint64) (left []uint64) {
	for key, state := range object(meta["versions"]) {
		version, err := strconv.ParseUint(key, 10, 64)
		destroyed, _ := object(state)["destroyed"].(bool)
		if err == nil && from <= version && version < below && !destroyed {
			left = append(left, version)
		}
	}
	slices.Sort(left)
	return left
}

// printable makes an owner fit for custom metadata, which is for display only
// and must not stop a rotation.
func printable(owner string) string {
	owner = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(owner, " "))
	for len(owner) > maxOwner {
		runes := []rune(owner)
		owner = string(runes[:len(runes)-1])
	}
	return strings.TrimSpace(owner)
}
