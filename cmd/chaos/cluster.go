package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher"
)

const nodes = 3

// node is one server of the cluster; it is started again on the same files.
type node struct {
	name, dir, logs string
	port            int
	routes          string
	process         *process
	disk            disk
}

func (n *node) start() error {
	p, err := launch(n.name, filepath.Join(n.logs, n.name+".err"), self(), subNode,
		"-name", n.name, "-dir", n.dir, "-log", filepath.Join(n.logs, n.name+".log"), "-port", strconv.Itoa(n.port), "-routes", n.routes)
	if err != nil {
		return err
	}
	n.process = p
	return nil
}

// cluster is the three of them, and the run's own connection.
type cluster struct {
	nodes []*node
	conn  *nats.Conn
	js    jetstream.JetStream
}

func newCluster(dir, logs string) (*cluster, error) {
	ports, err := freePorts(2 * nodes)
	if err != nil {
		return nil, err
	}
	c := &cluster{}
	for i := range nodes {
		own := make([]string, 0, nodes)
		for j := range nodes { // the own one first
			own = append(own, strconv.Itoa(ports[nodes+(i+j)%nodes]))
		}
		name := fmt.Sprintf("n%d", i+1)
		n := &node{name: name, dir: filepath.Join(dir, name), logs: logs, port: ports[i], routes: strings.Join(own, ",")}
		n.disk = disk{dir: n.dir, pid: func() int { return n.process.pid }}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// open starts the servers, connects, and waits until JetStream serves.
func (c *cluster) open(ctx context.Context) error {
	var urls []string
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return err
		}
		urls = append(urls, n.url())
	}
	var err error
	c.conn, err = nats.Connect(strings.Join(urls, ","), nats.Name("chaos"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(50*time.Millisecond, 50*time.Millisecond), nats.Timeout(2*time.Second),
		nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // the default one prints
	if err != nil {
		return err
	}
	if c.js, err = jetstream.New(c.conn); err != nil {
		return err
	}
	return until(ctx, startTime, "JetStream serves", func(ctx context.Context) error {
		_, err := c.js.AccountInfo(ctx)
		return err
	})
}

func (n *node) url() string { return "nats://127.0.0.1:" + strconv.Itoa(n.port) }

func (c *cluster) close() {
	if c.conn != nil {
		c.conn.Close()
	}
	for _, n := range c.nodes {
		if n.process != nil {
			n.process.end()
		}
	}
}

// leader is the node that leads the stream, or any one when it is not known.
func (c *cluster) leader(ctx context.Context, random *rand.Rand) *node {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if stream, err := c.js.Stream(ctx, publisher.StreamName); err == nil {
		if info := stream.CachedInfo().Cluster; info != nil {
			if i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == info.Leader }); i >= 0 {
				return c.nodes[i]
			}
		}
	}
	return c.nodes[random.IntN(len(c.nodes))]
}

// stepDown makes the stream's leader give up.
func (c *cluster) stepDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err := c.conn.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+publisher.StreamName, nil)
	return err
}

// freePorts finds ports outside of the range that the system gives to outgoing
// connections: a server that is down for a while gets its port back.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 200 {
		port := 15_000 + rand.IntN(15_000)
		if slices.Contains(ports, port) {
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports")
}

const startTime = 60 * time.Second

// until tries again until there is no error, within a bound.
func until(ctx context.Context, within time.Duration, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		call, done := context.WithTimeout(ctx, 5*time.Second)
		err := try(call)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not so that %s after %s: %w", what, within, err)
		case <-tick.C:
		}
	}
}
