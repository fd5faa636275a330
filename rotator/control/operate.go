package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// caller is who sent a request, and which one it is.
type caller struct {
	operator        string
	request, digest string
}

// endpoint is one kind of request.
type endpoint struct {
	name, subject, schema string
	handle                func(context.Context, caller, []byte) (any, error)
}

func (s *Service) endpoints() []endpoint {
	return []endpoint{
		{"apply", SubjectApply, schemaOf(Apply{}), s.apply},
		{"rotate", SubjectRotate, schemaOf(Rotate{}), s.rotate},
		{"retry", SubjectRetry, schemaOf(Retry{}), s.retry},
		{"invalidate", SubjectInvalidate, schemaOf(Invalidate{}), s.invalidate},
		{"hold", SubjectHold, schemaOf(Hold{}), s.hold},
		{"release", SubjectRelease, schemaOf(Release{}), s.release},
		{"limits", SubjectLimits, "{}", s.limits},
	}
}

func (s *Service) limits(context.Context, caller, []byte) (any, error) { return s.config.Limits, nil }

func (s *Service) rotate(ctx context.Context, by caller, data []byte) (any, error) {
	var request Rotate
	if err := decodeRequest(data, &request, &request.Name); err != nil {
		return nil, err
	}
	answer, after, err := s.command(ctx, by, request.Name, ResultRequested, credential.RequestRotation{
		ID: by.request, Actor: by.operator, Reason: request.Reason, Now: request.Now, Vault: request.Vault,
	})
	if err == nil && answer.Result == ResultRequested && after.Rotation != nil {
		answer.Detail = "begins when rotation " + after.Rotation.ID + " has ended"
	}
	return answer, err
}

func (s *Service) retry(ctx context.Context, by caller, data []byte) (any, error) {
	var request Retry
	if err := decodeRequest(data, &request, &request.Name); err != nil {
		return nil, err
	}
	answer, _, err := s.command(ctx, by, request.Name, ResultRequested, credential.Retry{Actor: by.operator})
	return answer, err
}

func (s *Service) invalidate(ctx context.Context, by caller, data []byte) (any, error) {
	var request Invalidate
	if err := decodeRequest(data, &request, &request.Name); err != nil {
		return nil, err
	}
	switch {
	case request.Key == "":
		return nil, fmt.Errorf("%w: no key is named (primary, secondary, all, or a fingerprint)", errBad)
	case request.Reason == "":
		return nil, fmt.Errorf("%w: no reason is given", errBad)
	}
	answer, after, err := s.command(ctx, by, request.Name, ResultCompromised, credential.Compromise{
		Request: by.request, Actor: by.operator, Reason: request.Reason, Key: request.Key,
		Immediately: request.Immediately, OverrideHold: request.OverrideHold, Vault: request.Vault,
	})
	switch {
	case errors.Is(err, credential.ErrHeld):
		return nil, fmt.Errorf("%w (try: --override-hold)", err)
	case err == nil && answer.Result == ResultCompromised:
		answer.Detail = fmt.Sprintf("%d leaked", len(after.Leaked()))
	}
	return answer, err
}

func (s *Service) hold(ctx context.Context, by caller, data []byte) (any, error) {
	var request Hold
	if err := decodeRequest(data, &request, &request.Name); err != nil {
		return nil, err
	}
	if request.Reason == "" {
		return nil, fmt.Errorf("%w: no reason is given", errBad)
	}
	answer, after, err := s.command(ctx, by, request.Name, ResultHeld, credential.PutHold{
		Actor: by.operator, Reason: request.Reason, Until: request.Until, Freeze: request.Freeze,
	})
	if err != nil {
		return nil, err
	}
	for _, claim := range after.TooLate() {
		answer.Detail = fmt.Sprintf("too late for the key on slot %d of item %s: %s claimed to %s it, and that may run until %s",
			claim.Seat.Slot, claim.Seat.Item, claim.Daemon, claim.Op, claim.Opened.Add(claim.Over()).UTC().Format(time.RFC3339))
	}
	return answer, nil
}

func (s *Service) release(ctx context.Context, by caller, data []byte) (any, error) {
	var request Release
	if err := decodeRequest(data, &request, &request.Name); err != nil {
		return nil, err
	}
	answer, _, err := s.command(ctx, by, request.Name, ResultReleased, credential.Release{
		Actor: by.operator, Reason: request.Reason, Freeze: request.Freeze,
	})
	return answer, err
}

// command decides and appends. A request that was answered before gets that
// answer again, and one that has nothing to change says so.
func (s *Service) command(ctx context.Context, by caller, name credential.Name, result Result, command credential.Command) (Answer, credential.State, error) {
	after, err := s.config.Commander.Command(ctx, name, credential.Asked{Command: command, ID: by.request, Digest: by.digest})
	answer := Answer{Name: name, Result: result, Request: by.request, Revision: after.Revision}
	switch {
	case errors.Is(err, credential.ErrRepeated):
		if before, ok := after.Answer(by.request); ok {
			answer.Revision = before.Revision
		}
		return answer, after, nil
	case errors.Is(err, credential.ErrNothing):
		answer.Result, answer.Detail = ResultUnchanged, err.Error()
		return answer, after, nil
	case err != nil:
		return Answer{}, after, err
	}
	s.config.Changed(name, after)
	return answer, after, nil
}
