package credential_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TestWhatWinsWhenSeveralThingsCouldBeSaid pins the order of the checks: each
// line is a state in which two of them, next to each other in the list or not,
// have something to say.
func TestWhatWinsWhenSeveralThingsCouldBeSaid(t *testing.T) {
	failed := func(l *life, wait time.Duration) *life {
		return l.must(credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassRetryable, Answered: true, Wait: wait})
	}
	changed := credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultChanged, Version: 9}}
	refused := func(seat credential.SeatID) credential.Command {
		return credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyRefused, Seat: seat}}
	}
	register := credential.Register{Spec: other()}
	warned := func(l *life) *life { // at the warning, which is told
		primary, _ := l.state.Primary()
		return l.at(primary.Expires.Add(-15 * day)).must(credential.Tell{Level: credential.LevelWarn})
	}
	warn := making().state.Seats[0].Expires.Add(-15 * day)
	over := inDrain().state.Rotation.DrainUntil
	daily := func(p *credential.Policy) {
		p.Window = &credential.Window{Start: "every 24h", Duration: credential.Duration(time.Hour)}
	}
	halting := func(before string) func(*credential.Policy) {
		return func(p *credential.Policy) {
			p.Confirm = &credential.Confirm{Consumers: []string{"web"}, Before: before, Deadline: credential.Duration(2 * day), Then: credential.ThenHalt}
		}
	}
	proceeding := func(p *credential.Policy) {
		p.Confirm = &credential.Confirm{Consumers: []string{"web"}, Before: credential.BeforeRetire, Deadline: credential.Duration(2 * day), Then: credential.ThenProceed}
	}
	stored := making()
	stored.work.Minted, stored.work.Stored = true, true
	minted := making()
	minted.work.Minted = true
	late := making()
	late.work = credential.Work{Stored: true}

	for what, c := range map[string]struct {
		life   *life
		kind   credential.StepKind
		reason credential.Reason
	}{
		"a notice before the claim's next step": {making().at(warn), credential.StepNotice, credential.ReasonNotice},
		"a notice before a back-off":            {failed(making(), 100*day).at(warn), credential.StepNotice, credential.ReasonNotice},
		"a notice before a drift":               {withFirstKey().must(changed).at(warn), credential.StepNotice, credential.ReasonNotice},
		"a claim in hand before a back-off": {func() *life {
			l := making()
			work := l.work
			failed(l, day)
			l.must(changed)
			l.work = work
			return l
		}(), credential.StepWait, credential.ReasonBackoff}, // the failure closed it
		"a claim in hand before new settings":                  {keep(making(), register), credential.StepIssue, credential.ReasonInFlight},
		"a claim in hand before a drift":                       {keep(making(), changed), credential.StepIssue, credential.ReasonInFlight},
		"a claim in hand whose rotation was abandoned":         {keep(making(), credential.GiveUp{}), credential.StepWait, credential.ReasonClaimOpen},
		"the key is made":                                      {minted, credential.StepStore, credential.ReasonInFlight},
		"the key is in Vault":                                  {stored, credential.StepVerify, credential.ReasonInFlight},
		"the key is in Vault and the claim is gone":            {late, credential.StepVerify, credential.ReasonInFlight},
		"the claim to revoke is in hand":                       {inDrain().at(over).must(credential.ClaimRevoke{Seat: first}), credential.StepRevoke, credential.ReasonInFlight},
		"a back-off before new settings":                       {failed(making().must(register), day), credential.StepWait, credential.ReasonBackoff},
		"an instant before the back-off ends":                  {failed(making(), day).after(day - 1), credential.StepWait, credential.ReasonBackoff},
		"the back-off ends":                                    {failed(making(), day).after(day), credential.StepResume, credential.ReasonTakeOver},
		"new settings before a key half made":                  {making().must(register).elsewhere(), credential.StepAbandon, credential.ReasonSettings},
		"new settings before a key that is ready":              {proven().must(register), credential.StepAbandon, credential.ReasonSettings},
		"new settings before a drain":                          {inDrain().at(over).must(register), credential.StepBegin, credential.ReasonSettings},
		"settings that came back in the drain":                 {inDrain().must(register, credential.Register{Spec: spec()}), credential.StepWait, credential.ReasonDraining},
		"a drift before a key half made":                       {making().must(changed).elsewhere(), credential.StepWait, credential.ReasonDrift},
		"a drift before a key that is ready":                   {proven().must(changed), credential.StepWait, credential.ReasonDrift},
		"a drift before an old key":                            {inDrain().must(changed).at(over), credential.StepWait, credential.ReasonDrift},
		"a drift before a rotation that is due":                {withFirstKey().must(changed).at(making().now), credential.StepWait, credential.ReasonDrift},
		"a drift before an expired old key":                    {func() *life { l := inDrain().must(changed); s, _ := l.state.Seat(first); return l.at(s.Expires) }(), credential.StepWait, credential.ReasonDrift},
		"an expired new key before a drift":                    {dead(proven().must(changed)), credential.StepAbandon, credential.ReasonKeyExpired},
		"a hold before the clocks":                             {inDrain().must(credential.PutHold{Actor: "ann"}).skewed(time.Hour).at(over), credential.StepWait, credential.ReasonHeld},
		"the clocks before the drain":                          {inDrain().skewed(5*time.Minute + 1), credential.StepWait, credential.ReasonSkew},
		"the clocks differ as much as they may":                {inDrain().skewed(5 * time.Minute).at(over), credential.StepRetire, credential.ReasonDrainOver},
		"the issuer's clock is behind, an instant too soon":    {inDrain().skewed(-time.Minute).at(over.Add(time.Minute - 1)), credential.StepWait, credential.ReasonDraining},
		"the issuer's clock is behind, and has caught up":      {inDrain().skewed(-time.Minute).at(over.Add(time.Minute)), credential.StepRetire, credential.ReasonDrainOver},
		"a gate after the drain":                               {inDrain(halting(credential.BeforeRetire)).at(over), credential.StepWait, credential.ReasonHalted},
		"a gate that proceeds, an instant before its deadline": {inDrain(proceeding).after(2*day - 1), credential.StepWait, credential.ReasonGate},
		"a gate that proceeds, at its deadline":                {inDrain(proceeding).after(2 * day), credential.StepRetire, credential.ReasonDrainOver},
		"a gate whose consumer confirmed":                      {inDrain(halting(credential.BeforeRetire)).must(credential.Acknowledge{Consumer: "web", Fingerprint: "fp-2"}).at(over), credential.StepRetire, credential.ReasonDrainOver},
		"a gate before promotion":                              {proven(halting(credential.BeforePromote)), credential.StepWait, credential.ReasonHalted},
		"a primary that the issuer refuses before that gate":   {proven(halting(credential.BeforePromote)).must(refused(first)), credential.StepPromote, credential.ReasonPageLevel},
		"a gate of the rotation that replaces a refused one": {
			withFirstKey(halting(credential.BeforePromote)).must(refused(first), credential.Begin{Reason: credential.ReasonRefused}).issue(),
			credential.StepPromote, credential.ReasonPageLevel,
		},
		"an operator's now before that gate":                         {proven(halting(credential.BeforePromote)).must(credential.RequestRotation{ID: "r", Now: true}), credential.StepPromote, credential.ReasonPageLevel},
		"the window after the drain":                                 {inDrain(daily).at(over.Truncate(day).Add(26 * time.Hour)), credential.StepWait, credential.ReasonWindow},
		"the window opens after the drain":                           {inDrain(daily).at(over.Truncate(day).Add(48 * time.Hour)), credential.StepRetire, credential.ReasonDrainOver},
		"another claim on the old seat":                              {inDrain().at(over).must(credential.ClaimRevoke{Seat: first}).elsewhere(), credential.StepWait, credential.ReasonClaimOpen},
		"another claim on the old seat, an instant before its end":   {inDrain().at(over).must(credential.ClaimRevoke{Seat: first}).elsewhere().after(time.Minute - 1), credential.StepWait, credential.ReasonClaimOpen},
		"another claim on the old seat that is over":                 {inDrain().at(over).must(credential.ClaimRevoke{Seat: first}).elsewhere().after(time.Minute), credential.StepRetire, credential.ReasonDrainOver},
		"a refused primary before a request":                         {withFirstKey().must(refused(first), credential.RequestRotation{ID: "r"}), credential.StepBegin, credential.ReasonRefused},
		"a request before new settings":                              {withFirstKey().must(register, credential.RequestRotation{ID: "r"}), credential.StepBegin, credential.ReasonRequested},
		"new settings before what is due":                            {withFirstKey().must(register).at(making().now), credential.StepBegin, credential.ReasonSettings},
		"a refused primary before its drain is over":                 {inDrain().must(refused(second)), credential.StepPromote, credential.ReasonRefused},
		"a refused primary whose predecessor is dead, too":           {inDrain().must(refused(first), refused(second)), credential.StepBegin, credential.ReasonRefused},
		"a refused primary right after another one":                  {healed().must(refused(second)), credential.StepWait, credential.ReasonDrift},
		"a refused primary a while after another one":                {healed().must(refused(second)).after(20 * time.Minute), credential.StepBegin, credential.ReasonRefused},
		"a refused primary right after another one, and an operator": {healed().must(refused(second), credential.RequestRotation{ID: "r", Now: true}), credential.StepBegin, credential.ReasonRefused},
		"a replaced old key before its drain is over":                {inDrain().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingKeyReplaced, Seat: first}}), credential.StepExpire, credential.ReasonRefused},
		"a removal before a drain":                                   {inDrain().must(credential.Remove{Actor: "ann"}), credential.StepRetire, credential.ReasonRemoved},
		"a removal before a key that leaked":                         {inDrain().must(credential.Compromise{Key: credential.KeyPrimary}, credential.Remove{Actor: "ann"}), credential.StepRetire, credential.ReasonRemoved},
		"a removal under a hold":                                     {inDrain().must(credential.Remove{Actor: "ann"}, credential.PutHold{Actor: "ann"}), credential.StepWait, credential.ReasonHeld},
		"a removal while a key is made":                              {making().must(credential.Remove{Actor: "ann"}).elsewhere(), credential.StepRetire, credential.ReasonRemoved},
		"another title":                                              {withFirstKey().must(credential.Register{Spec: titled()}), credential.StepAmend, credential.ReasonDescribed},
		"another title before the drain is over":                     {inDrain().must(credential.Register{Spec: titled()}), credential.StepAmend, credential.ReasonDescribed},
		"another title while the other key is made":                  {making().must(credential.Register{Spec: titled()}), credential.StepWait, credential.ReasonClaimOpen},
		"an old item":                                {succeeded(), credential.StepDiscard, credential.ReasonUnwanted},
		"an old item under a hold":                   {succeeded().must(credential.PutHold{Actor: "ann"}), credential.StepWait, credential.ReasonNotDue},
		"an old item while the clocks differ":        {succeeded().skewed(time.Hour), credential.StepWait, credential.ReasonNotDue},
		"an old item that somebody uses":             {succeeded().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingItemInUse, Seat: first}}), credential.StepWait, credential.ReasonNotDue},
		"an old item while Vault is somebody else's": {succeeded().must(changed), credential.StepWait, credential.ReasonDrift},

		"a refused primary that a drift forbids to touch":       {inDrain().must(refused(second), changed), credential.StepWait, credential.ReasonDrift},
		"a drain that is held when the primary is near its end": {warned(inDrain().must(credential.PutHold{Actor: "ann"})), credential.StepExpire, credential.ReasonKeyExpired},
	} {
		if step := c.life.next(); step.Kind != c.kind || step.Reason != c.reason {
			t.Errorf("%s: %s, %s (%s); want %s, %s", what, step.Kind, step.Reason, step.Why, c.kind, c.reason)
		}
	}
}

