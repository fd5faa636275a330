package credential

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Decide turns a command into the one event that follows from it, or says why
// none does. It changes nothing; every rule that guards an append stands here.
func Decide(s State, c Command, v View) (Event, error) {
	asked, ok := c.(Asked)
	if ok {
		c = asked.Command
	}
	if !s.takes(c) {
		return Event{}, ErrUnknown
	}
	if ok {
		if err := s.refuseRepeat(asked, v); err != nil {
			return Event{}, err
		}
	}
	if err := s.refuseRemoving(c); err != nil {
		return Event{}, err
	}
	fact, actor, request, err := decide(s, c, v)
	if err != nil {
		return Event{}, err
	}
	return Event{
		ID: v.ID, At: v.Now.UTC(), Actor: actor, Daemon: v.Daemon,
		Request: cmp.Or(asked.ID, request), Digest: asked.Digest, Fact: fact,
	}, nil
}

// The actor of what nobody asked for.
const actorPolicy = "policy"

func decide(s State, c Command, v View) (fact Fact, actor, request string, err error) {
	actor = actorPolicy
	switch c := c.(type) {
	case Register:
		fact, err = register(s, c, v)
		return fact, c.Actor, "", err
	case Adopt:
		fact, err = adopt(s, c, v)
		return fact, c.Actor, "", err
	case Remove:
		fact, err = remove(s, c, v)
		return fact, c.Actor, "", err
	case RequestRotation:
		fact, err = requestRotation(s, c, v)
		return fact, c.Actor, c.ID, err
	case Retry:
		fact, err = retryNow(s)
		return fact, c.Actor, "", err
	case PutHold:
		fact, err = putHold(s, c, v)
		return fact, c.Actor, "", err
	case Release:
		fact, err = release(s, c)
		return fact, c.Actor, "", err
	case Compromise:
		fact, err = compromise(s, c, v)
		return fact, c.Actor, c.Request, err
	case Acknowledge:
		fact, err = acknowledge(s, c)
		return fact, c.Consumer, "", err
	case Tell:
		fact, err = tell(s, c, v)
	case Begin:
		if s.Requested != nil && c.Reason == ReasonRequested {
			actor, request = s.Requested.Actor, s.Requested.ID
		}
		fact, err = beginRotation(s, c, v, actor)
	case ClaimMint:
		fact, err = claimMint(s, v)
	case ItemMade:
		fact, err = itemMade(s, c, v)
	case KeyIssued:
		fact, err = keyIssued(s, c, v)
	case KeyPromoted:
		fact, err = keyPromoted(s, c, v)
	case ClaimRevoke:
		fact, err = claimRevoke(s, c, v)
	case KeyInvalidated:
		fact, err = keyInvalidated(s, c, v)
	case StepFailed:
		fact, err = stepFailed(s, c, v)
	case GiveUp:
		if s.Rotation == nil || s.Rotation.Phase == PhaseDrain {
			err = ErrStale
		}
		fact = Abandoned(c)
	case ClaimItem:
		fact, err = claimItem(s, c, v)
	case ItemAmended:
		fact, err = itemEdited(s, c, v)
	case ItemGone:
		fact, err = itemDeleted(s, c, v)
	case KeysGone:
		fact, err = removed(s, v)
	case FoundStray:
		fact, err = stray(s, c, v)
	case Found:
		fact, err = found(s, c, v)
	}
	return fact, actor, request, err
}

// takes reports whether a command has a meaning for a credential of this status.
// What was removed may still have items to delete.
func (s State) takes(c Command) bool {
	switch c.(type) {
	case Register, Adopt:
		return true
	case FoundStray, ClaimItem, ItemGone, StepFailed, Found:
		return s.Status != StatusUnknown
	}
	return s.Status == StatusRegistered
}

// refuseRemoving lets a credential that is going away do nothing but go.
func (s State) refuseRemoving(c Command) error {
	switch c.(type) {
	case Retry, PutHold, Release, Compromise, Remove, ClaimRevoke, KeyInvalidated, StepFailed, ClaimItem, ItemGone, KeysGone, Found, FoundStray:
		return nil
	}
	if s.Removing == nil {
		return nil
	}
	return fmt.Errorf("%w: the credential is being removed since %s (try: again when it is gone)", ErrStale, s.Removing.Since.UTC().Format(time.RFC3339))
}

