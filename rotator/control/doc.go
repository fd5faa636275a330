// Package control takes operators' requests over NATS and turns them into
// commands. It is a NATS micro service named "keyturn", so `nats micro` finds
// it, with its statistics and the shape of each request.
//
// Any daemon answers: the record's compare-and-set decides, not the daemon. A
// handler appends and answers at once; the work follows, and whoever asked
// follows the record. Whoever may publish on keyturn.control.> is an
// administrator: grant that subject to operators only.
//
// A consumer that a policy names confirms that it uses a key with one message to
// keyturn.ack.<consumer>, with or without a reply subject. Its name is the last
// token of that subject, so let it publish on its own only: deploy/nats shows how.
//
// A refusal carries the header Nats-Service-Error-Code: 400 the request is
// wrong, 404 no such credential, 409 it does not fit the state, 503 the record
// cannot be reached. A request that changes nothing is answered with
// "unchanged", an acknowledgement with "already", so repeating one does no harm.
package control
