package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// said is what a command of the town's operator said, and how it ended.
type said struct {
	out, err string
	code     int
}

func (s said) has(t *testing.T, code int, words ...string) {
	t.Helper()
	if s.code != code {
		t.Errorf("exit %d, want %d", s.code, code)
	}
	for _, word := range words {
		if !strings.Contains(s.out+s.err, word) {
			t.Errorf("it does not say %q", word)
		}
	}
	if t.Failed() {
		t.Fatalf("it said:\n%s%s", s.out, s.err)
	}
}

// keyturn runs a command in this process, as the operator of the town.
func (w *town) keyturn(t testing.TB, in string, args ...string) said {
	t.Helper()
	var out, warn safeBuffer
	cmd := root()
	cmd.SetArgs(append(args, "--config", w.path))
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&out)
	cmd.SetErr(&warn)
	code := exitCode(cmd.ExecuteContext(t.Context()), &warn)
	return said{out.String(), warn.String(), code}
}

// steady is a policy whose keys live long, and drain so long that nothing ends
// by itself in a test.
func steady() credential.Policy { return short(10*time.Hour, time.Hour) }

// settled declares credentials and waits for their first keys.
func (w *town) settled(t testing.TB, record *publisher.Record, names ...credential.Name) {
	t.Helper()
	for _, name := range names {
		w.apply(t, name, "portal", steady())
	}
	eventually(t, "each has its first key", func() bool {
		states := w.states(t, record)
		for _, name := range names {
			if states[name].Generation == 0 {
				return false
			}
		}
		return true
	})
}

// keys are the keys in Vault.
func (w *town) keys(t testing.TB, name credential.Name) credential.Stored {
	t.Helper()
	store, err := openVault(w.load(t).Vault, 4, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	doc, err := store.Read(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func (w *town) works(key credential.Key) bool { return w.portal.KeyWorks(key.Secret.Reveal(), "") }

// TestInvalidateAPrimary: the steps are told, the leaked key is dead, another one
// works, and the same command again hits nothing.
func TestInvalidateAPrimary(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	leaked := w.keys(t, "maps/web").Primary

	command := []string{"invalidate", "maps/web", "--key", "primary", "--reason", "in a repository"}
	w.keyturn(t, "", command...).has(t, 0, "request ", "is the primary", "key "+string(leaked.Fingerprint)+" (primary) is dead; applications have key ")
	now := w.keys(t, "maps/web").Primary
	if w.works(leaked) || !w.works(now) || now.Fingerprint == leaked.Fingerprint {
		t.Error("the leaked key works, or its successor does not")
	}
	w.keyturn(t, "", command...).has(t, 3, "asked for at", "another --reason")
	w.keyturn(t, "", "invalidate", "maps/web", "--key", string(leaked.Fingerprint), "--reason", "again").has(t, 3, "is dead since", "in a repository")
	if !w.works(now) || w.keys(t, "maps/web").Primary != now {
		t.Error("run again, it hit the successor")
	}
	w.keyturn(t, "", "invalidate", "maps/web", "--key", "0123456789abcdef", "--reason", "x").has(t, 1, "no such living key", "keyturn identify")
	w.keyturn(t, "", "invalidate", "maps/wbe", "--key", "primary", "--reason", "x").has(t, 1, "maps/wbe: no such credential; did you mean maps/web?", "keyturn list")
	wrong := w.keyturn(t, "", "invalidate", "maps/web", "--key", now.Secret.Reveal(), "--reason", "x")
	wrong.has(t, 2, "never the key itself", "keyturn identify")
	instead := w.keyturn(t, "", "invalidate", now.Secret.Reveal(), "--key", "primary", "--reason", "x")
	instead.has(t, 2, "not a credential name")
	if strings.Contains(wrong.err+instead.err, now.Secret.Reveal()) {
		t.Error("the key is repeated")
	}
	for _, args := range [][]string{
		{"invalidate", "maps/web", "--key", "primary"},
		{"invalidate", "maps/web", "--reason", "x"},
		{"invalidate", "--reason", "x", "--key", "primary"},
		{"invalidate", "maps/web", "--issuer", "portal", "--reason", "x", "--key", "primary"},
		{"invalidate", "--issuer", "portal", "--reason", "x", "--key", "0123456789abcdef"},
		{"invalidate", "maps/web", "--reason", "x", "--key", "primary", "--slot", "1"},
	} {
		w.keyturn(t, "", args...).has(t, 2)
	}
}

// TestInvalidateWhileTheIssuerIsSilent: it says what stands in the way, list shows
// it until it is done, and the daemons do it once the issuer answers.
func TestInvalidateWhileTheIssuerIsSilent(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web", "maps/other")
	leaked := w.keys(t, "maps/web").Primary
	w.hush()
	command := []string{"invalidate", "maps/web", "--key", "primary", "--reason", "stolen", "--timeout", "4s"}
	w.keyturn(t, "", command...).has(t, 1, "the leaked key "+string(leaked.Fingerprint)+" (primary) still lives", "the daemons go on trying")
	// it cannot wait any more: the same command, harder
	command = append(command, "--immediately")
	w.keyturn(t, "", command...).has(t, 1, "WARNING: applications have no working key", "the leaked key "+string(leaked.Fingerprint)+" (primary) still lives", "failed", "the daemons go on trying")
	emergency := w.keyturn(t, "", "list", "--emergency")
	emergency.has(t, 0, "LEAKED", "maps/web")
	if strings.Contains(emergency.out, "maps/other") {
		t.Error("list --emergency shows what is in order")
	}
	w.keyturn(t, "", "list", "--stuck").has(t, 0, "LEAKED", "still lives")
	w.keyturn(t, "", "show", "maps/web").has(t, 0, "(LEAKED)", "EMERGENCY", "by the word of keeper", "stolen", "to die immediately")
	var plan []planned
	if err := json.Unmarshal([]byte(w.keyturn(t, "", "plan", "-o", "json").out), &plan); err != nil || plan[0].Name != "maps/web" || !plan[0].Emergency {
		t.Errorf("plan does not begin with the emergency: %v %+v", err, plan)
	}
	w.speak()
	eventually(t, "it is done by itself", func() bool {
		s := w.states(t, d.record)["maps/web"]
		return !s.Emergency() && s.Generation == 2
	})
	if w.works(leaked) {
		t.Error("the leaked key works")
	}
	w.keyturn(t, "", command...).has(t, 3, "is dead")
	if out := w.keyturn(t, "", "list", "--emergency").out; strings.Contains(out, "maps/web") {
		t.Errorf("list --emergency: %s", out)
	}
}

// TestInvalidateWhileVaultIsSealed: the leaked key dies all the same; what stands
// in the way of its successor is said, and it comes once Vault is back.
func TestInvalidateWhileVaultIsSealed(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	leaked := w.keys(t, "maps/web").Primary
	w.vault.Seal(t)
	command := []string{"invalidate", "maps/web", "--key", "primary", "--reason", "stolen", "--immediately", "--timeout", "5s"}
	w.keyturn(t, "", command...).has(t, 1, "is dead (revoked)", "the primary is dead and has no successor yet", "vault", "sealed", "the daemons go on trying")
	if w.works(leaked) {
		t.Error("the leaked key works")
	}
	w.keyturn(t, "", "list", "--emergency").has(t, 0, "NO-KEY", "no successor yet")
	w.keyturn(t, "", "show", "maps/web").has(t, 0, "NO KEY", "leaked and is dead")
	w.vault.Unseal(t)
	w.keyturn(t, "", append(command[:len(command)-1], "1m")...).has(t, 3, "applications have key")
}
