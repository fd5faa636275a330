package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// probeName is a path on the KV mount that is used to find out whether it works.
const probeName = "devvault-ready"

// probeTime bounds the wait for a new mount to become KV v2.
const probeTime = 30 * time.Second

// entry is a row of Vault's tables of mounts, auth methods and audit devices.
type entry struct {
	Type    string            `json:"type"`
	Options map[string]string `json:"options,omitempty"`
}

// setUp mounts what is missing, waits until it works and returns a root token.
func setUp(ctx context.Context, client *api, stored keys, o options) (token string, err error) {
	defer client.client.CloseIdleConnections()
	if client.token, err = rootToken(ctx, client, stored.RootToken, o.token); err != nil {
		return "", err
	}
	kv := entry{Type: "kv", Options: map[string]string{"version": "2"}}
	if err := client.enable(ctx, "sys/mounts", o.mount, kv, "another -mount"); err != nil {
		return "", err
	}
	if err := client.enable(ctx, "sys/auth", "approle", entry{Type: "approle"}, "a new -dir"); err != nil {
		return "", err
	}
	if o.audit != "" {
		device := entry{Type: "file", Options: map[string]string{"file_path": o.audit}}
		if err := client.enable(ctx, "sys/audit", "file", device, "another -audit file, or the one of the last start"); err != nil {
			return "", err
		}
	}
	if err := client.awaitKV(ctx, o.mount); err != nil {
		return "", fmt.Errorf("the KV v2 mount %s/ does not work: %w", o.mount, err)
	}
	return client.token, nil
}

// rootToken returns the token that was asked for, created if need be, or else
// the initial one.
func rootToken(ctx context.Context, client *api, initial, wanted string) (string, error) {
	if wanted != "" {
		switch root, err := client.isRoot(ctx, wanted); {
		case err != nil:
			return "", err
		case root:
			return wanted, nil
		}
	}
	root, err := client.isRoot(ctx, initial)
	if err != nil {
		return "", err
	}
	if !root {
		return "", fmt.Errorf("the root token in %s is no longer one: was it revoked? (try: the -token of the last start, or a new -dir)", initName)
	}
	if wanted == "" {
		return initial, nil
	}
	client.token = initial
	body := map[string]any{"id": wanted, "policies": []string{"root"}, "no_parent": true, "display_name": "devvault"}
	if err := client.call(ctx, http.MethodPost, "auth/token/create", body, nil); err != nil {
		return "", fmt.Errorf("create the root token given by -token: %w (try: another -token)", err)
	}
	return wanted, nil
}

// isRoot tells whether a token exists and has the root policy.
func (a *api) isRoot(ctx context.Context, token string) (bool, error) {
	a.token = token
	var self struct {
		Policies []string `json:"policies"`
	}
	err := a.call(ctx, http.MethodGet, "auth/token/lookup-self", nil, &self)
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusForbidden {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up a token: %w", err)
	}
	return slices.Contains(self.Policies, "root"), nil
}

// enable adds a row to one of Vault's tables unless it is there already. A
// different row at that path is an error, with a hint.
func (a *api) enable(ctx context.Context, table, path string, want entry, hint string) error {
	rows := map[string]entry{}
	if err := a.call(ctx, http.MethodGet, table, nil, &rows); err != nil {
		return fmt.Errorf("list %s: %w", table, err)
	}
	have, found := rows[path+"/"]
	if !found {
		if err := a.call(ctx, http.MethodPost, table+"/"+path, want, nil); err != nil {
			return fmt.Errorf("enable %s/%s: %w (try: %s)", table, path, err, hint)
		}
		return nil
	}
	if have.Type != want.Type {
		return fmt.Errorf("%s/%s is there with type %q, want %q (try: %s)", table, path, have.Type, want.Type, hint)
	}
	for key, value := range want.Options {
		if have.Options[key] != value {
			return fmt.Errorf("%s/%s is there with %s=%q, want %q (try: %s)", table, path, key, have.Options[key], value, hint)
		}
	}
	return nil
}

// awaitKV waits until a mount serves as KV v2. A new one refuses everything
// until it has upgraded itself, in the background.
func (a *api) awaitKV(ctx context.Context, mount string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := a.probe(ctx, mount)
		if err == nil {
			return nil
		}
		var refused *refusal
		if errors.As(err, &refused) && refused.status == http.StatusForbidden {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// probe writes, reads and removes a secret. It starts with a removal and writes
// with check-and-set, so that neither the rest of a start that was cut short nor
// cas_required is in its way.
func (a *api) probe(ctx context.Context, mount string) error {
	secret, all := mount+"/data/"+probeName, mount+"/metadata/"+probeName
	if err := a.call(ctx, http.MethodDelete, all, nil, nil); err != nil {
		return fmt.Errorf("remove the probe: %w", err)
	}
	body := map[string]any{"data": map[string]string{"ready": "yes"}, "options": map[string]int{"cas": 0}}
	if err := a.call(ctx, http.MethodPost, secret, body, nil); err != nil {
		return fmt.Errorf("write the probe: %w", err)
	}
	var read struct {
		Data map[string]string `json:"data"`
	}
	if err := a.call(ctx, http.MethodGet, secret, nil, &read); err != nil {
		return fmt.Errorf("read the probe: %w", err)
	}
	if read.Data["ready"] != "yes" {
		return errors.New("read the probe: not what was written")
	}
	return a.call(ctx, http.MethodDelete, all, nil, nil)
}
