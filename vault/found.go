package vault

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Found is a secret as it was found, whoever wrote it.
type Found struct {
	credential.Stored
	// Extra are the names of the fields that keyturn does not write, in order: they
	// are lost with the next write.
	Extra []string

	fields map[string]any
}

// Find is Read with what else stands in the secret.
func (c *Client) Find(ctx context.Context, name credential.Name) (Found, error) {
	p, err := c.locate("read", name)
	if err != nil {
		return Found{}, err
	}
	data, version, err := c.readAt(ctx, "read", p)
	if err != nil {
		return Found{}, err
	}
	found := Found{Stored: credential.Stored{Version: version, Missing: data == nil}, fields: data}
	if data == nil {
		return found, nil
	}
	found.Document = decode(data)
	for field := range data {
		if !ours(field) {
			found.Extra = append(found.Extra, field)
		}
	}
	slices.Sort(found.Extra)
	return found, nil
}

// ours reports whether keyturn writes a field.
func ours(field string) bool {
	switch strings.TrimPrefix(field, secondaryPrefix) {
	case fieldKey, fieldFingerprint, fieldExpires, fieldSeat, fieldMint:
		return true
	}
	return field == fieldRotation || field == fieldRevision
}

// Restore undoes a write: it puts back what was found before it, or deletes that
// one version where nothing was. Another version that has come since is a conflict,
// or stays as it is.
func (c *Client) Restore(ctx context.Context, name credential.Name, was Found, written uint64) error {
	p, err := c.locate("restore", name)
	if err != nil {
		return err
	}
	if !was.Missing {
		_, err := c.writeAt(ctx, "restore", p, was.fields, written, was.Primary.Secret, was.Secondary.Secret)
		return err
	}
	k := call{
		op: "restore", what: "delete what was written to " + p.shown, method: http.MethodPut, path: p.remove,
		need: `"update"`, repeatable: true, body: map[string]any{"versions": []uint64{written}},
	}
	_, err = c.do(ctx, k)
	return err
}