// keep lets something happen while a pass goes on under its claim.
func keep(l *life, c credential.Command) *life {
	work := l.work
	l.must(c)
	l.work = work
	return l
}

// dead is told of the primary's end, and past the candidate's.
func dead(l *life) *life {
	return l.after(100 * day).must(credential.Tell{Level: credential.LevelExpired})
}

func TestAWaitEndsForWhateverComesFirst(t *testing.T) {
	drain := inDrain()
	held := inDrain().must(credential.PutHold{Actor: "ann", Until: drain.now.Add(3 * day)})
	forever := inDrain().must(credential.PutHold{Actor: "ann"})
	old, _ := drain.state.Seat(first)
	due := withFirstKey()
	for what, c := range map[string]struct {
		life *life
		at   time.Time
	}{
		"nobody registered it":            {newLife(), time.Time{}},
		"not due":                         {due, due.state.Due},
		"draining":                        {drain, drain.state.Rotation.DrainUntil},
		"draining, the issuer is behind":  {inDrain().skewed(-time.Minute), drain.state.Rotation.DrainUntil.Add(time.Minute)},
		"held until":                      {held, drain.now.Add(3 * day)},
		"held without an end":             {forever, old.Expires},
		"held, the issuer is ahead":       {inDrain().must(credential.PutHold{Actor: "ann"}).skewed(time.Minute), old.Expires.Add(-time.Minute)},
		"clocks that differ":              {inDrain().skewed(time.Hour), drain.now.Add(5 * time.Minute)},
		"drift: only the next notice":     {withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultMissing}}), start.Add(75 * day)},
		"drift, after the warning's time": {withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultMissing}}).at(start.Add(75 * day)).must(credential.Tell{Level: credential.LevelWarn}), start.Add(82*day + 12*time.Hour)},
	} {
		if step := c.life.next(); step.Kind != credential.StepWait || !step.At.Equal(c.at) {
			t.Errorf("%s: %s until %v, want to wait until %v", what, step.Kind, step.At, c.at)
		}
	}
}

