package arcgis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/arcgis/issuertest"
	"github.com/keyturn/keyturn/rotator/credential"
)

const http2 = "HTTP/2"

// others is what no document says, in its other positions.
func others() emulator.Knobs {
	return emulator.Knobs{
		Rounding: emulator.RoundNone, RegenerateFalse: emulator.RegenerateNewKey, ExpirationMissing: emulator.ExpirationClamp,
		ExpirationPast: emulator.ExpirationAccept, ExpirationTooShort: emulator.ExpirationAccept, ExpirationTooLong: emulator.ExpirationClamp,
		DatesBeforeRegistration: true, EditMovesLiveKey: true, RevokeEmptySlot: emulator.RevokeError, RevokeNoSlot: emulator.RevokeBoth,
		RevokeWrongSecret: emulator.RevokeSuccess, RevokeResetsExpiration: true, ExpiryClearsActive: true,
		ReferrerMatch: emulator.ReferrerOrigin, ActiveFields: emulator.ActiveAfterFirstKey, SearchLag: time.Hour, ListMinusOne: true,
		NoAPITokens: true, NoBearer: true, PersonalFlag: emulator.PersonalClient, UnknownPrivileges: emulator.PrivilegesStrict,
		RefusedPrivileges: emulator.RefusedDropped, UsageAppID: emulator.UsageItemID,
	}
}

func TestConformance(t *testing.T) {
	for name, config := range map[string]emulator.Config{
		"online": {}, "enterprise": {Edition: emulator.Enterprise, WebAdaptor: "gis"},
		"online " + http2: {}, "enterprise " + http2: {Edition: emulator.Enterprise},
		"online other knobs": {Knobs: others()}, "enterprise other knobs": {Edition: emulator.Enterprise, Knobs: others()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuertest.Run(t, func(t testing.TB) issuertest.Fixture {
				b := openOn(t.(*testing.T), config, strings.HasSuffix(name, http2))
				lose := func(path string) func() {
					return func() {
						b.faults(emulator.Rule{Kind: emulator.FaultDrop, Path: path, Param: "apiToken", Act: true, Count: 1})
					}
				}
				return issuertest.Fixture{
					Issuer:       b.portal,
					Accepts:      func(key credential.Secret) bool { return b.emulated.KeyWorks(key.Reveal(), "") },
					Spec:         spec,
					Absent:       "0123456789abcdef0123456789abcdef",
					LoseGenerate: lose("/oauth2/token"),
					LoseRevoke:   lose("/oauth2/revokeToken"),
					DeleteItem:   func(item string) { must(t, b.emulated.DeleteByHand(item)) },
					Stop:         b.server.Close,
					Mutations:    func() int { return len(b.emulated.Events()) },
				}
			})
		})
	}
}
