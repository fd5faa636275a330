// Package issuertest is the conformance suite of the issuer port: what every
// issuer promises to the engine, whatever system stands behind it.
//
// The suite asks the system itself, through Fixture.Accepts, whether a key works:
// an issuer's own word proves nothing about the issuer. A failure is a test
// failure; a hook that a fixture does not have skips the cases that need it, by
// name.
package issuertest