// TestAProvenKeyThatWasGivenUpIsNotGeneratedOver: an abandoned rotation left one
// in the idle slot. A promotion that was overtaken may have shown it, so it drains;
// a hold forbids to destroy it; the primary must not expire for that.
func TestAProvenKeyThatWasGivenUpIsNotGeneratedOver(t *testing.T) {
	abandoned := func() *life {
		return proven().must(credential.Register{Spec: other()}, credential.GiveUp{}, credential.Register{Spec: spec()})
	}
	if step := abandoned().next(); step.Kind != credential.StepBegin || step.Seat != (credential.SeatID{}) {
		t.Errorf("no hold: %s on %s, want begin on a new item", step.Kind, step.Seat)
	}
	l := abandoned().must(credential.PutHold{Actor: "ann", Reason: "audit"})
	l.must(credential.Begin{Reason: credential.ReasonExpiring})
	if claim := l.state.Claims[len(l.state.Claims)-1]; claim.Op != credential.OpCreateItem {
		t.Errorf("held: %s, want a new item", claim.Op)
	}
}

// TestAKeyThatStillDrainsIsNotGeneratedOver: a succession that was begun during
// a drain and abandoned leaves the draining key in the idle slot.
func TestAKeyThatStillDrainsIsNotGeneratedOver(t *testing.T) {
	l := inDrain().must(credential.Register{Spec: other()}, credential.Begin{Reason: credential.ReasonSettings},
		credential.Register{Spec: spec()}, credential.GiveUp{}, credential.RequestRotation{ID: "r", Now: true})
	l.after(time.Minute) // until the claim for the item is over
	l.must(credential.Begin{Reason: credential.ReasonRequested})
	if seat, _ := l.state.Seat(first); seat.Role != credential.RoleDraining || !l.state.Rotation.NewItem {
		t.Errorf("seat %+v, rotation %+v; want the old key as it was, and a new item", seat, l.state.Rotation)
	}
}

