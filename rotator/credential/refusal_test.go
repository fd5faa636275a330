package credential_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// making is a credential whose second key is being made, on i1/2.
func making(change ...func(*credential.Policy)) *life {
	l := withFirstKey(change...)
	l.now = l.state.Due
	return l.must(credential.Begin{Reason: credential.ReasonExpiring})
}

// proven is one whose second key waits for its promotion.
func proven(change ...func(*credential.Policy)) *life { return making(change...).issue() }

// after lets time pass.
func (l *life) after(d time.Duration) *life { l.now = l.now.Add(d); return l }

// elsewhere is the view of a daemon that holds nothing.
func (l *life) elsewhere() *life { l.work = credential.Work{}; return l }

var (
	first  = credential.SeatID{Item: "i1", Slot: 1}
	second = credential.SeatID{Item: "i1", Slot: 2}
)

func TestWhatDecideRefuses(t *testing.T) {
	until := start.Add(1000 * day)
	issued := func(l *life, change func(*credential.KeyIssued)) credential.Command {
		c := credential.KeyIssued{Seat: l.state.Rotation.Target, Mint: l.state.Mint, Fingerprint: "fp", Expires: l.now.Add(90 * day), Version: 9}
		change(&c)
		return c
	}
	m, p, d := making(), proven(), inDrain()
	over := d.state.Rotation.DrainUntil
	old, _ := d.state.Seat(first)
	for what, c := range map[string]struct {
		life    *life
		command credential.Command
		want    error
	}{
		"anything of a credential that nobody registered":          {newLife(), credential.Begin{Reason: credential.ReasonFirstKey}, credential.ErrUnknown},
		"the same declaration again":                               {withFirstKey(), credential.Register{Spec: spec()}, credential.ErrNothing},
		"a second rotation beside one that makes a key":            {making().elsewhere(), credential.Begin{Reason: credential.ReasonExpiring}, credential.ErrStale},
		"a succession beside one that makes a key":                 {making().elsewhere(), credential.Begin{Reason: credential.ReasonSettings}, credential.ErrStale},
		"a planned rotation during a drain":                        {inDrain(), credential.Begin{Reason: credential.ReasonExpiring}, credential.ErrStale},
		"a requested rotation during a drain":                      {inDrain(), credential.Begin{Reason: credential.ReasonRequested}, credential.ErrStale},
		"a mint without a rotation":                                {withFirstKey(), credential.ClaimMint{}, credential.ErrStale},
		"a mint during a drain":                                    {inDrain(), credential.ClaimMint{}, credential.ErrStale},
		"a mint over a key that is proven":                         {proven(), credential.ClaimMint{}, credential.ErrStale},
		"a mint while another daemon may be at it":                 {making().elsewhere(), credential.ClaimMint{}, credential.ErrClaimed},
		"an item that nobody holds the claim for":                  {making(), credential.ItemMade{Item: "i7"}, credential.ErrStale},
		"a key of an earlier mint":                                 {m, issued(m, func(c *credential.KeyIssued) { c.Mint-- }), credential.ErrStale},
		"a key of a mint that is not yet":                          {m, issued(m, func(c *credential.KeyIssued) { c.Mint++ }), credential.ErrStale},
		"a key on the primary's seat":                              {m, issued(m, func(c *credential.KeyIssued) { c.Seat = first }), credential.ErrStale},
		"a key without a fingerprint":                              {m, issued(m, func(c *credential.KeyIssued) { c.Fingerprint = "" }), credential.ErrAbsurd},
		"a key that is not in Vault":                               {m, issued(m, func(c *credential.KeyIssued) { c.Version = 0 }), credential.ErrAbsurd},
		"a key that ends this instant":                             {m, issued(m, func(c *credential.KeyIssued) { c.Expires = m.now }), credential.ErrAbsurd},
		"a key that lives an instant longer than a year and a day": {m, issued(m, func(c *credential.KeyIssued) { c.Expires = m.now.Add(366*day + 1) }), credential.ErrAbsurd},
		"a key that lives a year and a day":                        {making(), issued(m, func(c *credential.KeyIssued) { c.Expires = m.now.Add(366 * day) }), nil},
		"a key issued twice":                                       {p, credential.KeyIssued{Seat: second, Mint: 2, Fingerprint: "fp-2", Expires: p.now.Add(day), Version: 9}, credential.ErrStale},
		"a promotion of a key that is not proven":                  {making(), credential.KeyPromoted{Fingerprint: "fp-2", Version: 9}, credential.ErrStale},
		"a promotion of another key":                               {proven(), credential.KeyPromoted{Fingerprint: "fp-1", Version: 9}, credential.ErrStale},
		"a promotion of nothing":                                   {proven(), credential.KeyPromoted{Version: 9}, credential.ErrStale},
		"a promotion told twice":                                   {inDrain(), credential.KeyPromoted{Fingerprint: "fp-2", Version: 9}, credential.ErrStale},
		"a promotion of a key that has just expired":               {proven().after(90 * day), credential.KeyPromoted{Fingerprint: "fp-2", Version: 9}, credential.ErrStale},
		"a promotion an instant before that":                       {proven().after(90*day - 1), credential.KeyPromoted{Fingerprint: "fp-2", Version: 9}, nil},
		"a claim on the primary":                                   {inDrain().after(40 * day), credential.ClaimRevoke{Seat: second}, credential.ErrStale},
		"a revocation without a rotation":                          {withFirstKey(), credential.ClaimRevoke{Seat: first}, credential.ErrStale},
		"a revocation of a candidate":                              {proven(), credential.ClaimRevoke{Seat: second}, credential.ErrStale},
		"a revocation of a seat that is not listed":                {inDrain(), credential.ClaimRevoke{Seat: credential.SeatID{Item: "i9", Slot: 1}}, credential.ErrStale},
		"a revocation an instant before the drain is over":         {inDrain().at(over.Add(-1)), credential.ClaimRevoke{Seat: first}, credential.ErrStale},
		"a revocation when it is over":                             {inDrain().at(over), credential.ClaimRevoke{Seat: first}, nil},
		"a revocation while held":                                  {inDrain().at(over).must(credential.PutHold{Actor: "ann"}), credential.ClaimRevoke{Seat: first}, credential.ErrHeld},
		"a revocation an instant before the hold ends":             {inDrain().must(credential.PutHold{Until: over.Add(day)}).at(over.Add(day - 1)), credential.ClaimRevoke{Seat: first}, credential.ErrHeld},
		"a revocation when the hold has ended":                     {inDrain().must(credential.PutHold{Until: over.Add(day)}).at(over.Add(day)), credential.ClaimRevoke{Seat: first}, nil},
		"a revocation while another daemon may be at it":           {inDrain().at(over).must(credential.ClaimRevoke{Seat: first}).elsewhere(), credential.ClaimRevoke{Seat: first}, credential.ErrStale},
		"a revocation while the clocks differ":                     {inDrain().skewed(6 * time.Minute).at(over.Add(day)), credential.ClaimRevoke{Seat: first}, credential.ErrStale},
		"an end of the primary":                                    {inDrain().at(until), credential.KeyInvalidated{Seat: second, How: credential.HowExpired, Version: 9}, credential.ErrStale},
		"an end of the candidate":                                  {proven().at(until), credential.KeyInvalidated{Seat: second, How: credential.HowExpired, Version: 9}, credential.ErrStale},
		"a revocation that nobody claimed":                         {inDrain().at(over), credential.KeyInvalidated{Seat: first, How: credential.HowRevoked, Version: 9}, credential.ErrStale},
		"a revocation told by who does not hold the claim":         {inDrain().at(over).must(credential.ClaimRevoke{Seat: first}).elsewhere(), credential.KeyInvalidated{Seat: first, How: credential.HowRevoked, Version: 9}, credential.ErrStale},
		"an expiry an instant too soon":                            {inDrain().at(old.Expires.Add(-1)), credential.KeyInvalidated{Seat: first, How: credential.HowExpired, Version: 9}, credential.ErrStale},
		"an expiry at its instant":                                 {inDrain().at(old.Expires), credential.KeyInvalidated{Seat: first, How: credential.HowExpired, Version: 9}, nil},
		"an expiry that the issuer's clock has not reached":        {inDrain().skewed(-time.Second).at(old.Expires), credential.KeyInvalidated{Seat: first, How: credential.HowExpired, Version: 9}, credential.ErrStale},
		"an end in no known way":                                   {inDrain().at(until), credential.KeyInvalidated{Seat: first, How: "eaten", Version: 9}, credential.ErrStale},
		"a warning too soon":                                       {withFirstKey(), credential.Tell{Level: credential.LevelWarn}, credential.ErrStale},
		"a level that does not exist":                              {withFirstKey().at(until), credential.Tell{Level: "loud"}, credential.ErrStale},
		"a notice without a key":                                   {newLife().must(credential.Register{Spec: spec()}), credential.Tell{Level: credential.LevelWarn}, credential.ErrStale},
		"a release without a hold":                                 {withFirstKey(), credential.Release{}, credential.ErrNothing},
		"a confirmation that nobody waits for":                     {proven(), credential.Acknowledge{Consumer: "web", Fingerprint: "fp-2"}, credential.ErrNotNamed},
		"giving up a drain":                                        {inDrain(), credential.GiveUp{}, credential.ErrStale},
		"giving up nothing":                                        {withFirstKey(), credential.GiveUp{}, credential.ErrStale},
		"an outage of Vault outside a drain":                       {withFirstKey(), credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultOutage, Since: start}, Outage: time.Hour}, credential.ErrNothing},
		"the healing of what was not found":                        {withFirstKey(), credential.Found{Finding: credential.Finding{Kind: credential.FindingItemMissing}, Healed: true}, credential.ErrNothing},
		"an unknown key told by who does not hold the claim":       {making().elsewhere(), credential.Found{Finding: credential.Finding{Kind: credential.FindingUnknownKey, Seat: second}}, credential.ErrStale},
		"an unknown key on a seat that the claim is not for":       {making(), credential.Found{Finding: credential.Finding{Kind: credential.FindingUnknownKey, Seat: first}}, credential.ErrStale},
		"a request while a rotation makes a key":                   {making(), credential.RequestRotation{ID: "r"}, credential.ErrNothing},
		"a request for now while a rotation makes a key":           {making(), credential.RequestRotation{ID: "r", Now: true}, nil},
		"a request sent again while it is pending":                 {withFirstKey().must(asked("r", "1")), asked("r", "1"), credential.ErrRepeated},
		"another request with its id":                              {withFirstKey().must(asked("r", "1")), asked("r", "2"), credential.ErrTaken},
		"a request sent again much later":                          {withFirstKey().must(asked("r", "1")).after(20 * time.Minute).must(asked("s", "1")), asked("r", "1"), nil},
		"a request sent again while its rotation drains":           {withFirstKey().must(asked("r", "1"), credential.Begin{Reason: credential.ReasonRequested}).issue().promote(), asked("r", "1"), credential.ErrRepeated},
		"another request while that rotation drains":               {withFirstKey().must(credential.RequestRotation{ID: "r"}, credential.Begin{Reason: credential.ReasonRequested}).issue().promote(), credential.RequestRotation{ID: "r2"}, nil},
		"a finding told twice":                                     {withFirstKey().must(credential.Found{Finding: credential.Finding{Kind: credential.FindingItemMissing}}), credential.Found{Finding: credential.Finding{Kind: credential.FindingItemMissing}}, credential.ErrNothing},
		"an outage of Vault that another daemon told":              {inDrain().must(outage(over.Add(-2*time.Hour), time.Hour)), outage(over.Add(-2*time.Hour), time.Hour), credential.ErrNothing},
		"a later outage":                                           {inDrain().at(over).must(outage(over.Add(-2*time.Hour), time.Hour)), outage(over.Add(-time.Minute), time.Minute), nil},
	} {
		if err := c.life.do(c.command); !errors.Is(err, c.want) || (c.want == nil && err != nil) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

func asked(id, digest string) credential.Command {
	return credential.Asked{Command: credential.RequestRotation{ID: id}, ID: id, Digest: digest}
}

func (l *life) at(now time.Time) *life          { l.now = now; return l }
func (l *life) skewed(skew time.Duration) *life { l.skew = skew; return l }
func outage(since time.Time, d time.Duration) credential.Command {
	return credential.Found{Finding: credential.Finding{Kind: credential.FindingVaultOutage, Since: since}, Outage: d}
}

func TestARefusalChangesNothingAndGivesNoEvent(t *testing.T) {
	l := inDrain()
	before := l.named()
	event, err := credential.Decide(before, credential.GiveUp{}, l.view())
	if err == nil || event.Fact != nil || event.ID != "" {
		t.Errorf("event %+v, %v", event, err)
	}
}

func TestAnEventSaysWhoWhenAndForWhom(t *testing.T) {
	l := withFirstKey().must(credential.RequestRotation{ID: "r-1", Actor: "ann"}, credential.Begin{Reason: credential.ReasonRequested})
	event := l.events[len(l.events)-1]
	if event.Actor != "ann" || event.Request != "r-1" || event.Daemon != "d-1" || !event.At.Equal(l.now) || event.ID != l.state.Rotation.ID {
		t.Errorf("requested: %+v", event)
	}
	l = making()
	if event := l.events[len(l.events)-1]; event.Actor != "policy" || event.Request != "" {
		t.Errorf("planned: %+v", event)
	}
}

func TestAnExactBoundaryOfAClaimThatIsNotOver(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want error
	}{{0, credential.ErrClaimed}, {time.Minute - 1, credential.ErrClaimed}, {time.Minute, nil}} {
		l := making().elsewhere() // the window is 30 s, and the margin as much again
		if err := l.after(c.age).do(credential.ClaimMint{}); !errors.Is(err, c.want) {
			t.Errorf("seen for %v: %v, want %v", c.age, err, c.want)
		}
		fresh := making().elsewhere().after(c.age)
		fresh.seen = map[string]time.Time{} // a daemon that sees the claim for the first time
		if err := fresh.do(credential.ClaimMint{}); !errors.Is(err, credential.ErrClaimed) {
			t.Errorf("seen for the first time, %v old: %v, want ErrClaimed", c.age, err)
		}
	}
}

// TestAFloodOfRequestsKeepsNoEmergencyOut, and what comes through is known when it
// is sent again.
func TestAFloodOfRequestsKeepsNoEmergencyOut(t *testing.T) {
	l := withFirstKey()
	many := 0
	for l.do(asked(fmt.Sprint("r", many), "d")) == nil {
		if many++; many > 1000 {
			t.Fatal("there is no bound")
		}
	}
	leak := credential.Asked{Command: credential.Compromise{Key: credential.KeyPrimary, Request: "leak"}, ID: "leak", Digest: "d"}
	if err := l.do(leak); err != nil {
		t.Fatalf("after %d requests: %v", many, err)
	}
	if err := l.do(leak); !errors.Is(err, credential.ErrRepeated) {
		t.Errorf("sent again: %v, want ErrRepeated", err)
	}
	if err := l.do(asked("late", "d")); !errors.Is(err, credential.ErrStale) {
		t.Errorf("another request: %v, want ErrStale", err)
	}
}
