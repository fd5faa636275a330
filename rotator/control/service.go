package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// Commander decides and appends. The engine is one.
type Commander interface {
	Command(ctx context.Context, name credential.Name, command credential.Command) (credential.State, error)
	Look(ctx context.Context, name credential.Name) (credential.State, error)
}

// ViewTimeout bounds how long items are looked for before a declaration is
// accepted. Whoever applies one with items waits so much longer for the answer.
const ViewTimeout = 20 * time.Second

// Viewer is an issuer that can say which items are there, for those who manage it.
type Viewer interface {
	// Visible returns those of the items that do not exist or are hidden. An error
	// says nothing about any.
	Visible(ctx context.Context, items []string) (missing []string, err error)
}

// Config is what a Service needs.
type Config struct {
	Conn      *nats.Conn
	Commander Commander
	Freezer   Freezer
	Outcomes  Outcomes
	// Installation is what requests must be for; Daemon is who answers.
	Installation, Daemon string
	// Operators are those who may ask, looked up anew for each request.
	Operators func() Operators
	// Keep keeps a denied request. Denied counts each, and whether it was kept.
	Keep   func(context.Context, Denial) error
	Denied func(reason Reason, kept bool)
	// Check refuses a spec that this installation cannot carry out, and
	// resolves its policy.
	Check func(credential.Spec) (credential.Spec, error)
	// Viewers look at items before a declaration is accepted: issuer → who asks
	// it. One without is not asked.
	Viewers map[string]Viewer
	// Prove makes sure of what an adoption rests on, and returns the command. A fault
	// that is permanent, denied or not-found is a refusal.
	Prove func(context.Context, Adopt) (credential.Adopt, error)
	// Changed is told of a credential after its record changed.
	Changed func(name credential.Name, after credential.State)
	Limits  Limits
	Version string
	// Started is called once, when requests are taken; may be nil.
	Started func()
	// Timeout bounds each request, but for what an issuer is asked; zero = 10 s.
	Timeout time.Duration
	Now     func() time.Time
	Logger  *zap.Logger
}

// Service answers requests.
type Service struct {
	config  Config
	denials *denials
	slots   chan struct{} // bounds the requests under way
	urgent  chan struct{} // and those about leaked keys
	// counters by the name of the endpoint
	counters map[string]*counter
	work     sync.WaitGroup
}

const (
	maxInFlight = 64
	maxUrgent   = 16 // more, for those who cannot wait for others
)

// New returns a service, which runs once.
func New(c Config) *Service {
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	s := &Service{config: c, denials: newDenials(&c), slots: make(chan struct{}, maxInFlight), urgent: make(chan struct{}, maxUrgent), counters: map[string]*counter{consumerAck: {}}}
	for _, e := range s.endpoints() {
		s.counters[e.name] = &counter{}
	}
	return s
}

// Run serves until ctx ends; then it takes no more requests and answers those
// that it has.
func (s *Service) Run(ctx context.Context) error {
	service, err := micro.AddService(s.config.Conn, micro.Config{
		Name: ServiceName, Version: s.config.Version,
		Description: "key rotation: declare credentials, ask for rotations, invalidate leaked keys", StatsHandler: s.stats,
	})
	if err != nil {
		return fmt.Errorf("control service: %w", err)
	}
	work := context.WithoutCancel(ctx) // those under way are answered
	defer s.keepDenials(work)()
	for _, e := range s.endpoints() {
		handler := s.handler(work, e)
		if err := service.AddEndpoint(e.name, handler, micro.WithEndpointSubject(e.subject),
			micro.WithEndpointMetadata(map[string]string{"schema": e.schema})); err != nil {
			return errors.Join(fmt.Errorf("control endpoint %s: %w", e.name, err), service.Stop())
		}
	}
	if err := s.takeAcks(work, service); err != nil {
		return errors.Join(err, service.Stop())
	}
	// The server knows of the endpoints once it has answered. One that is away
	// learns of them when it is back.
	if err := s.config.Conn.FlushTimeout(s.config.Timeout); err != nil {
		s.config.Logger.Warn("NATS is away; requests are taken when it is back", zap.Error(err))
	}
	if s.config.Started != nil {
		s.config.Started()
	}
	<-ctx.Done()
	err = service.Stop()
	if errors.Is(err, nats.ErrConnectionClosed) {
		err = nil
	}
	return err
}

// keepDenials begins to keep what is denied; stop ends that once no request is
// under way any more.
func (s *Service) keepDenials(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.denials.run(ctx)
	}()
	return func() {
		s.work.Wait()
		close(s.denials.queue)
		patience := time.AfterFunc(keepTimeout, cancel)
		<-ended
		patience.Stop()
		cancel()
	}
}

