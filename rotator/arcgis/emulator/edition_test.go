package emulator_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// What differs between the editions, and between versions of Enterprise.

func TestTheWebAdaptorIsTheInstallersChoice(t *testing.T) {
	b := start(t, emulator.Config{Edition: emulator.Enterprise, WebAdaptor: "gis-1"})
	equal(t, b.p.BasePath(), "/gis-1/sharing/rest")
	m := b.ok(b.post("/info"))
	equal(t, m["owningSystemUrl"], any(b.srv.URL+"/gis-1"))
	equal(t, m["authInfo"].(object)["tokenServicesUrl"], any(b.srv.URL+"/gis-1/sharing/rest/generateToken"))
	for _, config := range []emulator.Config{
		{WebAdaptor: "portal"}, {Edition: emulator.Enterprise, WebAdaptor: "a/b"}, {Edition: emulator.Enterprise, WebAdaptor: ".."},
	} {
		if _, err := emulator.New(config); err == nil {
			t.Errorf("%+v is taken", config)
		}
	}
}

func TestWhatAPortalSaysOfItsEdition(t *testing.T) {
	online := start(t, emulator.Config{}).post("/portals/self")
	enterprise := start(t, emulator.Config{Edition: emulator.Enterprise}).post("/portals/self")
	for field, want := range map[string][2]any{
		"isPortal":       {false, true},
		"currentVersion": {"2026.1", "11.5"},
		"urlKey":         {"keyturn-emulated", nil},
		"customBaseUrl":  {"maps.arcgis.com", nil},
		"portalMode":     {"multitenant", "singletenant"},
	} {
		equal(t, online[field], want[0])
		equal(t, enterprise[field], want[1])
	}
}

func TestKnobKeyCredentials(t *testing.T) {
	b := start(t, withKnobs(K{KeyCredentials: emulator.KeyCredentialsIgnored}))
	c := b.basemaps()
	info := c.info()
	for _, field := range []string{"privileges", "httpReferrers", "apiToken1Active", "apiToken2Active"} {
		equal(t, info[field], nil)
	}
	equal(t, c.item()["apiToken1ExpirationDate"], nil) // the date was set, and not looked at
	token := b.ok(c.generate("1"))["access_token"].(string)
	equal(t, strings.Contains(token, "AT1_"), false)
	equal(t, b.post("/portals/self", "token", token)["appInfo"] != nil, true)

	b = start(t, withKnobs(K{KeyCredentials: emulator.KeyCredentialsRefused}))
	b.refused(b.post("/oauth2/registerApp", "itemId", b.bare("x"), "appType", "multiple", "privileges", "[]"), 400)
	app := b.ok(b.post("/oauth2/registerApp", "itemId", b.bare("y"), "appType", "multiple"))
	c = credential{b, app["itemId"].(string), app["client_id"].(string), app["client_secret"].(string)}
	b.refused(c.generate("1"), 400)
	b.ok(b.post("/oauth2/token", "token", "", "client_id", c.client, "client_secret", c.secret, "grant_type", "client_credentials"))
}

func TestKnobNoLocationServices(t *testing.T) {
	b := start(t, withKnobs(K{NoLocationServices: true}))
	e := b.refused(b.post("/oauth2/registerApp", "itemId", b.bare("x"), "appType", "multiple", "privileges", `["premium:user:places","portal:user:createItem"]`), 400)
	equal(t, fmt.Sprint(e["details"]), "[premium:user:places]")
}

func TestKnobRefusedPrivileges(t *testing.T) {
	var items []string
	for i := range 101 {
		items = append(items, fmt.Sprintf("%q", fmt.Sprintf("portal:app:access:item:%032x", i)))
	}
	for knob, want := range map[string]struct {
		details string // of the refusal
		left    int    // of three privileges; 0 = refused
		reached int    // of 101 items; 0 = refused
	}{
		emulator.RefusedNamed:   {details: "[nonsense]"},
		emulator.RefusedPlain:   {details: "[]"},
		emulator.RefusedDropped: {left: 2, reached: 100},
	} {
		b := start(t, withKnobs(K{RefusedPrivileges: knob}))
		try := func(privileges string) (left int, details string) {
			m := b.post("/oauth2/registerApp", "itemId", b.bare("x"), "appType", "multiple", "privileges", privileges)
			if e, refused := m["error"].(object); refused {
				return 0, fmt.Sprint(e["details"])
			}
			return len(m["privileges"].([]any)), ""
		}
		left, details := try(`["premium:user:places","nonsense","premium:user:basemaps"]`)
		equal(t, left, want.left)
		equal(t, details, want.details)
		left, _ = try("[" + strings.Join(items, ",") + "]")
		equal(t, left, want.reached)
		left, _ = try("[" + strings.Join(items[:100], ",") + "]")
		equal(t, left, 100)
	}
}

