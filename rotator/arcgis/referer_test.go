package arcgis_test

import (
	"testing"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestProbePrefersAReferrerWithItsScheme: a portal that compares whole URLs lets
// no request pass for one without.
func TestProbePrefersAReferrerWithItsScheme(t *testing.T) {
	for _, referrers := range [][]string{
		{"maps.example.org", "https://*.example.com"}, {"*.example.org", "https://example.com/", "localhost"}, {"https://a.example.com", "b.example.com"},
	} {
		b := open(t, emulator.Config{Knobs: emulator.Knobs{ReferrerMatch: emulator.ReferrerPrefix}})
		o := order("r-1")
		o.Spec.Referrers = referrers
		item, err := b.portal.EnsureItem(t.Context(), o)
		must(t, err)
		minted := b.issue(credential.SeatID{Item: item, Slot: 1})
		if _, err := b.portal.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: item, Referrers: referrers}); err != nil {
			t.Errorf("%v: %v", referrers, err)
		}
	}
}
