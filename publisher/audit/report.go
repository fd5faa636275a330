package audit

import (
	"fmt"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Kind is what is wrong with an event.
type Kind string

// The kinds.
const (
	Changed  Kind = "changed"    // its content is not what was signed, or not what its successor follows
	Removed  Kind = "removed"    // an event that others know of is not there
	Inserted Kind = "inserted"   // it does not belong there
	Swapped  Kind = "swapped"    // it stands in another place than it was written to
	Order    Kind = "order"      // its revision is not the next one
	Late     Kind = "late"       // signed by a signer long after that was replaced
	Against  Kind = "checkpoint" // the record is not what a checkpoint saw
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind Kind `json:"kind"`
	// Sequence, Subject and Event (its id) name the event. Of a removed event
	// nothing is known but the place; Event then is the one that follows it.
	Sequence uint64 `json:"sequence"`
	Subject  string `json:"subject,omitempty"`
	Event    string `json:"event,omitempty"`
	// What is wrong, as a sentence.
	What string `json:"what"`
	// More is how many events after it stand in a wrong place by the same number.
	More int `json:"more,omitempty"`
}

// String is a line for people.
func (f Finding) String() string {
	text := fmt.Sprintf("%s: message %d", f.Kind, f.Sequence)
	if f.Subject != "" {
		text += " on " + f.Subject
	}
	if f.Event != "" {
		text += " (event " + f.Event + ")"
	}
	text += ": " + f.What
	if f.More > 0 {
		text += fmt.Sprintf(" (and %d more after it, by the same number)", f.More)
	}
	return text
}

// Report is the outcome of Verify.
type Report struct {
	// Intact says that nothing was found.
	Intact bool `json:"intact"`
	// Events were verified, on that many subjects, up to message Last.
	Events   int    `json:"events"`
	Subjects int    `json:"subjects"`
	Last     uint64 `json:"last"`
	// Checkpoints is how many held, on the record and of those given.
	Checkpoints int `json:"checkpoints"`
	// Signers are those that are vouched for, in the order of the record.
	Signers []Signer `json:"signers"`
	// Unchecked is how many events could not be compared with their predecessor,
	// because reading began after it.
	Unchecked int `json:"unchecked,omitempty"`
	// Warnings are about what is no proof of a change.
	Warnings []string  `json:"warnings,omitempty"`
	Findings []Finding `json:"findings"`
}

// Signer is a signer of the record.
type Signer struct {
	Public    string    `json:"public"`
	VouchedBy string    `json:"vouched_by"`
	Sequence  uint64    `json:"sequence"`
	Since     time.Time `json:"since"`
	// Replaced is when its successor was announced; zero = it signs still.
	Replaced time.Time `json:"replaced,omitzero"`
}

// only limits a report to a credential, and to what concerns the whole record.
func (r *Report) only(name credential.Name, subject string) {
	if name == "" {
		return
	}
	kept := []Finding{}
	for _, f := range r.Findings {
		if f.Subject == subject || f.Subject == "" || system(f.Subject) {
			kept = append(kept, f)
		}
	}
	r.Findings = kept
}
