package control

import (
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// Stats are the field "data" in the statistics of an endpoint. The framework's own
// errors and times end where a handler has handed the request on, so they say nothing.
type Stats struct {
	Answered uint64 `json:"answered"`
	// Refused are those of them that were answered with an error.
	Refused uint64 `json:"refused"`
	// ProcessingTime is that of all of them, from when they were taken up.
	ProcessingTime time.Duration `json:"processing_time"`
}

// counter counts what became of the requests to an endpoint.
type counter struct {
	answered, refused atomic.Uint64
	took              atomic.Int64
}

func (c *counter) note(took time.Duration, err error) {
	c.answered.Add(1)
	c.took.Add(int64(took))
	if err != nil {
		c.refused.Add(1)
	}
}

// stats is for the framework, which asks for those of each endpoint.
func (s *Service) stats(e *micro.Endpoint) any {
	c, ok := s.counters[e.Name]
	if !ok {
		return nil
	}
	return Stats{c.answered.Load(), c.refused.Load(), time.Duration(c.took.Load())}
}
