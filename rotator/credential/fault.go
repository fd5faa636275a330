package credential

import (
	"errors"
	"fmt"
	"time"
)

// Class says what a failure means for the next attempt. It is chosen once, in
// the adapter that met the failure.
type Class string

// The classes of failures.
const (
	ClassConflict  Class = "conflict"        // somebody else was first: read again and decide again
	ClassNotFound  Class = "not-found"       // the thing is definitely not there
	ClassDenied    Class = "denied"          // refused for lack of rights or a wrong credential
	ClassRetryable Class = "retryable"       // nothing happened; the same call may work later
	ClassPermanent Class = "permanent"       // nothing happened; the same call will not work later
	ClassUnknown   Class = "outcome-unknown" // it may or may not have happened
)

// Fault is a classified failure of a system outside. Its text never holds a
// secret or a body of the portal or of Vault.
type Fault struct {
	Class Class
	// System is who failed: "portal example", "vault", "record".
	System string
	// Op is what was asked, in words: "generate key on slot 2".
	Op string
	// Hint says what to try.
	Hint string
	// Silent is true when no answer came at all (refused, timed out, cut).
	Silent bool
	// RetryAfter is how long the system asked to be left alone; zero = not said.
	RetryAfter time.Duration
	// Err is the cause; may be nil.
	Err error
}

// Error says who failed at what, why, and what to try.
func (f *Fault) Error() string {
	text := fmt.Sprintf("%s: %s: %s", f.System, f.Op, f.Class)
	if f.Err != nil {
		text = fmt.Sprintf("%s: %s: %v", f.System, f.Op, f.Err)
	}
	if f.Hint != "" {
		text += " (try: " + f.Hint + ")"
	}
	return text
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// ClassOf returns the class of a failure; an unclassified one is
// outcome-unknown, the class that promises least.
func ClassOf(err error) Class {
	var fault *Fault
	if errors.As(err, &fault) {
		return fault.Class
	}
	return ClassUnknown
}

// IsClass reports whether err is a Fault of that class.
func IsClass(err error, class Class) bool {
	var fault *Fault
	return errors.As(err, &fault) && fault.Class == class
}
