package vault

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// List names every credential that has, or once had, a secret below the prefix,
// in order. What lies there and cannot be the secret of a credential is left
// out. It is for recovery only: the daemon needs no "list", and its policy does
// not grant it.
func (c *Client) List(ctx context.Context) ([]credential.Name, error) {
	root := place{metadata: c.config.Mount + "/metadata/" + c.config.Prefix, shown: c.config.Mount + "/" + c.config.Prefix}
	namespaces, err := c.listAt(ctx, root)
	if err != nil {
		return nil, err
	}
	if len(namespaces) == 0 { // a missing mount looks the same
		return nil, c.requireMount(ctx, "list "+root.shown)
	}
	var names []credential.Name
	for _, entry := range namespaces {
		namespace, folder := strings.CutSuffix(entry, "/")
		if _, err := credential.ParseName(namespace + "/any"); err != nil || !folder {
			continue // of the installation, or nothing of keyturn's
		}
		secrets, err := c.listAt(ctx, c.at(namespace))
		if err != nil {
			return nil, err
		}
		for _, base := range secrets {
			if name, err := credential.ParseName(namespace + "/" + base); err == nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// listAt lists a folder; folders in it end in a slash. None when it is empty or
// not there.
func (c *Client) listAt(ctx context.Context, p place) ([]string, error) {
	c.mu.Lock()
	gen, state := c.gen, c.state
	c.mu.Unlock()
	// GET, for a failure means what it means for a read; the client says LIST
	k := call{op: "list", what: "list " + p.shown, method: http.MethodGet, path: p.metadata + "/", need: `"list"`}
	if gen == 0 {
		return nil, &credential.Fault{
			Class: credential.ClassRetryable, System: system, Op: k.what, Silent: true,
			Hint: "wait for the login to Vault, or mend it", Err: notLoggedIn(state),
		}
	}
	k.hide = []credential.Secret{credential.NewSecret(c.api.Token())}
	var entries []string
	err := c.attempt(ctx, k, func(ctx context.Context) error {
		secret, err := c.api.Logical().ListWithContext(ctx, k.path)
		if err != nil || secret == nil {
			return err
		}
		keys, ok := secret.Data["keys"].([]any)
		if !ok {
			return errUnreadable
		}
		for _, key := range keys {
			if text, ok := key.(string); ok {
				entries = append(entries, text)
			}
		}
		return nil
	})
	if credential.IsClass(err, credential.ClassDenied) && c.tokenDead(ctx, gen) {
		var denied *credential.Fault
		errors.As(err, &denied)
		fault := *denied
		fault.Class = credential.ClassRetryable
		fault.Hint = "the token of keyturn was revoked or has expired; log in anew"
		return nil, &fault
	}
	return entries, err
}
