package control

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Freezer keeps the freeze of the installation, under which new credentials
// begin. The record is one.
type Freezer interface {
	// Freeze decides as credential.Decide does, and appends.
	Freeze(ctx context.Context, asked credential.Asked, view credential.View) (credential.State, error)
	// Frozen is the freeze; nil = none.
	Frozen(ctx context.Context) (*credential.Hold, error)
}

func (s *Service) freeze(ctx context.Context, by caller, request Freeze) (any, error) {
	if request.Reason == "" {
		return nil, fmt.Errorf("%w: no reason is given", errBad)
	}
	return s.installation(ctx, by, ResultFrozen, credential.PutHold{
		Actor: by.operator, Reason: request.Reason, Until: request.Until, Freeze: true,
	})
}

func (s *Service) thaw(ctx context.Context, by caller, request Thaw) (any, error) {
	return s.installation(ctx, by, ResultThawed, credential.Release{Actor: by.operator, Reason: request.Reason, Freeze: true})
}

// installation decides and appends what concerns no single credential.
func (s *Service) installation(ctx context.Context, by caller, result Result, command credential.Command) (any, error) {
	after, err := s.config.Freezer.Freeze(ctx, credential.Asked{Command: command, ID: by.request, Digest: by.digest},
		credential.View{Now: s.config.Now(), Daemon: s.config.Daemon, ID: uuid.NewString()})
	return by.answer(result, after, err)
}
