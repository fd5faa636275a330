package control

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go/micro"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// SubjectAck is where a consumer confirms that it uses a key, followed by its
// name. Who it is, is told by the subject alone: let each service publish on
// its own only.
const SubjectAck = "keyturn.ack."

// Ack is a consumer's word that it uses the key with that fingerprint.
type Ack struct {
	Name        credential.Name        `json:"name"`
	Fingerprint credential.Fingerprint `json:"fingerprint"`
}

// The results of an acknowledgement.
const (
	ResultAcknowledged Result = "acknowledged"
	ResultAlready      Result = "already"
)

const maxAck = 4 << 10

var fingerprintForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// takeAcks adds the endpoint for acknowledgements. The name of the consumer is
// the last token of the subject.
func (s *Service) takeAcks(ctx context.Context, service micro.Service) error {
	handler := micro.HandlerFunc(func(request micro.Request) {
		consumer := strings.TrimPrefix(request.Subject(), SubjectAck)
		s.serve(ctx, "ack", func(ctx context.Context, data []byte) (any, error) {
			answer, err := s.acknowledge(ctx, consumer, data)
			if err != nil && request.Reply() == "" {
				s.config.Logger.Warn("an acknowledgement is refused, and whoever sent it does not wait for the answer",
					zap.String(logkey.Consumer, consumer), zap.Error(err))
			}
			return answer, err
		}).Handle(request)
	})
	err := service.AddEndpoint("ack", handler, micro.WithEndpointSubject(SubjectAck+"*"),
		micro.WithEndpointMetadata(map[string]string{"schema": schemaOf(Ack{})}))
	if err != nil {
		return fmt.Errorf("control endpoint ack: %w", err)
	}
	return nil
}

func (s *Service) acknowledge(ctx context.Context, consumer string, data []byte) (any, error) {
	ack, err := decodeAck(data)
	if err != nil {
		return nil, err
	}
	after, err := s.config.Commander.Command(ctx, ack.Name, credential.Acknowledge{Consumer: consumer, Fingerprint: ack.Fingerprint})
	answer := Answer{Name: ack.Name, Result: ResultAcknowledged, Revision: after.Revision}
	if errors.Is(err, credential.ErrNothing) {
		answer.Result = ResultAlready
		return answer, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ack.Name, err)
	}
	s.config.Changed(ack.Name, after)
	return answer, nil
}

// decodeAck is strict, and tells nothing of a fingerprint that is none: it may
// be the key, sent by mistake.
func decodeAck(data []byte) (Ack, error) {
	var ack Ack
	if len(data) > maxAck {
		return ack, fmt.Errorf("%w: %d bytes are too many for an acknowledgement, which has at most %d", errBad, len(data), maxAck)
	}
	if err := decodeRequest(data, &ack, &ack.Name); err != nil {
		return ack, err
	}
	if !fingerprintForm.MatchString(string(ack.Fingerprint)) {
		return ack, fmt.Errorf("%w: not a fingerprint: want 16 hexadecimal characters (try: the field fingerprint or secondary_fingerprint in Vault)", errBad)
	}
	return ack, nil
}
