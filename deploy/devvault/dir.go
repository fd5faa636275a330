package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/vault"
)

// The files of a directory. A new Vault is initialised in stagingName, which
// becomes dataName only when its keys are stored: a start that is cut short at
// any point leaves nothing behind that a later one cannot use.
const (
	dataName    = "data"
	stagingName = "data.new"
	initName    = "init.json"
	lockName    = "lock"
)

// keys is the content of init.json.
type keys struct {
	UnsealKey string `json:"unseal_key"` // hexadecimal
	RootToken string `json:"root_token"`
}

// lock makes sure that only one process uses a directory, and creates it.
func lock(dir string) (unlock func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("-dir: %w", err)
	}
	handle, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("-dir: %w", err)
	}
	err = syscall.Flock(int(handle.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(handle.Name())
		_ = handle.Close()
		return nil, fmt.Errorf("%s is in use by another devvault, process %s (try: end that one, or another -dir)", dir, strings.TrimSpace(string(holder)))
	}
	if err != nil {
		_ = handle.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	// The number is for the message above; the lock is what counts.
	if err := errors.Join(handle.Truncate(0), writeAt(handle, fmt.Sprintln(os.Getpid())), makePrivate(dir)); err != nil {
		_ = handle.Close()
		return nil, fmt.Errorf("-dir: %w", err)
	}
	return func() { _ = handle.Close() }, nil
}

func writeAt(handle *os.File, text string) error {
	_, err := handle.WriteAt([]byte(text), 0)
	return err
}

// makePrivate closes a directory to others, unless it also holds files of
// someone else: then only our own files in it are private.
func makePrivate(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		switch entry.Name() {
		case dataName, stagingName, initName, initName + ".new", lockName:
		default:
			return nil
		}
	}
	return os.Chmod(dir, 0o700)
}

// open returns an unsealed core and its keys; a new one when there is none yet.
// It takes no context: an initialisation is not to be cut short.
func open(dir, addr string, logger hclog.Logger) (*vault.Core, keys, error) {
	var stored keys
	var path string
	if dir != "" {
		path = filepath.Join(dir, dataName)
		var err error
		if stored, err = prepare(dir, addr, logger); err != nil {
			return nil, keys{}, err
		}
	}
	core, err := newCore(path, addr, logger)
	if err != nil {
		return nil, keys{}, err
	}
	if dir == "" {
		if stored, err = initialise(core); err != nil {
			return nil, keys{}, err
		}
	}
	// The one share of one is checked for its form when it is read.
	share, err := hex.DecodeString(stored.UnsealKey)
	if err != nil {
		return nil, keys{}, fmt.Errorf("unseal key: %w", err)
	}
	unsealed, err := core.Unseal(share)
	if err == nil && !unsealed {
		err = errors.New("still sealed")
	}
	if err != nil {
		return nil, keys{}, errors.Join(fmt.Errorf("unseal with the key from %s: %w (try: a new -dir)", filepath.Join(dir, initName), err), core.ShutdownWait())
	}
	return core, stored, nil
}

// prepare sees to it that a directory holds initialised data and its keys.
func prepare(dir, addr string, logger hclog.Logger) (keys, error) {
	data, staging, file := filepath.Join(dir, dataName), filepath.Join(dir, stagingName), filepath.Join(dir, initName)
	hasData, err := exists(data)
	if err != nil {
		return keys{}, err
	}
	hasKeys, err := exists(file)
	if err != nil {
		return keys{}, err
	}
	switch {
	case hasData:
		return readKeys(file)
	case hasKeys: // cut short before the rename, or the data was removed
		stored, err := readKeys(file)
		if err != nil {
			return keys{}, err
		}
		if err := os.Rename(staging, data); err != nil {
			return keys{}, fmt.Errorf("%s is there, but %s is not (try: bring the data back, or a new -dir)", file, data)
		}
		return stored, nil
	}
	if err := os.RemoveAll(staging); err != nil { // its keys were never stored
		return keys{}, err
	}
	core, err := newCore(staging, addr, logger)
	if err != nil {
		return keys{}, err
	}
	stored, err := initialise(core)
	if err := errors.Join(err, core.ShutdownWait()); err != nil {
		return keys{}, err
	}
	if err := writeKeys(file, stored); err != nil {
		return keys{}, err
	}
	return stored, os.Rename(staging, data)
}

// initialise gives a new Vault its one key share and its root token.
func initialise(core *vault.Core) (keys, error) {
	result, err := core.Initialize(context.Background(), &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	if err != nil {
		return keys{}, fmt.Errorf("initialise: %w", err)
	}
	return keys{UnsealKey: hex.EncodeToString(result.SecretShares[0]), RootToken: result.RootToken}, nil
}

// readKeys reads init.json. What it says never repeats what is in the file.
func readKeys(file string) (keys, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return keys{}, fmt.Errorf("the data is there, but its keys cannot be read: %w (try: bring %s back, or a new -dir)", err, initName)
	}
	var stored keys
	if err := json.Unmarshal(text, &stored); err != nil {
		return keys{}, fmt.Errorf("%s is damaged: it is not the JSON that was written (try: bring it back, or a new -dir)", file)
	}
	if _, err := hex.DecodeString(stored.UnsealKey); err != nil || stored.UnsealKey == "" || stored.RootToken == "" {
		return keys{}, fmt.Errorf("%s is damaged: want unseal_key (hexadecimal) and root_token (try: bring it back, or a new -dir)", file)
	}
	return stored, nil
}

// writeKeys writes init.json whole or not at all.
func writeKeys(file string, stored keys) error {
	text, err := json.MarshalIndent(stored, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
