// Package publisher keeps the record of every credential on NATS JetStream. What
// it appends is at once the state of a credential, the notice that services
// subscribe to, and the audit trail.
//
// # Who is authoritative
//
// The stream KEYTURN is, and nothing else: its last message on
// keyturn.record.<namespace>.<name> is the credential's state. A Record holds no
// state of credentials in memory and caches none; it remembers only which
// signers are vouched for. Every read that decides something is answered by the
// stream's leader, never by a direct read.
//
// Only daemons may publish on keyturn.record.>. The server republishes each
// committed event to keyturn.events.<namespace>.<name>, where plain subscribers
// listen. (On the record subject itself they would also hear appends that lost.)
// Facts about the installation stand under keyturn.record._system., which no
// credential can be called: "_" is not in a name.
//
// # States of an append
//
//	sent -> committed            acknowledged, or found on the record afterwards
//	     -> lost (conflict)      another event follows the expected one
//	     -> not stored           refused (permanent) or nobody received it (retryable)
//	     -> unknown              no answer, and the record could not be asked
//
// The server accepts a message only if the last sequence of its subject is the
// one that the caller's Head names. Codes 10071 and 10164 both say that it is
// not. A silence is settled by reading the first message of the subject after
// the expected sequence: ours is success, another's is a conflict, none means
// that it is sent again under the same id and expectation, at most three times.
// A conflict is looked at in the same way, because it may be the echo of our own
// append whose acknowledgement was lost. Nats-Msg-Id, the event's id, counts for
// the whole stream: an acknowledgement marked as duplicate is believed only
// after the message that it names was read.
//
// The caller may repeat an append of unknown outcome with the same event and
// Head: it is never stored twice. A message that the client still holds in its
// reconnect buffer can be stored later; connect with a buffer of size -1 where
// that matters.
//
// # What fails how
//
// Every error is a credential.Fault of the system "record":
//
//	conflict          somebody else was first; load and decide again
//	retryable         nothing happened; no answer, no connection, no leader
//	permanent         nothing happened and nothing will: the stream is missing or
//	                  weaker than StreamConfig, an event cannot be encoded, a stored
//	                  one cannot be read (a newer schema says so), an id is used twice
//	permanent, with   Verify: the record is not what a vouched-for signer wrote
//	ErrUntrusted
//	outcome-unknown   only from Append
//
// Right after a conflict a read may not show the winner yet: on a replicated
// stream the conflict is told while the winner is still on its way. Load again
// after a short wait.
//
// NATS does not answer a publish that permissions forbid; it looks like silence.
//
// Recover, Replay, History and Watch pass over what they cannot read and tell it to
// Config.OnBad: one bad message does not stop the others. Watch opens its reader
// again after each disconnect, at the next sequence.
//
// # The form of an event
//
// CloudEvents 1.0, binary mode. The attributes are NATS headers:
//
//	ce-specversion       1.0
//	ce-id                the id of the event, a UUID; also in Nats-Msg-Id
//	ce-source            keyturn/<installation>
//	ce-type              io.keyturn.key.issued and so on
//	ce-subject           <namespace>/<name>
//	ce-time              RFC 3339 in UTC, with nanoseconds
//	ce-datacontenttype   application/json
//	ce-keyturnafter      stream sequence of the predecessor on the subject; 0 = none
//	ce-keyturnprev       hash of the predecessor; absent in the first event
//	ce-keyturnsigner     public nkey of the signer
//	ce-keyturnsignature  see below
//
// All values are printable ASCII without blanks. The data is
//
//	{"schema":1,"actor":…,"daemon":…,"request":…,"digest":…,"fact":{…},"state":{…}}
//
// where request and digest tell the operator's request (absent in planned work),
// fact is what happened, by ce-type, and state is the whole state after it. No
// secret stands in any of it. A reader refuses a higher schema. testdata/golden
// holds one event of each type; a released one never changes.
//
// # Hash and signature
//
// The hash of an event is the SHA-256 over these bytes:
//
//	keyturn-record-1 LF
//	<NATS subject, of the record> LF
//	for each header whose name begins with "ce-", except ce-keyturnsignature,
//	in ascending order of the bytes of the names:
//	    <name> ":" <value> LF
//	LF
//	<data, as stored>
//
// ce-keyturnprev is that hash in lower-case hexadecimal. ce-keyturnsignature is
// the Ed25519 signature of the 32 bytes of the hash by the key in
// ce-keyturnsigner, in base64 with the URL alphabet and without padding. The
// headers that begin with "Nats-" are the server's business and not covered; one
// that begins with "ce-" only when capitals are not heeded makes a message unsound.
//
// A sound record: on each subject, the first event has ce-keyturnafter 0 and no
// ce-keyturnprev; each other one names the sequence and the hash of the event
// directly before it; each signature holds and its signer is vouched for. That
// ce-keyturnafter is signed keeps an old event from being put at the end again.
// A cut tail or a stream that was built anew by somebody who holds a signing
// seed is not seen here; signed checkpoints outside of NATS show those. Package
// audit checks all of it over a whole record.
//
// # Signers
//
// An event io.keyturn.system.signer with the data {"schema":1,"public":"U…"} on
// keyturn.record._system.signers announces a signer. The first one signs its own
// announcement (pin its public key as Config.Root); each further one is announced
// under the signature of one that was announced before it, which it replaces:
// that one may sign a little longer, until every daemon has taken up the new one.
//
// # Checkpoints
//
// An event io.keyturn.system.checkpoint on keyturn.record._system.checkpoints
// carries what the record was up to a sequence:
//
//	{"schema":1,"installation":…,"at":…,"last":…,"subjects":…,"root":…,
//	 "signer":…,"signature":…}
//
// root is the SHA-256, in hexadecimal, over a line "subject sequence hash" LF for
// the last message up to that sequence of each subject, in the order of the
// subjects; those of the installation are among them. The signature is over the
// SHA-256 of "keyturn-checkpoint-1", installation, at (RFC 3339, UTC, as short as
// it goes), last, subjects, root and signer, each followed by LF. The same bytes
// lie in Vault. An auditor's own has the list of heads instead of a signature.
//
// # Freeze
//
// An event io.keyturn.system.frozen or io.keyturn.system.thawed on
// keyturn.record._system.freeze says under which hold new credentials begin. Its
// data is
//
//	{"schema":1,"actor":…,"daemon":…,"request":…,"reason":…,"frozen":{…},"revision":…,"answered":[…]}
//
// where frozen is the hold (absent after a thaw, which has a reason of its own)
// and answered are the requests of late, as in the state of a credential.
//
// # Denied requests
//
// The stream KEYTURN_DENIED, of the subjects keyturn.denied.<endpoint>, is no part
// of the record: nothing in it is signed or chained, it is limited in size, and
// what is old is dropped. control.Denial is the form of its messages.
//
// # Requests
//
// The stream KEYTURN_REQUESTS, of the subjects keyturn.requests.<id> with '=' for
// each '.' of the id, is no part of the record either. Its messages are what became
// of operators' requests that left nothing on the record,
//
//	{"schema":1,"request":…,"digest":…,"operator":…,"daemon":…,"at":…,"code":…,"text":…}
//
// or, in place of code and text, "answer". Each is the first of its subject, is
// dropped after credential.KeepAnswers, and is for daemons only. A full stream takes
// no more.
package publisher
