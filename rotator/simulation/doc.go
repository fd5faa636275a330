// Package simulation runs the real core and the real engine over simulated
// ports and simulated time, all driven by one seed. It is for tests: nothing of
// it is in the product.
//
// Several daemons share a record, a store of secrets and an issuer. Every call
// of a port stops at a gate; one goroutine at a time is let through, in an order
// and with an outcome that the seed chooses: answered, refused, unanswered,
// answered late, acting late. Daemons die, stall, come back; clocks step;
// operators and other people do what they do. After every step the invariants
// I1 to I7 of package credential are checked, and at the end, when nothing goes
// wrong any more, that every credential has come to rest.
//
// Each fault is labelled as inside or outside the assumptions under which I1 to
// I3 are promised (see Fault). A run inside them breaks no invariant; in a run
// outside them I4 to I7 still hold, and what differs is named and healed.
//
// The simulated ports (Record, Store, Portal) pass the same conformance suites
// as the real ones. Time is that of a testing/synctest bubble, so a run takes as
// long as its computing, and the same seed gives the same run: Result.Trace
// tells it.
package simulation
