package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/recovery"
)

// TestVaultLost: the secrets are gone; one command has them made anew, says what
// it did, and finds nothing the second time.
func TestVaultLost(t *testing.T) {
	t.Parallel()
	_, env := startDev(t, t.TempDir(), "--key-lifetime", "5m", "--credentials", "2")
	eventually(t, "both have a key", func() bool {
		l := listing(t, env)
		return l["demo/web"].Generation == 1 && l["demo/mobile"].Generation == 1
	})
	before := listing(t, env)
	if output, code := call(t, env, "reissue"); code != 3 {
		t.Errorf("nothing is lost: exit %d: %s", code, output)
	}
	for name := range before {
		if status, _ := inVault(t, env, http.MethodDelete, "metadata/keyturn/"+name); status != http.StatusNoContent {
			t.Fatalf("delete %s: status %d", name, status)
		}
	}
	output, code := call(t, env, "reissue", "--dry-run", "-o", "json")
	var lost []recovery.Lost
	if err := json.Unmarshal([]byte(output), &lost); err != nil || code != 0 || len(lost) != 2 {
		t.Fatalf("dry run: exit %d, %v: %s", code, err, output)
	}
	if lost[1].Expires.Before(lost[0].Expires) || lost[0].Loss != recovery.LossMissing {
		t.Errorf("the order: %+v", lost)
	}
	if table, _ := call(t, env, "reissue", "--dry-run"); !strings.Contains(table, "OLD KEY EXPIRES") || strings.Count(table, "missing") != 2 {
		t.Errorf("dry run: %s", table)
	}
	if l := listing(t, env); l["demo/web"].Generation != 1 {
		t.Error("a dry run rotated")
	}
	p := start(t, env, "reissue", "-o", "json", "--timeout", "2m")
	code = p.wait(t, 150*time.Second)
	var results []recovery.Result
	if err := json.Unmarshal([]byte(p.output.String()), &results); err != nil || code != 0 || len(results) != 2 {
		t.Fatalf("reissue: exit %d, %v: %s", code, err, p.output)
	}
	noKeys(t, env, p.output.String())
	after := listing(t, env)
	for _, result := range results {
		name := string(result.Name)
		if !result.Done || result.Fingerprint != after[name].Fingerprint || result.Fingerprint == before[name].Fingerprint {
			t.Errorf("%+v", result)
		}
		if _, fields := inVault(t, env, http.MethodGet, "data/keyturn/"+name); fields["fingerprint"] != string(result.Fingerprint) || !keyWorks(t, env, name) {
			t.Errorf("%s: Vault shows %s, or it does not work", name, fields["fingerprint"])
		}
	}
	if output, code := call(t, env, "reissue"); code != 3 {
		t.Errorf("again: exit %d: %s", code, output)
	}
}
