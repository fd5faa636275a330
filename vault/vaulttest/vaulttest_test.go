package vaulttest_test

import (
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn/vault/vaulttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failing is a test that is expected to fail.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, _ ...any) {
	f.said = format
	panic(f)
}

func TestAMissingBinaryFailsTheTestAndSaysWhatToDo(t *testing.T) {
	t.Setenv(vaulttest.EnvBinary, filepath.Join(t.TempDir(), "none"))
	f := &failing{TB: t}
	func() {
		defer func() { _ = recover() }()
		vaulttest.Start(f)
	}()
	if !strings.Contains(f.said, "make build") {
		t.Errorf("it said %q", f.said)
	}
}

func TestServersShareNothing(t *testing.T) {
	a, b := vaulttest.Start(t), vaulttest.Start(t)
	a.Do(t, "secret/data/x", map[string]any{"data": map[string]string{"y": "z"}})
	if got := b.Look(t, "secret/data/x"); got != nil {
		t.Errorf("got %v", got)
	}
	if a.Addr == b.Addr || !strings.HasPrefix(a.Addr, "http://127.0.0.1:") {
		t.Errorf("addresses %s and %s", a.Addr, b.Addr)
	}
	a.Seal(t)
	a.Unseal(t)
}
