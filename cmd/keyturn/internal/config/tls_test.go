package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// pair writes a self-signed certificate.
func pair(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/cert", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), 0o600)
	write(t, dir+"/key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0o600)
}

func TestTLS(t *testing.T) {
	if c, err := (TLS{}).Config(); c != nil || err != nil {
		t.Errorf("nothing declared gives %v, %v", c, err)
	}
	dir := t.TempDir()
	pair(t, dir, 1)
	c, err := TLS{CA: dir + "/cert", Cert: dir + "/cert", Key: dir + "/key", ServerName: "s"}.Config()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(dir + "/cert")
	if err != nil {
		t.Fatal(err)
	}
	only := x509.NewCertPool() // the system's are not trusted besides
	if !only.AppendCertsFromPEM(own) || !c.RootCAs.Equal(only) {
		t.Error("another CA is trusted")
	}
	if c.ServerName != "s" || c.MinVersion != tls.VersionTLS12 {
		t.Errorf("%+v", c)
	}
	for _, serial := range []int64{1, 2} { // the second one was renewed meanwhile
		pair(t, dir, serial)
		client, err := c.GetClientCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(client.Certificate[0])
		if err != nil || leaf.SerialNumber.Int64() != serial {
			t.Errorf("serial %v, want %d (%v)", leaf.SerialNumber, serial, err)
		}
	}
	for _, bad := range []TLS{{CA: dir + "/none"}, {CA: dir + "/key"}, {Cert: dir + "/none", Key: dir + "/key"}, {Cert: dir + "/key", Key: dir + "/cert"}} {
		_, err := bad.Config()
		if err == nil || !strings.HasPrefix(err.Error(), "tls: ") || strings.Contains(err.Error(), "PRIVATE KEY") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestTLSAgainstAServer: a private CA is trusted, and a renewed client
// certificate is shown at the next handshake.
func TestTLSAgainstAServer(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.TLS.PeerCertificates[0].SerialNumber)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are wanted here
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	write(t, dir+"/ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})), 0o600)
	pair(t, dir, 1)
	client := func(declared TLS) *http.Client {
		t.Helper()
		settings, err := declared.Config()
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true}
		return &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	get := func(c *http.Client) (string, error) {
		answer, err := c.Get(server.URL)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close() //nolint:errcheck // it was only read
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
	full := TLS{CA: dir + "/ca", Cert: dir + "/cert", Key: dir + "/key"}
	c := client(full)
	for _, serial := range []int64{1, 2} {
		pair(t, dir, serial) // the second time, it was renewed meanwhile
		if text, err := get(c); err != nil || text != fmt.Sprint(serial) {
			t.Errorf("the server saw certificate %q, want %d (%v)", text, serial, err)
		}
	}
	named := full
	named.ServerName = "example.com" // the server's certificate carries it, too
	if _, err := get(client(named)); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*TLS){
		"not trusted by the system": func(d *TLS) { d.CA = "" },
		"another CA":                func(d *TLS) { d.CA = dir + "/cert" },
		"another server":            func(d *TLS) { d.ServerName = "other.example" },
		"no client certificate":     func(d *TLS) { d.Cert, d.Key = "", "" },
	} {
		bad := full
		change(&bad)
		if text, err := get(client(bad)); err == nil {
			t.Errorf("%s: the server answers %q", name, text)
		}
	}
	if err := os.Remove(dir + "/key"); err != nil {
		t.Fatal(err)
	}
	if _, err := get(c); err == nil || !strings.Contains(err.Error(), "tls: client certificate "+dir+"/cert: ") {
		t.Errorf("without its key: %v", err)
	}
}