func tell(s State, c Tell, v View) (Fact, error) {
	primary, ok := s.Primary()
	if !ok || rank(c.Level) <= rank(s.Notice) || rank(c.Level) > rank(levelAt(s, v.IssuerNow())) {
		return nil, ErrStale
	}
	if c.Level == LevelExpired {
		return Expired{Fingerprint: primary.Fingerprint, Expires: primary.Expires}, nil
	}
	return Expiring{Level: c.Level, Fingerprint: primary.Fingerprint, Expires: primary.Expires}, nil
}

func beginRotation(s State, c Begin, v View, actor string) (Fact, error) {
	if s.Rotation != nil && s.Rotation.Phase != PhaseDrain {
		return nil, ErrStale
	}
	if s.Rotation != nil && c.Reason != ReasonSettings && (c.Reason != ReasonLeaked || !s.orphaned()) {
		if reason, _, ok := s.overtaken(v); !ok || reason != c.Reason {
			return nil, ErrStale
		}
	}
	op, seat := s.target(c.Reason, v)
	claim, err := newClaim(s, v, op, seat, "")
	if err != nil {
		return nil, err
	}
	rotation := Rotation{
		ID: v.ID, Reason: c.Reason, Actor: actor, Started: v.Now.UTC(),
		Phase: PhaseIssue, Target: seat, Settings: s.Spec.Item.SettingsHash(),
	}
	if op == OpCreateItem {
		rotation.Phase, rotation.NewItem, rotation.Target = PhaseItem, true, SeatID{Slot: 1}
	}
	return Started{Rotation: rotation, Claim: claim}, nil
}

func claimMint(s State, v View) (Fact, error) {
	r := s.Rotation
	switch {
	case r == nil || r.Phase == PhaseDrain:
		return nil, ErrStale
	case r.Phase == PhaseItem:
		claim, err := newClaim(s, v, OpCreateItem, SeatID{}, v.Work.Claim)
		return StepClaimed{Claim: claim, Closed: v.Work.Claim, NewItem: true}, err
	}
	seat, ok := s.Seat(r.Target)
	switch {
	case ok && r.Phase == PhaseReady && !seat.Claimed:
		return nil, ErrStale // proven meanwhile: Vault may show it as the primary already
	case (ok && seat.named() && s.held(v)) || s.itemGone():
		claim, err := newClaim(s, v, OpCreateItem, SeatID{}, v.Work.Claim)
		return StepClaimed{Claim: claim, Closed: v.Work.Claim, NewItem: true}, err
	}
	claim, err := newClaim(s, v, OpGenerate, r.Target, v.Work.Claim)
	return StepClaimed{Claim: claim, Closed: v.Work.Claim}, err
}

// itemGone reports whether the last attempt to generate met no item.
func (s State) itemGone() bool {
	return s.Failure != nil && s.Failure.Step == StepIssue && s.Failure.Class == ClassNotFound
}

func itemMade(s State, c ItemMade, v View) (Fact, error) {
	if _, ok := holding(s, v, OpCreateItem); !ok || s.Rotation == nil || s.Rotation.Phase != PhaseItem {
		return nil, ErrStale
	}
	target := SeatID{Item: c.Item, Slot: 1}
	if seat, ok := s.Seat(target); ok && seat.Leak != nil { // of an earlier attempt of this rotation
		target = target.Sibling()
	}
	claim, err := newClaim(s, v, OpGenerate, target, v.Work.Claim)
	return StepClaimed{Claim: claim, Closed: v.Work.Claim, Item: c.Item}, err
}

