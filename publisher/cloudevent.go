package publisher

import (
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
)

// cloudEvent is a message as any user of the CloudEvents SDK sees it.
func cloudEvent(msg *nats.Msg) (event.Event, error) {
	e := event.New(attribute(msg.Header, headerSpec))
	when, err := time.Parse(timeLayout, attribute(msg.Header, headerTime))
	if err != nil {
		return e, err
	}
	e.SetTime(when)
	e.SetID(attribute(msg.Header, headerID))
	e.SetType(attribute(msg.Header, headerType))
	e.SetSource(attribute(msg.Header, headerSource))
	e.SetSubject(attribute(msg.Header, headerSubject))
	e.SetDataContentType(attribute(msg.Header, headerContent))
	for name, values := range msg.Header {
		if extension, ok := strings.CutPrefix(name, attributePrefix); ok && strings.HasPrefix(extension, extensionPrefix) {
			e.SetExtension(extension, values[0])
		}
	}
	e.DataEncoded = msg.Data
	return e, e.Validate()
}
