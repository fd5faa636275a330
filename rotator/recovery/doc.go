// Package recovery begins the records of credentials anew after the stream that
// held them was lost.
//
// # Who is authoritative
//
// The record was, and it is gone. What is left are three witnesses: the
// declarations say what a credential should be, Vault says which keys
// applications have and on which seats they were made, and the issuer says
// whether those keys work. Nothing is believed on one word alone: a key of Vault
// counts once the issuer has accepted it as one of the very item, on a slot that
// it calls active. The result is one event, credential.recovered, appended as
// the first of its record; from there on the record is authoritative again.
//
// Recovery reads and probes. It makes no call that changes the issuer, writes
// nothing to Vault, and begins no rotation: the next one comes when it is due,
// or when somebody asks.
//
// # What becomes of each key
//
//	api_key of Vault, accepted             primary
//	secondary, accepted, of an older mint  draining: applications may still use
//	                                       it, so the next key goes to a new item
//	                                       and this one ends with that drain
//	secondary, accepted, of a newer mint   orphan: it was never promoted
//	live slot that Vault does not explain  orphan, if the item carries the marker
//	  (also of other items)                of this installation and credential;
//	                                       else it is left out, and the engine's
//	                                       own look before a mint calls it a
//	                                       stranger's and goes to a new item
//	dead or expired                        left out
//
// An orphan is on the seat list, so that the next rotation generates over it, or
// revokes it, under a claim that says so. Two credentials that would claim the
// same item are both refused: the one would kill the keys of the other.
//
// # Numbers
//
// The markers on items carry no counters, and the lost record may have counted
// on after its last write to Vault: each failed attempt takes an event, and may
// take a mint. So mint and revision go on credential.RecoveryGap above the
// highest that Vault shows. An old daemon that still has a write under way meets
// a KV version that is no longer its own, or a revision that is above its own.
//
// # What is lost for good
//
// History, holds, acknowledgements of consumers, requests that were not begun,
// and findings of drift. The settings of the primary's item are taken to be the
// declared ones, whatever the issuer tells of them. The event says that a gap
// precedes it, from which numbers on, and what could not be confirmed.
//
// # The chain of trust
//
// The events are signed with the seed in Vault, and the new stream's first
// signer vouches for itself. As the seed is the same as before, so is the public
// key that setup prints, and what auditors pinned stays valid. What a new stream
// cannot show is that the old one ended where it did: compare with what was
// exported from it.
//
// # Which states exist
//
// Each credential of a plan has exactly one verdict:
//
//	recover      can be recovered                 -> recovered, on-record, not-checked
//	recovered    its event is on the record
//	on-record    its record is not empty: left as it is
//	no-key       declared, and Vault has no key   an ordinary apply issues a first one
//	refused      the issuer does not accept the primary key
//	item-gone    the issuer does not know the primary's item
//	conflict     the witnesses contradict each other
//	not-checked  a witness did not answer, or changed its word meanwhile: run again
//	undeclared   a key in Vault that nobody declared: left alone
//
// # What fails how
//
// One credential that cannot be recovered does not stop the others. Each append
// expects an empty record, so a second recovery, an apply or a running daemon
// cannot double it: the first one wins and the other is told on-record. Daemons
// may serve meanwhile. They know nothing of a credential without a record, so
// they do not touch it; one that lost its stream in the middle of a step may
// still end a call to Vault or the issuer that began before, within the window of
// its claim, at most half a minute and as much again. Run recovery after that
// time: what such a call changed later shows as drift and stops at it, but is not
// in the recovered record.
package recovery
