package recovery_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/recovery"
)

// longDrain keeps the old key for a while.
func longDrain(p *credential.Policy) { p.Drain = credential.Duration(20 * time.Minute) }

// gated waits for a consumer before it promotes.
func gated(p *credential.Policy) {
	p.Confirm = &credential.Confirm{
		Consumers: []string{"app"}, Before: credential.BeforePromote, Deadline: credential.Duration(20 * time.Minute), Then: credential.ThenProceed,
	}
}

// rotateSlowly begins a rotation without "now", so that its gate counts.
func (w *world) rotateSlowly(t testing.TB, name credential.Name, done func(credential.State) bool) {
	t.Helper()
	_, err := w.engine(t).Command(t.Context(), name, credential.RequestRotation{ID: "slow", Actor: "ann"})
	must(t, err)
	w.run(t, name, done)
}

func verdicts(p recovery.Plan) map[credential.Name]recovery.Verdict {
	m := map[credential.Name]recovery.Verdict{}
	for _, line := range p.Lines {
		m[line.Name] = line.Verdict
	}
	return m
}

func lineOf(t testing.TB, p recovery.Plan, name credential.Name) recovery.Line {
	t.Helper()
	i := slices.IndexFunc(p.Lines, func(l recovery.Line) bool { return l.Name == name })
	if i < 0 {
		t.Fatalf("the plan says nothing of %s", name)
	}
	return p.Lines[i]
}

