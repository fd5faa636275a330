// Package credential is the core of keyturn: what a credential is, what may
// happen to it, and what comes next. It is pure: it knows no clock, no
// randomness, no system outside, and imports the standard library only.
//
// A record is a list of events. Evolve folds them into a State; it is the only
// way in which a State changes. Next reads a State and a View (clocks and what
// a daemon holds, read once) and says which step comes next, or until when to
// wait. Decide turns a command or a step's result into the one event that
// follows, or refuses; every rule that guards an append stands there.
//
// # Words
//
// A credential is one thing that applications know by name. A seat is where a
// key lives at the issuer: an item and one of its two slots. A mint is one call
// that generates a key, numbered. The seat list holds every seat that may hold
// a live key. A claim is the right to make calls that change the issuer. A
// rotation replaces the primary key and ends when only the new one is left.
//
// # The steps, and what follows when a daemon stops right after one
//
//	1 begin    commit rotation.started: rotation, mint, seat, claim
//	           -> once the claim is over: read Vault. This very mint is there:
//	              go on at 5. It is not: step.claimed with the next mint.
//	              Vault cannot be read: wait
//	2 item     find the item by its marker, or make and register it;
//	           commit step.claimed with the item -> found again by its marker
//	3 issue    set the slot's expiry, generate; no commit -> as 1
//	4 store    write Vault: secondary = new key; no commit -> as 1
//	5 verify   probe until accepted throughout the settle time;
//	           commit key.issued -> probe again
//	6 confirm  wait for named consumers, at most until the page level;
//	           commit key.acknowledged -> go on waiting
//	7 promote  write Vault: primary = new, secondary = old; commit key.promoted
//	           -> Vault says so already: only append
//	8 drain    wait until both clocks say that the drain is over
//	9 retire   read Vault, probe the primary, commit key.retiring (the claim);
//	           write Vault without the old key; revoke and read back, and beside
//	           it destroy older versions; commit key.invalidated
//	           -> before the claim: nothing happened. After it: a successor
//	              repeats the checks, claims and goes on
//
// Beside them, and whatever they wait for:
//
//	amend      commit step.claimed; edit the item in place; commit item.edited
//	discard    look at an item that was left, commit step.claimed; delete it;
//	           commit item.deleted -> the deletion is repeated, and does no harm
//
// # Which states exist
//
// A credential is unknown, registered or removed; a record whose stream was lost begins
// with credential.recovered, and one whose key somebody else made with
// credential.adopted. While it is being removed nothing is made: its keys die, its
// items are deleted, and credential.removed closes the record. Another life under
// the name goes on counting where this one ended. A registered one has no open rotation,
// or one in exactly one phase:
//
//	item   the item is being made          a claim for the item was opened
//	issue  the key is being made           its seat is the candidate, not proven
//	ready  the key is in Vault and proven  the candidate waits for gate and window
//	drain  the key is promoted             other seats wait for their end
//
// An item is left when its last key is on its way out. It stays on a list until it
// is deleted, which waits until no key of ours is listed on it.
//
// A seat may carry a leak: its key is in wrong hands. The state is an emergency
// while there is such a seat, or no primary because one was killed.
//
// A rotation leaves drain when only the primary is left on the seat list. Before
// that it leaves only by being abandoned, which makes its candidate an orphan
// and has the rotation begun again, or by a rotation that takes its seats over: for new settings, or because the
// primary is dead at the issuer or has reached its warning level while a hold or a gate
// still keeps the drain open.
//
// A seat is primary, candidate, draining or orphan. There is at most one primary
// and, once there was one, always one, unless an operator had it killed before
// there was another; at most one candidate, and only before
// its promotion. A claim is open until it is closed by name or superseded by one
// that found it over. Hold, failure, request and drift stand beside all this:
// each stops some steps and moves none.
//
// # Invariants
//
// I1 What Vault shows as primary works at the issuer at every instant after
// registration.
//
// I2 A seat that is primary is never generated on, and revoked only when its key
// leaked and an operator wanted it dead immediately, or the credential removed.
//
// I3 The old key dies only after the new one is stored, proven and promoted, with
// the same exception.
//
// I4 A credential has one open rotation, however many daemons there are.
//
// I5 No secret stands in any event, log line, metric, error or output that did
// not ask for it.
//
// I6 Every change of state is one event, and nothing in memory moves before its
// append is acknowledged.
//
// I7 No destructive claim is appended while a hold or the freeze stands, but to
// revoke a leaked key with an operator's word that goes over the hold.
//
// I1 to I3 hold provided that no issuer call takes effect later than its claim's
// window plus margin, that nobody outside keyturn kills the key, and that
// outages are shorter than the lead time less the time of a rotation.
//
// # Emergencies
//
// key.compromised marks the seats. Then, before anything planned and whatever
// back-off, gate, window, drain and skew say:
//
//	a leaked candidate        its rotation is abandoned, it dies, the next is made
//	a leaked old key          dies
//	a leaked primary          another key is promoted, and it dies: a candidate that
//	                          is proven, else a draining key that Vault carries, else
//	                          a new one on the other slot, or on a new item
//	that, immediately         dies first
//
// A leaked key is never promoted and never generated over. What keeps one alive (a
// claim to generate on its seat, a hold that came later, an issuer that refuses) is
// told by the state, tried again by and by, and stops nothing else.
//
// # What fails how
//
// Decide refuses with ErrStale (the state has moved on), ErrClaimed (an earlier
// claim may still be at work), ErrHeld, ErrNothing (already so), ErrRepeated (a
// request that was answered), ErrTaken (its id is another one's), ErrNoKey (no living key is meant), ErrUnknown (not
// registered), ErrNotNamed (the policy waits for no such consumer) or ErrAbsurd (a
// date that cannot be true). None of these changes anything. What Next asks for,
// Decide does not refuse in the same view.
//
// A step that fails is an event too: its class, how often, and when it is tried
// again. The claim stays open unless every call under it was answered. A new key
// that expires before its promotion is given up. A finding about Vault stops
// every step but notices until an operator asks for a rotation. A primary that
// the issuer calls inactive, or whose item is gone, is replaced
// at once, and so is one that it refuses for long; then not again for four probe
// intervals. All other findings wait.
//
// A clock may be wrong: what is due and what has expired goes by the issuer's, a
// hold and a drain stand while either clock says so, and how long a claim or a
// back-off has lasted counts from where this daemon first saw it.
package credential
