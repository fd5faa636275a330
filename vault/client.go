package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Client talks to one mount of one Vault. It is safe for concurrent use; it
// works once a login has succeeded (Run or Login).
type Client struct {
	config Config
	api    *api.Client // carries the current token
	health *api.Client // no token, and the root namespace: the only one that knows
	http   *http.Client

	running atomic.Bool
	ready   chan struct{} // closed after the first login
	dead    chan uint64   // one slot: the login whose token Vault refused

	mu    sync.Mutex // guards what follows
	state LoginState // the last report
	gen   uint64     // counts the logins; 0 = none yet
}

// New checks the config and makes a client. It does not connect.
func New(config Config) (*Client, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	transport, err := config.transport()
	if err != nil {
		return nil, err
	}
	c := &Client{
		config: config,
		http: &http.Client{
			Transport: noting{transport},
			// the API client follows one redirect by itself
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		ready: make(chan struct{}),
		dead:  make(chan uint64, 1),
	}
	c.api, err = c.newAPI(credential.Secret{})
	if err != nil {
		return nil, err
	}
	c.health, err = c.newAPI(credential.Secret{})
	if err != nil {
		return nil, err
	}
	c.health.ClearNamespace()
	return c, nil
}

// Close drops the idle connections. A client whose Run has ended needs none.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// newAPI makes an API client on the shared connections with that token.
func (c *Client) newAPI(token credential.Secret) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address:    c.config.Addr,
		HttpClient: c.http,
		MaxRetries: 0,
		CheckRetry: func(context.Context, *http.Response, error) (bool, error) { return false, nil },
	})
	if err != nil {
		return nil, fmt.Errorf("vault config: %w", err)
	}
	client.SetToken(token.Reveal()) // also undoes VAULT_TOKEN
	if c.config.Namespace != "" {
		client.SetNamespace(c.config.Namespace)
	}
	return client, nil
}

// call is one request.
type call struct {
	op     string         // for Observe: "read"
	what   string         // for people: "read secret/keyturn/team/map"
	method string         // GET or PUT
	path   string         // below /v1/
	body   map[string]any // of a PUT
	query  url.Values     // of a GET
	// need names the capability, in quotes, that a denial lacks.
	need string
	// repeatable is true when sending it twice does no harm.
	repeatable bool
	// login is true for calls that make or check a token.
	login bool
	// hide are secrets that were sent, which no error text may repeat.
	hide []credential.Secret
}

// write reports whether a lost answer leaves doubt.
func (k call) write() bool { return k.method != http.MethodGet && !k.repeatable }

// answer is what Vault said to a request that it took.
type answer struct {
	// missing is true when Vault says that there is nothing (404 without an error).
	missing bool
	// data is nil when there is none.
	data map[string]any
}

// do sends a request with the current token.
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	c.mu.Lock()
	gen, state := c.gen, c.state
	c.mu.Unlock()
	if gen == 0 {
		return answer{}, &credential.Fault{
			Class: credential.ClassRetryable, System: system, Op: k.what, Silent: true,
			Hint: "wait for the login to Vault, or mend it", Err: notLoggedIn(state),
		}
	}
	a, err := c.send(ctx, c.api, k)
	if !k.login && credential.IsClass(err, credential.ClassDenied) && c.tokenDead(ctx, gen) {
		var denied *credential.Fault
		errors.As(err, &denied)
		fault := *denied // the observer has the other one
		fault.Class = credential.ClassRetryable
		fault.Hint = "the token of keyturn was revoked or has expired; a new login is being made"
		return a, &fault
	}
	return a, err
}

func notLoggedIn(state LoginState) error {
	if state.Err != nil {
		return fmt.Errorf("not logged in: %v", state.Err) //nolint:errorlint // its class is not ours
	}
	return errors.New("not logged in yet")
}

// send sends a request by that API client.
func (c *Client) send(ctx context.Context, client *api.Client, k call) (answer, error) {
	k.hide = append(slices.Clip(k.hide), credential.NewSecret(client.Token()))
	var a answer
	err := c.attempt(ctx, k, func(ctx context.Context) error {
		var err error
		if k.method == http.MethodGet {
			a, err = get(ctx, client, k)
			return err
		}
		// Not WriteRaw: when a standby redirects, the API client sends the
		// body of that one as "null".
		secret, err := client.Logical().WriteWithContext(ctx, k.path, k.body)
		if err == nil && secret != nil {
			a.data = secret.Data
		}
		return err
	})
	return a, err
}

// get reads a path, and tells "there is nothing" from a failure.
func get(ctx context.Context, client *api.Client, k call) (answer, error) {
	resp, err := client.Logical().ReadRawWithDataWithContext(ctx, k.path, k.query)
	if resp == nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	missing := err != nil
	if missing && !emptyNotFound(err) {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	secret, err := api.ParseSecret(bytes.NewReader(body))
	switch {
	case err != nil && missing: // {"errors":[]}
		return answer{missing: true}, nil
	case err != nil || secret == nil:
		return answer{missing: missing}, err
	}
	return answer{missing: missing, data: secret.Data}, nil
}

// attempt runs a request under its deadline, classifies its failure and
// reports it.
func (c *Client) attempt(ctx context.Context, k call, run func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	var n notes
	ctx = context.WithValue(ctx, notesKey{}, &n)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { n.connected.Store(true) },
	})
	began := time.Now()
	err := run(ctx)
	if err != nil {
		fault := classify(k, n.connected.Load(), err)
		fault.RetryAfter = time.Duration(n.retryAfter.Load())
		err = fault
	}
	c.config.Observe(k.op, time.Since(began), err)
	return err
}

// notes are what the API client does not tell of a request.
type notes struct {
	connected  atomic.Bool  // a connection was had, so something may have been sent
	retryAfter atomic.Int64 // nanoseconds that a refusal asked to wait
}

// notesKey is the key of *notes in a context.
type notesKey struct{}

// noting takes notes of the answers.
type noting struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t noting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if n, ok := r.Context().Value(notesKey{}).(*notes); ok && err == nil && resp.StatusCode >= http.StatusBadRequest {
		if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
			n.retryAfter.Store(int64(seconds) * int64(time.Second))
		}
	}
	return resp, err
}

// CloseIdleConnections passes on what http.Client asks for.
func (t noting) CloseIdleConnections() {
	if closer, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// number reads a whole number of an answer; ok is false when it is none.
func number(v any) (n uint64, ok bool) {
	text, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text.String(), 10, 64)
	return n, err == nil
}

// object reads an object of an answer; nil when it is none.
func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
