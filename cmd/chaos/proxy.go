package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// mode is what a link does to the bytes on it.
type mode int

const (
	linkOpen  mode = iota // passes everything
	linkCut               // resets what is open and what is dialled
	linkStall             // holds both directions back, and delivers later
	linkHalf              // loses both directions; nobody is told until it opens again
	linkMute              // passes requests and loses the answers
)

// link is the way from one daemon to one server: a TCP proxy that can be broken.
// A connection that has lost bytes is reset when the link opens again, as it
// would be by the peer that never knew it.
type link struct {
	addr     string // where the daemon connects
	listener net.Listener
	target   string

	mu     sync.Mutex
	mode   mode
	change chan struct{} // closed at the next change of mode
	conns  map[*pair]struct{}
	closed bool
	group  sync.WaitGroup
}

// pair is one connection through the link.
type pair struct {
	client, server net.Conn
	lost           bool // bytes were lost on it
}

// newLink listens on a free port.
func newLink(target string) (*link, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{
		addr: listener.Addr().String(), listener: listener, target: target,
		change: make(chan struct{}), conns: map[*pair]struct{}{},
	}
	l.group.Go(l.accept)
	return l, nil
}

// set changes what the link does, from now on.
func (l *link) set(m mode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mode = m
	close(l.change)
	l.change = make(chan struct{})
	for p := range l.conns {
		if m == linkCut || (m == linkOpen && p.lost) {
			p.reset()
		}
	}
}

// state is the mode, and a channel that is closed when it changes.
func (l *link) state() (mode, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mode, l.change
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.listener.Close()
	l.set(linkCut)
	l.group.Wait()
}

func (l *link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.group.Go(func() { l.serve(client) })
	}
}

// serve connects to the server, when the link lets it, and passes bytes on.
func (l *link) serve(client net.Conn) {
	p := &pair{client: client}
	if !l.add(p) {
		p.reset()
		return
	}
	defer l.remove(p)
	if !l.pass(p, true) {
		return
	}
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", l.target)
	if err != nil {
		p.reset()
		return
	}
	l.mu.Lock()
	p.server = server
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.copy(p, server, client, true) })
	both.Go(func() { l.copy(p, client, server, false) })
	both.Wait()
}

func (l *link) add(p *pair) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.mode == linkCut {
		return false
	}
	l.conns[p] = struct{}{}
	return true
}

func (l *link) remove(p *pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.reset()
	delete(l.conns, p)
}

// copy passes bytes in one direction until either end is gone.
func (l *link) copy(p *pair, to, from net.Conn, request bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && l.pass(p, request) {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	// the end of a connection passes like its bytes
	if l.pass(p, request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		_ = p.client.Close()
		_ = p.server.Close()
	}
}

// pass waits while the link is stalled, and says whether bytes go on.
func (l *link) pass(p *pair, request bool) bool {
	for {
		m, changed := l.state()
		switch {
		case m == linkOpen:
			l.mu.Lock()
			defer l.mu.Unlock()
			return !p.lost
		case m == linkMute && request:
			return true
		case m == linkHalf, m == linkMute:
			l.mu.Lock()
			p.lost = true
			l.mu.Unlock()
			if p.server != nil {
				return false
			}
			<-changed // nobody to talk to yet
		case m == linkCut:
			return false
		default:
			<-changed
		}
	}
}

// reset closes both ends so that each sees a reset and not an end.
func (p *pair) reset() {
	for _, c := range []net.Conn{p.client, p.server} {
		if tcp, ok := c.(*net.TCPConn); ok && tcp != nil {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
	}
}
