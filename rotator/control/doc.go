// Package control takes operators' requests over NATS and turns them into
// commands. It is a NATS micro service named "keyturn", so `nats micro` finds
// it, with the number of requests and the shape of each; Stats are its statistics.
//
// Any daemon answers: the record's compare-and-set decides, not the daemon. A
// handler appends and answers at once; the work follows, and whoever asked
// follows the record.
//
// # Form of a request
//
// A request to keyturn.control.<endpoint> is an envelope in JSON
//
//	{"installation":"prod","request":"<id>","at":"<RFC 3339>","arguments":{…}}
//
// of at most 64 KiB, with two headers. Keyturn-Operator is the sender's public
// nkey ("U…"). Keyturn-Signature is the Ed25519 signature, in base64 with the URL
// alphabet and without padding, over
//
//	keyturn-control-1 LF
//	<subject> LF
//	<the body, byte by byte>
//
// so that no request can be changed or sent to another endpoint. A daemon checks,
// in this order: size, form, whether the key is an operator's, the signature, the
// installation, the time (at most credential.Freshness from its own, in both
// directions), the form of the arguments, and the role. The operator's name in
// the configuration becomes the actor of the event.
//
// # Who may do what
//
// A role is granted in namespaces. Each row includes those above it; the table
// that decides is Service.endpoints.
//
//	viewer     limits, and dry runs of anything
//	rotator    rotate, retry, hold
//	responder  release, invalidate, import; with a grant in all namespaces freeze,
//	           thaw, and what those do to one credential
//	admin      apply, adopt, remove, and all else
//	consumer   ack, and nothing else: a service says under its own name that it
//	           uses a key
//
// Any operator may ask whoami. Without operators nobody may ask anything.
//
// # Repeats
//
// A request is known by its id and the digest of subject and arguments, which
// the event and the state after it hold for longer than any request is fresh.
// What became of a request that left nothing on the record is kept, for as long,
// by Config.Outcomes, before it is answered. The same request again, at whichever
// daemon, gets the first answer and changes nothing; another one under the same id
// is refused; an old one is denied. A client may therefore send the very same bytes
// again when no answer comes, and ours does. What was answered with 403 or 503 was
// not decided, and is when it comes again.
//
// While Outcomes are away nothing is decided but invalidate and import, and an
// answer that cannot be kept is not given.
//
// # Declarations
//
// A declaration is checked as if its sender had checked nothing (Config.Check). Its
// items are looked for at the issuer (Viewer) when it registers a credential or
// changes its settings, in a dry run, too; an issuer that does not answer is 503, and
// nothing changes.
//
// # Answers
//
// A consumer that a policy names confirms that it uses a key with one message to
// keyturn.ack.<consumer>, with or without a reply subject. Its name is the last
// token of that subject, so let it publish on its own only: deploy/nats shows how.
//
// A refusal carries the header Nats-Service-Error-Code: 400 the request is
// wrong, 403 its sender may not send it, 404 no such credential, 409 it does not
// fit the state, 503 the record, or what is kept of requests, cannot be reached. A
// request that changes nothing is answered with "unchanged", an acknowledgement
// with "already".
//
// Answers go to inboxes only, which begin with "_": a daemon answers with its own
// rights, and another subject of the sender's choice could be the record, or an
// order to the server. A request that wants that is denied without an answer; one
// without a reply subject is carried out. The answers to $SRV.> are those of the
// framework, which does not look: in the account of the record let no one but daemons
// and administrators of NATS publish there. Operators ask from another account, as in
// deploy/nats, where the server carries the answers.
//
// A denied request (403) is told to Config.Keep with who claims to have sent it,
// what it is about and why not, never with what it holds. No more than a few a
// second are logged and kept; the others are counted.
package control
