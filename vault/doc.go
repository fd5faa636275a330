// Package vault keeps the secrets of credentials in a KV v2 mount of Vault or
// OpenBao.
//
// # Who is authoritative
//
// The record is authoritative for what should be; Vault is authoritative for
// the keys themselves and for the version of each secret. This package decides
// nothing: it reads (document, version), writes (document, version), and says
// what a failure means. A write is guarded by check-and-set: it names the
// version that it replaces, and the loser of a race gets ClassConflict.
//
// A secret lies at <mount>/data/<prefix>/<namespace>/<name>; layout.go lists
// its fields. Below <prefix>/_system, which is no namespace, lies what belongs
// to the installation: the signing seed, with the next one while it is being
// announced, and the checkpoints of the record, the last hundred as versions.
//
// # States of a secret
//
//	never written     Missing, Version 0; the next write names 0
//	present           Version N; the next write names N
//	deleted, latest   Missing, Version N; the next write names N, not 0
//	changed by hand   present, Document.Revision 0 (see decode)
//
// A mount that does not exist answers like a secret that does not exist. So
// Missing with Version 0 is said only after the mount has been seen to be
// KV v2; otherwise the answer is a Fault.
//
// # States of the login
//
//	none      before the first login: every call fails as retryable
//	up        the token is valid; it is renewed after two thirds of its life
//	renewing  renewals fail or no longer extend: a new login is made before
//	          the token ends, and calls keep the old one until then
//	dead      Vault refused the token itself: log in anew at once
//
// The loop is written here rather than taken from the client's lifetime
// watcher, which ends with nil for a revoked token too, cannot be cancelled in
// the middle of a call, and notices a revocation only at its next renewal.
//
// # Failures
//
// Every error is a *credential.Fault; classify is the one place that chooses
// the class.
//
//	conflict         the version is no longer the one that was named
//	not-found        a field or path that Get or SigningSeed wants is not there
//	denied           the token is valid and lacks a capability, or the login was refused
//	retryable        sealed, not reachable, not logged in, asked to wait: nothing was written
//	permanent        the mount is missing or not KV v2, or the document is refused
//	outcome-unknown  a write whose answer did not arrive
//
// A write is sent once: the client's own retries are off, for reads too,
// because the engine has its own back-off. A connection that was never
// established makes a write retryable; from the moment it has one, anything
// but a clear answer makes it outcome-unknown. EnsureMetadata and Destroy may
// be repeated without harm, so for them a lost answer is retryable.
//
// A 403 is denied only when the token itself is still valid: else it is
// retryable, and a new login is made at once.
//
// Silent marks that Vault as a whole does not serve (no answer, sealed, 5xx),
// so that one good answer ends everybody's wait.
//
// No error holds a secret or a body: only the status and the short error
// strings of Vault, from which the values that were sent are removed. Nothing
// is logged here.
//
// # HTTP
//
// HTTP/1.1 only: each request has a connection to itself, so that a connection
// that died silently costs one deadline and not everybody's.
package vault
