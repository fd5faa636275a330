package recovery_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/recovery"
	"github.com/keyturn/keyturn/vault"
)

// shortLead makes claims short, so that one that nobody answers for is over soon.
func shortLead(p *credential.Policy) { p.RotateBefore = credential.Duration(12 * time.Second) }

// TestEveryVerdict: whatever is not confirmed is not recovered, says why and what
// to do, and stops no other.
func TestEveryVerdict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []credential.Name{"maps/good", "maps/refused", "maps/gone", "maps/foreign", "maps/left", "maps/deleted", "maps/copied", "maps/elsewhere", "maps/wrong-slot"} {
		w.make(t, name, shortLead)
	}
	w.declared = slices.DeleteFunc(w.declared, func(d recovery.Declared) bool { return d.Name == "maps/left" })
	for i := range w.declared {
		if w.declared[i].Name == "maps/elsewhere" {
			w.declared[i].Spec.Issuer = "nowhere"
		}
	}
	w.declare(t, "maps/copy")
	w.declare(t, "maps/never")
	refused, gone := w.read(t, "maps/refused").Primary.Seat, w.read(t, "maps/gone").Primary.Seat
	must(t, w.portal.InvalidateByHand(refused.Item, refused.Slot))
	must(t, w.portal.DeleteByHand(gone.Item))
	path := "secret/data/keyturn/maps/"
	w.vault.Do(t, path+"foreign", map[string]any{"options": map[string]any{"cas": w.read(t, "maps/foreign").Version}, "data": map[string]any{"api_key": "by hand"}})
	w.vault.Delete(t, path+"deleted")
	_, err := w.store.Write(t.Context(), "maps/copy", w.read(t, "maps/copied").Document, 0)
	must(t, err)
	wrong := w.read(t, "maps/wrong-slot")
	wrong.Primary.Seat = wrong.Primary.Seat.Sibling()
	_, err = w.store.Write(t.Context(), "maps/wrong-slot", wrong.Document, wrong.Version)
	must(t, err)

	w.newStream(t)
	events := len(w.portal.Events())
	plan, err := w.recovery().Plan(t.Context(), w.declared)
	must(t, err)
	plan, err = w.recovery().Append(t.Context(), plan)
	must(t, err)
	want := map[credential.Name]struct {
		verdict recovery.Verdict
		words   string
	}{
		"maps/good":       {recovery.VerdictRecovered, "is accepted until"},
		"maps/refused":    {recovery.VerdictRefused, "refuses the primary key"},
		"maps/gone":       {recovery.VerdictItemGone, gone.Item},
		"maps/foreign":    {recovery.VerdictConflict, "not written by keyturn"},
		"maps/left":       {recovery.VerdictUndeclared, "nobody declares it"},
		"maps/deleted":    {recovery.VerdictNoKey, "apply will issue a first key"},
		"maps/copied":     {recovery.VerdictConflict, "maps/copied and maps/copy"},
		"maps/copy":       {recovery.VerdictConflict, "maps/copied and maps/copy"},
		"maps/elsewhere":  {recovery.VerdictUnchecked, `no issuer "nowhere"`},
		"maps/wrong-slot": {recovery.VerdictConflict, "inactive"},
		"maps/never":      {recovery.VerdictNoKey, "apply will issue a first key"},
	}
	if len(plan.Lines) != len(want) || plan.Unlisted != nil {
		t.Errorf("%d lines, want %d: %v (%v)", len(plan.Lines), len(want), verdicts(plan), plan.Unlisted)
	}
	for name, want := range want {
		line := lineOf(t, plan, name)
		if line.Verdict != want.verdict || !strings.Contains(line.Detail, want.words) {
			t.Errorf("%s: %s: %s; want %s with %q", name, line.Verdict, line.Detail, want.verdict, want.words)
		}
		if line.Verdict.Failed() && line.Try == "" {
			t.Errorf("%s: no hint", name)
		}
		if onRecord := w.load(t, name).Revision != 0; onRecord != (want.verdict == recovery.VerdictRecovered) || onRecord != (line.Fact != nil) {
			t.Errorf("%s: on record %t, fact %v", name, onRecord, line.Fact)
		}
	}
	if n := len(w.portal.Events()); n != events {
		t.Errorf("recovery made %d changes at the portal", n-events)
	}

	// what the hints say works: apply and rotate replace what cannot be recovered
	for _, name := range []credential.Name{"maps/refused", "maps/gone", "maps/foreign"} {
		i := slices.IndexFunc(w.declared, func(d recovery.Declared) bool { return d.Name == name })
		_, err := w.engine(t).Command(t.Context(), name, credential.Register{Actor: "ann", Spec: w.declared[i].Spec})
		must(t, err)
		w.run(t, name, func(s credential.State) bool { return len(s.Drift) > 0 || s.Generation > 0 })
		w.rotate(t, name, ended(1))
		if key := w.read(t, name).Primary.Secret; !w.portal.KeyWorks(key.Reveal(), "") {
			t.Errorf("%s: Vault's key does not work", name)
		}
	}
}

