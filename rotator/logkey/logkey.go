// Package logkey names the fields of log lines: one constant for each, so that a
// field is spelled alike wherever it is logged.
package logkey

// The fields.
const (
	Address      = "address"       // address of a listener
	Attempt      = "attempt"       // number of the attempt
	Bound        = "bound"         // bound of a difference
	Class        = "class"         // class of a failure
	Config       = "config"        // path of the configuration
	Credential   = "credential"    // namespace/name
	Credentials  = "credentials"   // how many credentials
	Daemon       = "daemon"        // id of this process
	Digest       = "digest"        // digest of the configuration
	Endpoint     = "endpoint"      // endpoint of the control service
	Expires      = "expires"       // expiry
	FailedPasses = "failed_passes" // passes that could not read or write the record
	Issuer       = "issuer"        // configured name of an issuer
	Left         = "left"          // time that is left
	RetryIn      = "retry_in"      // time until the next attempt
	Sequence     = "sequence"      // stream sequence
	Since        = "since"         // when it began
	Skew         = "skew"          // the issuer's clock less ours
	Step         = "step"          // step of a rotation
	Subject      = "subject"       // NATS subject
	URL          = "url"           // address of a server
	Version      = "version"       // version of keyturn
)
