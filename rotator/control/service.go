package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
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

// Config is what a Service needs.
type Config struct {
	Conn      *nats.Conn
	Commander Commander
	// Check refuses a spec that this installation cannot carry out, and
	// resolves its policy.
	Check func(credential.Spec) (credential.Spec, error)
	// Changed is told of a credential after its record changed.
	Changed func(name credential.Name, after credential.State)
	Limits  Limits
	Version string
	// Started is called once, when requests are taken; may be nil.
	Started func()
	// Timeout bounds each request; zero = 10 s.
	Timeout time.Duration
	Logger  *zap.Logger
}

// Service answers requests.
type Service struct {
	config Config
	slots  chan struct{} // bounds the requests under way
	work   sync.WaitGroup
}

const maxInFlight = 64

// New returns a service.
func New(c Config) *Service {
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return &Service{config: c, slots: make(chan struct{}, maxInFlight)}
}

// Run serves until ctx ends; then it takes no more requests and answers those
// that it has.
func (s *Service) Run(ctx context.Context) error {
	service, err := micro.AddService(s.config.Conn, micro.Config{
		Name: ServiceName, Version: s.config.Version,
		Description: "key rotation: declare credentials, ask for rotations",
	})
	if err != nil {
		return fmt.Errorf("control service: %w", err)
	}
	work := context.WithoutCancel(ctx) // those under way are answered
	for _, e := range []struct {
		name, subject, schema string
		handle                func(context.Context, []byte) (any, error)
	}{
		{"apply", SubjectApply, schemaOf(Apply{}), s.apply},
		{"rotate", SubjectRotate, schemaOf(Rotate{}), s.rotate},
		{"limits", SubjectLimits, "{}", s.limits},
	} {
		handler := s.handler(work, e.name, e.handle)
		if err := service.AddEndpoint(e.name, handler, micro.WithEndpointSubject(e.subject),
			micro.WithEndpointMetadata(map[string]string{"schema": e.schema})); err != nil {
			return errors.Join(fmt.Errorf("control endpoint %s: %w", e.name, err), service.Stop())
		}
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
	s.work.Wait()
	if errors.Is(err, nats.ErrConnectionClosed) {
		err = nil
	}
	return err
}

// handler runs each request in a goroutine of its own: the framework runs the
// handlers of an endpoint one after the other.
func (s *Service) handler(ctx context.Context, name string, handle func(context.Context, []byte) (any, error)) micro.Handler {
	return micro.HandlerFunc(func(request micro.Request) {
		s.slots <- struct{}{}
		s.work.Add(1)
		go func() {
			defer func() {
				<-s.slots
				s.work.Done()
			}()
			ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
			defer cancel()
			answer, err := s.safely(name, func() (any, error) { return handle(ctx, request.Data()) })
			if err == nil {
				err = request.RespondJSON(answer)
			} else {
				code, text := refusal(err)
				if code == CodeUnavailable && !errors.Is(err, errPanic) { // which was logged
					s.config.Logger.Warn("request failed", zap.String(logkey.Endpoint, name), zap.Error(err))
				}
				err = request.Error(code, text, nil)
			}
			if err != nil {
				s.config.Logger.Warn("answer not sent", zap.String(logkey.Endpoint, name), zap.Error(err))
			}
		}()
	})
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
	CodeUnknown     = "404"
	CodeConflict    = "409"
	CodeUnavailable = "503"
)

// errBad marks a request that is wrong in itself.
var errBad = errors.New("bad request")

func refusal(err error) (code, text string) {
	switch {
	case errors.Is(err, errBad):
		return CodeBad, err.Error()
	case errors.Is(err, credential.ErrUnknown):
		return CodeUnknown, err.Error()
	case errors.Is(err, credential.ErrStale), errors.Is(err, credential.ErrHeld), errors.Is(err, credential.ErrClaimed):
		return CodeConflict, err.Error()
	}
	return CodeUnavailable, err.Error()
}

// decodeRequest is strict: a field that this daemon does not know might be one
// that matters.
func decodeRequest(data []byte, into any, name *credential.Name) error {
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %v", errBad, err) //nolint:errorlint // only its words matter
	}
	if decoder.More() {
		return fmt.Errorf("%w: something follows the request", errBad)
	}
	if _, err := credential.ParseName(string(*name)); err != nil {
		return fmt.Errorf("%w: %v", errBad, err) //nolint:errorlint // only its words matter
	}
	return nil
}

func (s *Service) limits(context.Context, []byte) (any, error) { return s.config.Limits, nil }