func keyIssued(s State, c KeyIssued, v View) (Fact, error) {
	r := s.Rotation
	seat, ok := s.Seat(c.Seat)
	if r == nil || r.Phase != PhaseIssue || r.Target != c.Seat || !ok || seat.Mint != c.Mint || seat.Role != RoleCandidate {
		return nil, ErrStale
	}
	now := v.IssuerNow()
	if c.Fingerprint == "" || c.Version == 0 || !c.Expires.After(now) || c.Expires.After(now.Add(MaxLifetime+24*time.Hour)) {
		return nil, fmt.Errorf("%w: the issuer names %s as the expiry of the new key", ErrAbsurd, c.Expires)
	}
	closed := ""
	if claim, ok := holding(s, v, OpGenerate); ok && claim.Mint == c.Mint {
		closed = claim.ID
	}
	return Issued{
		Seat: c.Seat, Mint: c.Mint, Fingerprint: c.Fingerprint,
		Expires: c.Expires.UTC(), Version: c.Version, Closed: closed, Told: c.Told,
	}, nil
}

func keyPromoted(s State, c KeyPromoted, v View) (Fact, error) {
	r := s.Rotation
	candidate, ok := s.Candidate()
	primary, _ := s.Primary()
	if (s.orphaned() || s.refused(primary.SeatID)) && (r == nil || r.Phase == PhaseDrain) { // a key that still drains takes over
		candidate, ok = s.spare(v)
	} else if r == nil || r.Phase != PhaseReady {
		return nil, ErrStale
	}
	if !ok || candidate.Proven.IsZero() || candidate.Claimed || candidate.Leak != nil || candidate.Fingerprint != c.Fingerprint {
		return nil, ErrStale
	}
	if candidate.expired(v.IssuerNow()) {
		return nil, fmt.Errorf("%w: the new key has expired", ErrStale)
	}
	promoted := Promoted{
		Seat: candidate.SeatID, Fingerprint: c.Fingerprint, Expires: candidate.Expires, Version: c.Version,
		Due: dueAfter(s, v, candidate.Expires).UTC(),
	}
	if candidate.Role == RoleDraining { // it was replaced because its time had come
		promoted.Due = s.Spec.Policy.DueAt(s.Name, s.Generation, candidate.Proven, candidate.Expires, v.Calendar).UTC()
	}
	if slices.ContainsFunc(s.Seats, func(old Seat) bool { return old.SeatID != candidate.SeatID && old.Leak == nil }) {
		promoted.DrainUntil = drainFrom(v).Add(s.Spec.Policy.Drain.Std()).UTC()
	}
	return promoted, nil
}

// drainFrom is where a drain begins: by the clock that is ahead, so that it is
// not shorter for anybody, unless ours is wrong.
func drainFrom(v View) time.Time {
	if v.skewed() {
		return v.IssuerNow()
	}
	return later(v.Now, v.IssuerNow())
}

// dueAfter is when the key that is promoted now is replaced. One that lives much
// shorter than was asked gets a third of its life: due as soon as it is made, it would
// be replaced without end.
func dueAfter(s State, v View, expires time.Time) time.Time {
	due := s.Spec.Policy.DueAt(s.Name, s.Generation+1, v.IssuerNow(), expires, v.Calendar)
	if lives := expires.Sub(v.IssuerNow()); lives < s.Spec.Policy.Lifetime.Std()*9/10 {
		due = later(due, v.IssuerNow().Add(lives/3))
	}
	return due
}

func claimRevoke(s State, c ClaimRevoke, v View) (Fact, error) {
	seat, ok := s.Seat(c.Seat)
	if !ok || (seat.Leak == nil && s.Removing == nil && (s.Rotation == nil || s.Rotation.Phase != PhaseDrain)) {
		return nil, ErrStale
	}
	ends := retire
	if s.Removing != nil {
		ends = end
	}
	if step := ends(s, v, seat); step.Kind != StepRetire && step.Reason != ReasonHeld {
		return nil, fmt.Errorf("%w: %s", ErrStale, step.Why)
	}
	claim, err := newClaim(s, v, OpRevoke, c.Seat, "")
	if err != nil {
		return nil, err
	}
	if seat.Claimed {
		return StepClaimed{Claim: claim}, nil
	}
	return Retiring{Claim: claim, Fingerprint: seat.Fingerprint}, nil
}

