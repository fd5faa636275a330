package arcgis

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Config is what a Portal needs.
type Config struct {
	// Name is the issuer's name in the configuration.
	Name string
	// URL is the REST root, ending in /sharing/rest.
	URL string
	// Username is the manager; with an API key, the owner of the items.
	Username string
	// Password or APIKey logs the manager in. They are asked at each login, so
	// that a changed one is noticed; exactly one is set.
	Password func() (credential.Secret, error)
	APIKey   func() (credential.Secret, error)
	// Referer binds the manager's token; empty = "keyturn".
	Referer string
	// Transport carries the requests; nil = one with Concurrency idle connections.
	Transport http.RoundTripper
	// Concurrency is how many calls run at a time; zero = 8.
	Concurrency int
	// Timeout is the deadline of each call; zero = 15 s.
	Timeout time.Duration
	// Now is the wall clock; nil = time.Now.
	Now func() time.Time
	// Observe is told of each call; may be nil.
	Observe func(op string, took time.Duration, err error)
}

// Portal is an issuer. It is safe for concurrent use.
type Portal struct {
	config Config
	root   string
	client *http.Client
	login  login
	clock  clock

	mu   sync.Mutex
	apps map[string]app // item id → its registration; secrets live here only
}

// app is what is remembered of an item's registration.
type app struct {
	owner    string
	clientID string
	secret   credential.Secret
}

// New checks the configuration; it makes no call.
func New(c Config) (*Portal, error) {
	root, err := url.Parse(c.URL)
	if err != nil || root.Host == "" || !strings.HasSuffix(strings.TrimSuffix(root.Path, "/"), "/sharing/rest") {
		return nil, fmt.Errorf("issuer %s: url %q: want the REST root, such as https://www.arcgis.com/sharing/rest", c.Name, c.URL)
	}
	if c.Username == "" {
		return nil, fmt.Errorf("issuer %s: no username: it stands in the path of every item", c.Name)
	}
	if (c.Password == nil) == (c.APIKey == nil) {
		return nil, fmt.Errorf("issuer %s: want a password or an API key, not both and not none", c.Name)
	}
	if c.Referer == "" {
		c.Referer = "keyturn"
	}
	if c.Concurrency == 0 {
		c.Concurrency = 8
	}
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = NewTransport(c.Concurrency)
	}
	p := &Portal{config: c, root: strings.TrimSuffix(c.URL, "/"), apps: map[string]app{}}
	p.client = &http.Client{Transport: c.Transport, CheckRedirect: sameHost(root.Host)}
	return p, nil
}

// NewTransport is a transport with that many idle connections to the portal.
func NewTransport(concurrency int) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		MaxIdleConnsPerHost:   2*concurrency + 2, // an item is read by two calls at a time
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
	}
}

// sameHost follows no redirect to another host: a token would go with it.
func sameHost(host string) func(*http.Request, []*http.Request) error {
	return func(next *http.Request, _ []*http.Request) error {
		if next.URL.Host != host {
			return errors.New("the portal redirects to another host")
		}
		return http.ErrUseLastResponse
	}
}

// Close drops idle connections.
func (p *Portal) Close() { p.client.CloseIdleConnections() }

func (p *Portal) remember(item string, a app) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apps[item] = a
}

func (p *Portal) remembered(item string) (app, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.apps[item]
	return a, ok
}

func (p *Portal) forget(item string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.apps, item)
}

// clock is what the answers' Date headers say.
type clock struct {
	mu       sync.Mutex
	skew     time.Duration
	answered time.Time
}

// Skew is the portal's clock less ours, and when the portal last answered; ok
// is false before the first answer. A Date header has whole seconds, so a
// difference below one is none.
func (p *Portal) Skew() (skew time.Duration, answered time.Time, ok bool) {
	p.clock.mu.Lock()
	defer p.clock.mu.Unlock()
	return p.clock.skew, p.clock.answered, !p.clock.answered.IsZero()
}

// note takes the clock from an answer.
func (c *clock) note(header http.Header, sent, now time.Time) (issuer time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered = now
	said, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return now.Add(c.skew)
	}
	// the header was written between sent and now, and cut to the second
	switch said = said.UTC(); {
	case said.Add(time.Second).Before(sent):
		c.skew = said.Add(time.Second).Sub(sent)
	case said.After(now):
		c.skew = said.Sub(now)
	default:
		c.skew = 0
	}
	return now.Add(c.skew)
}
