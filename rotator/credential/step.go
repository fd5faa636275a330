package credential

// StepKind names a step of a rotation.
type StepKind string

// The steps, in their order. Wait and Notice are what Next answers in between.
const (
	StepBegin   StepKind = "begin"
	StepItem    StepKind = "item"
	StepIssue   StepKind = "issue"
	StepStore   StepKind = "store"
	StepVerify  StepKind = "verify"
	StepConfirm StepKind = "confirm"
	StepPromote StepKind = "promote"
	StepDrain   StepKind = "drain"
	StepRetire  StepKind = "retire"

	StepResume  StepKind = "resume"  // after a claim that was not closed: what does Vault hold?
	StepRevoke  StepKind = "revoke"  // under the claim that retire opened
	StepExpire  StepKind = "expire"  // a seat that ended by its own expiry
	StepNotice  StepKind = "notice"  // tell of the primary's expiry
	StepAbandon StepKind = "abandon" // end a rotation whose settings are no longer wanted
	StepAmend   StepKind = "amend"   // claim the edit of the item in place
	StepEdit    StepKind = "edit"    // under that claim
	StepDiscard StepKind = "discard" // look at an old item, claim its deletion
	StepDelete  StepKind = "delete"  // under that claim
	StepRemove  StepKind = "remove"  // close the record of a credential that is removed
	StepWait    StepKind = "wait"    // nothing to do until Step.At
)
