// Package report says what a record tells of a time: every key that lived in it,
// who or what caused it, how long it lived, and where the policy was not kept. It
// also says single events in words. It is pure: it reads no clock and no stream,
// and the same events and period give the same report.
//
// # What it is made from
//
// A Fold is fed the events of all credentials from their first on, once to mark
// where the period ends in each record and once to fold them. It keeps no event:
// for each credential the last state and the keys that may be alive, and of the
// period what the report lists. A key that died before the period is forgotten,
// and a thousand failed attempts in a row are one line. So memory grows with
// credentials, with keys, breaches and changes of the period, not with events.
//
// An event counts by its own time, which is signed, not by when the stream stored
// it. The last event of a credential with a time before the end of the period is
// the last that is looked at. (The first one with a later time would not do: a
// clock may be a year ahead, and the next daemon's is right. What shows that a
// clock was wrong is counted and told.) Each number in the report follows from the
// instants beside it; those are the times of the events whose sequences stand with
// it, or follow from them as said below.
//
// # A life
//
// A key begins with the claim to generate it (rotation.started or step.claimed):
// it is not older. It is issued by key.issued, promoted by key.promoted, and
// replaced by the key.promoted of the next one. It has lived from issued to died;
// one that was never proven, from the claim on. It dies
//
//	revoked      at key.invalidated: revoked, and read back as inactive
//	expired      at its own expiry, whether or not an event has said so yet
//	overwritten  at the key.issued of a later key on the same slot
//
// A key that was adopted is in the report from credential.adopted on; when it was made
// and promoted is not known, as with one that a recovery found.
//
// A claim that says afterwards that nothing was generated begins no key. A key
// that died at the very beginning of the period did not live in it.
//
// # Breaches
//
// One is in the report if it stood at some time of the period; its times may lie
// before. "Grace" is twice the window of a claim, min(30 s, lead / 8): what a step
// may take when a daemon dies in the middle of it.
//
// leaked: a key was in wrong hands: from the first key.compromised that names it to
// its death.
//
// older-than-policy: a key was the primary after the earlier of
//
//	its promotion + the policy's lifetime
//	its expiry - lead / 4 (the page level, beyond which no gate holds a
//	promotion; the due time where that is later) + grace
//
// Time under another lifetime, lead, due time or expiry is judged by those, so a
// shorter lifetime makes an old key a breach from that change on. A key that was adopted
// or found by a recovery is judged by its expiry alone: its promotion is not known.
//
// drained-too-long: a key that had been replaced as the primary lived on after
//
//	the end of the drain that key.promoted names (promotion + the policy's
//	drain), made later by each drift.detected that tells of time in which
//	Vault could not be read; or promotion + the deadline of consumers, where
//	they are waited for before retirement and then passed over
//	moved to when the policy's window is open next, + grace
//
// by the policy in force at that promotion, up to its death or until it took over
// again. A hold or a halt does not make the limit later.
//
// held: a hold stood: from credential.held to the first of its own end,
// credential.released and the next credential.held.
//
// failed: attempts failed one after another: from the first rotation.failed to the
// event that shows that it went on (key.issued, key.promoted, key.invalidated,
// rotation.started or rotation.abandoned).
//
// never-acknowledged: the policy names consumers, and when key.promoted (confirm
// before promote; not the first key, which takes none away) or the first of
// key.retiring and key.invalidated of a replaced key (confirm before retire) was
// appended, one of them had not confirmed the new key. It has no length.
package report