// TestADrainThatIsHeldDoesNotOutliveThePrimary: after a succession soon after
// the first key, the old key lives nearly as long as the new one.
func TestADrainThatIsHeldDoesNotOutliveThePrimary(t *testing.T) {
	l := withFirstKey().after(time.Hour).must(credential.Register{Spec: other()}, credential.Begin{Reason: credential.ReasonSettings}, credential.ItemMade{Item: "i2"})
	l.issue().promote().must(credential.PutHold{Actor: "ann", Reason: "audit"})
	primary, _ := l.state.Primary()
	warning := primary.Expires.Add(-15 * day)
	if step := l.next(); step.Kind != credential.StepWait || step.Reason != credential.ReasonHeld || !step.At.Equal(warning) {
		t.Fatalf("%s (%s) until %v, want to be held until the warning at %v", step.Kind, step.Reason, step.At, warning)
	}
	l.at(warning.Add(-1))
	if err := l.do(credential.Begin{Reason: credential.ReasonExpiring}); !errors.Is(err, credential.ErrStale) {
		t.Errorf("an instant before the warning: %v, want ErrStale", err)
	}
	l.at(warning).must(credential.Tell{Level: credential.LevelWarn})
	if step := l.next(); step.Kind != credential.StepBegin || step.Reason != credential.ReasonExpiring {
		t.Fatalf("at the warning: %s (%s), want begin", step.Kind, step.Reason)
	}
	l.must(credential.Begin{Reason: credential.ReasonExpiring}).issue().promote()
	if len(l.state.Seats) != 3 || l.state.Rotation.Target != primary.Sibling() {
		t.Errorf("seats %v, target %s; want the old keys kept and the new one beside the primary", l.state.Seats, l.state.Rotation.Target)
	}
}

