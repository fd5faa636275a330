package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// kindsOf reads the constants of a type from the source of the core, so that none is
// forgotten.
func kindsOf(t *testing.T, kind string) (values []string) {
	t.Helper()
	files, err := filepath.Glob("../../rotator/credential/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if named, ok := spec.Type.(*ast.Ident); ok && named.Name == kind {
				for _, value := range spec.Values {
					text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, text)
				}
			}
			return true
		})
	}
	return values
}

// TestEveryFindingHasWords: what it means, and what keyturn or an operator does.
func TestEveryFindingHasWords(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	policy, err := credential.Policy{Lifetime: credential.Duration(10 * time.Hour)}.Resolve(time.Second, &schedule.Calendar{}, now)
	if err != nil {
		t.Fatal(err)
	}
	s := credential.State{Name: "shop/map", Status: credential.StatusRegistered, Spec: credential.Spec{Policy: policy}}
	// kind → whether it waits for a person, and words that the advice must have
	want := map[credential.FindingKind]struct {
		waits bool
		words string
	}{
		credential.FindingUnknownKey:   {true, "not ours|new item|invalidate it at the issuer|keyturn rotate shop/map --now"},
		credential.FindingVaultChanged: {true, "somebody else wrote|keyturn rotate shop/map --now"},
		credential.FindingVaultMissing: {true, "gone from Vault|keyturn reissue"},
		credential.FindingKeyRefused:   {false, "dead at the issuer|by itself, at once"},
		credential.FindingExpiry:       {false, "the issuer's date counts"},
		credential.FindingVaultOutage:  {false, "does not count"},
		credential.FindingItemMissing:  {false, "deleted at the issuer|new item|by itself, at once"},
		credential.FindingNotCarried:   {false, "not in Vault any more|by itself, at once"},
		credential.FindingKeyReplaced:  {false, "another key over|left alone|by itself, at once"},
		credential.FindingSettings:     {true, "edited at the issuer|keyturn apply -f FILE|keyturn rotate shop/map --now"},
		credential.FindingItemInUse:    {true, "cannot be deleted|invalidate it at the issuer"},
		credential.FindingStrayItem:    {false, "no event names|it is deleted"},
	}
	kinds := kindsOf(t, "FindingKind")
	if len(kinds) < 12 {
		t.Fatalf("only %v are found", kinds)
	}
	for _, kind := range kinds {
		row, ok := want[credential.FindingKind(kind)]
		if !ok {
			t.Errorf("the finding %s is not in the table", kind)
			continue
		}
		a := findingAdvice(s, credential.Finding{Kind: credential.FindingKind(kind), Detail: "so it is", Seat: credential.SeatID{Item: "i", Slot: 2}}, now)
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if a.Means == "" || (a.Heals == "" && len(a.Do) == 0) || a.Waits != row.waits || a.Detail != "so it is" {
			t.Errorf("%s: %s", kind, text)
		}
		for _, word := range strings.Split(row.words, "|") {
			if !strings.Contains(string(text), word) {
				t.Errorf("%s does not say %q: %s", kind, word, text)
			}
		}
	}
	// one was replaced a moment ago: the next is not before four probe intervals are over
	s.Healed = now.Add(-policy.ProbeInterval())
	next := s.Healed.Add(4 * policy.ProbeInterval())
	for _, kind := range []credential.FindingKind{credential.FindingKeyRefused, credential.FindingKeyReplaced, credential.FindingItemMissing} {
		if a := findingAdvice(s, credential.Finding{Kind: kind}, now); !strings.Contains(a.Heals, "not before "+clock(next)) {
			t.Errorf("%s: %s", kind, a.Heals)
		}
	}
	if text := healsAt(s, next); !strings.Contains(text, "at once") {
		t.Error(text)
	}
}

