package credential

import (
	"fmt"
	"strings"
	"time"
)

// View is what the decider sees of the world besides the state: one daemon's
// clocks and what it holds. All of it is read once, before the decision.
type View struct {
	// Now is this daemon's wall clock.
	Now time.Time
	// Skew is the issuer's clock less ours; zero while it is unknown.
	Skew time.Duration
	// MaxSkew is the bound beyond which planned destructive steps stop; 0 = none.
	MaxSkew time.Duration
	Daemon  string
	// ID is a fresh unique id for the event, and for the claim and rotation
	// that it may open.
	ID string
	// Seen tells how long ago this daemon first saw a claim or a failure (its id →
	// the smaller of monotonic and wall time); a missing one was seen just now.
	Seen map[string]time.Duration
	// IssuerAnswered is when the issuer last answered anybody here; zero = never.
	IssuerAnswered time.Time
	Calendar       Calendar
	Work           Work
}

// Work is what the running pass has done without a commit.
type Work struct {
	// Claim is the id of the claim that this pass opened; empty = none.
	Claim string
	// Minted and Stored say that the claim's key was generated, and is in Vault.
	Minted, Stored bool
}

// IssuerNow is the issuer's clock.
func (v View) IssuerNow() time.Time { return v.Now.Add(v.Skew) }

// skewed reports whether the clocks differ by more than the bound.
func (v View) skewed() bool { return v.MaxSkew > 0 && v.Skew.Abs() > v.MaxSkew }

// Step is what to do next.
type Step struct {
	Kind   StepKind
	Reason Reason
	// Why is a sentence for people.
	Why string
	// At is when to look again; set for StepWait only, zero = never by itself.
	At time.Time
	// Seat is the one concerned; of retire, revoke and expire.
	Seat SeatID
	// Level is the one to tell; of notice.
	Level Level
}

// check looks at one thing; ok is false when it has nothing to say.
type check struct {
	name string
	look func(State, View) (step Step, ok bool)
}

// checks are asked in this order; the first that has something to say wins.
func checks() []check {
	return append([]check{
		{"unmanaged", unmanaged},
		{"notice", notice},
		{"under claim", underClaim},
		{"back-off", backoff},
		{"removing", removing},
		{"leaked", leaked},
	}, planned()...)
}

// planned are those of a life without emergencies.
func planned() []check {
	return []check{
		{"settings", settings},
		{"making a key", makingKey},
		{"ready", ready},
		{"draining", draining},
		{"blocked by drift", blocked},
		{"begin", begin},
	}
}

// Next says what to do next. A StepWait says until when; what is told before
// expiry wakes it sooner.
func Next(s State, v View) Step {
	step := look(checks(), s, v)
	if step.Kind == StepWait && s.Status == StatusRegistered {
		step.At = earlier(step.At, nextNotice(s, v))
		if kill, ok := killLeaked(s, v); ok && step.Reason != ReasonBackoff {
			step.At = earlier(step.At, kill.At)
		}
	}
	if step.Kind != StepWait || s.Status == StatusUnknown {
		return step
	}
	if beside, ok := tidy(s, v); ok {
		if beside.Kind != StepWait {
			return beside
		}
		step.At = earlier(step.At, beside.At)
	}
	return step
}

func look(checks []check, s State, v View) Step {
	for _, c := range checks {
		if step, ok := c.look(s, v); ok {
			return step
		}
	}
	return wait(ReasonNotDue, time.Time{}, "nothing is due")
}

func wait(reason Reason, until time.Time, why string) Step {
	return Step{Kind: StepWait, Reason: reason, At: until, Why: why}
}

// earlier returns the earlier of two instants; zero counts as never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func unmanaged(s State, v View) (Step, bool) {
	if c, ok := s.claim(v.Work.Claim); ok && s.serves(c) {
		return Step{}, false
	}
	return wait(ReasonNotRegistered, time.Time{}, "the credential is not managed"), s.Status != StatusRegistered
}

// levelAt is the level that the primary has reached.
func levelAt(s State, now time.Time) Level {
	primary, ok := s.Primary()
	switch p := s.Spec.Policy; {
	case !ok || now.Before(p.WarnAt(primary.Expires)):
		return LevelNone
	case now.Before(p.PageAt(primary.Expires)):
		return LevelWarn
	case now.Before(primary.Expires):
		return LevelPage
	}
	return LevelExpired
}

func rank(l Level) int {
	return map[Level]int{LevelNone: 0, LevelWarn: 1, LevelPage: 2, LevelExpired: 3}[l]
}

func notice(s State, v View) (Step, bool) {
	level := levelAt(s, v.IssuerNow())
	return Step{Kind: StepNotice, Reason: ReasonNotice, Level: level, Why: "the primary key nears its expiry"},
		rank(level) > rank(s.Notice) && s.Removing == nil
}

