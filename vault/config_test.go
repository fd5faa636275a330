package vault_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
)

func TestConfigNamesEveryRuleThatIsBroken(t *testing.T) {
	_, err := vault.New(vault.Config{
		Addr: "vault.example:8200", Mount: "/secret", Prefix: "a/../b", Timeout: -1, Concurrency: -1,
		Login: vault.Login{AppRole: &vault.AppRole{Mount: "a b"}, Kubernetes: &vault.Kubernetes{}},
		TLS:   vault.TLS{CAFile: "x", CA: []byte("x"), CertFile: "x"},
	})
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, word := range []string{"http://", "mount", "prefix", "timeout", "concurrency", "role id", `"a b"`, "role", "exactly one", "not both", "client certificate"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("nothing of %q in:\n%v", word, err)
		}
	}
	for addr, word := range map[string]string{"": "missing", "http://": "host", "https://u:s3cret@v": "password", "http://a b": "URL"} {
		_, err := vault.New(vault.Config{Addr: addr, Login: token(credential.NewSecret("t"))})
		if err == nil || !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", addr, err)
		}
	}
	if _, err := vault.New(vault.Config{Addr: "http://127.0.0.1:1"}); err == nil {
		t.Error("no login was accepted")
	}
}

func TestNamespaceAndTokenAreSentAndTheEnvironmentsTokenIsNot(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "token-of-the-shell")
	t.Setenv("VAULT_NAMESPACE", "of-the-shell")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_MAX_RETRIES", "5")
	type seen struct{ namespace, token string }
	var mu sync.Mutex
	requests := make(map[string][]seen) // path → what came with it
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		requests[r.URL.Path] = append(requests[r.URL.Path], seen{r.Header.Get("X-Vault-Namespace"), r.Header.Get("X-Vault-Token")})
		switch r.URL.Path {
		case "/v1/auth/token/lookup-self":
			_, _ = w.Write([]byte(`{"data":{"ttl":0}}`))
		case "/v1/sys/health":
			_, _ = w.Write([]byte(`{"initialized":true}`))
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	for config, want := range map[string]string{"team-a": "team-a", "": "of-the-shell"} {
		clear(requests)
		client, err := vault.New(vault.Config{Addr: server.URL, Namespace: config, Login: token(credential.NewSecret("mine"))})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(t.Context(), name); err == nil {
			t.Error("500 is no failure")
		}
		if _, err := client.Health(t.Context()); err != nil {
			t.Error(err)
		}
		for path, want := range map[string]seen{
			"/v1/auth/token/lookup-self":       {want, "mine"},
			"/v1/secret/data/keyturn/team/map": {want, "mine"},
			"/v1/sys/health":                   {"", ""},
		} {
			if got := requests[path]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: got %v, want once %v", path, got, want)
			}
		}
	}
}

func TestPrivateCAAndClientCertificate(t *testing.T) {
	certFile, keyFile, clientCA := clientCertificate(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"initialized":true,"version":"x"}`))
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clientCA}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})

	health := func(settings vault.TLS) (vault.Health, error) {
		client, err := vault.New(vault.Config{Addr: server.URL, Login: token(credential.NewSecret("t")), TLS: settings})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		return client.Health(t.Context())
	}
	if h, err := health(vault.TLS{CA: ca, CertFile: certFile, KeyFile: keyFile}); err != nil || h.Version != "x" {
		t.Errorf("all is given: %+v, %v", h, err)
	}
	for what, test := range map[string]struct {
		tls  vault.TLS
		hint string
	}{
		"no CA":        {vault.TLS{CertFile: certFile, KeyFile: keyFile}, "CA"},
		"another name": {vault.TLS{CA: ca, CertFile: certFile, KeyFile: keyFile, ServerName: "elsewhere.invalid"}, "server name"},
		"no client":    {vault.TLS{CA: ca}, "client certificate"},
	} {
		_, err := health(test.tls)
		if fault := wantClass(t, err, credential.ClassRetryable); !strings.Contains(fault.Hint, test.hint) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, settings := range map[string]vault.TLS{
		"no such file": {CAFile: filepath.Join(t.TempDir(), "none")}, "no PEM": {CA: []byte("x")}, "no pair": {CertFile: certFile, KeyFile: certFile},
	} {
		if _, err := vault.New(vault.Config{Addr: server.URL, Login: token(credential.NewSecret("t")), TLS: settings}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// clientCertificate makes a certificate that signs itself.
func clientCertificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "keyturn"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	return certFile, keyFile, pool
}
