// Package control takes operators' requests over NATS and turns them into
// commands. It is a NATS micro service named "keyturn", so `nats micro` finds
// it, with its statistics and the shape of each request.
//
// Any daemon answers: the record's compare-and-set decides, not the daemon. A
// handler appends and answers at once; the work follows, and whoever asked
// follows the record. Whoever may publish on keyturn.control.> is an
// administrator: grant that subject to operators only.
//
// A refusal carries the header Nats-Service-Error-Code: 400 the request is
// wrong, 404 no such credential, 409 it does not fit the state, 503 the record
// cannot be reached. A request that changes nothing is answered with
// "unchanged", so repeating one does no harm.
package control

import (
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The subjects of the endpoints.
const (
	ServiceName   = "keyturn"
	SubjectPrefix = "keyturn.control"
	SubjectApply  = SubjectPrefix + ".apply"
	SubjectRotate = SubjectPrefix + ".rotate"
	SubjectLimits = SubjectPrefix + ".limits"
)

// Apply declares a credential.
type Apply struct {
	Name credential.Name `json:"name"`
	Spec credential.Spec `json:"spec"`
	// Actor is who asks.
	Actor string `json:"actor"`
	// DryRun asks what would change.
	DryRun bool `json:"dry_run,omitempty"`
}

// Rotate asks for a rotation.
type Rotate struct {
	Name   credential.Name `json:"name"`
	Actor  string          `json:"actor"`
	Reason string          `json:"reason,omitempty"`
	// Now skips the window and the back-off.
	Now bool `json:"now,omitempty"`
	// Vault is the KV version that whoever asks has seen and accepts to be written
	// over, 0 where nothing is there; nil = what a daemon found.
	Vault *uint64 `json:"accept_vault,omitempty"`
	// Request is a unique id: a repeated request is answered, not repeated.
	Request string `json:"request"`
}

// Answer is the answer to both.
type Answer struct {
	Name   credential.Name `json:"name"`
	Result Result          `json:"result"`
	// Changes are the fields that differ, in words.
	Changes []string `json:"changes,omitempty"`
	// Detail says more, for people.
	Detail string `json:"detail,omitempty"`
	// Revision of the record after it.
	Revision uint64 `json:"revision"`
}

// Result is what a request led to.
type Result string

// The results.
const (
	ResultRegistered Result = "registered"
	ResultUpdated    Result = "updated"
	ResultRequested  Result = "requested"
	ResultUnchanged  Result = "unchanged"
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
