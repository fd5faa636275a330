// Package logkey names the fields of log lines: one constant for each, so that a
// field is spelled alike wherever it is logged.
package logkey

// The fields.
const (
	Address      = "address"       // address of a listener
	Attempt      = "attempt"       // number of the attempt
	Bound        = "bound"         // bound of a difference
	By           = "by"            // how far a clock jumped
	Changed      = "changed"       // fields of the configuration that were taken over
	Class        = "class"         // class of a failure
	Config       = "config"        // path of the configuration
	Consumer     = "consumer"      // name of a consumer
	Credential   = "credential"    // namespace/name
	Credentials  = "credentials"   // how many credentials
	Daemon       = "daemon"        // id of this process
	Digest       = "digest"        // digest of the configuration
	Endpoint     = "endpoint"      // endpoint of the control service
	Error        = "error"         // what zap.Error writes too
	Expires      = "expires"       // expiry
	FailedPasses = "failed_passes" // passes that could not read or write the record
	Field        = "field"         // field of the configuration
	Issuer       = "issuer"        // configured name of an issuer
	Item         = "item"          // id of an item at an issuer
	Left         = "left"          // time that is left
	Key          = "key"           // public key that a sender claims
	Operator     = "operator"      // name of an operator
	Peer         = "peer"          // id of another daemon
	PeerDigest   = "peer_digest"   // digest of its configuration
	PeerSchema   = "peer_schema"   // schema of the record that it writes
	Reason       = "reason"        // why
	Request      = "request"       // id of a request
	RetryIn      = "retry_in"      // time until the next attempt
	Schema       = "schema"        // schema of the record
	Sequence     = "sequence"      // stream sequence
	Since        = "since"         // when it began
	Root         = "root"          // root hash of a checkpoint
	Signer       = "signer"        // public key of a signer
	Skew         = "skew"          // the issuer's clock less ours
	Stack        = "stack"         // where a panic was
	Step         = "step"          // step of a rotation
	Subject      = "subject"       // NATS subject
	Subjects     = "subjects"      // how many subjects
	Title        = "title"         // title of an item
	URL          = "url"           // address of a server
	Version      = "version"       // version of keyturn
)
