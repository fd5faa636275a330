package vault

import (
	"context"
	"fmt"
	"net/http"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Erase destroys every version up to and with upto, the latest one too. It names
// versions, so that a request that arrives late harms nothing that was written since;
// the secret's metadata stays and tells that there were so many. What is not there is
// no error.
func (c *Client) Erase(ctx context.Context, name credential.Name, upto uint64) error {
	p, err := c.locate("erase", name)
	if err != nil {
		return err
	}
	meta, err := c.metadata(ctx, p)
	if err != nil {
		return err
	}
	left := undestroyed(meta, 0, upto+1)
	if len(left) == 0 {
		return nil
	}
	_, err = c.do(ctx, call{
		op: "erase", what: fmt.Sprintf("destroy versions up to %d of %s", upto, p.shown), method: http.MethodPut,
		path: p.destroy, need: `"update"`, repeatable: true, body: map[string]any{"versions": left},
	})
	return err
}
