package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/storetest"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

// tally counts the calls by operation, and keeps the reports of logins.
type tally struct {
	mu     sync.Mutex
	calls  map[string]int // operation → calls without a failure
	states []vault.LoginState
}

func (c *tally) watch(config vault.Config) vault.Config {
	c.calls = make(map[string]int)
	config.Observe = func(op string, _ time.Duration, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			c.calls[op]++
		}
	}
	config.OnLogin = func(state vault.LoginState) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.states = append(c.states, state)
	}
	return config
}

func (c *tally) of(op string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[op]
}

func (c *tally) reports() []vault.LoginState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.states)
}

// daemonRole makes an AppRole with the daemon's policy and a config for it.
func daemonRole(t *testing.T, server *vaulttest.Server, options map[string]any) vault.Config {
	t.Helper()
	server.Policy(t, "keyturn-daemon", policyFile(t, "daemon.hcl"))
	options["token_policies"] = "keyturn-daemon"
	role, secret := server.AppRole(t, "keyturn", options)
	return vault.Config{Addr: server.Addr, Login: vault.Login{AppRole: &vault.AppRole{
		RoleID:   func() (string, error) { return role, nil },
		SecretID: func() (credential.Secret, error) { return secret, nil },
	}}}
}

// The rhythm itself, and that no call meets a token that has ended, is tested
// on a clock that cannot stall: login_internal_test.go.
func TestAShortTokenIsRenewedAndReplaced(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	var count tally
	client := open(t, count.watch(daemonRole(t, server, map[string]any{"token_ttl": "3s", "token_max_ttl": "7s"})))
	eventually(t, "a renewal and three logins", func() bool { return count.of("renew") >= 1 && count.of("login") >= 3 })
	readable(t, client)
}

func TestATokenThatCannotBeRenewedIsReplaced(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	var count tally
	client := open(t, count.watch(daemonRole(t, server, map[string]any{"token_ttl": "3s", "token_type": "batch"})))
	eventually(t, "three logins", func() bool { return count.of("login") >= 3 })
	readable(t, client)
	if n := count.of("renew"); n != 0 {
		t.Errorf("%d renewals of a batch token", n)
	}
}

// readable waits until a read succeeds; until then it may only be retryable.
func readable(t *testing.T, client *vault.Client) {
	t.Helper()
	eventually(t, "a read", func() bool {
		_, err := client.Read(t.Context(), name)
		if err != nil {
			wantClass(t, err, credential.ClassRetryable)
		}
		return err == nil
	})
}

