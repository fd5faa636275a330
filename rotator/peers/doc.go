// Package peers lets the daemons of an installation know of each other, so that
// they share the work and the limits of the issuers. There is no leader.
//
// Nothing here decides anything: the record does, by its claims. What stands
// here says only who begins at once and who waits a while, and which part of a
// limit is whose. Two daemons that see the others differently meet at the
// record, and one of them yields.
//
// Each daemon sends a heartbeat on core NATS, on a subject of its own. For each
// of the others it is unknown, live (heard of within the timeout, by the
// listener's clock; what time a heartbeat names is for people) or gone: by
// silence, or because it said so when it ended. A newcomer is answered at once,
// so it knows the others within a round trip.
//
// What follows is a pure function of who is live (Fleet): rendezvous hashing
// orders the daemons for each credential, so the end of one daemon moves only
// its own credentials; a limit is divided so that the parts add up to it, but
// nobody gets less than one.
//
// What fails how: without NATS a daemon hears nobody, and after the timeout takes
// itself for the only one. It does no harm, since it cannot claim anything
// either. A paused daemon is gone for the others while it is silent. One with
// another configuration or a newer schema of the record is told about in the
// log, once for each, and shares the work all the same.
package peers
