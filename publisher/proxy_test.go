package publisher

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between a client and a server and can lose what is said.
type proxy struct {
	listener net.Listener
	target   string
	// deaf loses what the server says.
	deaf atomic.Bool
	// heard is called with each piece that the client says, before it is passed
	// on; false loses the piece.
	heard func(piece string) bool

	mu    sync.Mutex
	conns []net.Conn
	group sync.WaitGroup
}

// newProxy listens in front of a server; heard may be nil.
func newProxy(t *testing.T, target string, heard func(p *proxy, piece string) bool) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: strings.TrimPrefix(target, "nats://")}
	p.heard = func(piece string) bool { return heard == nil || heard(p, piece) }
	p.group.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.group.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.group.Go(func() { p.pass(server, client, p.heard) })
		p.group.Go(func() { p.pass(client, server, func(string) bool { return !p.deaf.Load() }) })
	}
}

func (p *proxy) pass(to, from net.Conn, keep func(piece string) bool) {
	defer to.Close()
	defer from.Close()
	piece := make([]byte, 1<<20) // the client writes each message at once
	for {
		n, err := from.Read(piece)
		if n > 0 && keep(string(piece[:n])) {
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// isAppend and isLook know what the client says.
func isAppend(piece string) bool { return strings.Contains(piece, "HPUB keyturn.record.") }

func isLook(piece string) bool { return strings.Contains(piece, "$JS.API.STREAM.MSG.GET.") }
