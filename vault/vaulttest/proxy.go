package vaulttest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Trouble is what a Proxy does to the answers of requests that write.
type Trouble int

// The troubles. In each the request reaches the server and is carried out.
const (
	NoTrouble Trouble = iota
	// CutAnswers closes the connection instead of answering.
	CutAnswers
	// HalveAnswers closes the connection in the middle of the answer.
	HalveAnswers
	// SwallowAnswers never answers.
	SwallowAnswers
	// GatewayTimeout answers 504 without a body of Vault.
	GatewayTimeout
)

// Proxy stands between a client and a Server.
type Proxy struct {
	// Addr is the URL to use instead of the server's.
	Addr string

	server *httptest.Server

	mu       sync.Mutex
	trouble  Trouble
	requests []string // "PUT /v1/…", in order
}

// NewProxy makes a proxy to that URL, until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := new(Proxy)
	onward := &http.Transport{}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.serve(w, r, target, onward)
	}))
	t.Cleanup(func() {
		p.Close()
		onward.CloseIdleConnections()
	})
	p.Addr = p.server.URL
	return p
}

// Make sets the trouble from now on.
func (p *Proxy) Make(trouble Trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = trouble
}

// Close ends the proxy: connections are refused from now on.
func (p *Proxy) Close() { p.server.Close() }

// Requests lists the requests that passed, as "METHOD PATH".
func (p *Proxy) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requests...)
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, target string, onward http.RoundTripper) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	p.mu.Lock()
	p.requests = append(p.requests, r.Method+" "+r.URL.Path)
	trouble := p.trouble
	p.mu.Unlock()
	if r.Method == http.MethodGet {
		trouble = NoTrouble
	}

	out, err := http.NewRequestWithContext(r.Context(), r.Method, target+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.Header = r.Header.Clone()
	resp, err := onward.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}

	switch trouble {
	case CutAnswers:
		panic(http.ErrAbortHandler)
	case SwallowAnswers:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case GatewayTimeout:
		http.Error(w, "<html>upstream timed out</html>", http.StatusGatewayTimeout)
		return
	case HalveAnswers, NoTrouble:
	}
	for key, values := range resp.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(resp.StatusCode)
	if trouble == HalveAnswers {
		_, _ = w.Write(answer[:len(answer)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(answer)
}
