package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLS is a private CA, a client certificate, or both; all are file names.
type TLS struct {
	// CA is trusted instead of the system's; empty = the system's.
	CA string `yaml:"ca"`
	// Cert and Key are the client certificate; both or none.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ServerName is the name that the server's certificate must carry; empty =
	// the host of the address.
	ServerName string `yaml:"server_name"`
}

// Given reports whether anything is declared.
func (t TLS) Given() bool { return t != TLS{} }

// Config builds the TLS settings, nil when nothing is declared. The client
// certificate is read at each handshake, so that a renewed one is used; the CA
// is read once.
func (t TLS) Config() (*tls.Config, error) {
	if !t.Given() {
		return nil, nil
	}
	settings := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("tls: CA: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls: CA: %s holds no PEM certificate", t.CA)
		}
	}
	if t.Cert != "" || t.Key != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
			if err != nil {
				return nil, fmt.Errorf("tls: client certificate %s: %w", t.Cert, err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return settings, nil
}

func (k *checker) tls(path string, t TLS) {
	switch {
	case t.Cert != "" && t.Key == "":
		k.Addf(path+".cert", "key is missing beside it")
	case t.Key != "" && t.Cert == "":
		k.Addf(path+".key", "cert is missing beside it")
	}
}
