package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLS is a private CA, a client certificate, or both.
type TLS struct {
	CA         string `yaml:"ca"`
	Cert       string `yaml:"cert"`
	Key        string `yaml:"key"`
	ServerName string `yaml:"server_name"`
}

// Given reports whether anything is declared.
func (t TLS) Given() bool { return t != TLS{} }

// Config builds the TLS settings, nil when nothing is declared. The client
// certificate is read at each handshake, so that a renewed one is used.
func (t TLS) Config() (*tls.Config, error) {
	if !t.Given() {
		return nil, nil
	}
	settings := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("CA: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA: no certificate in %s", t.CA)
		}
	}
	if t.Cert != "" {
		if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
			return &pair, err
		}
	}
	return settings, nil
}

func (t TLS) check(field string, wrong complain) {
	if (t.Cert == "") != (t.Key == "") {
		wrong(field, "want cert and key, both or none")
	}
}