func (s *Service) apply(ctx context.Context, data []byte) (any, error) {
	var request Apply
	if err := decodeRequest(data, &request, &request.Name); err != nil {
		return nil, err
	}
	spec, err := s.config.Check(request.Spec)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errBad, err) //nolint:errorlint // only its words matter
	}
	before, err := s.config.Commander.Look(ctx, request.Name)
	if err != nil {
		return nil, err
	}
	answer := Answer{Name: request.Name, Result: ResultUpdated, Revision: before.Revision, Changes: changes(before.Spec, spec)}
	if before.Status != credential.StatusRegistered {
		answer.Result, answer.Changes = ResultRegistered, nil
	}
	if before.Status == credential.StatusRegistered && before.Spec.Issuer != spec.Issuer {
		return nil, fmt.Errorf("%w: a credential stays with its issuer (%s); declare another name for %s", errBad, before.Spec.Issuer, spec.Issuer)
	}
	if before.Spec.Item.SettingsHash() != spec.Item.SettingsHash() && answer.Result == ResultUpdated {
		answer.Detail = "privileges, items or referrers change: the next key goes to a new item, with no downtime"
	}
	if request.DryRun {
		if before.Spec.Equal(spec) && answer.Result == ResultUpdated {
			answer.Result, answer.Detail = ResultUnchanged, ""
		}
		return answer, nil
	}
	after, err := s.config.Commander.Command(ctx, request.Name, credential.Register{Spec: spec, Actor: actor(request.Actor)})
	if errors.Is(err, credential.ErrNothing) {
		answer.Result, answer.Detail = ResultUnchanged, ""
		return answer, nil
	}
	if err != nil {
		return nil, err
	}
	s.config.Changed(request.Name, after)
	answer.Revision = after.Revision
	return answer, nil
}

func (s *Service) rotate(ctx context.Context, data []byte) (any, error) {
	var request Rotate
	if err := decodeRequest(data, &request, &request.Name); err != nil {
		return nil, err
	}
	if request.Request == "" {
		return nil, fmt.Errorf("%w: no request id", errBad)
	}
	after, err := s.config.Commander.Command(ctx, request.Name, credential.RequestRotation{
		ID: request.Request, Actor: actor(request.Actor), Reason: request.Reason, Now: request.Now, Vault: request.Vault,
	})
	answer := Answer{Name: request.Name, Result: ResultRequested, Revision: after.Revision}
	if errors.Is(err, credential.ErrNothing) {
		answer.Result, answer.Detail = ResultUnchanged, err.Error()
		return answer, nil
	}
	if err != nil {
		return nil, err
	}
	if after.Rotation != nil {
		answer.Detail = "begins when rotation " + after.Rotation.ID + " has ended"
	}
	s.config.Changed(request.Name, after)
	return answer, nil
}

func actor(name string) string {
	if name == "" {
		return "operator"
	}
	return name
}

// changes names the fields of two specs that differ.
func changes(before, after credential.Spec) []string {
	a, b := flatten(before), flatten(after)
	var names []string
	for name, value := range b {
		if a[name] != value {
			names = append(names, fmt.Sprintf("%s: %s → %s", name, orNone(a[name]), orNone(value)))
		}
	}
	for name, value := range a {
		if _, still := b[name]; !still {
			names = append(names, fmt.Sprintf("%s: %s → none", name, orNone(value)))
		}
	}
	slices.Sort(names)
	return names
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// flatten writes a spec as field → JSON.
func flatten(spec credential.Spec) map[string]string {
	flat := map[string]string{}
	var walk func(prefix string, value any)
	walk = func(prefix string, value any) {
		if object, ok := value.(map[string]any); ok {
			for key, inner := range object {
				walk(strings.TrimPrefix(prefix+"."+key, "."), inner)
			}
			return
		}
		text, err := json.Marshal(value)
		if err == nil {
			flat[prefix] = string(text)
		}
	}
	var tree map[string]any
	if text, err := json.Marshal(spec); err == nil && json.Unmarshal(text, &tree) == nil {
		walk("", tree)
	}
	delete(flat, "policy.drain_set")
	delete(flat, "policy.settle_set")
	return flat
}

// schemaOf writes the shape of a request as a JSON Schema.
func schemaOf(request any) string {
	text, err := json.Marshal(schemaOfType(reflect.TypeOf(request)))
	if err != nil {
		return "{}"
	}
	return string(text)
}

func schemaOfType(t reflect.Type) map[string]any {
	switch t.Kind() { //nolint:exhaustive // the rest are numbers and the like
	case reflect.Pointer:
		return schemaOfType(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOfType(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOfType(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Struct:
		properties := map[string]any{}
		for i := range t.NumField() {
			field, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if field != "" && field != "-" {
				properties[field] = schemaOfType(t.Field(i).Type)
			}
		}
		return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	}
	return map[string]any{"type": "string"}
}
