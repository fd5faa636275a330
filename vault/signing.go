package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	// fieldNext is the seed that will be the next one, from before it is announced
	// on the record until the record vouches for it.
	fieldNext = "next_seed"

	checkpointPath  = "_system/checkpoint"
	fieldCheckpoint = "checkpoint"
	// keptCheckpoints is how many versions of the checkpoint Vault keeps.
	keptCheckpoints = 100
)

// SigningKeys are the seeds that events are signed with.
type SigningKeys struct {
	// Current signs. Next takes over once the record vouches for it; empty = none
	// is under way.
	Current, Next credential.Secret
	// Version is that of the secret, for ReplaceSigningKeys.
	Version uint64
}

// SigningKeys returns the seeds. It is a fault of ClassNotFound when setup has
// not made one.
func (c *Client) SigningKeys(ctx context.Context) (SigningKeys, error) {
	p := c.at(signingPath)
	data, version, err := c.readAt(ctx, "signing", p)
	if err != nil {
		return SigningKeys{}, err
	}
	seed, _ := data[fieldSeed].(string)
	next, _ := data[fieldNext].(string)
	if seed == "" {
		return SigningKeys{}, notFound("read "+p.shown, errors.New("there is no signing seed"), "keyturn setup")
	}
	return SigningKeys{credential.NewSecret(seed), credential.NewSecret(next), version}, nil
}

// ReplaceSigningKeys writes the seeds over those that were read with that
// version. It is a conflict when another setup was first. Vault keeps the seeds
// before as older versions.
func (c *Client) ReplaceSigningKeys(ctx context.Context, keys SigningKeys) error {
	p := c.at(signingPath)
	fields := map[string]string{fieldSeed: keys.Current.Reveal()}
	if !keys.Next.Empty() {
		fields[fieldNext] = keys.Next.Reveal()
	}
	for _, value := range fields {
		if value == "" || strings.Contains(value, credential.Secret{}.String()) {
			return refuse("write "+p.shown, errors.New("a seed is empty or a redacted text"))
		}
	}
	if keys.Version == 0 {
		return refuse("write "+p.shown, errors.New("the seeds were not read before"))
	}
	_, err := c.writeAt(ctx, "signing", p, fields, keys.Version, keys.Current, keys.Next)
	return err
}

// LastCheckpoint returns the checkpoint of the record that was stored last; nil
// and version 0 when there is none.
func (c *Client) LastCheckpoint(ctx context.Context) (checkpoint []byte, version uint64, err error) {
	p := c.at(checkpointPath)
	data, version, err := c.readAt(ctx, "checkpoint", p)
	if err != nil || data == nil {
		return nil, version, err
	}
	text, _ := data[fieldCheckpoint].(string)
	return []byte(text), version, nil
}

// StoreCheckpoint stores a checkpoint over the version that was read before.
// Vault keeps the last hundred, as versions. It is a conflict when another
// daemon was first.
func (c *Client) StoreCheckpoint(ctx context.Context, checkpoint []byte, version uint64) error {
	p := c.at(checkpointPath)
	if version == 0 { // before the first one is written, so that none is dropped
		if err := c.keepVersions(ctx, p); err != nil {
			return err
		}
	}
	_, err := c.writeAt(ctx, "checkpoint", p, map[string]string{fieldCheckpoint: string(checkpoint)}, version)
	return err
}

// keepVersions makes a secret keep many versions and need check-and-set.
func (c *Client) keepVersions(ctx context.Context, p place) error {
	_, err := c.do(ctx, call{
		op: "metadata", what: "set metadata of " + p.shown, method: http.MethodPut, path: p.metadata,
		need: `"create" and "update"`, repeatable: true,
		body: map[string]any{"cas_required": true, "max_versions": keptCheckpoints, "custom_metadata": map[string]string{"managed-by": managedBy}},
	})
	return err
}

// Checkpoints returns the checkpoints that Vault keeps, the last one first.
func (c *Client) Checkpoints(ctx context.Context) ([][]byte, error) {
	last, version, err := c.LastCheckpoint(ctx)
	if err != nil {
		return nil, err
	}
	p := c.at(checkpointPath)
	if version == 0 {
		return nil, notFound("read "+p.shown, errors.New("there is no checkpoint"), "let a daemon run: it makes one at its start")
	}
	var all [][]byte
	if last != nil {
		all = append(all, last)
	}
	for v := version - 1; v > 0 && v+keptCheckpoints > version; v-- {
		data, _, err := c.readCall(ctx, call{
			op: "checkpoint", what: fmt.Sprintf("read version %d of %s", v, p.shown), method: http.MethodGet, path: p.data, need: `"read"`,
			query: url.Values{"version": {strconv.FormatUint(v, 10)}},
		})
		if err != nil {
			return nil, err
		}
		if text, _ := data[fieldCheckpoint].(string); text != "" {
			all = append(all, []byte(text))
		}
	}
	return all, nil
}
