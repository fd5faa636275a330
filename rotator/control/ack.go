package control

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go/micro"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/logkey"
)

// SubjectConsumer is where a consumer confirms that it uses a key, followed by its
// name. Who it is, is told by the subject alone: let each service publish on
// its own only.
const SubjectConsumer = "keyturn.ack."

const maxAck = 4 << 10

// consumerAck is the name of the endpoint behind it.
const consumerAck = "consumer-ack"

var fingerprintForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// takeAcks adds the endpoint for acknowledgements. The name of the consumer is
// the last token of the subject.
func (s *Service) takeAcks(ctx context.Context, service micro.Service) error {
	handler := s.serve(ctx, "ack", s.counters[consumerAck], func(ctx context.Context, request micro.Request) (any, error) {
		consumer := strings.TrimPrefix(request.Subject(), SubjectConsumer)
		ack, err := decodeAck(request.Data())
		if err != nil {
			return nil, err
		}
		answer, err := s.acknowledge(ctx, caller{operator: consumer}, ack)
		if err != nil && request.Reply() == "" {
			s.config.Logger.Warn("an acknowledgement is refused, and whoever sent it does not wait for the answer",
				zap.String(logkey.Consumer, consumer), zap.Error(err))
		}
		return answer, err
	})
	err := service.AddEndpoint(consumerAck, handler, micro.WithEndpointSubject(SubjectConsumer+"*"),
		micro.WithEndpointMetadata(map[string]string{"schema": schemaOf(Acknowledge{})}))
	if err != nil {
		return fmt.Errorf("control endpoint ack: %w", err)
	}
	return nil
}

// decodeAck is strict, and tells nothing of a fingerprint that is none: it may
// be the key, sent by mistake.
func decodeAck(data []byte) (Acknowledge, error) {
	var ack Acknowledge
	if len(data) > maxAck {
		return ack, fmt.Errorf("%w: %d bytes are too many for an acknowledgement, which has at most %d", errBad, len(data), maxAck)
	}
	if err := decodeRequest(data, &ack, &ack.Name); err != nil {
		return ack, err
	}
	return ack, ack.check()
}

func (r Acknowledge) check() error {
	if !fingerprintForm.MatchString(string(r.Fingerprint)) {
		return fmt.Errorf("%w: not a fingerprint: want 16 hexadecimal characters (try: the field fingerprint or secondary_fingerprint in Vault)", errBad)
	}
	return nil
}
