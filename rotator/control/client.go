package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Client asks the daemons.
type Client struct {
	conn *nats.Conn
}

// NewClient returns a client on an open connection.
func NewClient(conn *nats.Conn) *Client { return &Client{conn: conn} }

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
	var answer Answer
	return answer, c.ask(ctx, SubjectApply, request, &answer)
}

// Rotate asks for a rotation.
func (c *Client) Rotate(ctx context.Context, request Rotate) (Answer, error) {
	var answer Answer
	return answer, c.ask(ctx, SubjectRotate, request, &answer)
}

// Limits asks what the daemon's issuers allow.
func (c *Client) Limits(ctx context.Context) (Limits, error) {
	var limits Limits
	return limits, c.ask(ctx, SubjectLimits, struct{}{}, &limits)
}

func (c *Client) ask(ctx context.Context, subject string, request, answer any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	reply, err := c.conn.RequestWithContext(ctx, subject, data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return ErrNoDaemon
	case err != nil:
		return fmt.Errorf("ask the daemon: %w (try: keyturn doctor)", err)
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return &Refusal{Code: code, Text: reply.Header.Get(micro.ErrorHeader)}
	}
	if err := json.Unmarshal(reply.Data, answer); err != nil {
		return fmt.Errorf("the daemon's answer cannot be read: %w (try: the same version of keyturn on both sides)", err)
	}
	return nil
}
