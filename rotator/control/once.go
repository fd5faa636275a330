package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// Outcomes keeps what became of requests that left nothing on the record, so that
// no daemon decides them again. publisher.Requests is one.
type Outcomes interface {
	// Outcome is what was kept of a request with that id; nil = nothing.
	Outcome(ctx context.Context, id string) ([]byte, error)
	// Keep keeps it unless something is kept of that id, and returns what is kept.
	Keep(ctx context.Context, id string, outcome []byte) ([]byte, error)
}

// kept is what is kept of a request: its answer, or the code and text of the no.
type kept struct {
	Schema   int             `json:"schema"`
	Request  string          `json:"request"`
	Digest   string          `json:"digest"`
	Operator string          `json:"operator"`
	Daemon   string          `json:"daemon"`
	At       time.Time       `json:"at"`
	Code     string          `json:"code,omitempty"`
	Text     string          `json:"text,omitempty"`
	Answer   json.RawMessage `json:"answer,omitempty"`
}

const keptSchema = 1

// once decides a request, unless it was answered before: then it gets that answer.
// What left nothing on the record is kept before it is answered, or is not answered.
func (s *Service) once(ctx context.Context, name string, by caller, decide func() (any, error)) (any, error) {
	before, err := s.config.Outcomes.Outcome(ctx, by.request)
	switch {
	case err != nil && !urgent(name):
		return nil, fmt.Errorf("nothing was done, since a replay would not be noticed: %w", err)
	case err != nil: // keys in wrong hands do not wait for it
		s.config.Logger.Warn("it is not known whether a request was answered before; it is carried out, being about a leaked key",
			zap.String(logkey.Endpoint, name), zap.String(logkey.Request, by.request), zap.Error(err))
	case before != nil:
		return by.again(before)
	}
	answer, err := decide()
	if undecided(err) || (onRecord(answer, err) && name != importing) {
		return answer, err
	}
	outcome, keepErr := s.kept(by, answer, err)
	if keepErr == nil {
		before, keepErr = s.config.Outcomes.Keep(ctx, by.request, outcome)
	}
	switch {
	case keepErr == nil && bytes.Equal(before, outcome):
		return answer, err
	case keepErr == nil:
		return by.again(before)
	case onRecord(answer, err): // the keys of the file are, if not the request that brought it
		s.config.Logger.Warn("the answer to an import is not kept", zap.String(logkey.Request, by.request), zap.Error(keepErr))
		return answer, err
	case err != nil:
		return nil, fmt.Errorf("it is refused (%v), and that cannot be kept against a replay: %w", err, keepErr) //nolint:errorlint // it is no answer
	}
	return nil, fmt.Errorf("it changes nothing, and that cannot be kept against a replay: %w", keepErr)
}

// undecided is true of an error that is no verdict: the request may be sent again.
func undecided(err error) bool {
	if err == nil {
		return false
	}
	code, _ := refusal(err)
	return code == CodeUnavailable || code == CodeDenied
}

// onRecord reports whether the record knows of the request's id, so that no daemon
// does it again.
func onRecord(answer any, err error) bool {
	if err != nil {
		return errors.Is(err, credential.ErrTaken)
	}
	a, ok := answer.(Answer)
	return ok && a.Result != ResultUnchanged && a.Result != ResultAlready
}

func (s *Service) kept(by caller, answer any, err error) ([]byte, error) {
	k := kept{
		Schema: keptSchema, Request: by.request, Digest: by.digest, Operator: by.operator,
		Daemon: s.config.Daemon, At: s.config.Now().UTC(),
	}
	if err != nil {
		k.Code, k.Text = refusal(err)
		return json.Marshal(k)
	}
	if k.Answer, err = json.Marshal(answer); err != nil {
		return nil, err
	}
	return json.Marshal(k)
}

// again answers as before, unless it was another request.
func (c caller) again(before []byte) (any, error) {
	var k kept
	if err := json.Unmarshal(before, &k); err != nil || k.Schema != keptSchema {
		return nil, fmt.Errorf("what became of request %s cannot be read (try: the same version of keyturn at all daemons)", c.request)
	}
	switch {
	case k.Digest != c.digest:
		return nil, fmt.Errorf("%w %s", credential.ErrTaken, c.request)
	case k.Code != "":
		return nil, &Refusal{Code: k.Code, Text: k.Text}
	}
	return k.Answer, nil
}
