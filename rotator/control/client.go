package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Client asks the daemons.
type Client struct {
	conn     *nats.Conn
	identity Identity
}

// NewClient returns a client on an open connection.
func NewClient(conn *nats.Conn, identity Identity) *Client { return &Client{conn, identity} }

// ErrNoDaemon: nobody answers on the control subjects.
var ErrNoDaemon = errors.New("no keyturn daemon answers (try: keyturn serve, or keyturn doctor)")

// Ping asks whether a daemon answers, without being an operator.
func Ping(ctx context.Context, conn *nats.Conn) error {
	subject, err := micro.ControlSubject(micro.PingVerb, ServiceName, "")
	if err != nil {
		return err
	}
	if _, err := conn.RequestWithContext(ctx, subject, nil); errors.Is(err, nats.ErrNoResponders) {
		return ErrNoDaemon
	} else if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	return nil
}

// Refusal is a daemon's no.
type Refusal struct {
	Code, Text string
	// Resent is true when the request was sent more than once: an earlier sending
	// may still be under way at another daemon, which may not refuse it.
	Resent bool
}

// Error is the daemon's text.
func (r *Refusal) Error() string { return r.Text }

// Apply declares a credential.
func (c *Client) Apply(ctx context.Context, request Apply) (Answer, error) {
	return ask[Answer](ctx, c, SubjectApply, request)
}

// Rotate asks for a rotation.
func (c *Client) Rotate(ctx context.Context, request Rotate) (Answer, error) {
	return ask[Answer](ctx, c, SubjectRotate, request)
}

// Retry skips the wait after a failed attempt.
func (c *Client) Retry(ctx context.Context, request Retry) (Answer, error) {
	return ask[Answer](ctx, c, SubjectRetry, request)
}

// Invalidate says that keys leaked.
func (c *Client) Invalidate(ctx context.Context, request Invalidate) (Answer, error) {
	return ask[Answer](ctx, c, SubjectInvalidate, request)
}

// Hold stops what destroys keys.
func (c *Client) Hold(ctx context.Context, request Hold) (Answer, error) {
	return ask[Answer](ctx, c, SubjectHold, request)
}

// Release ends a hold.
func (c *Client) Release(ctx context.Context, request Release) (Answer, error) {
	return ask[Answer](ctx, c, SubjectRelease, request)
}

// Freeze has new credentials begin under a hold.
func (c *Client) Freeze(ctx context.Context, request Freeze) (Answer, error) {
	return ask[Answer](ctx, c, SubjectFreeze, request)
}

// Thaw ends that.
func (c *Client) Thaw(ctx context.Context, request Thaw) (Answer, error) {
	return ask[Answer](ctx, c, SubjectThaw, request)
}

// Adopt takes a key under management that somebody else made.
func (c *Client) Adopt(ctx context.Context, request Adopt) (Answer, error) {
	return ask[Answer](ctx, c, SubjectAdopt, request)
}

// Remove ends a credential.
func (c *Client) Remove(ctx context.Context, request Remove) (Answer, error) {
	return ask[Answer](ctx, c, SubjectRemove, request)
}

// Acknowledge says that a service uses a key.
func (c *Client) Acknowledge(ctx context.Context, request Acknowledge) (Answer, error) {
	return ask[Answer](ctx, c, SubjectAck, request)
}

// Limits asks what the daemon's issuers allow.
func (c *Client) Limits(ctx context.Context) (Limits, error) {
	return ask[Limits](ctx, c, SubjectLimits, Nothing{})
}

// Whoami asks who the daemon takes us for.
func (c *Client) Whoami(ctx context.Context) (Operator, error) {
	return ask[Operator](ctx, c, SubjectWhoami, Nothing{})
}

// ask sends a request under an id of its own.
func ask[T any](ctx context.Context, c *Client, subject string, arguments any) (answer T, err error) {
	inner, err := json.Marshal(arguments)
	if err != nil {
		return answer, err
	}
	data, err := json.Marshal(envelope{Installation: c.identity.Installation, Request: uuid.NewString(), At: time.Now().UTC(), Arguments: inner})
	if err != nil {
		return answer, err
	}
	message := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{}}
	if c.identity.pair != nil {
		signature, err := c.identity.sign(subject, data)
		if err != nil {
			return answer, err
		}
		message.Header.Set(HeaderOperator, c.identity.public)
		message.Header.Set(HeaderSignature, signature)
	}
	reply, heard, err := c.send(ctx, message)
	switch {
	case errors.Is(err, nats.ErrNoResponders) && !heard:
		return answer, ErrNoDaemon
	case err != nil && heard:
		return answer, fmt.Errorf("the daemon does not answer: %w; it may have done it all the same (try: keyturn history, which tells; keyturn doctor)", err)
	case err != nil:
		return answer, fmt.Errorf("ask the daemon: %w (try: keyturn doctor)", err)
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return answer, &Refusal{Code: code, Text: reply.Header.Get(micro.ErrorHeader), Resent: heard}
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return answer, fmt.Errorf("the daemon's answer cannot be read: %w (try: the same version of keyturn on both sides)", err)
	}
	return answer, nil
}

// A request whose answer does not come is sent again: the very same, which is
// carried out once.
const (
	sends  = 3
	resend = 3 * time.Second
)

// send sends a message until it is answered, at most three times. A daemon may
// have heard it though no answer came.
func (c *Client) send(ctx context.Context, message *nats.Msg) (reply *nats.Msg, heard bool, err error) {
	for left := sends - 1; left > 0; left-- {
		patience := resend
		if deadline, ok := ctx.Deadline(); ok {
			patience = min(patience, time.Until(deadline)/time.Duration(left+1))
		}
		waiting, cancel := context.WithTimeout(ctx, patience)
		reply, err = c.conn.RequestMsgWithContext(waiting, message)
		cancel()
		silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
		heard = heard || silent
		if ctx.Err() != nil || !silent {
			return reply, heard, err
		}
	}
	reply, err = c.conn.RequestMsgWithContext(ctx, message)
	return reply, heard, err
}
