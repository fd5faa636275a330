package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	auditfile "github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// initFile holds the unseal key and the root token, beside the data.
const initFile = "init.json"

// keys is the content of initFile.
type keys struct {
	UnsealKey string `json:"unseal_key"`
	RootToken string `json:"root_token"`
}

// noBuiltins is the registry of plugins: there are none.
type noBuiltins struct{}

func (noBuiltins) Contains(string, consts.PluginType) bool { return false }

func (noBuiltins) Get(string, consts.PluginType) (func() (interface{}, error), bool) {
	return nil, false
}

func (noBuiltins) Keys(consts.PluginType) []string { return nil }

func (noBuiltins) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Unknown, false
}

func (noBuiltins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

// lock makes sure that one process uses a directory.
func lock(dir string) (unlock func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "lock")
	handle, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(handle.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = handle.Close()
		return nil, fmt.Errorf("%s is in use by another devvault (try: end that one, or another -dir)", dir)
	}
	return func() { _ = handle.Close() }, nil
}

// newCore builds the core on file storage, or in memory.
func newCore(dir, addr string, logger hclog.Logger) (*vault.Core, error) {
	var storage physical.Backend
	var err error
	if dir == "" {
		storage, err = inmem.NewInmem(nil, logger)
	} else {
		storage, err = file.NewFileBackend(map[string]string{"path": filepath.Join(dir, "data")}, logger)
	}
	if err != nil {
		return nil, err
	}
	return vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		BuiltinRegistry:    noBuiltins{},
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
		AuditBackends:      map[string]audit.Factory{"file": auditfile.Factory},
		DisableMlock:       true,
		RedirectAddr:       addr,
		Logger:             logger,
		LogLevel:           logger.GetLevel().String(),
	})
}

// bootstrap initialises or unseals, mounts what is missing and waits until KV
// v2 serves. It returns a root token.
func bootstrap(ctx context.Context, core *vault.Core, o options, addr string) (string, error) {
	stored, err := openKeys(ctx, core, o.dir)
	if err != nil {
		return "", err
	}
	unsealKey, err := hex.DecodeString(stored.UnsealKey)
	if err != nil {
		return "", fmt.Errorf("%s: the unseal key is not hexadecimal (try: a new -dir)", initFile)
	}
	if unsealed, err := core.Unseal(unsealKey); err != nil || !unsealed {
		return "", fmt.Errorf("unseal with the key from %s: %w (try: a new -dir)", initFile, errors.Join(err, ctx.Err()))
	}
	client := api{addr: addr, token: stored.RootToken}
	if o.token != "" && o.token != stored.RootToken {
		body := map[string]any{"id": o.token, "policies": []string{"root"}, "no_parent": true}
		if status, err := client.call(ctx, http.MethodPost, "auth/token/create", body); err != nil || (status >= 300 && status != http.StatusBadRequest) {
			return "", fmt.Errorf("create the token given by -token: status %d: %w", status, err)
		}
		client.token = o.token
	}
	if err := client.mounts(ctx, o); err != nil {
		return "", err
	}
	return client.token, client.awaitKV(ctx, o.mount)
}

// openKeys reads the keys, or initialises a new Vault and writes them.
func openKeys(ctx context.Context, core *vault.Core, dir string) (keys, error) {
	path := filepath.Join(dir, initFile)
	initialised, err := core.Initialized(ctx)
	if err != nil {
		return keys{}, err
	}
	if initialised {
		text, err := os.ReadFile(path)
		if err != nil {
			return keys{}, fmt.Errorf("the data was initialised, but its keys cannot be read: %w (try: a new -dir)", err)
		}
		var stored keys
		if err := json.Unmarshal(text, &stored); err != nil {
			return keys{}, fmt.Errorf("%s is damaged (try: a new -dir)", path)
		}
		return stored, nil
	}
	result, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig:  &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
		RecoveryConfig: nil,
	})
	if err != nil {
		return keys{}, err
	}
	stored := keys{UnsealKey: hex.EncodeToString(result.SecretShares[0]), RootToken: result.RootToken}
	if dir == "" {
		return stored, nil
	}
	text, err := json.MarshalIndent(stored, "", "  ")
	if err != nil {
		return keys{}, err
	}
	return stored, os.WriteFile(path, append(text, '\n'), 0o600)
}

// mounts enables what is not there yet.
func (a api) mounts(ctx context.Context, o options) error {
	enable := map[string]map[string]any{
		"sys/mounts/" + o.mount: {"type": "kv", "options": map[string]string{"version": "2"}},
		"sys/auth/approle":      {"type": "approle"},
	}
	if o.audit != "" {
		enable["sys/audit/file"] = map[string]any{"type": "file", "options": map[string]string{"file_path": o.audit}}
	}
	for path, body := range enable {
		status, err := a.call(ctx, http.MethodPost, path, body)
		if err != nil || (status >= 300 && status != http.StatusBadRequest) { // 400: already in use
			return fmt.Errorf("enable %s: status %d: %w", path, status, err)
		}
	}
	return nil
}

// awaitKV waits until the new mount has finished its upgrade to version 2.
func (a api) awaitKV(ctx context.Context, mount string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := a.call(ctx, http.MethodPost, mount+"/data/devvault-ready", map[string]any{"data": map[string]string{"ready": "yes"}})
		if err == nil && status == http.StatusOK {
			_, err = a.call(ctx, http.MethodDelete, mount+"/metadata/devvault-ready", nil)
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the mount %s does not serve: status %d: %w", mount, status, errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}
