package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// outage is a town whose daemon is away, and whose operator cannot reach NATS.
type outage struct {
	*town
	natsURL string
	file    string
}

// strike ends the daemon and takes NATS away from the command line.
func (w *town) strike(t *testing.T, d *resident) *outage {
	t.Helper()
	if err := d.end(); err != nil {
		t.Fatal(err)
	}
	o := &outage{town: w, natsURL: w.nats.ClientURL(), file: filepath.Join(t.TempDir(), "glass.json")}
	w.change(t, o.natsURL, fmt.Sprintf("nats://127.0.0.1:%d", freePort(t)))
	return o
}

// breakGlass kills the primary, or what more says.
func (o *outage) breakGlass(t *testing.T, name credential.Name, more ...string) said {
	t.Helper()
	return o.keyturn(t, "", append([]string{"invalidate", string(name), "--break-glass", "--reason", "NATS is down", "--out", o.file}, more...)...)
}

// over brings everything back.
func (o *outage) over(t *testing.T) *resident {
	t.Helper()
	text, err := os.ReadFile(o.path)
	if err != nil {
		t.Fatal(err)
	}
	now := o.load(t).NATS.URL
	if err := os.WriteFile(o.path, []byte(strings.Replace(string(text), now, o.natsURL, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return o.daemon(t)
}

func (o *outage) read(t *testing.T) control.Opened {
	t.Helper()
	data, err := os.ReadFile(o.file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(o.file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v: %v", info.Mode(), err)
	}
	if strings.Contains(string(data), "AAPT") {
		t.Error("the file holds a key")
	}
	opened, err := control.OpenBreakGlass(data)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// agree waits until record, Vault and issuer say the same: one primary that works
// and is not the leaked one, and no emergency. What applications read in between
// must always work.
func (o *outage) agree(t *testing.T, d *resident, name credential.Name, leaked credential.Key) credential.Stored {
	t.Helper()
	var doc credential.Stored
	eventually(t, "record, Vault and issuer agree", func() bool {
		doc = o.keys(t, name)
		if !o.works(doc.Primary) && o.keys(t, name).Version == doc.Version {
			if o.read(t).Vault != nil {
				t.Fatalf("applications read key %s, which is dead", doc.Primary.Fingerprint)
			}
			return false
		}
		s := o.states(t, d.record)[name]
		primary, ok := s.Primary()
		making := s.Rotation != nil && s.Rotation.Phase != credential.PhaseDrain
		return ok && !making && !s.Emergency() && len(s.Drift) == 0 && primary.Fingerprint == doc.Primary.Fingerprint && s.Vault.Version == doc.Version && primary.SeatID == doc.Primary.Seat
	})
	if o.works(leaked) || doc.Primary.Fingerprint == leaked.Fingerprint {
		t.Error("the leaked key works")
	}
	return doc
}

// rotated has the credential in a drain: the key before still works.
func (w *town) rotated(t *testing.T, d *resident, name credential.Name) {
	t.Helper()
	generation := w.states(t, d.record)[name].Generation
	w.keyturn(t, "", "rotate", string(name), "--now").has(t, 0)
	eventually(t, "it is rotated", func() bool {
		s := w.states(t, d.record)[name]
		return s.Generation == generation+1 && len(s.Seats) == 2
	})
}

// TestBreakGlassInADrain: applications get the key back that still drains, and
// keep it when the file is imported; nothing that lives is revoked.
func TestBreakGlassInADrain(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	w.apply(t, "maps/web", "portal", short(10*time.Hour, 6*time.Second))
	w.rotated(t, d, "maps/web")
	before := w.keys(t, "maps/web")
	o := w.strike(t, d)
	o.keyturn(t, "", "invalidate", "maps/web", "--key", "primary", "--reason", "x").has(t, 1, "no servers available", "the same command with --break-glass")
	if said := o.keyturn(t, "", "invalidate", "--namespace", "maps", "--key", "primary", "--reason", "x"); strings.Contains(said.err, "same command") {
		t.Errorf("it offers for several what is for one: %s", said.err)
	} else {
		said.has(t, 1, "no servers available", "--break-glass with one NAME after the other")
	}
	o.breakGlass(t, "maps/web", "--key", "primary").has(t, 0,
		"key "+string(before.Primary.Fingerprint), "is DEAD", "key "+string(before.Secondary.Fingerprint)+" is accepted and is now the primary in Vault", "keyturn import "+o.file)
	now := o.keys(t, "maps/web")
	if w.works(before.Primary) || !w.works(before.Secondary) || now.Primary.Fingerprint != before.Secondary.Fingerprint || now.Version != before.Version+1 {
		t.Error("the leaked key works, or applications do not have the other one")
	}
	file := o.read(t)
	if file.Operator != w.operator.Public() || file.Installation != "test" || file.Vault == nil || *file.Vault != now.Version || !file.Keys[0].Dead || file.Shown != now.Primary.Fingerprint {
		t.Errorf("the file says %+v", file)
	}
	// the same again is not about the key that applications have since
	again := &outage{town: w, file: o.file + "2"}
	again.breakGlass(t, "maps/web", "--key", "primary").has(t, 1, "an earlier break-glass", "nothing was done", "--key "+string(now.Primary.Fingerprint))
	if !w.works(now.Primary) {
		t.Fatal("run again, it killed the key that applications have now")
	}
	// the daemon comes back first; at the end of the drain it would revoke the key
	// that applications have now, sees what it did not do, and waits
	d = o.over(t)
	eventually(t, "the daemon has noticed", func() bool { return len(w.states(t, d.record)["maps/web"].Drift) > 0 })
	if !w.works(now.Primary) || o.keys(t, "maps/web").Version != now.Version {
		t.Fatal("the daemon went over what the operator did")
	}
	w.keyturn(t, "", "import", o.file).has(t, 0, "maps/web compromised", "on record")
	doc := o.agree(t, d, "maps/web", before.Primary)
	if !w.works(before.Secondary) {
		t.Error("a living key was revoked")
	}
	w.keyturn(t, "", "import", o.file).has(t, 3, "maps/web unchanged", "already")
	if o.keys(t, "maps/web").Version != doc.Version {
		t.Error("the second import changed something")
	}
	events := w.keyturn(t, "", "history", "maps/web", "-o", "json").out
	if strings.Count(events, `"type": "`+string(credential.TypeCompromised)) != 1 || !strings.Contains(events, `"actor": "keeper"`) {
		t.Error("the record does not tell of it once, by its operator")
	}
}

// TestBreakGlassImportedAtOnce: the same, with the import before the daemon looks.
func TestBreakGlassImportedAtOnce(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	w.rotated(t, d, "maps/web")
	before := w.keys(t, "maps/web")
	o := w.strike(t, d)
	o.breakGlass(t, "maps/web", "--key", string(before.Primary.Fingerprint)).has(t, 0, "is DEAD")
	d = o.over(t)
	w.keyturn(t, "", "import", o.file).has(t, 0)
	if doc := o.agree(t, d, "maps/web", before.Primary); doc.Primary.Fingerprint != before.Secondary.Fingerprint || !w.works(before.Secondary) {
		t.Error("applications lost the key that they had back")
	}
	if s := w.states(t, d.record)["maps/web"]; s.Generation != 3 || s.Mint != 2 {
		t.Errorf("generation %d, mint %d: another key was made", s.Generation, s.Mint)
	}
}

// TestBreakGlassWithoutAnotherKey: the leaked key dies, and the import has one made.
func TestBreakGlassWithoutAnotherKey(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	before := w.keys(t, "maps/web")
	o := w.strike(t, d)
	o.breakGlass(t, "maps/web", "--key", "primary").has(t, 0, "is DEAD", "WARNING: applications have no working key")
	if w.works(before.Primary) || o.keys(t, "maps/web").Version != before.Version {
		t.Error("it works, or Vault was written")
	}
	d = o.over(t)
	w.keyturn(t, "", "import", o.file).has(t, 0)
	o.agree(t, d, "maps/web", before.Primary)
	w.keyturn(t, "", "invalidate", "maps/web", "--key", string(before.Primary.Fingerprint), "--reason", "x").has(t, 3, "is dead since", "NATS is down")
}

// TestBreakGlassWhileAKeyIsBeingMade: the other key in Vault is one that the
// record does not know yet; once imported, that very key goes on.
func TestBreakGlassWhileAKeyIsBeingMade(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		policy func(*credential.Policy)
	}{
		{"settling", func(p *credential.Policy) { // of keys so short that the open claim is over soon
			p.Lifetime, p.Drain, p.Settle = credential.Duration(5*time.Minute), credential.Duration(time.Minute), credential.Duration(10*time.Second)
		}},
		{"waiting for consumers", func(p *credential.Policy) {
			p.Confirm = &credential.Confirm{Consumers: []string{"app"}, Before: credential.BeforePromote, Deadline: credential.Duration(time.Hour), Then: credential.ThenHalt}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t, "", "")
			d := w.daemon(t)
			w.settled(t, d.record, "maps/web")
			policy := steady()
			test.policy(&policy)
			w.apply(t, "maps/web", "portal", policy)
			w.keyturn(t, "", "rotate", "maps/web").has(t, 0)
			var before credential.Stored
			eventually(t, "the next key is in Vault", func() bool {
				before = w.keys(t, "maps/web")
				return !before.Secondary.Secret.Empty() && (test.name == "settling" || w.states(t, d.record)["maps/web"].Rotation.Phase == credential.PhaseReady)
			})
			o := w.strike(t, d)
			o.breakGlass(t, "maps/web", "--key", "primary").has(t, 0, "is DEAD", "is now the primary in Vault")
			d = o.over(t)
			w.keyturn(t, "", "import", o.file).has(t, 0)
			if doc := o.agree(t, d, "maps/web", before.Primary); doc.Primary.Fingerprint != before.Secondary.Fingerprint {
				t.Error("applications have another key than they had")
			}
			if s := w.states(t, d.record)["maps/web"]; s.Mint != 2 || !w.works(before.Secondary) {
				t.Errorf("mint %d: another key was generated, or the one in use was revoked", s.Mint)
			}
		})
	}
}

// TestBreakGlassByHand: with Vault away, too, the seat is told by hand.
func TestBreakGlassByHand(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web", "maps/other")
	before, other := w.keys(t, "maps/web"), w.keys(t, "maps/other")
	o := w.strike(t, d)
	vaultAddr := w.load(t).Vault.Addr
	away := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	w.change(t, vaultAddr, away)
	o.breakGlass(t, "maps/web", "--key", "primary").has(t, 1, "Vault cannot be used", "connection refused", "nothing was done", "--item ID --slot")
	seat := before.Primary.Seat
	byHand := []string{"--issuer", "portal", "--item", seat.Item, "--slot", fmt.Sprint(seat.Slot)}
	o.breakGlass(t, "maps/web", "--item", seat.Item).has(t, 2, "--slot")
	o.breakGlass(t, "maps/web", "--slot", "1").has(t, 2, "--item")
	o.breakGlass(t, "maps/web", append(byHand, "--fingerprint", "x")...).has(t, 2, "--fingerprint")
	o.breakGlass(t, "maps/web", append(byHand, "--issuer", "nope")...).has(t, 2, "there is no such issuer", "portal")
	o.breakGlass(t, "maps/web", byHand...).has(t, 0, "is DEAD", "whether applications have a working key is not known")
	if w.works(before.Primary) || !w.works(other.Primary) {
		t.Error("it works, or the wrong one is dead")
	}
	o.breakGlass(t, "maps/web", byHand...).has(t, 1, "is there already", "keep this as a file", `"signature"`)
	w.change(t, away, vaultAddr)
	d = o.over(t)
	w.keyturn(t, "", "import", o.file).has(t, 0, string(before.Primary.Fingerprint))
	now := o.agree(t, d, "maps/web", before.Primary).Primary
	w.keyturn(t, "", "import", o.file).has(t, 3, "already")
	// a key that was made on the seat since is another one
	late, err := w.operator.Seal(control.BreakGlass{
		ID: "late", Name: "maps/web", At: o.read(t).At, Reason: "late", Keys: []control.BrokenKey{{Seat: now.Seat, Dead: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.file, late, 0o600); err != nil {
		t.Fatal(err)
	}
	w.keyturn(t, "", "import", o.file).has(t, 3, "is on no seat of the record any more")
	w.keyturn(t, "", "history", "maps/web").has(t, 0, "LEAKED", "killed outside of keyturn at") // who and why all the same
	if !w.works(now) {
		t.Error("the key made since was hit")
	}
}

// TestBreakGlassThatFails: a silent issuer, a key that is not there, and a normal
// way that exists. What was begun is in the file, and the daemons end it.
func TestBreakGlassThatFails(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	w.change(t, "timeout: 5s", "timeout: 300ms")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	before := w.keys(t, "maps/web")
	up := &outage{town: w, file: filepath.Join(t.TempDir(), "glass.json")}
	up.breakGlass(t, "maps/web", "--key", "0123456789abcdef").has(t, 1, "Vault carries no key 0123456789abcdef", string(before.Primary.Fingerprint)+" (primary)", "nothing was done")
	up.breakGlass(t, "maps/nope", "--key", "primary").has(t, 1, "Vault does not say where its keys live")
	w.keyturn(t, "", "invalidate", "--issuer", "portal", "--break-glass", "--key", "all", "--reason", "x").has(t, 2, "give its name")
	o := w.strike(t, d)
	w.hush()
	o.breakGlass(t, "maps/web", "--key", "primary").has(t, 1, "NOT confirmed dead", "attempt 1 of 3", "not all was done")
	w.speak()
	if file := o.read(t); file.Keys[0].Dead || !strings.Contains(strings.Join(file.Steps, "\n"), "NOT confirmed dead") {
		t.Errorf("the file says %+v", file)
	}
	d = o.over(t)
	w.keyturn(t, "", "import", o.file).has(t, 0)
	o.agree(t, d, "maps/web", before.Primary)

	now := w.keys(t, "maps/web").Primary
	up.breakGlass(t, "maps/web", "--key", "primary").has(t, 0, "the daemons answer", "is DEAD")
	w.keyturn(t, "", "import", up.file).has(t, 0)
	up.agree(t, d, "maps/web", now)
}

// TestImportRefuses: what was changed, is of somebody else, or nobody's.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web")
	seat := w.keys(t, "maps/web").Primary
	done := control.BreakGlass{
		ID: "x", Name: "maps/web", Issuer: "portal", At: time.Now().UTC(), Reason: "r<&>",
		Keys: []control.BrokenKey{{Seat: seat.Seat, Fingerprint: seat.Fingerprint, Dead: true}},
	}
	dir := t.TempDir()
	stranger, err := keptOperator(filepath.Join(dir, "stranger.nk"), "test")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := keptOperator(filepath.Join(filepath.Dir(w.path), "keeper.nk"), "elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(who control.Identity, change func(*control.BreakGlass)) string {
		file := done
		change(&file)
		text, err := who.Seal(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	same := func(*control.BreakGlass) {}
	good := sealed(w.operator, same)
	for what, test := range map[string]struct{ text, want string }{
		"changed":            {strings.Replace(good, string(seat.Fingerprint), "0123456789abcdef", 1), "the file was changed"},
		"unsigned":           {sealed(control.Identity{Installation: "test"}, same), "it is not signed"},
		"a stranger's":       {sealed(stranger, same), "which is no operator's"},
		"of elsewhere":       {sealed(elsewhere, same), `is of installation "elsewhere"`},
		"of tomorrow":        {sealed(w.operator, func(g *control.BreakGlass) { g.At = g.At.Add(24 * time.Hour) }), "yet to come"},
		"of nobody":          {sealed(w.operator, func(g *control.BreakGlass) { g.Name = "no/body" }), "no such credential"},
		"without a key":      {sealed(w.operator, func(g *control.BreakGlass) { g.Keys = nil }), "names no key"},
		"without a reason":   {sealed(w.operator, func(g *control.BreakGlass) { g.Reason = "" }), "no reason"},
		"cut":                {good[:len(good)/2], "not the file of a break-glass"},
		"with something new": {strings.Replace(good, `"operator"`, `"more": 1, "operator"`, 1), "not the file of a break-glass"},
		"empty":              {"", "not the file of a break-glass"},
	} {
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		said := w.keyturn(t, "", "import", file)
		if said.code == 0 || !strings.Contains(said.out+said.err, test.want) {
			t.Errorf("%s: exit %d: %s%s", what, said.code, said.out, said.err)
		}
	}
	w.keyturn(t, "", "import", filepath.Join(dir, "none")).has(t, 2, "no such file")
	if s := w.states(t, d.record)["maps/web"]; s.Emergency() || !w.works(seat) {
		t.Error("one of them was taken")
	}
	// white space is none of the signature's business
	var tree map[string]json.RawMessage
	if err := json.Unmarshal([]byte(good), &tree); err != nil {
		t.Fatal(err)
	}
	flat, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.OpenBreakGlass(flat); err != nil {
		t.Error(err)
	}
	w.keyturn(t, "", "hold", "maps/web", "--reason", "audit").has(t, 0)
	file := filepath.Join(dir, "good")
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	w.keyturn(t, "", "import", file).has(t, 1, "a hold stands", "keyturn import --override-hold")
	w.keyturn(t, "", "import", file, "--override-hold").has(t, 0, "on record")
}