// TestStreamLost: the record is rebuilt from Vault and the portal while
// applications go on; nothing is made or killed; the next rotation goes on above
// every number and ends with one key.
func TestStreamLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := []credential.Name{"maps/idle", "maps/drain", "maps/ready", "maps/lost", "maps/stranger"}
	w.make(t, "maps/idle")
	w.rotate(t, "maps/idle", ended(2))
	w.make(t, "maps/drain", longDrain)
	w.rotate(t, "maps/drain", promoted(2))
	w.make(t, "maps/ready", gated)
	w.rotateSlowly(t, "maps/ready", ready)
	for _, name := range names[3:] { // a key was made, and its daemon died before it was stored
		w.make(t, name)
		_, err := w.issuer.Issue(t.Context(), w.read(t, name).Primary.Seat.Sibling(), time.Now().Add(time.Hour).Truncate(time.Second))
		must(t, err)
	}
	w.strangers = []string{"maps/stranger"}
	w.declare(t, "maps/new")
	// what is declared counts: a drain and a gate that the test can wait for
	w.declared[1].Spec.Policy.Drain = w.declared[0].Spec.Policy.Drain
	w.declared[2].Spec.Policy.Confirm = nil

	apps := w.use(t, names...)
	w.newStream(t)
	events, portal := len(w.portal.Events()), w.portal.Snapshot()
	documents := map[credential.Name]credential.Stored{}
	for _, name := range names {
		documents[name] = w.read(t, name)
	}
	r := w.recovery()
	plan, err := r.Plan(t.Context(), w.declared)
	must(t, err)
	for _, name := range names {
		if line := lineOf(t, plan, name); line.Verdict != recovery.VerdictRecover {
			t.Errorf("%s: %s: %s", name, line.Verdict, line.Detail)
		}
		if state := w.load(t, name); state.Revision != 0 {
			t.Errorf("%s: planning appended something", name)
		}
	}
	done, err := r.Append(t.Context(), plan)
	must(t, err)
	if line := lineOf(t, done, "maps/new"); line.Verdict != recovery.VerdictNoKey || !strings.Contains(line.Detail, "apply will issue a first key") {
		t.Errorf("maps/new: %+v", line)
	}
	if diff := cmp.Diff(portal, w.portal.Snapshot()); diff != "" {
		t.Errorf("recovery changed the portal:\n%s", diff)
	}
	for _, e := range w.portal.Events()[events:] {
		t.Errorf("recovery changed the portal: %+v", e)
	}
	for _, name := range names {
		before, state := documents[name], w.load(t, name)
		if line := lineOf(t, done, name); line.Verdict != recovery.VerdictRecovered {
			t.Errorf("%s: %s: %s", name, line.Verdict, line.Detail)
		}
		if diff := cmp.Diff(before, w.read(t, name), cmp.Comparer(func(a, b credential.Secret) bool { return a == b })); diff != "" {
			t.Errorf("%s: recovery changed Vault:\n%s", name, diff)
		}
		primary, _ := state.Primary()
		if primary.SeatID != before.Primary.Seat || primary.Fingerprint != before.Primary.Fingerprint || primary.Mint != before.Primary.Mint || primary.Proven.IsZero() {
			t.Errorf("%s: the primary is %+v, in Vault %s on %s", name, primary, before.Primary.Fingerprint, before.Primary.Seat)
		}
		if top := max(before.Primary.Mint, before.Secondary.Mint); state.Mint <= top || state.Revision <= before.Revision {
			t.Errorf("%s: mint %d and revision %d, Vault has %d and %d", name, state.Mint, state.Revision, top, before.Revision)
		}
		if !state.Due.After(time.Now()) || state.Rotation != nil || state.Vault.Version != before.Version {
			t.Errorf("%s: due %s, rotation %+v, Vault %+v", name, state.Due, state.Rotation, state.Vault)
		}
	}
	wantOther := func(name credential.Name, role credential.Role, fingerprint credential.Fingerprint) {
		t.Helper()
		seats := w.load(t, name).Seats
		if len(seats) != 2 || seats[1].Role != role || seats[1].Fingerprint != fingerprint || seats[1].SeatID != seats[0].Sibling() {
			t.Errorf("%s: seats %+v, want a second one as %s", name, seats, role)
		}
	}
	wantOther("maps/drain", credential.RoleDraining, documents["maps/drain"].Secondary.Fingerprint)
	wantOther("maps/ready", credential.RoleOrphan, documents["maps/ready"].Secondary.Fingerprint)
	wantOther("maps/lost", credential.RoleOrphan, "")
	if seats := w.load(t, "maps/stranger").Seats; len(seats) != 1 {
		t.Errorf("a stranger's key is taken for ours: %+v", seats)
	}

	// a daemon rotates nothing by itself
	for _, name := range names {
		result, err := w.engine(t).Pass(t.Context(), name)
		must(t, err)
		if result.State.Revision != w.load(t, name).Revision || result.Next.Kind != credential.StepWait || result.Next.Reason != credential.ReasonNotDue {
			t.Errorf("%s: a daemon went on: %+v", name, result.Next)
		}
	}
	if n := len(w.portal.Events()); n != events {
		t.Errorf("%d changes at the portal without a rotation", n-events)
	}

	// the next rotation ends with one key, and retires what was found
	for _, name := range names {
		first := w.load(t, name).Mint + 1
		old := w.aliveOf(name)
		state := w.rotate(t, name, ended(w.load(t, name).Generation+1))
		primary, _ := state.Primary()
		if primary.Mint < first || w.read(t, name).Primary.Fingerprint != primary.Fingerprint || len(state.Seats) != 1 {
			t.Errorf("%s: after the next rotation: %+v", name, state.Seats)
		}
		left := w.aliveOf(name)
		if name == "maps/stranger" {
			strange := documents[name].Primary.Seat.Sibling()
			left = slices.DeleteFunc(left, func(id credential.SeatID) bool { return id == strange })
			if len(w.aliveOf(name)) != 2 {
				t.Errorf("%s: the stranger's key was killed", name)
			}
		}
		if len(left) != 1 || left[0] != primary.SeatID {
			t.Errorf("%s: alive before %v, after %v; the primary is %s", name, old, left, primary.SeatID)
		}
		if err := w.record.Verify(t.Context(), name, headOf(t, w, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if refused := apps.stop(); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}

func headOf(t testing.TB, w *world, name credential.Name) credential.Head {
	t.Helper()
	_, head, err := w.record.Load(t.Context(), name)
	must(t, err)
	return head
}

// TestRecoveryAppendsOnce: two recoveries at the same time, one again, and an
// apply that comes first.
func TestRecoveryAppendsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.make(t, "maps/one")
	w.make(t, "maps/two")
	w.newStream(t)
	plans := make(chan recovery.Plan, 4)
	plan, err := w.recovery().Plan(t.Context(), w.declared)
	must(t, err)
	// somebody declares one meanwhile
	_, err = w.engine(t).Command(t.Context(), "maps/two", credential.Register{Actor: "ann", Spec: w.declared[1].Spec})
	must(t, err)
	for range cap(plans) {
		go func() {
			done, _ := w.recovery().Append(t.Context(), plan)
			plans <- done
		}()
	}
	count := map[recovery.Verdict]int{}
	for range cap(plans) {
		done := <-plans
		count[lineOf(t, done, "maps/one").Verdict]++
		if v := lineOf(t, done, "maps/two").Verdict; v != recovery.VerdictOnRecord {
			t.Errorf("maps/two, which has a record: %s", v)
		}
	}
	if count[recovery.VerdictRecovered] != 1 || count[recovery.VerdictOnRecord] != cap(plans)-1 {
		t.Errorf("four recoveries at once: %v", count)
	}
	events := 0
	must(t, w.record.History(t.Context(), "maps/one", func(credential.Entry) error { events++; return nil }))
	if events != 1 {
		t.Errorf("%d events on the record", events)
	}
	again, err := w.recovery().Plan(t.Context(), w.declared)
	must(t, err)
	if v := verdicts(again); v["maps/one"] != recovery.VerdictOnRecord || v["maps/two"] != recovery.VerdictOnRecord {
		t.Errorf("again: %v", v)
	}
	if line := lineOf(t, again, "maps/two"); !strings.Contains(line.Try, "keyturn rotate maps/two --now") {
		t.Errorf("an apply came first, and it does not say what to do: %+v", line)
	}
}

// TestTheGapIsOnTheRecord: what an auditor reads, and no secret in it.
func TestTheGapIsOnTheRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.make(t, "maps/one", longDrain)
	w.rotate(t, "maps/one", promoted(2))
	stored := w.read(t, "maps/one")
	w.newStream(t)
	plan, err := w.recovery().Plan(t.Context(), w.declared)
	must(t, err)
	_, err = w.recovery().Append(t.Context(), plan)
	must(t, err)
	var entries []credential.Entry
	must(t, w.record.History(t.Context(), "maps/one", func(e credential.Entry) error { entries = append(entries, e); return nil }))
	fact, ok := entries[0].Event.Fact.(credential.Recovered)
	if !ok || entries[0].Event.Actor != "ann" {
		t.Fatalf("the first event: %+v", entries[0].Event)
	}
	if g := fact.Gap; g.Reason != "the disk is gone" || g.Revision != stored.Revision || g.Mint != stored.Primary.Mint || len(g.Notes) != 1 {
		t.Errorf("the gap: %+v", g)
	}
	text, err := json.Marshal([]any{entries, plan})
	must(t, err)
	for _, secret := range []credential.Secret{stored.Primary.Secret, stored.Secondary.Secret} {
		if secret.Empty() || strings.Contains(string(text), secret.Reveal()) {
			t.Error("a key stands in the event or the plan, or there was none to look for")
		}
	}
	replayed := credential.Evolve(credential.State{}, entries[0].Event)
	replayed.Name = "maps/one"
	if diff := cmp.Diff(entries[0].State, replayed); diff != "" {
		t.Errorf("the event replays as something else:\n%s", diff)
	}
}