func keyInvalidated(s State, c KeyInvalidated, v View) (Fact, error) {
	seat, ok := s.Seat(c.Seat)
	killed := seat.Role == RolePrimary && c.How == HowRevoked && (s.Removing != nil || (seat.Leak != nil && seat.Leak.Immediately))
	if !ok || (seat.Role == RolePrimary && !killed) || seat.Role == RoleCandidate {
		return nil, ErrStale // a candidate is given up first
	}
	invalidated := Invalidated{
		Seat: c.Seat, Fingerprint: seat.Fingerprint, How: c.How, Version: c.Version, Destroyed: c.Destroyed,
	}
	switch c.How {
	case HowRevoked:
		claim, ok := holding(s, v, OpRevoke)
		if !ok || claim.Seat != c.Seat {
			return nil, ErrStale
		}
		invalidated.Closed = claim.ID
	case HowExpired:
		if !seat.expired(v.IssuerNow()) {
			return nil, fmt.Errorf("%w: the key on %s has not expired", ErrStale, c.Seat)
		}
	case HowReplaced:
		if !seat.Replaced {
			return nil, fmt.Errorf("%w: the key on %s was not replaced", ErrStale, c.Seat)
		}
	default:
		return nil, fmt.Errorf("%w: a key does not die by %q", ErrStale, c.How)
	}
	return invalidated, nil
}

func stepFailed(s State, c StepFailed, v View) (Fact, error) {
	now := v.Now.UTC()
	failure := Failure{
		Step: c.Step, Seat: c.Seat, Class: c.Class, Message: c.Message, Attempts: 1, Silent: c.Silent,
		Since: now, Last: now, Next: now.Add(c.Wait),
	}
	if before := s.failure(c.Step, c.Seat); before != nil {
		failure.Attempts, failure.Since = before.Attempts+1, before.Since
	}
	failed := Failed{Failure: failure}
	if c.Answered {
		claim, _ := s.claim(v.Work.Claim)
		failed.Closed, failed.Unused = v.Work.Claim, claim.Op == OpGenerate && !v.Work.Minted
	}
	return failed, nil
}

func found(s State, c Found, v View) (Fact, error) {
	c.Finding.Since = earlier(c.Finding.Since, v.Now).UTC()
	drifted := Drifted{Finding: c.Finding, Healed: c.Healed, Expires: c.Expires.UTC()}
	if c.Expires.IsZero() {
		drifted.Expires = time.Time{}
	}
	if c.Finding.Kind == FindingVaultOutage {
		r := s.Rotation
		if r == nil || r.Phase != PhaseDrain || c.Finding.Since.Before(r.OutageEnd) {
			return nil, ErrNothing // told by another daemon already, or of no matter
		}
		drifted.Outage = Duration(c.Outage)
		drifted.DrainUntil = r.DrainUntil.Add(c.Outage).UTC()
		return drifted, nil
	}
	if c.Finding.Kind == FindingUnknownKey {
		// only who holds the claim to generate there, and has not used it, can tell
		// and, when no claim is open there, anybody
		claim, ok := holding(s, v, OpGenerate)
		mine := ok && claim.Seat == c.Finding.Seat && !claim.Fence && !v.Work.Minted && s.Rotation != nil && s.Rotation.Phase == PhaseIssue
		if !mine && !s.idle(c.Finding.Seat) {
			return nil, ErrStale
		}
	}
	if c.Expires.After(v.IssuerNow().Add(MaxLifetime + 24*time.Hour)) {
		return nil, fmt.Errorf("%w: the issuer names %s as the expiry of %s", ErrAbsurd, c.Expires, c.Finding.Seat)
	}
	known := slices.ContainsFunc(s.Drift, func(d Finding) bool {
		return d.Kind == c.Finding.Kind && d.Seat == c.Finding.Seat && d.Version == c.Finding.Version
	})
	if c.Finding.Kind == FindingKeyReplaced && c.Healed { // what a rotation was begun for is on the seat only
		seat, _ := s.Seat(c.Finding.Seat)
		known = known || seat.Replaced
	}
	if known != c.Healed {
		return nil, ErrNothing
	}
	return drifted, nil
}
