package main

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// echo answers with what it gets, and counts it.
func echo(t *testing.T) (address string, got *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	got = new(atomic.Int64)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				buf := make([]byte, 64)
				for {
					n, err := conn.Read(buf)
					got.Add(int64(n))
					if err != nil {
						return
					}
					_, _ = conn.Write(buf[:n])
				}
			}()
		}
	}()
	return listener.Addr().String(), got
}

func dial(t *testing.T, l *link) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.addr)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends a word and waits for it to come back.
func ask(conn net.Conn, within time.Duration) error {
	if _, err := conn.Write([]byte("word")); err != nil {
		return err
	}
	return hear(conn, within)
}

func hear(conn net.Conn, within time.Duration) error {
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 4))
	return err
}

const soon, long = 200 * time.Millisecond, 10 * time.Second

func newTestLink(t *testing.T) (*link, *atomic.Int64) {
	t.Helper()
	address, got := echo(t)
	l, err := newLink(address)
	must(t, err)
	t.Cleanup(l.close)
	return l, got
}

func TestALinkThatIsCutResetsOldAndNewConnections(t *testing.T) {
	l, _ := newTestLink(t)
	conn := dial(t, l)
	must(t, ask(conn, long))
	l.set(linkCut)
	if err := ask(conn, long); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the old connection: %v, want a reset", err)
	}
	// the reset may come while it still dials
	if conn, err := net.Dial("tcp", l.addr); err == nil {
		if err := ask(conn, long); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a new connection: %v, want a reset", err)
		}
		must(t, conn.Close())
	}
	l.set(linkOpen)
	must(t, ask(dial(t, l), long))
}

func TestALinkThatIsStalledDeliversLater(t *testing.T) {
	l, got := newTestLink(t)
	conn := dial(t, l)
	must(t, ask(conn, long))
	l.set(linkStall)
	if err := ask(conn, soon); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("stalled: %v, want silence", err)
	}
	if n := got.Load(); n != 4 {
		t.Errorf("the server got %d bytes, want the first 4", n)
	}
	l.set(linkOpen)
	must(t, hear(conn, long))
}

func TestALinkThatIsHalfOpenLosesWhatIsSentAndResetsAtItsEnd(t *testing.T) {
	for _, m := range []mode{linkHalf, linkMute} {
		l, got := newTestLink(t)
		conn := dial(t, l)
		must(t, ask(conn, long))
		l.set(m)
		fresh := dial(t, l)
		for _, c := range []net.Conn{conn, fresh} {
			if err := ask(c, soon); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("mode %d: %v, want silence", m, err)
			}
		}
		want := int64(4) // half-open: nothing of it arrives
		if m == linkMute {
			want = 12 // both requests arrive, the answers do not
		}
		if n := got.Load(); n != want {
			t.Errorf("mode %d: the server got %d bytes, want %d", m, n, want)
		}
		l.set(linkOpen)
		if err := hear(conn, long); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("mode %d: %v, want a reset", m, err)
		}
		must(t, ask(dial(t, l), long))
	}
}
