package vault_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
	"github.com/keyturn/keyturn/vault/vaulttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// token is a login with a token that is already there.
func token(secret credential.Secret) vault.Login {
	return vault.Login{Token: func() (credential.Secret, error) { return secret, nil }}
}

// open makes a client that is logged in and runs until the test ends.
func open(t *testing.T, config vault.Config) *vault.Client {
	t.Helper()
	client := start(t, config)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := client.WaitReady(ctx); err != nil {
		t.Fatalf("log in: %v", err)
	}
	return client
}

// start makes a client that runs until the test ends.
func start(t *testing.T, config vault.Config) *vault.Client {
	t.Helper()
	client, err := vault.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return client
}

// root is a config that may do everything.
func root(server *vaulttest.Server) vault.Config {
	return vault.Config{Addr: server.Addr, Login: token(server.Token)}
}

// wantClass checks the class and returns the fault.
func wantClass(t *testing.T, err error, class credential.Class) *credential.Fault {
	t.Helper()
	var fault *credential.Fault
	if !errors.As(err, &fault) {
		t.Fatalf("got %v, want a fault of class %s", err, class)
	}
	if fault.Class != class {
		t.Fatalf("got class %s, want %s: %v", fault.Class, class, err)
	}
	if fault.System != "vault" || fault.Op == "" {
		t.Errorf("the fault does not say who failed at what: %+v", fault)
	}
	return fault
}

// eventually waits until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		case <-tick.C:
		}
	}
}
