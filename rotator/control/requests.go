package control

import (
	"encoding/json"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The subjects of the endpoints.
const (
	ServiceName       = "keyturn"
	SubjectPrefix     = "keyturn.control"
	SubjectApply      = SubjectPrefix + ".apply"
	SubjectRotate     = SubjectPrefix + ".rotate"
	SubjectRetry      = SubjectPrefix + ".retry"
	SubjectInvalidate = SubjectPrefix + ".invalidate"
	SubjectHold       = SubjectPrefix + ".hold"
	SubjectRelease    = SubjectPrefix + ".release"
	SubjectFreeze     = SubjectPrefix + ".freeze"
	SubjectThaw       = SubjectPrefix + ".thaw"
	SubjectImport     = SubjectPrefix + ".import"
	SubjectAck        = SubjectPrefix + ".ack"
	SubjectLimits     = SubjectPrefix + ".limits"
	SubjectWhoami     = SubjectPrefix + ".whoami"
)

// envelope is what stands on the wire around the arguments of each request.
type envelope struct {
	Installation string `json:"installation"`
	// Request is a unique id: a repeated request gets the first answer.
	Request string    `json:"request"`
	At      time.Time `json:"at"`
	// Arguments are one of the types below, by the subject.
	Arguments json.RawMessage `json:"arguments"`
}

// Apply declares a credential.
type Apply struct {
	Name credential.Name `json:"name"`
	Spec credential.Spec `json:"spec"`
	// DryRun asks what would change.
	DryRun bool `json:"dry_run,omitempty"`
}

// Rotate asks for a rotation.
type Rotate struct {
	Name   credential.Name `json:"name"`
	Reason string          `json:"reason,omitempty"`
	// Now skips the window and the back-off.
	Now bool `json:"now,omitempty"`
	// Vault is the KV version that whoever asks has seen and accepts to be written
	// over, 0 where nothing is there; nil = what a daemon found.
	Vault *uint64 `json:"accept_vault,omitempty"`
}

// Retry skips the wait after a failed attempt.
type Retry struct {
	Name credential.Name `json:"name"`
}

// Invalidate says that keys of a credential leaked: they die.
type Invalidate struct {
	Name credential.Name `json:"name"`
	// Key is "primary", "secondary", "all" or a fingerprint.
	Key    string `json:"key"`
	Reason string `json:"reason"`
	// Immediately has them die before there is a replacement.
	Immediately bool `json:"immediately,omitempty"`
	// OverrideHold has them die though a hold stands.
	OverrideHold bool `json:"override_hold,omitempty"`
	// Vault is described at Rotate.
	Vault *uint64 `json:"accept_vault,omitempty"`
}

// Hold stops what destroys keys of a credential.
type Hold struct {
	Name   credential.Name `json:"name"`
	Reason string          `json:"reason"`
	// Until is when it ends; zero = when it is released.
	Until time.Time `json:"until,omitzero"`
	// Freeze is true for the part of a freeze on one credential.
	Freeze bool `json:"freeze,omitempty"`
}

// Release ends a hold.
type Release struct {
	Name   credential.Name `json:"name"`
	Reason string          `json:"reason,omitempty"`
	// Freeze is true for the part of a thaw on one credential.
	Freeze bool `json:"freeze,omitempty"`
}

// Freeze has new credentials begin under a hold; those that exist are held one
// by one, with Hold.Freeze.
type Freeze struct {
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"`
}

// Thaw ends that.
type Thaw struct {
	Reason string `json:"reason,omitempty"`
}

// Acknowledge says that the consumer with the sender's name uses a key.
type Acknowledge struct {
	Name        credential.Name        `json:"name"`
	Fingerprint credential.Fingerprint `json:"fingerprint"`
}

// Nothing is sent to an endpoint that wants no arguments.
type Nothing struct{}

// arguments are what an endpoint takes. The credential that they are about is
// nil for those about none.
type arguments[T any] interface {
	*T
	credential() *credential.Name
}

func (r *Apply) credential() *credential.Name       { return &r.Name }
func (r *Rotate) credential() *credential.Name      { return &r.Name }
func (r *Retry) credential() *credential.Name       { return &r.Name }
func (r *Invalidate) credential() *credential.Name  { return &r.Name }
func (r *Hold) credential() *credential.Name        { return &r.Name }
func (r *Release) credential() *credential.Name     { return &r.Name }
func (r *Acknowledge) credential() *credential.Name { return &r.Name }
func (*Freeze) credential() *credential.Name        { return nil }
func (*Thaw) credential() *credential.Name          { return nil }
func (*Nothing) credential() *credential.Name       { return nil }

// Answer is the answer to all of them.
type Answer struct {
	Name   credential.Name `json:"name,omitempty"`
	Result Result          `json:"result"`
	// Request is the id of the request that was answered.
	Request string `json:"request,omitempty"`
	// Changes are the fields that differ, in words.
	Changes []string `json:"changes,omitempty"`
	// Detail says more, for people.
	Detail string `json:"detail,omitempty"`
	// Revision of the record after it.
	Revision uint64 `json:"revision,omitempty"`
}

// Result is what a request led to.
type Result string

// The results.
const (
	ResultRegistered   Result = "registered"
	ResultUpdated      Result = "updated"
	ResultRequested    Result = "requested"
	ResultCompromised  Result = "compromised"
	ResultHeld         Result = "held"
	ResultReleased     Result = "released"
	ResultFrozen       Result = "frozen"
	ResultThawed       Result = "thawed"
	ResultAcknowledged Result = "acknowledged"
	ResultAlready      Result = "already"
	ResultUnchanged    Result = "unchanged"
)

// Limits are what the daemon's issuers allow: declarations are checked against
// them before they are sent.
type Limits struct {
	Issuers map[string]IssuerLimits `json:"issuers"`
}

// IssuerLimits are those of one issuer.
type IssuerLimits struct {
	MinLifetime time.Duration `json:"min_lifetime"`
}
