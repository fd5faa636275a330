package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// endpoint is one kind of request.
type endpoint struct {
	name, subject, schema string
	least                 Role
	handle                func(context.Context, caller, []byte) (any, error)
}

// endpoints is the table of who may do what; needs has the exceptions.
func (s *Service) endpoints() []endpoint {
	return []endpoint{
		on(s, "whoami", SubjectWhoami, roleAny, ofNothing, s.whoami),
		on(s, "limits", SubjectLimits, RoleViewer, ofNothing, s.limits),
		on(s, "rotate", SubjectRotate, RoleRotator, ofCredential, s.rotate),
		on(s, "retry", SubjectRetry, RoleRotator, ofCredential, s.retry),
		on(s, "hold", SubjectHold, RoleRotator, ofCredential, s.hold),
		on(s, "release", SubjectRelease, RoleResponder, ofCredential, s.release),
		on(s, "invalidate", SubjectInvalidate, RoleResponder, ofCredential, s.invalidate),
		on(s, importing, SubjectImport, RoleResponder, ofCredential, s.takeIn),
		on(s, "freeze", SubjectFreeze, RoleResponder, ofInstallation, s.freeze),
		on(s, "thaw", SubjectThaw, RoleResponder, ofInstallation, s.thaw),
		on(s, "apply", SubjectApply, RoleAdmin, ofCredential, s.apply),
		on(s, "adopt", SubjectAdopt, RoleAdmin, ofCredential, s.adopt),
		on(s, "remove", SubjectRemove, RoleAdmin, ofCredential, s.remove),
		on(s, "ack", SubjectAck, RoleConsumer, ofCredential, s.acknowledge),
	}
}

// on makes an endpoint: its arguments are read, then the sender's role is looked
// at, and only then is anything done, and once.
func on[T any, P arguments[T]](s *Service, name, subject string, least Role, what scope, handle func(context.Context, caller, T) (any, error)) endpoint {
	return endpoint{name, subject, schemaOf(*new(T)), least, func(ctx context.Context, by caller, data []byte) (any, error) {
		var request T
		about := P(&request).credential()
		if err := decodeRequest(data, &request, about); err != nil {
			return nil, err
		}
		var credential credential.Name
		if about != nil {
			credential = *about
		}
		needed, scope := needs(request, least, what)
		if err := by.who.may(needed, scope, credential); err != nil {
			return nil, by.deny(ReasonRole, "%s: %v", name, err)
		}
		decide := func() (any, error) { return handle(ctx, by, request) }
		if readsOnly(request) {
			return decide()
		}
		return s.once(ctx, name, by, decide)
	}}
}

// readsOnly reports whether a request cannot change anything, whatever the state.
func readsOnly(request any) bool {
	switch r := request.(type) {
	case Nothing:
		return true
	case Apply:
		return r.DryRun
	}
	return false
}

// urgent reports whether an endpoint is about leaked keys.
func urgent(name string) bool { return name == "invalidate" || name == importing }

const importing = "import"

// needs is the role that a request needs where that of its endpoint is not it. A
// part of a freeze, or of a thaw, is the same to whoever may not have the whole.
func needs(request any, least Role, what scope) (Role, scope) {
	switch r := request.(type) {
	case Apply:
		if r.DryRun {
			return RoleViewer, what
		}
	case Hold:
		if r.Freeze {
			return RoleResponder, ofInstallation
		}
	case Release:
		if r.Freeze {
			return RoleResponder, ofInstallation
		}
	}
	return least, what
}

func (s *Service) whoami(_ context.Context, by caller, _ Nothing) (any, error) { return by.who, nil }

func (s *Service) limits(context.Context, caller, Nothing) (any, error) { return s.config.Limits, nil }

func (s *Service) rotate(ctx context.Context, by caller, request Rotate) (any, error) {
	answer, after, err := s.command(ctx, by, request.Name, ResultRequested, credential.RequestRotation{
		ID: by.request, Actor: by.operator, Reason: request.Reason, Now: request.Now, Vault: request.Vault,
	})
	if err == nil && answer.Result == ResultRequested && after.Rotation != nil {
		answer.Detail = "begins when rotation " + after.Rotation.ID + " has ended"
	}
	return answer, err
}

func (s *Service) retry(ctx context.Context, by caller, request Retry) (any, error) {
	answer, _, err := s.command(ctx, by, request.Name, ResultRequested, credential.Retry{Actor: by.operator})
	return answer, err
}

func (s *Service) invalidate(ctx context.Context, by caller, request Invalidate) (any, error) {
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

func (s *Service) hold(ctx context.Context, by caller, request Hold) (any, error) {
	if request.Reason == "" {
		return nil, fmt.Errorf("%w: no reason is given", errBad)
	}
	answer, after, err := s.command(ctx, by, request.Name, ResultHeld, credential.PutHold{
		Actor: by.operator, Reason: request.Reason, Until: request.Until, Freeze: request.Freeze,
		NoShorter: by.who.may(RoleResponder, ofCredential, request.Name) != nil, // who may not release
	})
	switch {
	case errors.Is(err, credential.ErrHeld):
		return nil, fmt.Errorf("%w; to end it sooner needs the role responder, like a release", err)
	case err != nil:
		return nil, err
	}
	for _, claim := range after.TooLate() {
		answer.Detail = fmt.Sprintf("too late for the key on slot %d of item %s: %s claimed to %s it, and that may run until %s",
			claim.Seat.Slot, claim.Seat.Item, claim.Daemon, claim.Op, claim.Opened.Add(claim.Over()).UTC().Format(time.RFC3339))
	}
	return answer, nil
}

func (s *Service) release(ctx context.Context, by caller, request Release) (any, error) {
	answer, _, err := s.command(ctx, by, request.Name, ResultReleased, credential.Release{
		Actor: by.operator, Reason: request.Reason, Freeze: request.Freeze,
	})
	return answer, err
}

func (s *Service) acknowledge(ctx context.Context, by caller, request Acknowledge) (any, error) {
	if err := request.check(); err != nil {
		return nil, err
	}
	answer, _, err := s.command(ctx, by, request.Name, ResultAcknowledged, credential.Acknowledge{
		Consumer: by.operator, Fingerprint: request.Fingerprint,
	})
	if answer.Result == ResultUnchanged {
		answer.Result = ResultAlready
	}
	return answer, err
}

// command decides and appends.
func (s *Service) command(ctx context.Context, by caller, name credential.Name, result Result, command credential.Command) (Answer, credential.State, error) {
	after, err := s.config.Commander.Command(ctx, name, credential.Asked{Command: command, ID: by.request, Digest: by.digest})
	if err == nil {
		s.config.Changed(name, after)
	}
	answer, err := by.answer(result, after, err)
	answer.Name = name
	return answer, after, err
}

// answer says what a command led to. A request that was answered before gets
// that answer again, and one that has nothing to change says so.
func (c caller) answer(result Result, after credential.State, err error) (Answer, error) {
	answer := Answer{Result: result, Request: c.request, Revision: after.Revision}
	switch {
	case errors.Is(err, credential.ErrRepeated):
		if before, ok := after.Answer(c.request); ok {
			answer.Revision = before.Revision
			if before.Type == credential.TypeRegistered {
				answer.Result = ResultRegistered
			}
		}
	case errors.Is(err, credential.ErrNothing):
		answer.Result, answer.Detail = ResultUnchanged, err.Error()
	case err != nil:
		return Answer{}, err
	}
	return answer, nil
}
