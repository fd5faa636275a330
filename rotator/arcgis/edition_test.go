package arcgis_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestAPortalThatIsTooOldSaysItsVersion: Enterprise had no API key credentials
// before some version. Whether such a portal refuses their parameters or does not
// look at them, the failure says what it may be, and which version was met.
func TestAPortalThatIsTooOldSaysItsVersion(t *testing.T) {
	old := emulator.Config{Edition: emulator.Enterprise, Org: emulator.Org{CurrentVersion: "11.1"}}
	t.Run("refuses", func(t *testing.T) {
		old.Knobs.KeyCredentials = emulator.KeyCredentialsRefused
		b := open(t, old)
		_, err := b.portal.EnsureItem(t.Context(), order("r-1"))
		fault(t, err, credential.ClassPermanent, "Invalid parameter", "ArcGIS Enterprise, version 11.1", "update the portal")
	})
	t.Run("ignores", func(t *testing.T) {
		old.Knobs.KeyCredentials = emulator.KeyCredentialsIgnored
		b := open(t, old)
		_, err := b.portal.Issue(t.Context(), credential.SeatID{Item: b.item(), Slot: 1}, in(month))
		fault(t, err, credential.ClassUnknown, "not a key of this slot", "ArcGIS Enterprise, version 11.1", "update the portal")
	})
	t.Run("online", func(t *testing.T) {
		b := open(t, emulator.Config{Knobs: emulator.Knobs{KeyCredentials: emulator.KeyCredentialsRefused}})
		_, err := b.portal.EnsureItem(t.Context(), order("r-1"))
		if f := fault(t, err, credential.ClassPermanent, "Invalid parameter"); strings.Contains(f.Error(), "Enterprise") {
			t.Errorf("it is no Enterprise portal: %v", f)
		}
	})
}

// TestAnAPIKeyMakesItemsOnlineOnly: the failure says what to do instead.
func TestAnAPIKeyMakesItemsOnlineOnly(t *testing.T) {
	for edition, makes := range map[emulator.Edition]bool{emulator.Online: true, emulator.Enterprise: false} {
		t.Run(string(edition), func(t *testing.T) {
			b := open(t, emulator.Config{Edition: edition})
			o := order("manager")
			o.Spec.Privileges, o.Spec.Personal = []string{
				"portal:user:createItem", "portal:user:generateApiTokens", "portal:user:assignPrivilegesToApps",
				"portal:admin:viewItems", "portal:admin:updateItems",
			}, true
			item, err := b.portal.EnsureItem(t.Context(), o)
			must(t, err)
			key := b.issue(credential.SeatID{Item: item, Slot: 1})
			p := b.restarted(func(c *arcgis.Config) { c.Password, c.APIKey = nil, secret(key.Key.Reveal()) })
			_, err = p.EnsureItem(t.Context(), order("r-2"))
			if !makes {
				fault(t, err, credential.ClassDenied, "ArcGIS Enterprise", "log in with a password")
				return
			}
			must(t, err)
		})
	}
}

// TestAnotherWebAdaptorIsNotABadPassword: where no portal is, no account is locked.
func TestAnotherWebAdaptorIsNotABadPassword(t *testing.T) {
	b := open(t, emulator.Config{Edition: emulator.Enterprise, WebAdaptor: "gis"})
	p := client(t, b.server.URL+"/portal/sharing/rest")
	for range 2 {
		if f := fault(t, p.Check(t.Context()), credential.ClassPermanent, "check the issuer's url"); strings.Contains(f.Error(), "password") {
			t.Errorf("it blames the password: %v", f)
		}
	}
	if asked := len(b.calls.wire()); asked != 2 {
		t.Errorf("%d calls, want 2", asked)
	}
}

// TestAPortalThatDemandsAClientCertificate says so.
func TestAPortalThatDemandsAClientCertificate(t *testing.T) {
	authority, err := emulator.NewAuthority()
	must(t, err)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS, err = authority.Server(true, "127.0.0.1")
	must(t, err)
	server.StartTLS()
	t.Cleanup(server.Close)
	p := client(t, server.URL+"/gis/sharing/rest", func(c *arcgis.Config) {
		c.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		c.TLS.RootCAs.AppendCertsFromPEM(authority.PEM())
	})
	fault(t, p.Check(t.Context()), credential.ClassRetryable, "TLS handshake was refused", "client certificate")
}