// inboxes is how subjects begin on which answers are wanted. An answer is sent with
// the rights of the daemon: on a subject of the sender's choice it could stand in
// the record, or order the server to delete the stream.
const inboxes = "_"

// handler takes a request out of its envelope.
func (s *Service) handler(ctx context.Context, e endpoint) micro.Handler {
	return s.serve(ctx, e.name, s.counters[e.name], func(ctx context.Context, request micro.Request) (any, error) {
		by, arguments, err := s.open(e.name, request.Subject(), request.Headers(), request.Data())
		if err != nil {
			return nil, err
		}
		return e.handle(ctx, by, arguments)
	})
}

// serve runs each request in a goroutine of its own: the framework runs the
// handlers of an endpoint one after the other.
func (s *Service) serve(ctx context.Context, name string, count *counter, handle func(context.Context, micro.Request) (any, error)) micro.Handler {
	return micro.HandlerFunc(func(request micro.Request) {
		if reply := request.Reply(); reply != "" && !strings.HasPrefix(reply, inboxes) {
			s.denials.note(Denial{
				At: s.config.Now().UTC(), Endpoint: name, Reason: ReasonReply,
				Key: clean(request.Headers().Get(HeaderOperator)), Daemon: s.config.Daemon,
			})
			return
		}
		slots := s.slots
		if urgent(name) {
			slots = s.urgent
		}
		slots <- struct{}{}
		s.work.Add(1)
		go func() {
			defer func() {
				<-slots
				s.work.Done()
			}()
			timeout := s.config.Timeout
			if name == "apply" {
				timeout += ViewTimeout
			}
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			began := time.Now()
			answer, err := s.safely(name, func() (any, error) { return handle(ctx, request) })
			count.note(time.Since(began), err)
			var no *denied
			if errors.As(err, &no) {
				s.denials.note(no.Denial)
			}
			code, text := "", ""
			if err != nil {
				code, text = refusal(err)
				if code == CodeUnavailable && !errors.Is(err, errPanic) { // which was logged
					s.config.Logger.Warn("request failed", zap.String(logkey.Endpoint, name), zap.Error(err))
				}
			}
			if err := s.respond(request.Reply(), answer, code, text); err != nil {
				s.config.Logger.Warn("answer not sent", zap.String(logkey.Endpoint, name), zap.Error(err))
			}
		}()
	})
}

// respond answers. That of the framework may be called in its own goroutine only:
// it notes failures for the statistics, which are looked at when the handler has
// returned.
func (s *Service) respond(to string, answer any, code, text string) error {
	if to == "" {
		return nil // nobody waits for it
	}
	message := &nats.Msg{Subject: to}
	if code != "" {
		message.Header = nats.Header{micro.ErrorHeader: {text}, micro.ErrorCodeHeader: {code}}
		return s.config.Conn.PublishMsg(message)
	}
	var err error
	if message.Data, err = json.Marshal(answer); err != nil {
		return err
	}
	return s.config.Conn.PublishMsg(message)
}

// safely makes a panic an error of the one request.
func (s *Service) safely(name string, handle func() (any, error)) (answer any, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.config.Logger.Error("a request panicked, which is a bug", zap.String(logkey.Endpoint, name),
				zap.String(logkey.Error, fmt.Sprint(r)), zap.String(logkey.Stack, string(debug.Stack())))
			err = errPanic
		}
	}()
	return handle()
}

// errPanic is told of a request that panicked; the log has the rest.
var errPanic = errors.New("the daemon stumbled over this request (try: its log, and report it)")

// The codes of a refusal: see the package comment.
const (
	CodeBad         = "400"
	CodeDenied      = "403"
	CodeUnknown     = "404"
	CodeConflict    = "409"
	CodeUnavailable = "503"
)

// errBad marks a request that is wrong in itself.
var errBad = errors.New("bad request")

func refusal(err error) (code, text string) {
	var no *denied
	var before *Refusal
	switch {
	case errors.As(err, &before):
		return before.Code, before.Text
	case errors.Is(err, errBad), errors.Is(err, credential.ErrAbsurd):
		return CodeBad, err.Error()
	case errors.As(err, &no):
		return CodeDenied, err.Error()
	case errors.Is(err, credential.ErrUnknown), errors.Is(err, credential.ErrNoKey):
		return CodeUnknown, err.Error()
	case errors.Is(err, credential.ErrStale), errors.Is(err, credential.ErrHeld), errors.Is(err, credential.ErrClaimed),
		errors.Is(err, credential.ErrNotNamed), errors.Is(err, credential.ErrTaken), errors.Is(err, errUnfit):
		return CodeConflict, err.Error()
	}
	return CodeUnavailable, err.Error()
}
