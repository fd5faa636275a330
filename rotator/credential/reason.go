package credential

// Reason says why something is done or waited for. The same string stands in
// events, logs, metric labels and on the terminal.
type Reason string

// Why a rotation begins.
const (
	ReasonFirstKey  Reason = "first-key"        // there is no key yet
	ReasonExpiring  Reason = "expiring"         // the lead time has begun
	ReasonSchedule  Reason = "schedule"         // the cron schedule fired
	ReasonRequested Reason = "requested"        // an operator asked
	ReasonSettings  Reason = "settings-changed" // privileges, items or referrers changed
	ReasonRefused   Reason = "key-refused"      // the issuer no longer accepts the primary
	ReasonLeaked    Reason = "compromised"      // the key is in wrong hands
)

// Why nothing is done.
const (
	ReasonNotRegistered Reason = "not-registered"
	ReasonNotDue        Reason = "not-due"
	ReasonWindow        Reason = "window-closed"
	ReasonBackoff       Reason = "back-off"
	ReasonClaimOpen     Reason = "claim-open"
	ReasonGate          Reason = "waiting-for-consumers"
	ReasonHalted        Reason = "halted-by-consumers"
	ReasonDraining      Reason = "draining"
	ReasonHeld          Reason = "held"
	ReasonSkew          Reason = "clock-skew"
	ReasonDrift         Reason = "drift"
)

// What is done next in an open rotation, and why a notice is given.
const (
	ReasonInFlight   Reason = "rotation-open"
	ReasonTakeOver   Reason = "take-over"
	ReasonGateOpen   Reason = "confirmed"
	ReasonPageLevel  Reason = "page-level"
	ReasonDrainOver  Reason = "drain-over"
	ReasonKeyExpired Reason = "key-expired"
	ReasonUnwanted   Reason = "unwanted"
	ReasonRemoved    Reason = "removed"     // an operator wants the credential no longer
	ReasonDescribed  Reason = "description" // title, folder, tags or description changed
	ReasonNotice     Reason = "notice"
)