// witness answers as the test wants, and otherwise as the portal.
type witness struct {
	recovery.Issuer
	describe, probe, marked error
}

func (w witness) Describe(ctx context.Context, item string) (credential.ItemStatus, error) {
	if w.describe != nil {
		return credential.ItemStatus{}, w.describe
	}
	return w.Issuer.Describe(ctx, item)
}

func (w witness) Probe(ctx context.Context, r credential.ProbeRequest) (credential.Proof, error) {
	if w.probe != nil {
		return credential.Proof{}, w.probe
	}
	return w.Issuer.Probe(ctx, r)
}

func (w witness) Marked(ctx context.Context, installation string, names []credential.Name) ([]credential.MarkedItem, error) {
	if w.marked != nil {
		return nil, w.marked
	}
	return w.Issuer.(recovery.Marking).Marked(ctx, installation, names)
}

// TestASilentWitnessIsNoVerdict: nothing is appended for a credential of which
// one witness said nothing, and the next run recovers it.
func TestASilentWitnessIsNoVerdict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.make(t, "maps/one")
	w.newStream(t)
	silent := &credential.Fault{Class: credential.ClassRetryable, System: "portal example", Op: "read", Silent: true}
	with := func(x witness) func(*recovery.Config) {
		return func(c *recovery.Config) {
			x.Issuer = marking{w.issuer, w}
			c.Issuers = map[string]recovery.Issuer{"example": x}
		}
	}
	for what, change := range map[string]func(*recovery.Config){
		"items":  with(witness{describe: silent}),
		"probes": with(witness{probe: silent}),
		"Vault":  func(c *recovery.Config) { c.Secrets = silentVault{w.store} },
		"record": func(c *recovery.Config) { c.Record = silentRecord{w.record} },
	} {
		r := w.recovery(change)
		plan, err := r.Plan(t.Context(), w.declared)
		must(t, err)
		plan, err = r.Append(t.Context(), plan)
		must(t, err)
		if line := lineOf(t, plan, "maps/one"); line.Verdict != recovery.VerdictUnchecked || line.Try == "" || w.load(t, "maps/one").Revision != 0 {
			t.Errorf("silent %s: %+v", what, line)
		}
	}
	// without the markers it goes on, and takes no live slot for ours
	_, err := w.issuer.Issue(t.Context(), w.read(t, "maps/one").Primary.Seat.Sibling(), time.Now().Add(time.Hour).Truncate(time.Second))
	must(t, err)
	plan, err := w.recovery(with(witness{marked: silent})).Plan(t.Context(), w.declared)
	must(t, err)
	if line := lineOf(t, plan, "maps/one"); line.Verdict != recovery.VerdictRecover || len(line.Fact.Seats) != 1 || len(line.Notes) != 2 {
		t.Errorf("without markers: %+v", line)
	}
}

type silentVault struct{ *vault.Client }

