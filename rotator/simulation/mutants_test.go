//go:build !race

package simulation_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// mutant is a deliberate fault in the product: in a file, old text is replaced.
// A test must fail on it; what finds it is the simulator within so many seeds,
// or another test where the fault lies below the simulated ports.
type mutant struct {
	name, file string
	changes    [][2]string
	seeds      int    // within which the simulator finds it; 0 = by does
	slow       bool   // left to `make mutants`
	by         string // package and test that finds it, where the simulator cannot
}

const (
	core   = "rotator/credential/"
	engine = "rotator/engine/"
)

func mutants() []mutant {
	return []mutant{
		{name: "revoke before promote", file: engine + "promote.go", seeds: 20, changes: [][2]string{{
			"	fresh := w.vault != nil", "	if old, ok := w.state.Primary(); ok {\n		_ = w.issuer.Revoke(ctx, old.SeatID)\n	}\n	fresh := w.vault != nil"}}},
		{name: "revoke without a claim", file: engine + "retire.go", seeds: 20, changes: [][2]string{{
			"	return credential.ClaimRevoke{Seat: step.Seat}, nil", "	_ = w.issuer.Revoke(ctx, step.Seat)\n	return credential.ClaimRevoke{Seat: step.Seat}, nil"}}},
		{name: "skip verify", file: engine + "verify.go", seeds: 20, changes: [][2]string{{
			"	if err != nil {\n		w.verify.since = time.Time{}", "	proof, err = credential.Proof{}, nil\n	policy.Settle = 0\n	if err != nil {\n		w.verify.since = time.Time{}"}}},
		{name: "ignore the claim's window", file: engine + "work.go", seeds: 3000, changes: [][2]string{{
			"	if left <= 0 {", "	left = time.Hour\n	if left <= 0 {"}}},
		{name: "no margin after a claim", file: core + "seat.go", seeds: 50, changes: [][2]string{{
			"return 2 * c.Window.Std()", "return c.Window.Std()"}}},
		{name: "adopt an old mint", file: engine + "resume.go", seeds: 500, changes: [][2]string{{
			"key.Mint != candidate.Mint", "false"}}},
		{name: "toggle instead of an absolute Vault write", file: engine + "promote.go", seeds: 50, changes: [][2]string{
			{"	if w.vault.Primary.Fingerprint == candidate.Fingerprint {\n		return w.promoted(ctx, candidate)\n	}\n", ""},
			{"	if key.Fingerprint != candidate.Fingerprint {", "	if key.Secret.Empty() {"},
			{"	doc.Primary, doc.Secondary = key, doc.Primary", "	doc.Primary, doc.Secondary = key, w.vault.Primary"}}},
		{name: "fresh Vault version instead of the recorded one", file: engine + "vault.go", seeds: 200, changes: [][2]string{{
			"	over := max(w.state.Vault.Version, w.wrote)", "	now, _ := w.engine.config.Store.Read(ctx, w.name)\n	over := now.Version"}}},
		{name: "a later revision in Vault written over", file: engine + "vault.go", seeds: 500, changes: [][2]string{{
			"case there.Revision <= want.Revision:", "case there.Revision != want.Revision || w.state.Emergency():"}}},
		{name: "hold not checked", file: core + "state.go", seeds: 50, changes: [][2]string{{
			"return s.Held(v.Now) || s.Held(v.IssuerNow())", "return false"}}},
		{name: "no fence before a revoke", file: engine + "revoke.go", seeds: 5000, changes: [][2]string{{
			"	if err := w.fence(ctx); err != nil {\n		return nil, err\n	}\n	if err := together(", "	if err := together("}}},
		{name: "two generates under one claim", file: engine + "issue.go", seeds: 100, changes: [][2]string{{
			"		minted, err = w.issuer.Issue(ctx, step.Seat, expires)\n", "		minted, err = w.issuer.Issue(ctx, step.Seat, expires)\n		if err != nil {\n			minted, err = w.issuer.Issue(ctx, step.Seat, expires)\n		}\n"}}},
		{name: "claim closed after an unanswered call", file: engine + "engine.go", seeds: 100, changes: [][2]string{{
			"Answered: w.claim != nil && !w.unanswered", "Answered: w.claim != nil"}}},
		{name: "stranger's key generated over", file: engine + "issue.go", seeds: 50, changes: [][2]string{{
			"	if alive(status, step.Seat.Slot) && !w.claim.Fence {", "	if alive(status, step.Seat.Slot) && false {"}}},
		{name: "primary not looked at before a retirement", file: engine + "retire.go", seeds: 300, changes: [][2]string{{
			"works := func() error { return w.primaryWorks(ctx, step.Seat) }", "works := func() error { w.vault = nil; return w.read(ctx) }"}}},
		{name: "an expired key believed without asking", file: engine + "revoke.go", seeds: 500, changes: [][2]string{{
			"	over, err := w.over(ctx, step.Seat)", "	over, err := true, error(nil)"}}},
		{name: "due by our own clock", file: core + "next_drain.go", seeds: 300, changes: [][2]string{{
			"later(s.Due, v.IssuerNow())), why)", "later(s.Due, v.Now)).Add(v.Skew), why)"}}},
		{name: "a claim's age by the wall clock", file: engine + "claims.go", seeds: 1000, changes: [][2]string{{
			"ages[id] = max(0, min(ran, wall))", "ages[id] = max(0, wall+0*ran)"}}},
		{name: "a step's window by the wall clock", file: engine + "work.go", seeds: 10000, changes: [][2]string{{
			"max(now.Sub(w.began), now.Round(0).Sub(w.began.Round(0)))", "now.Round(0).Sub(w.began.Round(0))"}}},
		{name: "a finding decided anew without its claim", file: engine + "engine.go", seeds: 5000, changes: [][2]string{{
			"		return about || (held && w.claim != nil)\n", "		_ = about\n		return true\n"}}},
		{name: "back-off of a wrong clock believed", file: core + "next.go", seeds: 200, changes: [][2]string{{
			"	if last.After(v.Now.Add(time.Minute)) {", "	if false {"}}},
		{name: "an append without an answer taken for done", file: engine + "engine.go", seeds: 300, changes: [][2]string{{
			"		case err == nil:\n			w.state", "		case err == nil || credential.IsClass(err, credential.ClassUnknown):\n			w.state"}}},
		{name: "a fence takes the key that is being made", file: engine + "vault.go", seeds: 3000, changes: [][2]string{
			{"	doc.Secondary = w.making(doc, *w.vault)\n", ""},
			{"				want.Secondary = w.making(want, there)\n", ""}}},
		{name: "a promotion undone by a fence", file: engine + "vault.go", seeds: 5000, changes: [][2]string{{
			"	if !ok || !revoking ||", "	if true || !ok || !revoking ||"}}},
		{name: "a candidate given up by a wrong clock", file: engine + "hear.go", seeds: 10000, changes: [][2]string{{
			"	case step.Kind == credential.StepAbandon && step.Reason == credential.ReasonKeyExpired:", "	case false:"}}},
		{name: "the leaked candidate promoted", file: core + "decide.go", by: "./rotator/credential -run TestALeakedCandidateIsNotPromoted", changes: [][2]string{{
			" || candidate.Leak != nil", ""}}},
		{name: "a leaked primary revoked without the word for it", file: core + "claim.go", by: "./rotator/credential -run TestWhatCompromiseRefuses", changes: [][2]string{{
			"	if seat.Role == RolePrimary && !leak.Immediately && s.Removing == nil {", "	if seat.Role == RolePrimary && seat.Leak == nil && s.Removing == nil {"}}},
		{name: "a hold that a leak goes over", file: core + "claim.go", by: "./rotator/credential -run TestWhatCompromiseRefuses", changes: [][2]string{{
			"s.held(v) && !leak.OverrideHold {", "s.held(v) && seat.Leak == nil {"}}},
		{name: "jitter in the predicate", file: core + "policy.go", by: "./rotator/simulation -run TestASeedRunsTheSame", changes: [][2]string{
			{"	if width <= 0 {", "	width = width/2 + time.Duration(time.Now().UnixNano()&1)*width/2 + time.Duration(len(os.Getenv(\"HOME\")))*0 + time.Duration(rand.Int64N(int64(width)+1))/2\n	if width <= 0 {"},
			{"import (", "import (\n	\"math/rand/v2\"\n	\"os\""}}},
		{name: "a seat with an open revoke claim promoted", file: core + "decide.go", by: "./rotator/credential -run TestASeatWithAnOpenRevoke", changes: [][2]string{{
			"candidate.Proven.IsZero() || candidate.Claimed ||", "candidate.Proven.IsZero() ||"}}},
		{name: "an old item deleted while its key drains", file: core + "olditem.go", by: "./rotator/credential -run TestAnOldItemIsNotDeleted", changes: [][2]string{{
			"	if s.Uses(old.Item) {", "	if false {"}}},
		{name: "an old item deleted under a hold", file: core + "olditem.go", by: "./rotator/credential -run TestAnOldItemIsNotDeleted", changes: [][2]string{{
			"	if s.held(v) {\n		return wait(ReasonHeld, s.heldUntil(v)", "	if false {\n		return wait(ReasonHeld, s.heldUntil(v)"}}},
		{name: "an old item deleted without a look at Vault", file: engine + "discard.go", slow: true, by: "./rotator/engine -run TestAnItemThatVaultShowsIsNotDeleted", changes: [][2]string{{
			"			return w.shown(ctx, item)", "			return nil"}}},
		{name: "an old item deleted with a stranger's key", file: engine + "discard.go", slow: true, by: "./rotator/engine -run TestAnOldItemThatSomebodyUses", changes: [][2]string{
			{"slot <= 2 && !stray; slot++", "slot <= 0 && !stray; slot++"}}},
		{name: "the item of an open rotation taken for a stray one", file: core + "olditem.go", by: "./rotator/credential -run TestWhatASweepFinds", changes: [][2]string{{
			"strings.HasPrefix(c.Rotation, r.ID+\"-\")", "strings.HasPrefix(c.Rotation, r.ID+\"?\")"}}},
		{name: "a stray item of any age", file: core + "olditem.go", by: "./rotator/credential -run TestWhatASweepFinds", changes: [][2]string{{
			"v.IssuerNow().Sub(c.Created) < c.Grace", "false"}}},
		{name: "work goes on while a credential is removed", file: core + "decide.go", by: "./rotator/credential -run TestARemovalEndsEverything", changes: [][2]string{{
			"	if s.Removing == nil {\n		return nil\n	}", "	if true {\n		return nil\n	}"}}},
		{name: "a replaced key's slot revoked", file: core + "next_drain.go", by: "./rotator/credential -run TestAKeyThatSomebodyReplaced", changes: [][2]string{{
			"	if seat.Replaced {", "	if false {"}}},
		{name: "one heal after another", file: core + "next_drain.go", by: "./rotator/credential -run TestWhatWinsWhenSeveral", changes: [][2]string{{
			"	if !s.Healed.IsZero() &&", "	if false &&"}}},
		{name: "judged dead at first sight", file: engine + "inspect.go", slow: true, by: "./rotator/engine -run TestASuspicionThatPasses", changes: [][2]string{{
			"refused < settle || times < refusals {", "false && times < refusals && refused < settle {"}}},
		{name: "an old answer of Vault believed", file: engine + "inspect.go", seeds: 20000, changes: [][2]string{{
			"seen < settle {", "false && seen < settle {"}}},
		{name: "an adopted item that another credential manages", file: engine + "edit.go", slow: true, by: "./rotator/engine -run TestAKeyThatSomebodyMadeIsManaged", changes: [][2]string{{
			"		if state.Uses(seen.Item) {", "		if false {"}}},
		{name: "one conflict code only", file: "publisher/fault.go", by: "./publisher -run TestConflictKnowsBothCodes", changes: [][2]string{{
			"jetstream.JSErrCodeStreamWrongLastSequenceConstant)", "jetstream.JSErrCodeStreamWrongLastSequence)"}}},
		{name: "a lost acknowledgement judged by the last message", file: "publisher/record.go", slow: true, by: "./publisher -run TestConformanceOneNode", changes: [][2]string{{
			"stream.GetMsg(ctx, sequence+1, jetstream.WithGetMsgSubject(subject))", "stream.GetLastMsgForSubject(ctx, subject)"}}},
	}
}

