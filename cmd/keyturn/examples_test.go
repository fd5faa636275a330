package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/cmd/keyturn/internal/declare"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// TestExamplesAreValid: what the README points at must work.
func TestExamplesAreValid(t *testing.T) {
	folder := filepath.Join("..", "..", "deploy", "schema", "examples")
	calendar := &schedule.Calendar{}
	c, err := config.Load(filepath.Join(folder, "keyturn.yaml"), calendar)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "credentials.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	issuers := map[string]declare.Issuer{}
	for name, issuer := range c.Issuers {
		issuers[name] = declare.Issuer{MinLifetime: issuer.MinLifetime.Value}
	}
	declared, err := declare.Parse(file, data, declare.Context{Issuers: issuers, Calendar: calendar, Now: time.Now()})
	if err != nil || len(declared) != 2 {
		t.Errorf("%d credentials: %v", len(declared), err)
	}
}