// A claim to revoke may act at any time, so a seat with one is never promoted,
// whatever was proven before.
func TestASeatWithAnOpenRevokeIsNotPromoted(t *testing.T) {
	l := withFirstKey()
	l.now = l.state.Due
	l.must(credential.Begin{Reason: credential.ReasonExpiring}).issue()
	for i, seat := range l.state.Seats {
		l.state.Seats[i].Claimed = seat.Role == credential.RoleCandidate
	}
	candidate, _ := l.state.Candidate()
	err := l.do(credential.KeyPromoted{Fingerprint: candidate.Fingerprint, Version: 9})
	if !errors.Is(err, credential.ErrStale) {
		t.Errorf("%v, want ErrStale", err)
	}
	if step := l.next(); step.Kind != credential.StepResume {
		t.Errorf("%s, want another mint", step.Kind)
	}
}

// What a rotation was begun for is still wanted after it was abandoned, also
// when the change that ended it is taken back: the next one takes its seats over.
func TestAnAbandonedRotationIsBegunAgain(t *testing.T) {
	l := withFirstKey().must(credential.RequestRotation{ID: "r", Actor: "ann"}, credential.Begin{Reason: credential.ReasonRequested})
	l.issue().must(credential.Register{Spec: other()}, credential.GiveUp{Why: "changed"}, credential.Register{Spec: spec()})
	step := l.next()
	if step.Kind != credential.StepBegin || step.Reason != credential.ReasonRequested {
		t.Fatalf("%s, %s (%s); want to begin again", step.Kind, step.Reason, step.Why)
	}
	// on a new item: the key that was proven and given up drains first
	l.must(credential.Begin{Reason: step.Reason}, credential.ItemMade{Item: "i2"}).issue().promote()
	if seat, ok := l.state.Seat(credential.SeatID{Item: "i1", Slot: 2}); !ok || seat.Role != credential.RoleOrphan {
		t.Errorf("the seat that was given up is %+v, %v", seat, ok)
	}
	if l.state.Again != "" {
		t.Errorf("again is %q after it was begun", l.state.Again)
	}
}
