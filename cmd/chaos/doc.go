// Command chaos breaks a whole installation of keyturn, again and again, and
// checks that nobody notices. Everything is a real process: three times
// `keyturn serve`, a JetStream cluster of three with three replicas, the dev
// Vault, the emulated portal. Run it by
//
//	go run ./cmd/chaos -faults 1000 -credentials 200 -duration 90m
//
// after `make build`. It prints its seed, a line now and then, and at the end a
// table; exit code 1 says that a check failed, 2 that the run itself did. The same
// seed draws the same faults in the same order; what they meet depends on timing.
// Keep the machine free for it: one that stands still for seconds breaks the
// assumptions by itself, and the table names its longest stall.
//
// # What is checked
//
// An application reads api_key from Vault, without a detour, and calls the
// portal's protected resource with it at once. While Vault does not answer, it
// goes on with the key that it has. A refusal is a definite "invalid token" from
// the portal. It is a violation when the read that gave the key began no longer
// ago than the drain: the key that Vault shows as the primary has to be
// accepted for that long. Later refusals are counted beside it: by then keyturn
// may kill the key, and an application that still holds it has to read again.
// No answer is no refusal.
//
// After the last fault everything is given time to finish. Then the whole
// stream is read: the sequences have no gap, each event names its predecessor by
// sequence and hash, signatures hold, ids are unique, revisions count up by one,
// and replaying gives the state that each event carries. Every event that
// somebody saw during the run (a JetStream watch, and a plain subscriber) still
// stands where it stood. Every rotation came to an end or names its reason, and
// every failure says why. At the portal each item and each live key is on a seat
// list and each primary is alive; Vault shows what the record says. No key was
// made on a seat while it was the primary, and none but under a claim.
//
// # Which faults are within the assumptions
//
// Each of them is made so that it lies within the assumptions i to iii of the
// design (section 4), and this is how.
//
//	i    A call may be held up on its way by a paused process or a stalled link,
//	     for less than half a claim's window; two such delays in a row stay below
//	     the margin. A daemon that is paused for longer than a claim lasts has its
//	     links to the portal cut meanwhile, so that nothing it had begun arrives.
//	ii   Nobody touches a key: faults of the portal spoil answers, or stop a call,
//	     but no key is killed and no refusal of a key is invented.
//	iii  A fault lasts less than half a window; what it broke is started again, and
//	     NATS may need ten seconds more to elect. A round of faults begins only
//	     when no primary is closer to its expiry than three fifths of the lead time:
//	     outages are not strung together to one that is longer than allowed.
package main
