package peers_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/peers"
)

// member is a daemon's service under test.
type member struct {
	conn    *nats.Conn
	logs    *observer.ObservedLogs
	stop    func()
	service *peers.Service

	mu      sync.Mutex
	beat    peers.Heartbeat
	fleet   peers.Fleet
	differs []string
}

func (m *member) ids() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint(m.fleet.IDs())
}

func (m *member) told() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint(m.differs)
}

const interval = 50 * time.Millisecond

func join(t *testing.T, url string, beat peers.Heartbeat) *member {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	m := &member{conn: conn, logs: logs, beat: beat}
	m.service = peers.New(peers.Config{
		Conn: conn, Interval: interval, Timeout: 10 * interval, Now: time.Now, Logger: zap.New(core),
		Beat: func() peers.Heartbeat {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.beat
		},
		Changed: func(f peers.Fleet) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.fleet = f
		},
		Differs: func(peer peers.Heartbeat, kind string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.differs = append(m.differs, peer.ID+" "+kind)
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.service.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run of %s: %v", beat.ID, err)
		}
		conn.Close()
	})
	t.Cleanup(m.stop)
	return m
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s it is not so that %s", what)
		}
	}
}

// TestDaemonsKnowEachOther: they find each other, one that ends says so, and one
// that falls silent is gone after the timeout, and back with its next heartbeat.
func TestDaemonsKnowEachOther(t *testing.T) {
	url := natstest.Start(t).ClientURL()
	a, b, c := join(t, url, peers.Heartbeat{ID: "d-a"}), join(t, url, peers.Heartbeat{ID: "d-b"}), join(t, url, peers.Heartbeat{ID: "d-c"})
	for _, m := range []*member{a, b, c} {
		eventually(t, "all three know each other", func() bool { return m.ids() == "[d-a d-b d-c]" })
	}
	// a newcomer knows the others as soon as it has joined, not a heartbeat of theirs later
	d := join(t, url, peers.Heartbeat{ID: "d-d"})
	<-d.service.Joined()
	if got := d.ids(); got != "[d-a d-b d-c d-d]" {
		t.Errorf("after joining the newcomer knows %s", got)
	}

	began := time.Now()
	c.stop()
	eventually(t, "it is known that one has ended", func() bool { return a.ids() == "[d-a d-b d-d]" })
	if took := time.Since(began); took > 5*interval {
		t.Errorf("that one has ended was known after %v: not by its own word", took)
	}
	b.conn.Close() // as if it were killed
	eventually(t, "one that is silent is gone", func() bool { return a.ids() == "[d-a d-d]" })
	if n := a.logs.FilterMessageSnippet("is silent").Len(); n != 1 {
		t.Errorf("told %d times that one is silent", n)
	}
	again := join(t, url, peers.Heartbeat{ID: "d-b"})
	eventually(t, "it is back", func() bool { return a.ids() == "[d-a d-b d-d]" && again.ids() == a.ids() })
}

// TestAPeerThatIsDifferentIsToldOnce: another configuration, or a newer schema,
// is told once for each peer, however many heartbeats there are.
func TestAPeerThatIsDifferentIsToldOnce(t *testing.T) {
	url := natstest.Start(t).ClientURL()
	same := join(t, url, peers.Heartbeat{ID: "d-same", Digest: "one", Schema: 1})
	me := join(t, url, peers.Heartbeat{ID: "d-me", Digest: "one", Schema: 1})
	other := join(t, url, peers.Heartbeat{ID: "d-other", Digest: "two", Schema: 1})
	newer := join(t, url, peers.Heartbeat{ID: "d-newer", Digest: "one", Schema: 2})
	eventually(t, "both differences were told", func() bool { return len(me.told()) >= len("[d-other config d-newer schema]") })
	for range 3 { // three more heartbeats of each are heard
		beats := heartbeats(t, me.conn)
		for range 8 {
			if _, err := beats.NextMsg(5 * time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := me.logs.FilterMessageSnippet("configured differently").Len(); n != 1 {
		t.Errorf("the other configuration was told %d times", n)
	}
	if n := me.logs.FilterMessageSnippet("newer schema").Len(); n != 1 {
		t.Errorf("the newer schema was told %d times", n)
	}
	if got := me.told(); got != "[d-other config d-newer schema]" && got != "[d-newer schema d-other config]" {
		t.Errorf("told %s", got)
	}
	// the older daemon is not warned of by the newer one, and equals not at all
	eventually(t, "the newer one knows all", func() bool { return newer.ids() == same.ids() && other.ids() == same.ids() })
	if got := newer.told(); got != "[d-other config]" {
		t.Errorf("the newer daemon told %s", got)
	}

	// a configuration that is changed to be the same, and back, is another difference
	other.set(func(b *peers.Heartbeat) { b.Digest = "three" })
	eventually(t, "the change was told", func() bool { return me.logs.FilterMessageSnippet("configured differently").Len() == 2 })
}

func (m *member) set(change func(*peers.Heartbeat)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.beat)
}

func heartbeats(t *testing.T, conn *nats.Conn) *nats.Subscription {
	t.Helper()
	subscription, err := conn.SubscribeSync(peers.Subject + "*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = subscription.Unsubscribe() })
	return subscription
}

// TestWhatIsNoHeartbeatIsNobody: rubbish, and one who speaks for another.
func TestWhatIsNoHeartbeatIsNobody(t *testing.T) {
	url := natstest.Start(t).ClientURL()
	me := join(t, url, peers.Heartbeat{ID: "d-me"})
	<-me.service.Joined()
	for subject, data := range map[string]string{
		"d-rubbish": "{", "d-empty": "{}", "d-liar": `{"id":"d-other"}`,
		"d-huge": `{"id":"d-huge","version":"` + strings.Repeat("x", 70<<10) + `"}`,
	} {
		if err := me.conn.Publish(peers.Subject+subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	// unknown fields are a newer daemon's
	if err := me.conn.Publish(peers.Subject+"d-new", []byte(`{"id":"d-new","moon":"full"}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the one that is right is known", func() bool { return me.ids() == "[d-me d-new]" })
}
