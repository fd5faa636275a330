package arcgis

import (
	"crypto/tls"
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
	// Name is the issuer's name in the configuration; faults are of system
	// "portal <name>".
	Name string
	// URL is the REST root, ending in /sharing/rest.
	URL string
	// Username is the manager, and the owner of the items that it makes. With an
	// API key it is the owner only, and needed all the same.
	Username string
	// Password or APIKey logs the manager in. They are asked at each login, so
	// that a changed one is noticed; exactly one is set.
	Password func() (credential.Secret, error)
	APIKey   func() (credential.Secret, error)
	// Referer binds the manager's token, and is sent with every call but the
	// probe of a key that has referrers of its own; empty = "keyturn".
	Referer string
	// Transport carries the requests; nil = NewTransport(Concurrency) with TLS.
	Transport http.RoundTripper
	// TLS holds a private CA or a client certificate; nil = the system's CAs.
	// It is not looked at when Transport is set.
	TLS *tls.Config
	// Concurrency is how many calls run at a time; zero = 8.
	Concurrency int
	// Timeout is the deadline of each call; zero = 15 s.
	Timeout time.Duration
	// Now is the wall clock; nil = time.Now.
	Now func() time.Time
	// Observe is told of each call by a short name that is the same for every
	// item ("generate"), for metrics; nil = nobody.
	Observe func(op string, took time.Duration, err error)
}

// Portal is an issuer. It is safe for concurrent use.
type Portal struct {
	config Config
	root   string
	client *http.Client
	traced bool // the transport reports what it has written
	login  login
	clock  clock

	mu      sync.Mutex
	apps    map[string]app   // item id → what is known of it; secrets live here only
	folders map[place]string // whose folder, and its title → folder id
}

// app is what is remembered of an item. The secret may be missing.
type app struct {
	owner    string
	clientID string
	secret   credential.Secret
}

// New checks the configuration; it makes no call.
func New(c Config) (*Portal, error) {
	root, err := url.Parse(c.URL)
	if err != nil || root.Host == "" || (root.Scheme != "https" && root.Scheme != "http") ||
		root.User != nil || root.RawQuery != "" || root.Fragment != "" ||
		!strings.HasSuffix(strings.TrimSuffix(root.Path, "/"), "/sharing/rest") {
		return nil, fmt.Errorf("issuer %s: url: want the REST root and nothing else, such as https://www.arcgis.com/sharing/rest", c.Name)
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
	if !plain(c.Referer) {
		return nil, fmt.Errorf("issuer %s: the referer holds characters that no header can", c.Name)
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 8
	}
	if c.Timeout <= 0 {
		c.Timeout = 15 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		transport := NewTransport(c.Concurrency)
		if c.TLS != nil {
			transport.TLSClientConfig = c.TLS.Clone()
		}
		c.Transport = transport
	}
	p := &Portal{config: c, root: strings.TrimSuffix(c.URL, "/"), apps: map[string]app{}, folders: map[place]string{}}
	_, p.traced = c.Transport.(*http.Transport)
	p.login.free = c.APIKey != nil
	p.client = &http.Client{
		Transport: c.Transport,
		// A redirect is an answer like another: a token is never sent after it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, nil
}

// Close drops idle connections.
func (p *Portal) Close() { p.client.CloseIdleConnections() }

func (p *Portal) remember(item string, a app) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apps[item] = a
}

func (p *Portal) remembered(item string) app {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.apps[item]
}

func (p *Portal) forget(item string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.apps, item)
}

// ownerOf returns whose name stands in the item's path, as far as is known.
func (p *Portal) ownerOf(item string) string {
	if known := p.remembered(item); known.owner != "" {
		return known.owner
	}
	return p.config.Username
}

// userPath is a path below a user's content.
func userPath(user string, parts ...string) string {
	path := "/content/users/" + url.PathEscape(user)
	for _, part := range parts {
		if part != "" {
			path += "/" + url.PathEscape(part)
		}
	}
	return path
}

func (p *Portal) fault(r request, class credential.Class, err error, hint string) *credential.Fault {
	return &credential.Fault{Class: class, System: "portal " + p.config.Name, Op: r.op, Err: err, Hint: hint}
}