func TestKnobUsageAppID(t *testing.T) {
	for knob, want := range map[string]func(credential) any{
		emulator.UsageClientID: func(c credential) any { return c.client },
		emulator.UsageItemID:   func(c credential) any { return c.id },
		emulator.UsageNoID:     func(credential) any { return nil },
	} {
		b := start(t, withKnobs(K{UsageAppID: knob}))
		c := b.basemaps()
		b.raw(http.MethodPost, b.srv.URL+"/emulator/resource", nil, map[string][]string{"token": {c.key("1")}})
		series := func(pairs ...string) []any {
			return b.ok(b.post("/portals/self/usage", append(pairs, "period", "1h")...))["data"].([]any)
		}
		equal(t, series()[0].(object)["appId"], want(c))
		name, _ := want(c).(string)
		equal(t, len(series("appId", c.client)), map[bool]int{true: 1}[name == c.client])
		equal(t, len(series("appId", c.id)), map[bool]int{true: 1}[name == c.id])
	}
}

func TestWhatPeopleDoToAnItem(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	key := c.key("1")
	if err := b.p.ChangeSecretByHand(c.id); err != nil {
		t.Fatal(err)
	}
	b.refused(c.generate("2"), 400)
	b.mustWork(true, key)
	c.secret = c.info()["client_secret"].(string)
	c.key("2")
	if err := b.p.RecycleByHand(c.id); err != nil {
		t.Fatal(err)
	}
	b.mustWork(false, key)
	b.ok(b.post(c.path() + "/restore"))
	enterprise := start(t, emulator.Config{Edition: emulator.Enterprise})
	for _, err := range []error{
		b.p.RecycleByHand("nothing"), b.p.ChangeSecretByHand("nothing"), enterprise.p.RecycleByHand(enterprise.bare("x")),
	} {
		if err == nil {
			t.Error("a hand edit of nothing succeeds")
		}
	}
}

// TestAPrivateAuthority: a portal behind it is reached by who trusts it and, if
// it demands so, shows a certificate of it.
func TestAPrivateAuthority(t *testing.T) {
	p, err := emulator.New(emulator.Config{Edition: emulator.Enterprise})
	if err != nil {
		t.Fatal(err)
	}
	own, err1 := emulator.NewAuthority()
	other, err2 := emulator.NewAuthority()
	settings, err3 := own.Server(true, "127.0.0.1", "gis.example.com")
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewUnstartedServer(p.Handler())
	server.TLS, server.Config.ErrorLog = settings, log.New(io.Discard, "", 0) // refused handshakes are wanted here
	server.StartTLS()
	t.Cleanup(func() {
		server.Close()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	pair := func(a *emulator.Authority) tls.Certificate {
		cert, key, err := a.Client("daemon")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	for name, c := range map[string]struct {
		trusts *emulator.Authority
		shows  []tls.Certificate
		host   string
		want   bool
	}{
		"trusted":                   {own, []tls.Certificate{pair(own)}, "", true},
		"by its name":               {own, []tls.Certificate{pair(own)}, "gis.example.com", true},
		"another name":              {own, []tls.Certificate{pair(own)}, "gis.example.org", false},
		"another authority":         {other, []tls.Certificate{pair(own)}, "", false},
		"no certificate":            {own, nil, "", false},
		"a certificate of a friend": {own, []tls.Certificate{pair(other)}, "", false},
	} {
		pool := x509.NewCertPool()
		equal(t, pool.AppendCertsFromPEM(c.trusts.PEM()), true)
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: c.shows, ServerName: c.host}}}
		res, err := client.Get(server.URL + p.BasePath() + "/info?f=json")
		if err == nil {
			res.Body.Close()
		}
		if (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
