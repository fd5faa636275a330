// Package natstest starts NATS servers with JetStream for tests, inside the
// test process, on free ports of 127.0.0.1, with files in the test's own
// directory. Whatever it starts ends with the test.
package natstest

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience is how long a server may take to be ready on a busy machine.
const patience = 60 * time.Second

// Option changes the options of a server before it starts.
type Option func(*server.Options)

// SyncAlways makes the server acknowledge only what is on disk.
func SyncAlways(o *server.Options) { o.SyncAlways = true }

// Server is a running server.
type Server struct {
	*server.Server
	options server.Options
}

// Start runs one server.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	return StartWith(t, &server.Options{
		ServerName: "n1",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   t.TempDir(),
		NoLog:      true,
		NoSigs:     true,
	}, options...)
}

// StartWith runs one server with these options.
func StartWith(t testing.TB, opts *server.Options, options ...Option) *Server {
	t.Helper()
	for _, option := range options {
		option(opts)
	}
	s := launch(t, opts)
	ready(t, s)
	return s
}

// Restart shuts the server down, if it still runs, and runs it again with the
// same files on the same port.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Shutdown()
	s.WaitForShutdown()
	again := s.options
	at, err := url.Parse(s.ClientURL())
	if err != nil {
		t.Fatalf("where the server listened: %v", err)
	}
	if again.Port, err = strconv.Atoi(at.Port()); err != nil {
		t.Fatalf("where the server listened: %v", err)
	}
	s.Server = launch(t, &again).Server
	ready(t, s)
}

// Cluster is a set of servers that know each other.
type Cluster struct {
	// Servers are its members.
	Servers []*Server
}

// StartCluster runs n servers that form one cluster with a leader.
func StartCluster(t testing.TB, n int, options ...Option) *Cluster {
	t.Helper()
	routes, free := reserve(t, n)
	free()
	c := &Cluster{}
	for i := range n {
		opts := &server.Options{
			ServerName: fmt.Sprintf("n%d", i+1),
			Host:       "127.0.0.1",
			Port:       server.RANDOM_PORT,
			JetStream:  true,
			StoreDir:   t.TempDir(),
			NoLog:      true,
			NoSigs:     true,
		}
		opts.Cluster.Name = "keyturn-test"
		opts.Cluster.Host = "127.0.0.1"
		opts.Cluster.Port = routes[i]
		for _, port := range routes {
			opts.Routes = append(opts.Routes, server.RoutesFromStr("nats://127.0.0.1:"+strconv.Itoa(port))...)
		}
		for _, option := range options {
			option(opts)
		}
		c.Servers = append(c.Servers, launch(t, opts))
	}
	for _, s := range c.Servers {
		ready(t, s)
	}
	Eventually(t, "the cluster has a leader that sees all members", func() bool {
		for _, s := range c.Servers {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == n
			}
		}
		return false
	})
	// a message goes one hop only: without a route between the leader of a stream
	// and the server of a client, the client hears nothing of it
	Eventually(t, "each member has a route to each other", func() bool {
		for _, s := range c.Servers {
			if s.neighbours(t) != n-1 {
				return false
			}
		}
		return true
	})
	return c
}

// neighbours counts the servers that this one has a route to.
func (s *Server) neighbours(t testing.TB) int {
	t.Helper()
	routes, err := s.Routez(nil)
	if err != nil {
		t.Fatalf("routes of %s: %v", s.Name(), err)
	}
	to := map[string]bool{}
	for _, route := range routes.Routes {
		to[route.RemoteID] = true
	}
	return len(to)
}

// Interested waits until each member knows of a subscription to the subject, be
// it a stream's or a client's: that spreads after it is acknowledged.
func (c *Cluster) Interested(t testing.TB, subject string) {
	t.Helper()
	Eventually(t, "each member knows who listens to "+subject, func() bool {
		for _, s := range c.Servers {
			if s.GlobalAccount().Interest(subject) == 0 {
				return false
			}
		}
		return true
	})
}

// URL names all members.
func (c *Cluster) URL() string {
	urls := make([]string, 0, len(c.Servers))
	for _, s := range c.Servers {
		urls = append(urls, s.ClientURL())
	}
	return strings.Join(urls, ",")
}

// StreamLeader is the member that leads a stream.
func (c *Cluster) StreamLeader(t testing.TB, stream string) *Server {
	t.Helper()
	var leader *Server
	Eventually(t, "the stream has a leader", func() bool {
		for _, s := range c.Servers {
			if s.Running() && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				leader = s
				return true
			}
		}
		return false
	})
	return leader
}

// Connect connects to a server or cluster and closes the connection at the end
// of the test.
func Connect(t testing.TB, url string, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	options = append([]nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20 * time.Millisecond),
		nats.ReconnectJitter(time.Millisecond, time.Millisecond),
	}, options...)
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("JetStream: %v", err)
	}
	return nc, js
}

// Eventually waits until what is true, and fails the test if it does not
// become so.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s it is still not so that %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// launch starts a server that need not be ready yet.
func launch(t testing.TB, opts *server.Options) *Server {
	t.Helper()
	options := *opts // before the server writes into them
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatalf("start a NATS server: %v", err)
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	go s.Start()
	return &Server{Server: s, options: options}
}

func ready(t testing.TB, s *Server) {
	t.Helper()
	if !s.ReadyForConnections(patience) {
		t.Fatalf("the NATS server was not ready after %s", patience)
	}
}

// reserve finds n free ports; free gives them back to be used.
func reserve(t testing.TB, n int) (ports []int, free func()) {
	t.Helper()
	var listeners []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("find a free port: %v", err)
		}
		listeners = append(listeners, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}
}