func nextNotice(s State, v View) time.Time {
	primary, ok := s.Primary()
	if !ok {
		return time.Time{}
	}
	p := s.Spec.Policy
	for _, at := range []time.Time{p.WarnAt(primary.Expires), p.PageAt(primary.Expires), primary.Expires} {
		if at = at.Add(-v.Skew); at.After(v.Now) {
			return at
		}
	}
	return time.Time{}
}

// underClaim goes on with what this pass holds a claim for. Verifying needs no
// claim, so it goes on after the window.
func underClaim(s State, v View) (Step, bool) {
	if r := s.Rotation; r != nil && r.Phase == PhaseIssue && v.Work.Stored {
		return Step{Kind: StepVerify, Reason: ReasonInFlight, Seat: r.Target, Why: "the new key is in Vault"}, true
	}
	c, ok := s.claim(v.Work.Claim)
	if !ok || !s.serves(c) {
		return Step{}, false
	}
	step := Step{Reason: ReasonInFlight, Seat: c.Seat, Why: "goes on under its claim"}
	switch {
	case c.Op == OpRevoke:
		step.Kind = StepRevoke
	case c.Op == OpCreateItem:
		step.Kind = StepItem
	case c.Op == OpEditItem:
		step.Kind = StepEdit
	case c.Op == OpDeleteItem:
		step.Kind = StepDelete
	case v.Work.Minted:
		step.Kind = StepStore
	default:
		step.Kind = StepIssue
	}
	return step, true
}

// serves reports whether a claim is still of use: its rotation may have been
// abandoned or may have moved on meanwhile.
func (s State) serves(c Claim) bool {
	r := s.Rotation
	seat, listed := s.Seat(c.Seat)
	switch {
	case c.Op == OpEditItem:
		return s.Edit != nil
	case c.Op == OpDeleteItem:
		_, old := s.OldItem(c.Seat.Item)
		return old
	case c.Op == OpRevoke && !listed:
		return false
	case c.Op == OpRevoke && s.Removing != nil:
		return true
	case c.Op == OpRevoke && seat.Leak != nil:
		return seat.Role != RoleCandidate && (seat.Role != RolePrimary || seat.Leak.Immediately)
	case r == nil:
		return false
	case c.Op == OpCreateItem:
		return r.Phase == PhaseItem
	case c.Op == OpGenerate:
		return r.Phase == PhaseIssue && r.Target == c.Seat
	}
	return r.Phase == PhaseDrain && seat.Role != RolePrimary
}

// backoff waits after a failed attempt.
func backoff(s State, v View) (Step, bool) {
	until, ok := s.waits(s.Failure, v)
	if !ok {
		return Step{}, false
	}
	f := s.Failure
	return wait(ReasonBackoff, until, fmt.Sprintf("attempt %d at %s failed: %s", f.Attempts, f.Step, f.Message)), true
}

// waits tells until when the next attempt waits. That ends early when an issuer
// that was silent answers again.
func (s State) waits(f *Failure, v View) (until time.Time, ok bool) {
	if f == nil {
		return time.Time{}, false
	}
	last, until := f.Last, f.Next
	if last.After(v.Now.Add(time.Minute)) {
		// one of the two clocks is wrong: the wait counts from where we saw it
		last = v.Now.Add(-v.Seen[f.ID()])
		until = last.Add(f.Next.Sub(f.Last))
	}
	switch {
	case !v.Now.Before(until), f.Silent && v.IssuerAnswered.After(last):
		return time.Time{}, false
	}
	return until, true
}

// settings re-plans when privileges, items or referrers changed: a rotation
// that has not promoted is abandoned, a drain is taken over by a succession.
func settings(s State, v View) (Step, bool) {
	want := s.Spec.Item.SettingsHash()
	r := s.Rotation
	if r == nil || r.Settings == want {
		return Step{}, false
	}
	if r.Phase != PhaseDrain {
		return Step{Kind: StepAbandon, Reason: ReasonSettings, Why: "the declared settings changed"}, true
	}
	return beginAt(s, v, ReasonSettings, v.Now, "the declared settings changed")
}

// makingKey resumes an issue that nobody here holds the claim for.
func makingKey(s State, v View) (Step, bool) {
	r := s.Rotation
	if r == nil || (r.Phase != PhaseItem && r.Phase != PhaseIssue) {
		return Step{}, false
	}
	if step, ok := blocked(s, v); ok {
		return step, true
	}
	if target, ok := s.Seat(r.Target); ok && target.Leak != nil {
		return kill(s, v, target), true
	}
	op, seat := OpGenerate, r.Target
	if r.Phase == PhaseItem {
		op, seat = OpCreateItem, SeatID{}
	}
	if step, ok := waitForClaims(s, v, op, seat); ok {
		return step, true
	}
	return Step{Kind: StepResume, Reason: ReasonTakeOver, Seat: seat, Why: "an attempt ended without a result"}, true
}