// shown is how well hidden a mutant may be for the short form.
const shown = 50

var hidden = flag.Int("hidden", shown, "TestMutants leaves out what takes more seeds than that to find")

// TestMutants proves that the tests can fail: each deliberate fault is found.
// Those that hide for long are left to `make mutants`.
func TestMutants(t *testing.T) {
	root := filepath.Join("..", "..")
	slots := make(chan struct{}, max(1, runtime.GOMAXPROCS(0)))
	var group sync.WaitGroup
	for _, m := range mutants() {
		if m.seeds > *hidden || (m.slow && *hidden <= shown) {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			began := time.Now()
			found, output := try(t, root, m)
			if found == "" {
				t.Errorf("%s: nobody noticed\n%s", m.name, output)
				return
			}
			t.Logf("%-50s %s (%v)", m.name, found, time.Since(began).Round(100*time.Millisecond))
		})
	}
	group.Wait()
}

var failing = regexp.MustCompile(`seed \d+: \S+ \S+|\S+ differs at line|\S+_test.go:\d+: .*`)

// try runs the test on the mutant and tells what it said; empty = nothing.
func try(t *testing.T, root string, m mutant) (found, output string) {
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	for _, change := range m.changes {
		if strings.Count(text, change[0]) < 1 {
			t.Errorf("%s: %s no longer says %q", m.name, m.file, change[0])
			return "-", ""
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	absolute, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := json.Marshal(map[string]map[string]string{"Replace": {absolute: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, plan, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"test", "-count=1", "-vet=off", "-overlay", overlay}
	if m.by != "" {
		args = append(args, strings.Fields(m.by)...)
	} else {
		args = append(args, "./rotator/simulation", "-run", "^TestSeeds$", "-seeds", fmt.Sprint(m.seeds))
	}
	command := exec.Command("go", args...) //nolint:gosec // the table above
	command.Dir = root
	told, err := command.CombinedOutput()
	if err == nil || strings.Contains(string(told), "[build failed]") || strings.Contains(string(told), "[setup failed]") {
		return "", string(told[:min(len(told), 3000)])
	}
	return failing.FindString(string(told)), string(told[:min(len(told), 3000)])
}
