package report_test

import (
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

// TestAdoptedAndRemoved: an adopted key is in the report, is replaced and dies; a
// removal ends what lived, and a later life under the name is one of its own.
func TestAdoptedAndRemoved(t *testing.T) {
	l := newLife(t)
	seat := credential.SeatID{Item: "theirs", Slot: 1}
	declared := declare(t).Spec
	l.do(credential.Adopt{
		Spec: declared, Actor: "ann", Seat: seat, Fingerprint: "fp-adopted", Expires: start.Add(60 * day), Version: 1,
		Settings: declared.Item.SettingsHash(),
	}).rotate().drained().retire()
	l.wait(day).do(credential.Remove{Actor: "ann", Reason: "closed"})
	primary, _ := l.state.Primary()
	l.do(credential.ClaimRevoke{Seat: primary.SeatID})
	claim := l.work
	l.wait(step)
	l.work = claim
	l.do(credential.KeyInvalidated{Seat: primary.SeatID, How: credential.HowRevoked, Version: l.state.Vault.Version})
	for len(l.state.Old) > 0 {
		item := l.state.Old[0].Item
		l.do(credential.ClaimItem{Op: credential.OpDeleteItem, Item: item})
		claim := l.work
		for _, c := range l.state.Claims {
			claim.Claim = c.ID
		}
		l.work = claim
		l.do(credential.ItemGone{Item: item})
	}
	l.do(credential.KeysGone{}).wait(step)
	removed := l.now
	l.do(declare(t), credential.Begin{Reason: credential.ReasonFirstKey}, credential.ItemMade{Item: "i2"}).issue().promote()

	r := l.report(0, removed.Sub(start)+30*day)
	if len(r.Keys) != 3 {
		t.Fatalf("%d keys: %+v", len(r.Keys), r.Keys)
	}
	adopted, second, third := r.Keys[0], r.Keys[1], r.Keys[2]
	if adopted.Fingerprint != "fp-adopted" || !strings.Contains(adopted.Why, "adopted") || adopted.Actor != "ann" || adopted.ReplacedBy != second.Fingerprint || adopted.End != report.EndRevoked {
		t.Errorf("the adopted key: %+v", adopted)
	}
	if second.Replaces != "fp-adopted" || second.End != report.EndRevoked || second.Died.IsZero() || second.ReplacedBy != "" {
		t.Errorf("its successor: %+v", second)
	}
	if third.Replaces != "" || !third.Died.IsZero() || third.Number != 3 {
		t.Errorf("the later life: %+v", third)
	}
	var told []credential.EventType
	for _, c := range r.Changes {
		told = append(told, c.Type)
	}
	if len(told) != 3 || told[0] != credential.TypeAdopted || told[1] != credential.TypeRemoving || told[2] != credential.TypeRegistered {
		t.Errorf("changes %v", told)
	}
	if len(r.Breaches) != 0 {
		t.Errorf("breaches %+v", r.Breaches)
	}
}
