package main

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TestHoldAndRelease: alone and in bulk, with an end, and what is so already.
func TestHoldAndRelease(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "apps/a", "apps/b", "maps/c")
	w.keyturn(t, "", "hold", "apps/a").has(t, 2, "--reason")
	w.keyturn(t, "", "hold", "--reason", "x").has(t, 2, "which credential")
	w.keyturn(t, "", "hold", "apps/a", "--reason", "x", "--until", "yesterday").has(t, 2, "--until yesterday: want a time such as")
	w.keyturn(t, "", "hold", "apps/a", "--reason", "x", "--until", "2001-01-01 00:00").has(t, 2, "that is over")
	w.keyturn(t, "", "hold", "apps/a", "--reason", "x", "--for", "1h", "--until", "2999-01-01 00:00").has(t, 2, "not both")
	w.keyturn(t, "", "hold", "apps/a", "--reason", "an audit", "--for", "80h").has(t, 0, "apps/a held")
	hold := w.states(t, d.record)["apps/a"].Hold
	if hold == nil || hold.Actor != "keeper" || hold.Reason != "an audit" || time.Until(hold.Until).Round(time.Hour) != 80*time.Hour {
		t.Fatalf("the hold: %+v", hold)
	}
	w.keyturn(t, "", "show", "apps/a").has(t, 0, "(held)", "held         by keeper", "in 3d", "an audit")
	if list := w.keyturn(t, "", "list", "--held"); strings.Contains(list.out, "apps/b") {
		t.Errorf("list --held has what is not held:\n%s", list.out)
	} else {
		list.has(t, 0, "apps/a", "held by keeper since", "an audit")
	}
	w.keyturn(t, "", "hold", "--namespace", "apps", "--reason", "all of them").has(t, 0, "2 done")
	w.keyturn(t, "", "release", "--namespace", "apps", "--dry-run").has(t, 0, "2 would be asked for")
	w.keyturn(t, "", "release", "apps/a").has(t, 0, "apps/a released")
	w.keyturn(t, "", "release", "apps/a").has(t, 3, "apps/a unchanged")
	w.keyturn(t, "", "release", "--namespace", "apps").has(t, 0, "1 done, 1 already")
	if s := w.states(t, d.record); s["apps/a"].Hold != nil || s["apps/b"].Hold != nil || s["maps/c"].Hold != nil {
		t.Error("a hold stands")
	}
	w.keyturn(t, "", "retry", "apps/a").has(t, 3, "unchanged")
	w.keyturn(t, "", "hold", "no/body", "--reason", "x").has(t, 1, "no such credential", "keyturn list")
}

// TestFreezeAndThaw: every credential and those that are declared later; again, it
// goes on and keeps its end.
func TestFreezeAndThaw(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "apps/a", "apps/b")
	w.keyturn(t, "", "freeze").has(t, 2, "--reason")
	w.keyturn(t, "", "freeze", "--reason", "incident", "--for", "12h").has(t, 0, "new credentials: frozen", "2 done, 0 already")
	until := w.states(t, d.record)["apps/a"].Frozen.Until
	w.settled(t, d.record, "apps/later")
	states := w.states(t, d.record)
	for name, s := range states {
		if s.Frozen == nil || s.Frozen.Reason != "incident" || !s.Frozen.Until.Equal(until) {
			t.Errorf("%s is not frozen: %+v", name, s.Frozen)
		}
	}
	w.keyturn(t, "", "freeze", "--reason", "incident", "--for", "12h").has(t, 0, "0 done, 3 already")
	w.keyturn(t, "", "list", "--held").has(t, 0, "apps/later", "frozen by keeper since", "incident")
	w.keyturn(t, "", "show", "apps/later").has(t, 0, "frozen       by keeper", "incident")
	held := w.keyturn(t, "", "invalidate", "apps/a", "--key", "primary", "--reason", "leak")
	held.has(t, 1, "a hold stands", "--override-hold")
	w.keyturn(t, "", "thaw", "--reason", "over").has(t, 0, "new credentials: thawed", "3 done")
	w.settled(t, d.record, "apps/last")
	for name, s := range w.states(t, d.record) {
		if s.Frozen != nil {
			t.Errorf("%s is frozen", name)
		}
	}
}