func TestARevokedTokenIsNoticedByTheFirstCallAndReplaced(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	var count tally
	client := open(t, count.watch(daemonRole(t, server, map[string]any{"token_ttl": "1h"})))
	version, err := client.Write(t.Context(), name, storetest.Doc(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	server.Do(t, "sys/leases/revoke-prefix/auth/approle", map[string]any{"sync": true})
	_, err = client.Write(t.Context(), name, storetest.Doc(2), version)
	fault := wantClass(t, err, credential.ClassRetryable) // not denied: nobody has to do anything
	if !strings.Contains(fault.Hint, "login") {
		t.Errorf("hint %q", fault.Hint)
	}
	readable(t, client)
	if n := count.of("login"); n != 2 {
		t.Errorf("%d logins", n)
	}
}

func TestADenialIsNoReasonToLogInAnew(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	server.Policy(t, "reader", `path "secret/data/keyturn/+/+" { capabilities = ["read"] }`)
	var count tally
	client := open(t, count.watch(vault.Config{Addr: server.Addr, Login: token(server.TokenFor(t, "reader"))}))
	if _, err := client.Read(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	_, err := client.Write(t.Context(), name, storetest.Doc(1), 0)
	if fault := wantClass(t, err, credential.ClassDenied); !strings.Contains(fault.Hint, `"create" and "update" on secret/data/keyturn/team/map`) {
		t.Errorf("hint %q", fault.Hint)
	}
	err = client.EnsureMetadata(t.Context(), name, "")
	if fault := wantClass(t, err, credential.ClassDenied); !strings.Contains(fault.Hint, `"read" on secret/metadata/keyturn/team/map`) {
		t.Errorf("hint %q", fault.Hint)
	}
	if n := len(count.reports()); n != 1 {
		t.Errorf("%d logins", n)
	}
}

func TestATokenThatMayNotAskAboutItselfWorksAndIsNotTakenForDead(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	server.Policy(t, "reader", `path "secret/data/keyturn/+/+" { capabilities = ["read"] }`)
	secret, err := server.Client(t, server.Token).Auth().Token().CreateWithContext(t.Context(),
		&api.TokenCreateRequest{Policies: []string{"reader"}, NoDefaultPolicy: true})
	if err != nil {
		t.Fatal(err)
	}
	var count tally
	client := open(t, count.watch(vault.Config{Addr: server.Addr, Login: token(credential.NewSecret(secret.Auth.ClientToken))}))
	if _, err := client.Read(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	_, err = client.Write(t.Context(), name, storetest.Doc(1), 0)
	wantClass(t, err, credential.ClassDenied)
	if n := len(count.reports()); n != 1 || !client.LoginState().Up {
		t.Errorf("%d logins, state %+v", n, client.LoginState())
	}
}

func TestAFailingLoginIsReportedAndTriedAgain(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	config := daemonRole(t, server, map[string]any{"token_ttl": "1h"})
	right := config.Login.AppRole.SecretID
	var calls int // of one goroutine
	config.Login.AppRole.SecretID = func() (credential.Secret, error) {
		switch calls++; calls {
		case 1:
			return credential.Secret{}, errors.New("the file is not there yet")
		case 2:
			return credential.NewSecret("wrong-secret-id"), nil
		}
		return right()
	}
	var count tally
	client := start(t, count.watch(config))

	if _, err := client.Read(t.Context(), name); err != nil {
		wantClass(t, err, credential.ClassRetryable)
	}
	if err := client.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three reports", func() bool { return len(count.reports()) == 3 })
	states := count.reports()
	if states[0].Up || states[0].Attempt != 1 || states[0].Next.IsZero() || !strings.Contains(states[0].Err.Error(), "not there yet") {
		t.Errorf("first: %+v", states[0])
	}
	wantClass(t, states[1].Err, credential.ClassDenied)
	if states[1].Attempt != 2 || strings.Contains(states[1].Err.Error(), "wrong-secret-id") {
		t.Errorf("second: %+v", states[1])
	}
	if !states[2].Up || states[2].Attempt != 0 || states[2].Err != nil || client.LoginState() != states[2] {
		t.Errorf("third: %+v", states[2])
	}
}

func TestWaitReadySaysWhyThereIsNoLogin(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	failed := make(chan struct{}, 100)
	client := start(t, vault.Config{
		Addr: server.Addr, Login: token(credential.NewSecret("no-such-token")),
		OnLogin: func(vault.LoginState) { failed <- struct{}{} },
	})
	<-failed
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := client.WaitReady(ctx)
	wantClass(t, err, credential.ClassRetryable)
	if !strings.Contains(err.Error(), "status 403") || strings.Contains(err.Error(), "no-such-token") {
		t.Errorf("got %v", err)
	}
	problems := client.Preflight(t.Context())
	if len(problems) != 1 || !strings.Contains(problems[0].What, "not logged in") {
		t.Errorf("preflight: %v", problems)
	}
}

func TestRunEndsWithItsContextAndRunsOnce(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t)
	client := open(t, root(server))
	if err := client.Run(t.Context()); err == nil {
		t.Error("a second Run was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	again, err := vault.New(root(server))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := again.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	if state := again.LoginState(); state.Err != nil {
		t.Errorf("a stop was reported as a failure: %v", state.Err)
	}
}

func TestLoginOfAPod(t *testing.T) {
	t.Parallel()
	type login struct{ Role, JWT string }
	logins := make(chan login, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got login
		switch {
		case r.URL.Path != "/v1/auth/clusters/one/login":
			http.NotFound(w, r)
			return
		case json.NewDecoder(r.Body).Decode(&got) != nil:
			t.Error("the body cannot be read")
		}
		logins <- got
		_, _ = w.Write([]byte(`{"auth":{"client_token":"t","renewable":true,"lease_duration":3600}}`))
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "token")
	client, err := vault.New(vault.Config{Addr: server.URL, Login: vault.Login{
		Kubernetes: &vault.Kubernetes{Mount: "clusters/one", Role: "keyturn", TokenPath: file},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	wantClass(t, client.Login(t.Context()), credential.ClassRetryable) // no file yet
	for _, jwt := range []string{"first", "second"} {                  // it is replaced while the program runs
		if err := os.WriteFile(file, []byte(jwt+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := client.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-logins; got != (login{"keyturn", jwt}) {
			t.Errorf("got %+v", got)
		}
	}
}
