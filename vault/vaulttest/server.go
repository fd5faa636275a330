package vaulttest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keyturn/keyturn/rotator/credential"
)

// EnvBinary overrides where the binary of the server is.
const EnvBinary = "KEYTURN_DEVVAULT"

// patience bounds the start and the end of a server.
const patience = 60 * time.Second

// Server is a running Vault with a KV v2 mount at "secret".
type Server struct {
	// Addr is the URL.
	Addr string
	// Token is the root token.
	Token credential.Secret
	// Dir is where the server keeps its data and init.json.
	Dir string

	http *http.Client
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	const root = "dev-root-token"
	dir := t.TempDir()
	cmd := exec.Command(binary(t), "-dir", dir, "-listen", "127.0.0.1:0", "-token", root)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("devvault: %v", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("devvault: %v", err)
	}
	stderr := new(safeBuffer)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("devvault: %v (run make build)", err)
	}

	line := make(chan []byte, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		r := bufio.NewReader(stdout)
		first, _ := r.ReadBytes('\n')
		line <- first
		_, _ = io.Copy(io.Discard, r)
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		<-drained
		_ = cmd.Wait()
	})

	s := &Server{Dir: dir, http: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(s.http.CloseIdleConnections)
	select {
	case first := <-line:
		var said struct {
			Addr  string `json:"addr"`
			Token string `json:"token"`
		}
		if err := json.Unmarshal(first, &said); err != nil || said.Addr == "" {
			t.Fatalf("devvault did not start: said %q\n%s", first, stderr)
		}
		s.Addr, s.Token = said.Addr, credential.NewSecret(said.Token)
		if !strings.Contains(s.Addr, "://") {
			s.Addr = "http://" + s.Addr
		}
	case <-time.After(patience):
		t.Fatalf("devvault did not start within %v\n%s", patience, stderr)
	}
	return s
}

// binary finds the server.
func binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv(EnvBinary)
	if path == "" {
		path = filepath.Join(moduleRoot(t), "bin", "devvault")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the Vault for tests is missing: %v: run make build, or set %s", err, EnvBinary)
	}
	return path
}

// moduleRoot is the folder of the module that the test belongs to.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(data, []byte("module github.com/keyturn/keyturn\n")) {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatalf("the root of the module was not found: set %s", EnvBinary)
		}
		dir = parent
	}
}

// Client is a client with that token, without retries.
func (s *Server) Client(t testing.TB, token credential.Secret) *api.Client {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: s.Addr, HttpClient: s.http})
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(token.Reveal())
	return client
}

// Do writes to a path as root and returns the data of the answer.
func (s *Server) Do(t testing.TB, path string, body map[string]any) map[string]any {
	t.Helper()
	secret, err := s.Client(t, s.Token).Logical().WriteWithContext(t.Context(), path, body)
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	if secret == nil {
		return nil
	}
	return secret.Data
}

// Look reads a path as root; nil when there is nothing.
func (s *Server) Look(t testing.TB, path string) map[string]any {
	t.Helper()
	secret, err := s.Client(t, s.Token).Logical().ReadWithContext(t.Context(), path)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	if secret == nil {
		return nil
	}
	return secret.Data
}

// Delete deletes a path as root.
func (s *Server) Delete(t testing.TB, path string) {
	t.Helper()
	if _, err := s.Client(t, s.Token).Logical().DeleteWithContext(t.Context(), path); err != nil {
		t.Fatalf("delete %s: %v", path, err)
	}
}

// MountKV makes a KV mount, version "1" or "2".
func (s *Server) MountKV(t testing.TB, path, version string) {
	t.Helper()
	s.Do(t, "sys/mounts/"+path, map[string]any{"type": "kv", "options": map[string]string{"version": version}})
}

// Policy stores a policy.
func (s *Server) Policy(t testing.TB, name, rules string) {
	t.Helper()
	s.Do(t, "sys/policies/acl/"+name, map[string]any{"policy": rules})
}

// TokenFor makes a token with those policies (and "default").
func (s *Server) TokenFor(t testing.TB, policies ...string) credential.Secret {
	t.Helper()
	secret, err := s.Client(t, s.Token).Auth().Token().CreateWithContext(t.Context(),
		&api.TokenCreateRequest{Policies: policies, TTL: "1h"})
	if err != nil {
		t.Fatalf("make a token: %v", err)
	}
	return credential.NewSecret(secret.Auth.ClientToken)
}

// AppRole makes a role (the auth method too, the first time) and returns its
// ids. The options are those of the role: token_ttl, token_max_ttl, …
func (s *Server) AppRole(t testing.TB, name string, options map[string]any) (roleID string, secretID credential.Secret) {
	t.Helper()
	if s.Look(t, "sys/auth")["approle/"] == nil {
		s.Do(t, "sys/auth/approle", map[string]any{"type": "approle"})
	}
	s.Do(t, "auth/approle/role/"+name, options)
	role, _ := s.Look(t, "auth/approle/role/"+name+"/role-id")["role_id"].(string)
	secret, _ := s.Do(t, "auth/approle/role/"+name+"/secret-id", nil)["secret_id"].(string)
	return role, credential.NewSecret(secret)
}

// Seal seals the server.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	if err := s.Client(t, s.Token).Sys().SealWithContext(t.Context()); err != nil {
		t.Fatalf("seal: %v", err)
	}
}

// Unseal unseals the server with the key that lies in its directory.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, "init.json"))
	if err != nil {
		t.Fatal(err)
	}
	var keys struct {
		UnsealKey string `json:"unseal_key"`
	}
	if err := json.Unmarshal(data, &keys); err != nil {
		t.Fatalf("init.json: %v", err)
	}
	status, err := s.Client(t, s.Token).Sys().UnsealWithContext(t.Context(), keys.UnsealKey)
	if err != nil || status.Sealed {
		t.Fatalf("unseal: %v (sealed: %v)", err, status == nil || status.Sealed)
	}
}

// safeBuffer is a buffer that a process writes while a test reads.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends.
func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String is what was written.
func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
