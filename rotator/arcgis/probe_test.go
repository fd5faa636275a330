package arcgis_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

func TestProbeCarriesARefererThatMatches(t *testing.T) {
	for _, mode := range []string{emulator.ReferrerHost, emulator.ReferrerOrigin, emulator.ReferrerPrefix} {
		for i, referrers := range [][]string{
			nil, {"https://app.example.com"}, {"https://*.example.com"}, {"https://*.example.com/*"}, {"*"},
			{"https://app.example.com/maps/"}, {"https://a.example.com", "https://b.example.com:8443"}, {"http://localhost:*"},
		} {
			t.Run(fmt.Sprintf("%s/%d", mode, i), func(t *testing.T) {
				b := open(t, emulator.Config{Knobs: emulator.Knobs{ReferrerMatch: mode}})
				o := order("r-1")
				o.Spec.Referrers = referrers
				item, err := b.portal.EnsureItem(t.Context(), o)
				must(t, err)
				seat := credential.SeatID{Item: item, Slot: 1}
				minted := b.issue(seat)
				_, err = b.portal.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: item, Referrers: referrers})
				must(t, err)
				if len(referrers) > 0 && referrers[0] != "*" {
					_, err = b.portal.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: item})
					fault(t, err, credential.ClassDenied, "referrers do not let keyturn pass")
				}
			})
		}
	}
}

func TestProbeOfAKeyThatIsTooNewIsDenied(t *testing.T) {
	var ahead atomic.Int64 // of the portal's clock
	b := open(t, emulator.Config{
		Knobs: emulator.Knobs{NewKeyDelay: time.Minute},
		Now:   func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	minted := b.issue(seat)
	probe := credential.ProbeRequest{Key: minted.Key, Item: seat.Item}
	_, err := b.portal.Probe(t.Context(), probe)
	fault(t, err, credential.ClassDenied, "too new")
	ahead.Store(int64(time.Minute))
	if _, err = b.portal.Probe(t.Context(), probe); err != nil {
		t.Errorf("after its delay: %v", err)
	}
}

// Only the portal's word on the key is a denial: whatever else goes wrong must
// not make a good key look dead.
func TestProbeFailuresThatAreNoWordOnTheKey(t *testing.T) {
	for name, rule := range map[string]emulator.Rule{
		"a throttle":         {Kind: emulator.FaultThrottle},
		"403 in the body":    {Kind: emulator.FaultError, Code: 403, Message: "You do not have permissions."},
		"HTTP 401 by others": {Kind: emulator.FaultHTML, Status: 401},
		"an error 500":       {Kind: emulator.FaultError},
		"a web page":         {Kind: emulator.FaultHTML},
		"silence":            {Kind: emulator.FaultSilence},
		"a cut":              {Kind: emulator.FaultDrop},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, emulator.Config{}, timeout(2*time.Second))
			seat := credential.SeatID{Item: b.item(), Slot: 1}
			minted := b.issue(seat)
			b.faults(rule)
			_, err := b.portal.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: seat.Item})
			fault(t, err, credential.ClassRetryable)
		})
	}
}

func TestProbeDoesNotLogInAsTheManager(t *testing.T) {
	b := open(t, emulator.Config{})
	_, err := b.portal.Probe(t.Context(), credential.ProbeRequest{Key: credential.NewSecret("dead"), Item: "i"})
	fault(t, err, credential.ClassDenied)
	if b.logins() != 0 {
		t.Error("it logged in")
	}
}
