package main

import (
	"fmt"

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

// noBuiltins is the registry of plugins: there are none. The backends that are
// compiled in are given to the core directly.
type noBuiltins struct{}

func (noBuiltins) Contains(string, consts.PluginType) bool { return false }

func (noBuiltins) Get(string, consts.PluginType) (func() (any, error), bool) { return nil, false }

func (noBuiltins) Keys(consts.PluginType) []string { return nil }

func (noBuiltins) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Unknown, false
}

func (noBuiltins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

// newCore builds a core on the files at path, or in memory when it is empty.
func newCore(path, addr string, logger hclog.Logger) (*vault.Core, error) {
	var storage physical.Backend
	var err error
	if path == "" {
		storage, err = inmem.NewInmem(nil, logger.Named("storage"))
	} else {
		storage, err = file.NewFileBackend(map[string]string{"path": path}, logger.Named("storage"))
	}
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
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
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	return core, nil
}
