package arcgis_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// wrapped is a transport that is not net/http's own, and says nothing of what it
// has written.
type wrapped struct{ http.RoundTripper }

func TestGivenTransportCarriesTheRequests(t *testing.T) {
	editions(t, func(t *testing.T, edition emulator.Edition) {
		b := openOn(t, emulator.Config{Edition: edition}, true)
		pool := x509.NewCertPool()
		pool.AddCert(b.server.Certificate())
		transport := arcgis.NewTransport(2)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		t.Cleanup(transport.CloseIdleConnections)
		for name, use := range map[string]http.RoundTripper{"net/http's": transport, "another": wrapped{transport}} {
			p := b.restarted(func(c *arcgis.Config) { c.Transport, c.TLS = use, nil })
			must(t, p.Check(t.Context()))
			seat := credential.SeatID{Slot: 1}
			var err error
			seat.Item, err = p.EnsureItem(t.Context(), order("r-1"))
			must(t, err)
			minted, err := p.Issue(t.Context(), seat, in(month))
			must(t, err)
			_, err = p.Probe(t.Context(), credential.ProbeRequest{Key: minted.Key, Item: seat.Item})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			must(t, p.Revoke(t.Context(), seat))
		}
	})
}

// Of a transport that says nothing, only a refused connection is known to have
// carried nothing.
func TestSilentTransportIsNotBelieved(t *testing.T) {
	b := open(t, emulator.Config{})
	transport := arcgis.NewTransport(2)
	p := b.restarted(func(c *arcgis.Config) { c.Transport, c.Timeout = wrapped{transport}, 2*time.Second })
	seat := credential.SeatID{Item: b.item(), Slot: 1}
	_, err := p.Issue(t.Context(), seat, in(month))
	must(t, err)
	b.faults(emulator.Rule{Kind: emulator.FaultSilence, Path: "/update"})
	_, err = p.Issue(t.Context(), seat, in(month))
	if f := fault(t, err, credential.ClassUnknown, "no answer in time"); !f.Silent {
		t.Error("it was silent")
	}
	must(t, b.emulated.Close()) // ends the silent call
	b.server.Close()
	transport.CloseIdleConnections()
	_, err = p.Issue(t.Context(), seat, in(month))
	if f := fault(t, err, credential.ClassRetryable, "refused"); !f.Silent {
		t.Error("it was silent")
	}
}

// An API key as the manager of ArcGIS Enterprise may rotate, but makes no items.
func TestAPIKeyManagesWhatIsThereOnEnterprise(t *testing.T) {
	b := open(t, emulator.Config{Edition: emulator.Enterprise})
	o := order("manager")
	o.Spec.Privileges, o.Spec.Personal = []string{"portal:admin:viewItems", "portal:admin:updateItems", "portal:user:createItem"}, true
	item, err := b.portal.EnsureItem(t.Context(), o)
	must(t, err)
	key := b.issue(credential.SeatID{Item: item, Slot: 1})
	seat := credential.SeatID{Item: b.item(), Slot: 1}

	p := b.restarted(func(c *arcgis.Config) { c.Password, c.APIKey = nil, secret(key.Key.Reveal()) })
	m, err := p.Whoami(t.Context())
	must(t, err)
	if !m.Enterprise || m.User != "" || m.KeyExpires.Sub(key.Expires).Abs() > 3*time.Second {
		t.Errorf("the manager is %+v", m)
	}
	minted, err := p.Issue(t.Context(), seat, in(month))
	must(t, err)
	if !b.emulated.KeyWorks(minted.Key.Reveal(), "") {
		t.Error("the key does not work")
	}
	must(t, p.Revoke(t.Context(), seat))
	_, err = p.EnsureItem(t.Context(), order("r-2"))
	fault(t, err, credential.ClassDenied, "privileges")
	_, err = p.Expiring(t.Context(), in(month))
	fault(t, err, credential.ClassDenied)
}

func TestPasswordHasNoExpiry(t *testing.T) {
	b := open(t, emulator.Config{})
	expires, err := b.portal.ManagerExpiry(t.Context())
	must(t, err)
	if !expires.IsZero() || b.logins() != 0 {
		t.Errorf("the manager expires %s, after %d logins", expires, b.logins())
	}
}
