package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

const rootToken = "chaos-root-token"

// vaultServer is the dev Vault.
type vaultServer struct {
	binary, dir, logs string
	port              int
	process           *process
	client            *http.Client
	unsealKey         string
	rules             string // what daemons may do
	disk              disk
}

func newVaultServer(binary, dir, logs string) (*vaultServer, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	v := &vaultServer{
		binary: binary, dir: filepath.Join(dir, "vault"), logs: logs, port: ports[0],
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}},
	}
	v.disk = disk{dir: v.dir, pid: func() int { return v.process.pid }}
	return v, nil
}

func (v *vaultServer) addr() string { return "127.0.0.1:" + strconv.Itoa(v.port) }

// start starts it; it unseals itself.
func (v *vaultServer) start() (err error) {
	v.process, err = launch("vault", filepath.Join(v.logs, "vault.log"), v.binary, "-dir", v.dir, "-token", rootToken, "-listen", v.addr())
	return err
}

// open starts it for the first time and makes what the daemons log in with.
// Rules are what they may do.
func (v *vaultServer) open(ctx context.Context, rules string) error {
	if err := v.start(); err != nil {
		return err
	}
	if _, err := v.process.line(startTime); err != nil {
		return fmt.Errorf("the dev Vault: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(v.dir, "init.json"))
	if err != nil {
		return err
	}
	var keys struct {
		UnsealKey string `json:"unseal_key"`
	}
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	v.unsealKey = keys.UnsealKey
	v.rules = rules
	if err := v.policy(ctx, daemonPolicy, rules); err != nil {
		return err
	}
	role := map[string]any{"token_policies": []string{daemonPolicy}, "token_ttl": "1h", "token_max_ttl": "4h"}
	if err := v.call(ctx, http.MethodPost, "auth/approle/role/daemon", role, nil); err != nil {
		return err
	}
	if err := v.policy(ctx, "app", `path "secret/data/keyturn/+/+" { capabilities = ["read"] }`); err != nil {
		return err
	}
	app := map[string]any{"id": appToken, "policies": []string{"app"}, "no_parent": true, "ttl": "24h"}
	return v.call(ctx, http.MethodPost, "auth/token/create", app, nil)
}

const (
	daemonPolicy = "keyturn-daemon"
	appToken     = "chaos-app-token"
)

// login makes the ids that a daemon logs in with.
func (v *vaultServer) login(ctx context.Context) (roleID, secretID string, err error) {
	var role struct {
		ID string `json:"role_id"`
	}
	var secret struct {
		ID string `json:"secret_id"`
	}
	if err := v.call(ctx, http.MethodGet, "auth/approle/role/daemon/role-id", nil, &role); err != nil {
		return "", "", err
	}
	err = v.call(ctx, http.MethodPost, "auth/approle/role/daemon/secret-id", map[string]any{}, &secret)
	return role.ID, secret.ID, err
}

func (v *vaultServer) policy(ctx context.Context, name, rules string) error {
	return v.call(ctx, http.MethodPut, "sys/policies/acl/"+name, map[string]any{"policy": rules}, nil)
}

func (v *vaultServer) seal(ctx context.Context) error {
	return v.call(ctx, http.MethodPut, "sys/seal", nil, nil)
}

func (v *vaultServer) unseal(ctx context.Context) error {
	return v.call(ctx, http.MethodPut, "sys/unseal", map[string]any{"key": v.unsealKey}, nil)
}

// revokeLogins ends every token of the daemons.
func (v *vaultServer) revokeLogins(ctx context.Context) error {
	return v.call(ctx, http.MethodPut, "sys/leases/revoke-prefix/auth/approle/login", nil, nil)
}

// call is a request as root.
func (v *vaultServer) call(ctx context.Context, method, path string, body, data any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+v.addr()+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", rootToken)
	answer := struct {
		Data any `json:"data"`
	}{data}
	return exchange(v.client, request, &answer)
}

// exchange sends a request and decodes its answer.
func exchange(client *http.Client, request *http.Request, out any) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s: status %d: %.200s", request.URL.Path, response.StatusCode, text)
	}
	if len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// portalServer is the emulated portal.
type portalServer struct {
	dir, logs string
	addr      string
	process   *process
	client    *http.Client
	disk      disk
}

func newPortalServer(dir, logs string) *portalServer {
	p := &portalServer{
		dir: filepath.Join(dir, "portal"), logs: logs,
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}},
	}
	p.disk = disk{dir: p.dir, pid: func() int { return p.process.pid }}
	return p
}

func (p *portalServer) open() (err error) {
	p.process, err = launch("portal", filepath.Join(p.logs, "portal.log"), self(), subPortal, "-dir", p.dir)
	if err != nil {
		return err
	}
	p.addr, err = p.process.line(startTime)
	return err
}

// setFaults replaces the faults of the portal.
func (p *portalServer) setFaults(ctx context.Context, faults emulator.Faults) error {
	text, err := json.Marshal(faults)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+p.addr+"/emulator/faults", bytes.NewReader(text))
	if err != nil {
		return err
	}
	return exchange(p.client, request, new(any))
}

// endSessions makes the portal forget who has signed in.
func (p *portalServer) endSessions(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.addr+"/emulator/hand", strings.NewReader("action=revoke-sessions"))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return exchange(p.client, request, new(any))
}

// portalState is what the portal holds and what happened to it.
type portalState struct {
	Items  []emulator.ItemState `json:"items"`
	Events []emulator.Event     `json:"events"`
}

func (p *portalServer) state(ctx context.Context) (state portalState, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+"/emulator/state", nil)
	if err != nil {
		return state, err
	}
	return state, exchange(p.client, request, &state)
}
