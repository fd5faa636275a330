package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The subjects of the requests that begin and end a life other than by a
// declaration.
const (
	SubjectAdopt  = SubjectPrefix + ".adopt"
	SubjectRemove = SubjectPrefix + ".remove"
)

// Adopt takes a key under management that somebody else made. Whoever asks has
// written it to Vault, where the credential's secret is; it never stands here.
type Adopt struct {
	Name credential.Name `json:"name"`
	Spec credential.Spec `json:"spec"`
	// Item is where the key lives at the issuer.
	Item        string                 `json:"item"`
	Fingerprint credential.Fingerprint `json:"fingerprint"`
}

// Remove ends a credential: its keys die.
type Remove struct {
	Name   credential.Name `json:"name"`
	Reason string          `json:"reason"`
	// KeepSecret leaves the secret in Vault, with a key that is dead.
	KeepSecret bool `json:"keep_secret,omitempty"`
	// KeepItem leaves the item at the issuer, without a key. Asked for while a removal
	// is under way, it leaves the items that could not be deleted.
	KeepItem bool `json:"keep_item,omitempty"`
}

func (r *Adopt) credential() *credential.Name  { return &r.Name }
func (r *Remove) credential() *credential.Name { return &r.Name }

// What adoptions and removals lead to.
const (
	ResultAdopted  Result = "adopted"
	ResultRemoving Result = "removing"
)

// errUnfit marks an adoption that the world outside does not allow.
var errUnfit = errors.New("not adopted")

func (s *Service) adopt(ctx context.Context, by caller, request Adopt) (any, error) {
	switch {
	case request.Item == "":
		return nil, fmt.Errorf("%w: no item is named", errBad)
	case !fingerprintForm.MatchString(string(request.Fingerprint)): // which may be the key, sent by mistake
		return nil, fmt.Errorf("%w: not a fingerprint: want 16 hexadecimal characters", errBad)
	}
	spec, err := s.config.Check(request.Spec)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errBad, err) //nolint:errorlint // only its words matter
	}
	request.Spec = spec
	before, err := s.config.Commander.Look(ctx, request.Name)
	if err != nil {
		return nil, err
	}
	command := credential.Adopt{Spec: spec, Fingerprint: request.Fingerprint, Seat: credential.SeatID{Item: request.Item}}
	if primary, ok := before.Primary(); ok && primary.Item == request.Item {
		command.Seat = primary.SeatID // Decide says whether it is this very key
	}
	_, answered := before.Answer(by.request)
	if !answered && before.Status != credential.StatusRegistered {
		if command, err = s.config.Prove(ctx, request); err != nil {
			return nil, unfit(err)
		}
		if command.Frozen, err = s.frozen(ctx); err != nil {
			return nil, err
		}
	}
	command.Actor = by.operator
	answer, _, err := s.command(ctx, by, request.Name, ResultAdopted, command)
	if err == nil && answer.Result == ResultAdopted && !answered && command.Frozen == nil {
		err = s.freezeLate(ctx, request.Name)
	}
	return answer, err
}

// unfit tells a fault that the next attempt meets again from one that may pass.
func unfit(err error) error {
	switch credential.ClassOf(err) {
	case credential.ClassPermanent, credential.ClassDenied, credential.ClassNotFound:
		return fmt.Errorf("%w: %w", errUnfit, err)
	case credential.ClassConflict, credential.ClassRetryable, credential.ClassUnknown:
	}
	return err
}

func (s *Service) remove(ctx context.Context, by caller, request Remove) (any, error) {
	if request.Reason == "" {
		return nil, fmt.Errorf("%w: no reason is given", errBad)
	}
	answer, _, err := s.command(ctx, by, request.Name, ResultRemoving, credential.Remove{
		Actor: by.operator, Reason: request.Reason, KeepSecret: request.KeepSecret, KeepItem: request.KeepItem,
	})
	if errors.Is(err, credential.ErrHeld) {
		return nil, fmt.Errorf("%w (try: keyturn release %s, or keyturn thaw, and then again)", err, request.Name)
	}
	return answer, err
}