func (silentVault) Read(context.Context, credential.Name) (credential.Stored, error) {
	return credential.Stored{}, &credential.Fault{Class: credential.ClassRetryable, System: "vault", Op: "read"}
}

type silentRecord struct{ recovery.Record }

func (silentRecord) Load(context.Context, credential.Name) (credential.State, credential.Head, error) {
	return credential.State{}, credential.Head{}, &credential.Fault{Class: credential.ClassRetryable, System: "record", Op: "load"}
}

// TestAWriteInBetweenStopsTheAppend: a daemon that lost its stream in the middle
// of a promotion may write Vault after the plan was made.
func TestAWriteInBetweenStopsTheAppend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.make(t, "maps/one", gated)
	w.rotateSlowly(t, "maps/one", ready)
	w.newStream(t)
	r := w.recovery()
	plan, err := r.Plan(t.Context(), w.declared)
	must(t, err)
	late := w.read(t, "maps/one")
	late.Primary, late.Secondary = late.Secondary, late.Primary
	_, err = w.store.Write(t.Context(), "maps/one", late.Document, late.Version)
	must(t, err)
	done, err := r.Append(t.Context(), plan)
	must(t, err)
	if line := lineOf(t, done, "maps/one"); line.Verdict != recovery.VerdictUnchecked || w.load(t, "maps/one").Revision != 0 {
		t.Errorf("appended what is no longer so: %+v", line)
	}
	plan, err = r.Plan(t.Context(), w.declared)
	must(t, err)
	_, err = r.Append(t.Context(), plan)
	must(t, err)
	if primary, _ := w.load(t, "maps/one").Primary(); primary.Fingerprint != late.Primary.Fingerprint {
		t.Errorf("the second run recovered %+v", primary)
	}
}

// TestALostAcknowledgementIsAskedAgain with the same event, so nothing is doubled.
func TestALostAcknowledgementIsAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.make(t, "maps/one")
	w.newStream(t)
	deaf := &deafRecord{Record: w.record, times: 2}
	r := w.recovery(func(c *recovery.Config) { c.Record = deaf })
	plan, err := r.Plan(t.Context(), w.declared)
	must(t, err)
	done, err := r.Append(t.Context(), plan)
	must(t, err)
	events := 0
	must(t, w.record.History(t.Context(), "maps/one", func(credential.Entry) error { events++; return nil }))
	if v := lineOf(t, done, "maps/one").Verdict; v != recovery.VerdictRecovered || events != 1 {
		t.Errorf("%s, %d events", v, events)
	}
}

// deafRecord appends and does not hear the answer, so many times.
type deafRecord struct {
	recovery.Record
	times int
}

func (d *deafRecord) Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, after credential.State) (credential.Head, error) {
	head, err := d.Record.Append(ctx, name, head, event, after)
	if d.times--; err == nil && d.times >= 0 {
		return credential.Head{}, &credential.Fault{Class: credential.ClassUnknown, System: "record", Op: "append", Silent: true}
	}
	return head, err
}

// TestADeniedListingIsNoObstacle: the daemon's policy does not grant it.
func TestADeniedListingIsNoObstacle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.make(t, "maps/one")
	w.newStream(t)
	w.vault.Policy(t, "daemon", `path "secret/data/keyturn/+/+" { capabilities = ["read"] }`)
	token := w.vault.TokenFor(t, "daemon")
	bounded, err := vault.New(vault.Config{Addr: w.vault.Addr, Login: vault.Login{Token: func() (credential.Secret, error) { return token, nil }}})
	must(t, err)
	must(t, bounded.Login(t.Context()))
	defer bounded.Close()
	plan, err := w.recovery(func(c *recovery.Config) { c.Secrets = bounded }).Plan(t.Context(), w.declared)
	must(t, err)
	if !credential.IsClass(plan.Unlisted, credential.ClassDenied) || lineOf(t, plan, "maps/one").Verdict != recovery.VerdictRecover {
		t.Errorf("%+v", plan)
	}
}
