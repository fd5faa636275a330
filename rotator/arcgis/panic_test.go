package arcgis_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// broken is a transport that panics at calls whose path has an ending.
type broken struct {
	http.RoundTripper
	ending string
}

// RoundTrip implements http.RoundTripper.
func (b *broken) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.ending != "" && strings.HasSuffix(r.URL.Path, b.ending) {
		panic("at " + b.ending)
	}
	return b.RoundTripper.RoundTrip(r)
}

// TestAPanicEndsTheCallNotTheProcess: in whichever goroutine a call of the
// portal panics, whoever asked hears of it, and the next call goes well.
func TestAPanicEndsTheCallNotTheProcess(t *testing.T) {
	wire := arcgis.NewTransport(1)
	t.Cleanup(wire.CloseIdleConnections)
	transport := &broken{RoundTripper: wire}
	b := open(t, emulator.Config{}, func(c *arcgis.Config) { c.Transport = transport })
	item := "0123456789abcdef0123456789abcdef"
	for _, ending := range []string{"/generateToken", "/registeredAppInfo", "/items/" + item} {
		transport.ending = ending
		func() {
			defer func() {
				if got := recover(); got != "at "+ending {
					t.Errorf("recovered %v, want the panic at %s", got, ending)
				}
			}()
			_, _ = b.portal.Describe(t.Context(), item)
		}()
		transport.ending = ""
		if _, err := b.portal.Whoami(t.Context()); err != nil {
			t.Errorf("after the panic at %s: %v", ending, err)
		}
	}
}
