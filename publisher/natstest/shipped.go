package natstest

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// Shipped is a server that runs with the configuration that users get, from
// deploy/nats, and with keys of the test in place of those in its users.conf.
type Shipped struct {
	*Server
	// Seeds are those of the users: name in users.conf, such as "KEY_DAEMON" → seed.
	Seeds map[string]string
}

// placeholder is a line of users.conf that waits for a public key.
var placeholder = regexp.MustCompile(`(?m)^(KEY_\w+):\s*".*"$`)

// StartShipped runs a server with keyturn.conf and users.conf of that folder, on
// a free port and with files in the test's own directory.
func StartShipped(t testing.TB, folder string, options ...Option) *Shipped {
	t.Helper()
	seeds := map[string]string{}
	return &Shipped{Server: StartWith(t, Configure(t, folder, "keyturn.conf", seeds), options...), Seeds: seeds}
}

// Configure reads a configuration file of a folder that includes users.conf. A
// user whose seed is not given gets one, which is put into seeds.
func Configure(t testing.TB, folder, file string, seeds map[string]string) *server.Options {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{file, "users.conf"} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		filled := placeholder.ReplaceAllStringFunc(string(text), func(line string) string {
			user, _, _ := strings.Cut(line, ":")
			return user + ": " + publicOf(t, user, seeds)
		})
		if err := os.WriteFile(filepath.Join(dir, name), []byte(filled), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts, err := server.ProcessConfigFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	opts.Host, opts.Port, opts.StoreDir = "127.0.0.1", server.RANDOM_PORT, t.TempDir()
	if opts.LeafNode.Port != 0 { // several tests run at once
		opts.LeafNode.Port = server.RANDOM_PORT
	}
	opts.NoLog, opts.NoSigs = true, true
	return opts
}

// publicOf is the public key of a user, whose seed is made if there is none.
func publicOf(t testing.TB, user string, seeds map[string]string) string {
	t.Helper()
	if seeds[user] == "" {
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		seeds[user] = string(seed)
	}
	pair, err := nkeys.FromSeed([]byte(seeds[user]))
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// User is a connection as one of the users.
type User struct {
	*nats.Conn
	JetStream jetstream.JetStream

	mu       sync.Mutex
	refusals []string
}

// As connects as a user of users.conf whose inbox has that prefix.
func (s *Shipped) As(t testing.TB, user, inbox string) *User {
	t.Helper()
	public := publicOf(t, user, s.Seeds)
	pair, err := nkeys.FromSeed([]byte(s.Seeds[user]))
	if err != nil {
		t.Fatal(err)
	}
	u := &User{}
	u.Conn, u.JetStream = Connect(t, s.ClientURL(), nats.Nkey(public, pair.Sign), nats.CustomInboxPrefix(inbox),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				u.mu.Lock()
				defer u.mu.Unlock()
				u.refusals = append(u.refusals, err.Error())
			}
		}))
	return u
}

// Refused waits until the server has refused this user something with these
// words: it tells so only after the fact.
func (u *User) Refused(t testing.TB, words string) {
	t.Helper()
	Eventually(t, "the server refuses "+words, func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, refusal := range u.refusals {
			if strings.Contains(refusal, words) {
				return true
			}
		}
		return false
	})
}

// Refusals are all that the server has refused so far.
func (u *User) Refusals() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.refusals...)
}
