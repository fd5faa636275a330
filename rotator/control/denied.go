package control

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// Denial is what is kept of a request that was refused for who sent it. What the
// sender wrote is cut short and cleaned; the request itself is not kept.
type Denial struct {
	At       time.Time `json:"at"`
	Endpoint string    `json:"endpoint"`
	Reason   Reason    `json:"reason"`
	// Key is the public key that the sender claims; empty = none.
	Key string `json:"key,omitempty"`
	// Operator is whose key it is; empty = nobody's. Unless the reason is one of
	// stale, installation and role, it is a claim that nothing proves.
	Operator string `json:"operator,omitempty"`
	// Credential is the one that the request names, if it can be read.
	Credential string `json:"credential,omitempty"`
	Request    string `json:"request,omitempty"`
	Daemon     string `json:"daemon,omitempty"`
	// Dropped is how many of this daemon's denials before it were not kept.
	Dropped uint64 `json:"dropped,omitempty"`
}

// Reason is why a request was denied.
type Reason string

// The reasons, in the order of the checks.
const (
	// ReasonReply: the answer is wanted on a subject that is no inbox.
	ReasonReply        Reason = "reply-subject"
	ReasonUnsigned     Reason = "unsigned"
	ReasonUnknown      Reason = "unknown-key"
	ReasonSignature    Reason = "bad-signature"
	ReasonInstallation Reason = "other-installation"
	ReasonStale        Reason = "stale"
	ReasonRole         Reason = "role"
)

// denied is the error of a denied request.
type denied struct {
	Denial
	text string
}

func (d *denied) Error() string { return d.text }

// Nobody can fill the log or the stream: so many denials are kept.
const (
	denialsPerSecond = 5
	denialsAtOnce    = 50
	keepTimeout      = 2 * time.Second
	maxNoted         = 130 // characters of a field; a name has at most 127
)

// denials keeps what was denied, in a goroutine of its own: no handler waits.
type denials struct {
	config  *Config
	limit   *rate.Limiter
	queue   chan Denial
	dropped atomic.Uint64
}

func newDenials(c *Config) *denials {
	return &denials{config: c, limit: rate.NewLimiter(denialsPerSecond, denialsAtOnce), queue: make(chan Denial, denialsAtOnce)}
}

// note takes a denial, or drops it when there are too many.
func (d *denials) note(denial Denial) {
	if !d.limit.AllowN(denial.At, 1) {
		d.drop(denial)
		return
	}
	d.config.Logger.Warn("a request was denied", zap.String(logkey.Endpoint, denial.Endpoint), zap.String(logkey.Reason, string(denial.Reason)),
		zap.String(logkey.Key, denial.Key), zap.String(logkey.Operator, denial.Operator),
		zap.String(logkey.Credential, denial.Credential), zap.String(logkey.Request, denial.Request))
	select {
	case d.queue <- denial:
	default:
		d.drop(denial)
	}
}

func (d *denials) drop(denial Denial) {
	d.dropped.Add(1)
	d.config.Denied(denial.Reason, false)
}

// run keeps denials until the queue is closed; when ctx has ended it only
// empties it.
func (d *denials) run(ctx context.Context) {
	for denial := range d.queue {
		before := d.dropped.Swap(0)
		denial.Dropped = before
		keeping, cancel := context.WithTimeout(ctx, keepTimeout)
		err := d.config.Keep(keeping, denial)
		cancel()
		if err != nil {
			d.dropped.Add(before)
			d.drop(denial)
			d.config.Logger.Warn("a denied request was not kept", zap.String(logkey.Request, denial.Request), zap.Error(err))
			continue
		}
		d.config.Denied(denial.Reason, true)
	}
}

// clean makes a sender's text fit for logs and tables.
func clean(text string) string {
	if len(text) > maxNoted {
		text = text[:maxNoted]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

// nameIn is the credential that arguments name, for the note of a denial; empty if
// that is no name: it may be a key.
func nameIn(arguments []byte) string {
	var named struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(arguments, &named) != nil {
		return ""
	}
	name, err := credential.ParseName(named.Name)
	if err != nil {
		return ""
	}
	return string(name)
}
