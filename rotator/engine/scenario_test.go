package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// client is an application that knows two URLs, and nothing of keyturn: it
// reads api_key from Vault over HTTP and calls the portal's resource with it.
type client struct {
	secret, token, resource string
	http                    *http.Client

	uses     int
	refusals []string
}

func (c *client) use(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.secret, nil)
	if err != nil {
		return err
	}
	r.Header.Set("X-Vault-Token", c.token)
	var secret struct {
		Data struct {
			Data map[string]string `json:"data"`
		} `json:"data"`
	}
	status, err := c.get(r, &secret)
	key := secret.Data.Data["api_key"]
	if err != nil || status != http.StatusOK || key == "" {
		return fmt.Errorf("read the key: status %d, %w", status, err)
	}
	r, err = http.NewRequestWithContext(ctx, http.MethodGet, c.resource+"?token="+url.QueryEscape(key), nil)
	if err != nil {
		return err
	}
	var answer struct {
		OK bool `json:"ok"`
	}
	status, err = c.get(r, &answer)
	if err == nil && (status != http.StatusOK || !answer.OK) {
		err = fmt.Errorf("the resource refused the key: status %d", status)
	}
	return err
}

func (c *client) get(r *http.Request, out any) (int, error) {
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, json.Unmarshal(text, out)
}

// run uses the key every pause until the context ends.
func (c *client) run(ctx context.Context, pause time.Duration) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		err := c.use(ctx)
		if ctx.Err() != nil {
			return
		}
		c.uses++
		if err != nil {
			c.refusals = append(c.refusals, err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// use starts an application of a credential; stop ends it.
func (w *world) use(ctx context.Context, t testing.TB, name credential.Name) (c *client, stop func()) {
	t.Helper()
	c = &client{
		secret: w.vault.Addr + "/v1/secret/data/" + w.prefix + "/" + string(name), token: w.vault.Token.Reveal(),
		resource: strings.TrimSuffix(w.portalURL, "/sharing/rest") + "/emulator/resource",
		http:     &http.Client{Transport: &http.Transport{}},
	}
	using, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); c.run(using, 3*time.Millisecond) }()
	stop = sync.OnceFunc(func() { cancel(); <-done; c.http.CloseIdleConnections() })
	t.Cleanup(stop)
	return c, stop
}

// check wants so many uses of the key, and no refusal.
func (c *client) check(t testing.TB, least int) {
	t.Helper()
	if c.uses < least {
		t.Errorf("the application used its key %d times only", c.uses)
	}
	for i, refusal := range c.refusals {
		if i < 5 {
			t.Errorf("refused %d times: %s", len(c.refusals), refusal)
		}
	}
}

// TestTenSuccessionsUnderAnApplication: each change of privileges goes to a new item,
// on a portal that loses every tenth answer after it has acted. No item is left, and
// no answer to the application was a refusal.
func TestTenSuccessionsUnderAnApplication(t *testing.T) {
	const successions, keep = 10, 500 * time.Millisecond
	w := newWorld(t)
	const name = credential.Name("maps/successions")
	ctx, cancel := context.WithTimeout(t.Context(), 180*time.Second)
	defer cancel()
	policy := w.policy(t, lifetime, lead, keep)
	w.register(t, name, policy)
	e := w.engine(t, w.ports(t, func(c *arcgis.Config) { c.Timeout = time.Second }), engine.Hooks{})
	must(t, drive(ctx, e, name, ended(1)))
	c, stop := w.use(ctx, t, name)
	must(t, w.portal.SetFaults(emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultDrop, Path: "/sharing/rest", Act: true, Every: 10}}}))
	for generation := uint64(2); generation <= successions+1; generation++ {
		spec := specOf(string(name), policy)
		if generation%2 == 0 {
			spec.Item.Privileges = append(spec.Item.Privileges, "premium:user:places")
		}
		w.command(t, name, credential.Register{Actor: "test", Spec: spec})
		must(t, drive(ctx, e, name, ended(generation)))
	}
	must(t, w.portal.SetFaults(emulator.Faults{}))
	stop()
	// what an unanswered call has left is younger than a sweep's grace, which is none here
	_, unknown, err := e.Strays(ctx, "example", []credential.Name{name}, nil, 0)
	must(t, err)
	must(t, drive(ctx, e, name, ended(successions+1)))
	w.checkEnd(t, name, successions+1)
	if len(unknown) != 0 {
		t.Errorf("items of nobody: %+v", unknown)
	}
	c.check(t, 20*successions)
}

// TestAnApplicationNeverNotices rotates a key many times under an application,
// with a portal that loses an answer now and then. Afterwards nothing that was
// written anywhere holds a secret.
func TestAnApplicationNeverNotices(t *testing.T) {
	const rotations, keep = 20, 500 * time.Millisecond
	core, logs := observer.New(zap.DebugLevel)
	w := newWorld(t)
	w.logger = zap.New(core)
	secrets := &collector{inner: arcgis.NewTransport(8), seen: map[string]bool{password: true, w.vault.Token.Reveal(): true}}
	errors := &faultsSeen{}
	const name = credential.Name("maps/scenario")
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	w.register(t, name, w.policy(t, lifetime, lead, keep))
	listen := w.tap(t, func(call) mode { return pass })
	listen.to = w.ports(t, func(c *arcgis.Config) {
		c.Transport = secrets
		c.Timeout = time.Second
	})
	listen.failed = errors.add
	e := w.engine(t, listen.ports(), engine.Hooks{})
	must(t, drive(ctx, e, name, ended(1)))

	c, stop := w.use(ctx, t, name)

	must(t, w.portal.SetFaults(emulator.Faults{Rules: []emulator.Rule{
		{Kind: emulator.FaultHalf, Path: "/oauth2/token", Every: 7},
		{Kind: emulator.FaultGarbage, Path: "/oauth2/revokeToken", Act: true, Every: 5},
		{Kind: emulator.FaultError, Path: "registeredAppInfo", Act: true, Every: 11},
		{Kind: emulator.FaultDrop, Path: "/sharing/rest", Act: true, Every: 41},
	}}))
	for generation := uint64(2); generation <= rotations+1; generation++ {
		stored, err := w.store.Read(ctx, name)
		must(t, err)
		secrets.add(stored.Primary.Secret.Reveal())
		w.rotate(t, name)
		must(t, drive(ctx, e, name, ended(generation)))
	}
	must(t, w.portal.SetFaults(emulator.Faults{}))
	stop()
	w.checkEnd(t, name, rotations+1)
	t.Logf("%d rotations, %d uses, %d errors met, %d secrets, %d log lines", rotations, c.uses, len(errors.texts), len(secrets.seen), logs.Len())
	c.check(t, 20*rotations)
	if len(errors.texts) == 0 || logs.Len() == 0 || len(secrets.seen) < rotations+4 {
		t.Errorf("the scan has nothing to look at: %d errors, %d log lines, %d secrets", len(errors.texts), logs.Len(), len(secrets.seen))
	}
	secrets.scan(t, "an error", errors.texts)
	secrets.scan(t, "the log", logLines(t, logs))
	secrets.scan(t, "the record", w.stream(t))
}