// waitForClaims waits for every open claim that a new one would meet.
func waitForClaims(s State, v View, op Operation, seat SeatID) (Step, bool) {
	var longest time.Duration
	for _, c := range s.Claims {
		if c.meets(op, seat) {
			longest = max(longest, c.Over()-v.Seen[c.ID])
		}
	}
	return wait(ReasonClaimOpen, v.Now.Add(longest), "another call at the issuer may still be under way"), longest > 0
}

// ready promotes a proven key when gate and window let it.
func ready(s State, v View) (Step, bool) {
	if s.Rotation == nil || s.Rotation.Phase != PhaseReady {
		return Step{}, false
	}
	candidate, _ := s.Candidate()
	if candidate.Leak != nil {
		return kill(s, v, candidate), true
	}
	if candidate.Claimed {
		return Step{Kind: StepResume, Reason: ReasonTakeOver, Seat: candidate.SeatID, Why: "the candidate may have been killed"}, true
	}
	if candidate.expired(v.IssuerNow()) {
		return Step{Kind: StepAbandon, Reason: ReasonKeyExpired, Why: "the new key expired before it was promoted"}, true
	}
	if step, ok := blocked(s, v); ok {
		return step, true
	}
	opens, reason, why := gate(s, BeforePromote, s.Rotation.Ready)
	if at := s.Spec.Policy.OpenAt(v.Now, v.Calendar); at.After(v.Now) && at.After(opens) && reason != ReasonHalted {
		opens, reason, why = at, ReasonWindow, "outside the window for planned steps"
	}
	// No gate outlives the primary, and there is nothing to wait for without one.
	primary, ok := s.Primary()
	if !ok {
		return Step{Kind: StepPromote, Reason: ReasonFirstKey, Seat: candidate.SeatID, Why: "the first key is proven"}, true
	}
	page := s.Spec.Policy.PageAt(primary.Expires).Add(-v.Skew)
	empty := s.Vault.Foreign && s.Vault.Accepted == 0 // applications read nothing until the promotion
	refused := empty || s.Rotation.Reason == ReasonRefused || s.refused(primary.SeatID)
	if refused || (s.Requested != nil && s.Requested.Now) {
		page = v.Now
	}
	switch {
	case !opens.After(v.Now) && reason != ReasonHalted:
		return Step{Kind: StepPromote, Reason: ReasonGateOpen, Seat: candidate.SeatID, Why: "the new key is proven"}, true
	case !page.After(v.Now):
		return Step{Kind: StepPromote, Reason: ReasonPageLevel, Seat: candidate.SeatID, Why: "the primary is about to expire"}, true
	case reason == ReasonHalted:
		return wait(reason, page, why), true
	}
	return wait(reason, earlier(opens, page), why), true
}

// gate tells when the named consumers no longer hold a step up: now (zero),
// at the deadline, or not by itself (ReasonHalted).
func gate(s State, before string, since time.Time) (opens time.Time, reason Reason, why string) {
	c := s.Spec.Policy.Confirm
	if c == nil || c.Before != before {
		return time.Time{}, ReasonGateOpen, ""
	}
	missing := s.Missing()
	if len(missing) == 0 {
		return time.Time{}, ReasonGateOpen, ""
	}
	why = fmt.Sprintf("waits for %s to confirm the new key", enumerated(missing))
	if c.Then == ThenHalt {
		return time.Time{}, ReasonHalted, why
	}
	return since.Add(c.Deadline.Std()), ReasonGate, why
}

// enumerated is "a", "a and b", or "a, b and c".
func enumerated(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// Missing are the named consumers that have not confirmed the rotation's key.
func (s State) Missing() []string {
	if s.Rotation == nil || s.Spec.Policy.Confirm == nil {
		return nil
	}
	var missing []string
	for _, consumer := range s.Spec.Policy.Confirm.Consumers {
		found := false
		for _, have := range s.Rotation.Acknowledged {
			found = found || have == consumer
		}
		if !found {
			missing = append(missing, consumer)
		}
	}
	return missing
}

// blocked waits for an operator where a finding is not ours to heal.
func blocked(s State, _ View) (Step, bool) {
	for _, d := range s.Drift {
		if blocks(d.Kind) {
			return wait(ReasonDrift, time.Time{}, fmt.Sprintf("%s: %s; an operator decides", d.Kind, d.Detail)), true
		}
	}
	return Step{}, false
}
