package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/logkey"
)

// Subject is where heartbeats go, followed by the daemon's id.
const Subject = "keyturn.daemons."

// The kinds of differences between daemons.
const (
	DiffersConfig = "config" // the peer's configuration is another one
	DiffersSchema = "schema" // the peer writes a newer schema of the record
)

const (
	defaultInterval = 500 * time.Millisecond
	maxHeartbeat    = 64 << 10
	inbox           = 1024 // heartbeats that wait to be read; more are lost, as the next ones follow
)

// Config is what a Service needs.
type Config struct {
	Conn *nats.Conn
	// Beat is what to say now; ID is the same each time.
	Beat func() Heartbeat
	// Interval between heartbeats; zero = half a second.
	Interval time.Duration
	// Timeout is the silence after which a daemon is gone; zero = six intervals.
	Timeout time.Duration
	// Changed is told whenever a daemon came or went; nil = nobody. It is called
	// by one goroutine at a time.
	Changed func(Fleet)
	// Differs is told once for each peer and kind of difference; nil = nobody.
	Differs func(peer Heartbeat, kind string)
	// Now is the wall clock, with a monotonic reading.
	Now    func() time.Time
	Logger *zap.Logger
}

// Service sends and hears heartbeats.
type Service struct {
	config  Config
	self    string
	members *Members
	warned  map[string]map[string]string // peer → kind → what was warned of
	joined  chan struct{}
}

// New returns a service that has said nothing yet.
func New(c Config) *Service {
	if c.Interval <= 0 {
		c.Interval = defaultInterval
	}
	if c.Timeout <= 0 {
		c.Timeout = 6 * c.Interval
	}
	self := c.Beat().ID
	return &Service{
		config: c, self: self, members: NewMembers(self, c.Timeout),
		warned: map[string]map[string]string{}, joined: make(chan struct{}),
	}
}

// Joined is closed when the others have had time to answer the first heartbeat.
func (s *Service) Joined() <-chan struct{} { return s.joined }

// Run sends and hears heartbeats until ctx ends, then says that this daemon
// leaves, and returns nil.
func (s *Service) Run(ctx context.Context) error {
	messages := make(chan *nats.Msg, inbox)
	subscription, err := s.config.Conn.ChanSubscribe(Subject+"*", messages)
	if err != nil {
		return fmt.Errorf("heartbeats of the daemons: %w (try: let this login subscribe to %s*)", err, Subject)
	}
	s.flush(ctx) // others' answers come only once the server knows of the subscription
	s.say(false)
	ticker := time.NewTicker(s.config.Interval)
	defer ticker.Stop()
	first := time.NewTimer(s.config.Interval / 2)
	defer first.Stop()
	for {
		select {
		case <-ctx.Done():
			s.say(true)
			s.flush(context.WithoutCancel(ctx))
			if err := subscription.Unsubscribe(); err != nil {
				s.config.Logger.Debug("the heartbeats of the others were not unsubscribed", zap.Error(err))
			}
			return nil
		case <-first.C:
			close(s.joined)
		case <-ticker.C:
			s.say(false)
			if gone := s.members.Expire(s.config.Now()); len(gone) > 0 {
				for _, id := range gone {
					delete(s.warned, id)
					s.config.Logger.Warn("another daemon is silent; its work is shared out", zap.String(logkey.Peer, id))
				}
				s.changed()
			}
		case message := <-messages:
			s.hear(message)
		}
	}
}

// flush waits a moment for the server; one that is away is told of elsewhere.
func (s *Service) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = s.config.Conn.FlushWithContext(ctx)
}

// say sends a heartbeat. One that is lost is followed by the next.
func (s *Service) say(leaving bool) {
	beat := s.config.Beat()
	beat.At, beat.Leaving = s.config.Now().UTC(), leaving
	data, err := json.Marshal(beat)
	if err != nil {
		s.config.Logger.Error("the heartbeat does not encode", zap.Error(err))
		return
	}
	_ = s.config.Conn.Publish(Subject+s.self, data)
}

func (s *Service) hear(message *nats.Msg) {
	beat, ok := decode(message.Subject, message.Data)
	if !ok || beat.ID == s.self {
		return
	}
	came, went := s.members.Hear(beat, s.config.Now())
	switch {
	case came:
		s.say(false) // so that it knows of us at once
		s.config.Logger.Info("another daemon is there", zap.String(logkey.Peer, beat.ID), zap.String(logkey.Version, beat.Version))
	case went:
		delete(s.warned, beat.ID)
		s.config.Logger.Info("another daemon has ended", zap.String(logkey.Peer, beat.ID))
	}
	if came || went {
		s.changed()
	}
	if s.members.Knows(beat.ID) {
		s.compare(beat)
	}
}

// decode reads a heartbeat. One that is malformed, or speaks for another
// daemon than its subject names, is nobody's.
func decode(subject string, data []byte) (Heartbeat, bool) {
	var beat Heartbeat
	if len(data) > maxHeartbeat || json.Unmarshal(data, &beat) != nil {
		return Heartbeat{}, false
	}
	return beat, beat.ID != "" && subject == Subject+beat.ID
}

func (s *Service) changed() {
	if s.config.Changed != nil {
		s.config.Changed(s.members.Fleet())
	}
}

// compare warns of a peer that is not like us, once for each difference.
func (s *Service) compare(peer Heartbeat) {
	own := s.config.Beat()
	if peer.Digest != own.Digest && s.first(peer.ID, DiffersConfig, peer.Digest+" "+own.Digest) {
		s.config.Logger.Warn("another daemon is configured differently (try: give all the same file, and send SIGHUP or restart)",
			zap.String(logkey.Peer, peer.ID), zap.String(logkey.Digest, own.Digest), zap.String(logkey.PeerDigest, peer.Digest))
		s.differs(peer, DiffersConfig)
	}
	if peer.Schema > own.Schema && s.first(peer.ID, DiffersSchema, fmt.Sprint(peer.Schema)) {
		s.config.Logger.Warn("another daemon writes a newer schema of the record; what it writes cannot be worked on here (try: upgrade this daemon)",
			zap.String(logkey.Peer, peer.ID), zap.Int(logkey.Schema, own.Schema), zap.Int(logkey.PeerSchema, peer.Schema))
		s.differs(peer, DiffersSchema)
	}
}

func (s *Service) first(peer, kind, value string) bool {
	if s.warned[peer] == nil {
		s.warned[peer] = map[string]string{}
	}
	last, said := s.warned[peer][kind]
	s.warned[peer][kind] = value
	return !said || last != value
}

func (s *Service) differs(peer Heartbeat, kind string) {
	if s.config.Differs != nil {
		s.config.Differs(peer, kind)
	}
}
