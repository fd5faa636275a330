package emulator

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Portal is one emulated portal. All methods may be called at the same time.
type Portal struct {
	cfg   Config
	base  string
	table table
	own   map[string]func(*http.Request) reply
	calls map[string]*atomic.Int64 // route → requests
	knobs atomic.Pointer[Knobs]

	mu      sync.RWMutex // guards what follows
	state   *state
	journal *journal // nil = memory only
	index   *searchIndex
	used    *usageCounts
	log     *eventLog
	signer  []byte // of tokens; never changes

	faults   *faultBox
	throttle *throttler

	closing   chan struct{} // closed by Close
	closeOnce sync.Once
	closeErr  error
}

// New opens the state and makes a portal that is ready to serve.
func New(cfg Config) (*Portal, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Portal{
		cfg: cfg, base: cfg.basePath(), state: newState(),
		index: newSearchIndex(), used: newUsageCounts(), log: &eventLog{max: cfg.MaxEvents},
		faults: &faultBox{}, throttle: &throttler{}, closing: make(chan struct{}),
	}
	if err := errors.Join(p.SetKnobs(cfg.Knobs), p.SetFaults(cfg.Faults)); err != nil {
		return nil, err
	}
	routes := p.routes()
	p.table, p.own, p.calls = compile(routes), p.controls(), map[string]*atomic.Int64{}
	for _, r := range routes {
		p.calls[r.path] = new(atomic.Int64)
	}
	p.calls[resourcePath] = new(atomic.Int64)
	if cfg.Dir != "" {
		if p.journal, err = openJournal(cfg.Dir, p.state); err != nil {
			return nil, err
		}
	}
	if err := p.makeSigner(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	for _, id := range p.state.order {
		p.index.put(p.cfg.Now(), id, p.state.items[id])
	}
	return p, nil
}

// BasePath is the path below which the portal's endpoints lie, for example "/sharing/rest".
func (p *Portal) BasePath() string { return p.base }

// Handler serves the portal and its /emulator pages.
func (p *Portal) Handler() http.Handler { return http.HandlerFunc(p.serve) }

// Run serves on the listener until ctx is done, and closes the portal.
func (p *Portal) Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: p.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return errors.Join(err, p.Close())
	case <-ctx.Done():
	}
	closeErr := p.Close() // first, so that silent requests end
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-served
	return errors.Join(err, closeErr)
}

// Close ends every request that a fault keeps waiting, and closes the state. Changes after that are refused.
func (p *Portal) Close() error {
	p.closeOnce.Do(func() {
		close(p.closing)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.journal != nil {
			p.closeErr = p.journal.close()
		}
	})
	return p.closeErr
}

// Knobs returns the knobs in force, with defaults filled in.
func (p *Portal) Knobs() Knobs { return *p.knobs.Load() }

// SetKnobs changes the knobs from now on.
func (p *Portal) SetKnobs(k Knobs) error {
	k, err := k.withDefaults()
	if err == nil {
		p.knobs.Store(&k)
	}
	return err
}

// call is one request to an endpoint of the portal.
type call struct {
	r     *http.Request
	form  url.Values // query and body
	vars  map[string]string
	now   time.Time
	who   identity
	knobs Knobs
}

// maxBody bounds a request's body.
const maxBody = 4 << 20

func (p *Portal) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Emulated-Portal", "keyturn")
	path := r.URL.EscapedPath()
	if handle := p.own[strings.TrimSuffix(path, "/")]; handle != nil {
		p.stamp(w)
		handle(r).write(w)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := parseForm(r); err != nil {
		p.stamp(w)
		answer("json", nil, &portalError{Status: http.StatusBadRequest, Code: 400, Message: "Unreadable request", Details: []string{err.Error()}}).write(w)
		return
	}
	plan := p.faults.plan(path, r.Form)
	if !p.sleep(r, plan.before) {
		panic(http.ErrAbortHandler)
	}
	var rep reply
	if !plan.spoils() || plan.act {
		rep = p.handle(path, r)
	}
	if !p.sleep(r, plan.after) {
		panic(http.ErrAbortHandler)
	}
	p.stamp(w)
	if plan.spoils() {
		p.spoil(w, r, plan, rep)
		return
	}
	rep.write(w)
}

// parseForm also reads what is no form: the server notices that a client is gone only after the whole body.
func parseForm(r *http.Request) error {
	parse := r.ParseForm
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		parse = func() error { return r.ParseMultipartForm(maxBody) }
	}
	if err := parse(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r.Body)
	return err
}

// stamp sets the Date header from the portal's own clock.
func (p *Portal) stamp(w http.ResponseWriter) {
	w.Header().Set("Date", p.cfg.Now().UTC().Format(http.TimeFormat))
}

// sleep reports false if the client or the portal is gone before d is over.
func (p *Portal) sleep(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
	case <-p.closing:
	}
	return false
}

// handle answers a request to the portal or to the protected resource.
func (p *Portal) handle(path string, r *http.Request) reply {
	c := &call{r: r, form: r.Form, now: p.cfg.Now(), knobs: p.Knobs()}
	if strings.TrimSuffix(path, "/") == resourcePath {
		p.calls[resourcePath].Add(1)
		return p.resource(c)
	}
	f := c.form.Get("f")
	below, ok := strings.CutPrefix(path, p.base)
	if !ok || (below != "" && below[0] != '/') {
		return answer(f, nil, &portalError{Status: http.StatusNotFound, Code: 404, Message: "Not Found",
			Details: []string{"this portal lies below " + p.base}})
	}
	rt, vars := p.table.match(below)
	if rt == nil {
		return answer(f, nil, errNotFound())
	}
	p.calls[rt.path].Add(1)
	if p.throttle.over(c.now, c.knobs) {
		return throttled(c.knobs)
	}
	if r.Method != http.MethodPost && (rt.post || r.Method != http.MethodGet) {
		return answer(f, nil, &portalError{Code: 405, Message: "Method Not Allowed", Details: []string{"use POST"}})
	}
	c.vars = vars
	if rt.token != tokenIgnored {
		var err error
		if c.who, err = p.identify(c); err == nil && c.who.kind == anonymous && rt.token == tokenRequired {
			err = errTokenRequired()
		}
		if err != nil {
			return answer(f, nil, err)
		}
	}
	value, err := rt.handle(c)
	return answer(f, value, err)
}

// errClosed is what a change meets after Close.
var errClosed = errors.New("emulator: the portal is closed")

// commit writes the records and makes them true, in this order. The caller holds p.mu.
func (p *Portal) commit(now time.Time, ev Event, recs ...record) error {
	select {
	case <-p.closing:
		return errClosed
	default:
	}
	if p.journal != nil {
		if err := p.journal.write(recs); err != nil {
			return err
		}
	}
	k := p.Knobs()
	p.state.forget(now.Add(-k.RevokedKeyDelay))
	for _, r := range recs {
		p.state.apply(r, now)
		if r.Item != nil {
			doc := r.Item
			if r.Gone || doc.Recycled != 0 {
				doc = nil
			}
			p.index.add(now, k.SearchLag, r.Item.ID, doc)
		}
	}
	ev.Time = now
	p.log.add(ev)
	return nil
}
