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

// Identity is who asks, and whom.
type Identity struct {
	// Installation is that of the daemons.
	Installation string
}

// NewClient returns a client on an open connection.
func NewClient(conn *nats.Conn, identity Identity) *Client { return &Client{conn, identity} }

// ErrNoDaemon: nobody answers on the control subjects.
var ErrNoDaemon = errors.New("no keyturn daemon answers (try: keyturn serve, or keyturn doctor)")

// Refusal is a daemon's no.
type Refusal struct {
	Code, Text string
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

// Limits asks what the daemon's issuers allow.
func (c *Client) Limits(ctx context.Context) (Limits, error) {
	return ask[Limits](ctx, c, SubjectLimits, struct{}{})
}

// ask sends a request under an id of its own. One whose answer was lost may be
// sent again under that id: see credential.State.Answer.
func ask[T any](ctx context.Context, c *Client, subject string, arguments any) (answer T, err error) {
	inner, err := json.Marshal(arguments)
	if err != nil {
		return answer, err
	}
	data, err := json.Marshal(envelope{Installation: c.identity.Installation, Request: uuid.NewString(), At: time.Now().UTC(), Arguments: inner})
	if err != nil {
		return answer, err
	}
	reply, err := c.conn.RequestWithContext(ctx, subject, data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return answer, ErrNoDaemon
	case err != nil:
		return answer, fmt.Errorf("ask the daemon: %w (try: keyturn doctor)", err)
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return answer, &Refusal{Code: code, Text: reply.Header.Get(micro.ErrorHeader)}
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return answer, fmt.Errorf("the daemon's answer cannot be read: %w (try: the same version of keyturn on both sides)", err)
	}
	return answer, nil
}
