// Package schedule decides when a credential is looked at, and by which daemon
// first; never what is done with it.
//
// The record is authoritative: what stands here is a copy of due times that can
// be lost at any time and is rebuilt from the record at start and by every
// sweep. There is one heap of due times and one timer for all credentials, and
// one lane of workers per issuer, so that a silent issuer holds up nobody else.
//
// A credential is waiting (in the heap), queued (in its lane) or running (one
// pass at a time). When its time comes and it is another daemon's turn, it waits
// on for a delay and is then queued all the same: the claim decides. A lane takes
// what is this daemon's turn first, and of that the most urgent. A wake-up that
// comes while a credential runs is kept and leads to another pass; wake-ups may
// merge, none is lost.
//
// An emergency, which is a leaked key that still lives, goes before all that is
// planned. Planned work leaves a quarter of the lane to emergencies, and these
// may take all of it. They wait for no budget of retries and no ramp.
//
// Between the passes each primary is probed: what issuer and Vault hold is compared
// with the record, and a pass follows where they differ. Probes come last: they begin
// when nothing is queued in the lane, take a quarter of it at most, give way to
// whatever their credential has to do, and stop while the issuer does not answer. One daemon makes
// them, the one whose turn a credential is with all of them idle; another one notices
// within an interval that it is the first now. The next probe counts from the end of
// the last, so a lane that cannot keep up stretches the interval. What one suspects
// is looked at again ahead of all that nobody suspects.
//
// What fails how. A pass that fails, which means that the record could not be
// read or written or that the pass panicked, is tried again after a growing delay
// of at most half a minute, an emergency's within a second. Attempts that failed at the issuer are bounded by the
// lane's budget of retries, unless the key's end is near. Those that got no answer
// are looked at as soon as the issuer answers anybody; after an outage they go out
// by one worker at first, and twice as many with each answer. A clock that jumps,
// or a machine that slept, is noticed within a second.
package schedule