// TestAdviceKnowsTheWholeState: failures by class, holds, gates, old items, removals.
func TestAdviceKnowsTheWholeState(t *testing.T) {
	now := wallClock()
	seat := credential.SeatID{Item: "new", Slot: 1}
	policy := credential.Policy{Lifetime: credential.Duration(10 * time.Hour), RotateBefore: credential.Duration(3 * time.Hour), Confirm: &credential.Confirm{
		Consumers: []string{"shop", "desk"}, Before: credential.BeforePromote, Deadline: credential.Duration(time.Hour), Then: credential.ThenHalt,
	}}
	base := credential.State{
		Name: "shop/map", Status: credential.StatusRegistered, Spec: credential.Spec{Issuer: "portal", Policy: policy}, Notice: credential.LevelWarn,
		Seats: []credential.Seat{
			{SeatID: credential.SeatID{Item: "old", Slot: 1}, Role: credential.RolePrimary, Fingerprint: "aaaa", Expires: now.Add(time.Hour)},
			{SeatID: seat, Role: credential.RoleCandidate, Fingerprint: "bbbb", Proven: now},
		},
		Rotation: &credential.Rotation{ID: "r", Phase: credential.PhaseReady, Target: seat, Ready: now.Add(-time.Minute), Acknowledged: []string{"desk"}},
		Hold:     &credential.Hold{Actor: "oncall", Reason: "audit", Since: now}, Frozen: &credential.Hold{Actor: "oncall", Reason: "incident", Since: now, Until: now.Add(time.Hour)},
		Old: []credential.OldItem{{Item: "older", Since: now}}, Failure: &credential.Failure{Step: credential.StepIssue, Class: credential.ClassDenied, Message: "no", Attempts: 2, Since: now, Last: now, Next: now},
	}
	r := &reader{config: &config.Config{}, calendar: &schedule.Calendar{}}
	of := func(s credential.State, what string) (found advice) {
		t.Helper()
		for _, a := range r.advise(s, now) {
			if a.What == what {
				found = a
			}
		}
		if found.Means == "" {
			t.Errorf("nothing is said of %s", what)
		}
		return found
	}
	for what, words := range map[string]string{
		"failure": "issue failed 2 times", "gate": "shop did not confirm", "old-item": "item older", "expiring": "(level warn)",
		"held": "audit", "frozen": "incident",
	} {
		if a := of(base, what); !strings.Contains(a.Detail, words) {
			t.Errorf("%s: %+v", what, a)
		}
	}
	if do := strings.Join(of(base, "gate").Do, " "); !strings.Contains(do, `keyturn.ack.shop: {"name":"shop/map","fingerprint":"bbbb"}`) || strings.Contains(do, "ack.desk") {
		t.Errorf("the gate: %s", do)
	}
	if of(base, "held").Heals != "" || !strings.Contains(of(base, "frozen").Heals, clock(base.Frozen.Until)) || !strings.Contains(of(base, "held").Do[0], "keyturn release shop/map") {
		t.Error("holds do not say when they end, and how")
	}
	removing := base
	removing.Removing, removing.Rotation = &credential.Removal{Actor: "oncall", Reason: "closed", Since: now}, nil
	if a := of(removing, "removing"); !a.Waits || !strings.Contains(a.Detail, "keyturn release shop/map, and keyturn thaw") {
		t.Errorf("a removal under a hold: %+v", a)
	}
	leaked := base
	leaked.Seats = []credential.Seat{{SeatID: seat, Role: credential.RolePrimary, Fingerprint: "aaaa", Leak: &credential.Leak{Actor: "oncall", Reason: "paste", Since: now}}}
	of(leaked, "emergency")
	for _, class := range kindsOf(t, "Class") {
		s := base
		s.Failure = &credential.Failure{Step: credential.StepIssue, Class: credential.Class(class), Since: now.Add(-time.Hour), Last: now, Attempts: 1}
		if a := of(s, "failure"); !a.Waits {
			t.Errorf("an hour of %s waits for nobody", class)
		}
	}
	base.Killed = credential.SeatID{Item: "old", Slot: 1}
	if lines := strings.Join(itemLines(base, now), "\n"); !strings.Contains(lines, "item         old") || !strings.Contains(lines, "old item     older, left ") || !strings.Contains(lines, "while a hold stands") {
		t.Error(lines)
	}
}
