package vault

import (
	"context"
	"net/http"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Erase deletes the secret with its metadata and all versions. One that is not
// there is no error.
func (c *Client) Erase(ctx context.Context, name credential.Name) error {
	p, err := c.locate("erase", name)
	if err != nil {
		return err
	}
	k := call{
		op: "erase", what: "erase " + p.shown, method: http.MethodDelete,
		path: p.metadata, need: `"delete"`, repeatable: true,
	}
	_, err = c.do(ctx, k)
	return err
}