// TestTooLate: a hold that comes while a key is being destroyed says so.
func TestTooLate(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "apps/a")
	leaked := w.keys(t, "apps/a").Primary
	w.hush() // the call to revoke is not answered, so its claim stays open
	w.keyturn(t, "", "invalidate", "apps/a", "--key", "primary", "--immediately", "--reason", "leak", "--no-wait").has(t, 0, "the daemons do it")
	eventually(t, "the claim is open", func() bool { return len(w.states(t, d.record)["apps/a"].TooLate()) > 0 })
	w.keyturn(t, "", "hold", "apps/a", "--reason", "wait").has(t, 0, "too late for the key on slot")
	w.keyturn(t, "", "hold", "--namespace", "apps", "--reason", "wait, all").has(t, 0, "too late for the key on slot")
	w.speak()
	w.keyturn(t, "", "release", "apps/a").has(t, 0)
	eventually(t, "it died", func() bool { return !w.works(leaked) })
}

// TestListFilters: which of them each flag shows.
func TestListFilters(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "apps/a", "maps/b")
	names := func(args ...string) string {
		var have []string
		for line := range strings.Lines(w.keyturn(t, "", append([]string{"list"}, args...)...).out) {
			if name, _, _ := strings.Cut(line, " "); strings.Contains(name, "/") {
				have = append(have, name)
			}
		}
		return strings.Join(have, " ")
	}
	for args, want := range map[string]string{
		"": "apps/a maps/b", "--namespace apps": "apps/a", "--issuer portal": "apps/a maps/b", "--issuer other": "", "--label a=b": "",
		"--due": "", "--due --within 20h": "apps/a maps/b", "--expiring": "", "--expiring --within 11h --namespace maps": "maps/b", "--stuck": "", "--emergency": "",
	} {
		if have := names(strings.Fields(args)...); have != want {
			t.Errorf("list %s: %q, want %q", args, have, want)
		}
	}
	w.keyturn(t, "", "list", "--within", "1d").has(t, 2, "--due or --expiring")
	w.keyturn(t, "", "list", "--label", "x").has(t, 2, "KEY=VALUE")

	// somebody writes over the secret: the next rotation stops there, and waits
	doc := w.keys(t, "maps/b")
	prefix := w.load(t).Vault.Prefix
	w.vault.Do(t, "secret/data/"+prefix+"/maps/b", map[string]any{"options": map[string]any{"cas": doc.Version}, "data": map[string]any{"api_key": "by hand"}})
	w.keyturn(t, "", "rotate", "maps/b", "--now").has(t, 0)
	eventually(t, "it is stuck", func() bool { return names("--stuck") == "maps/b" })
	w.keyturn(t, "", "list", "--stuck").has(t, 0, "drift", "an operator decides")
	w.keyturn(t, "", "show", "maps/b").has(t, 0, "(drift)", "an operator decides")
	w.keyturn(t, "", "doctor", "maps/b").has(t, 1, "LOOK vault-changed", "somebody else wrote the secret", "keyturn rotate maps/b --now")
	w.keyturn(t, "", "doctor", "maps/a").has(t, 1, "no such credential")
	w.keyturn(t, "", "doctor", "apps/a").has(t, 0, "ok   next")
}

// TestAges: how old the keys are that show lists.
func TestAges(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	seat := credential.Seat{SeatID: credential.SeatID{Item: "i", Slot: 1}, Role: credential.RolePrimary, Fingerprint: "0123456789abcdef", Mint: 3, Proven: now.Add(-50 * time.Hour), Expires: now.Add(96 * time.Hour)}
	if line := seatLine(seat, now); !strings.Contains(line, "50h old") || !strings.Contains(line, "(in 4d)") || !strings.Contains(line, "mint 3") {
		t.Error(line)
	}
	seat.Proven = time.Time{}
	seat.Over = "fedcba9876543210"
	if line := seatLine(seat, now); !strings.Contains(line, "not proven yet") || !strings.Contains(line, "generated over fedcba9876543210") {
		t.Error(line)
	}
}
