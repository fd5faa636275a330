package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// report reads a completeness report.
func (s said) report(t *testing.T) completeness {
	t.Helper()
	var c completeness
	if err := json.Unmarshal([]byte(s.out), &c); err != nil {
		t.Fatalf("not a report: %v: %s%s", err, s.out, s.err)
	}
	return c
}

func (c completeness) counts() string {
	return fmt.Sprintf("%d done, %d already, %d failed, %d not found", c.Done, c.Already, c.Failed, c.NotFound)
}

// TestLesson03ABulkInvalidationAccountsForEveryKey: by label, by a list of names and fingerprints, in a dry
// run, with some that are held, dead or nobody's; run again it goes on.
func TestLesson03ABulkInvalidationAccountsForEveryKey(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	names := []credential.Name{"apps/a", "apps/b", "apps/c", "maps/d"}
	w.settled(t, d.record, names...)
	for _, name := range names[:2] {
		spec := w.states(t, d.record)[name].Spec
		spec.Labels = map[string]string{"team": "red"}
		if _, err := control.NewClient(w.conn, w.operator).Apply(t.Context(), control.Apply{Name: name, Spec: spec}); err != nil {
			t.Fatal(err)
		}
	}
	first := map[credential.Name]credential.Key{}
	for _, name := range names {
		first[name] = w.keys(t, name).Primary
	}
	red := []string{"invalidate", "--label", "team=red", "--namespace", "apps", "--key", "primary", "--reason", "laptop"}
	w.keyturn(t, "", append(red, "--dry-run")...).has(t, 0, "apps/a", "key "+string(first["apps/a"].Fingerprint)+" (primary)", "2 would be asked for")
	if !w.works(first["apps/a"]) {
		t.Fatal("a dry run killed a key")
	}
	w.keyturn(t, "", "hold", "apps/b", "--reason", "audit").has(t, 0)
	some := w.keyturn(t, "", append(red, "-o", "json")...)
	some.has(t, 1, "not everything is done")
	if have := some.report(t); have.counts() != "1 done, 0 already, 1 failed, 0 not found" || !strings.Contains(have.Outcomes[1].Detail, "audit") || !strings.Contains(have.Outcomes[1].Detail, "--override-hold") {
		t.Errorf("%+v", have)
	}
	again := w.keyturn(t, "", append(red, "--override-hold", "-o", "json")...)
	again.has(t, 0)
	if have := again.report(t).counts(); have != "1 done, 1 already, 0 failed, 0 not found" {
		t.Error(have)
	}
	second := w.keys(t, "apps/a").Primary
	for name, key := range first {
		if hit := name == "apps/a" || name == "apps/b"; w.works(key) == hit {
			t.Errorf("%s: the first key works: %v", name, !hit)
		}
	}
	if !w.works(second) {
		t.Error("the successor was hit")
	}

	list := fmt.Sprintf("\ufeff# found at a paste site\nmaps/d  # a name\n%s\n%s\n\n0123456789abcdef\nno/body\n%[1]s\n", first["apps/a"].Fingerprint, second.Fingerprint)
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	w.keyturn(t, "", "invalidate", "--from", file, "--reason", "paste").has(t, 2, "maps/d is a name", "--key")
	mixed := w.keyturn(t, "", "invalidate", "--from", file, "--key", "all", "--reason", "paste", "-o", "json")
	mixed.has(t, 1)
	if have := mixed.report(t); have.counts() != "2 done, 1 already, 0 failed, 2 not found" {
		t.Errorf("%+v", have)
	}
	if w.works(first["maps/d"]) || w.works(second) {
		t.Error("a key of the list works")
	}
	w.keyturn(t, string(second.Fingerprint), "invalidate", "--from", "-", "--reason", "paste").has(t, 3, "0 done, 1 already")
	for in, want := range map[string]string{
		"apps/a\nAPPS/b\n" + w.keys(t, "apps/a").Primary.Secret.Reveal(): "standard input:2: neither a name", "# nothing": "no name or fingerprint",
	} {
		bad := w.keyturn(t, in, "invalidate", "--from", "-", "--key", "primary", "--reason", "x")
		bad.has(t, 2, want)
		if strings.Contains(bad.out+bad.err, "AAPT") {
			t.Error("a key of the list is repeated")
		}
	}
	all := []string{"invalidate", "--namespace", "apps", "--key", "all", "--reason", "all", "--immediately", "--override-hold"}
	w.keyturn(t, "", all...).has(t, 0, "WARNING: applications have no working key of 3 credentials", "3 done")
	if again := w.keyturn(t, "", all...); strings.Contains(again.err, "WARNING") {
		t.Error("run again, it warns of what it does not do")
	}
	w.keyturn(t, "", "invalidate", "--issuer", "other", "--key", "all", "--reason", "x").has(t, 1, "nothing is selected")
}

// TestPick: what is combined must all hold.
func TestPick(t *testing.T) {
	now := time.Now()
	var entries []credential.Entry
	for i, name := range []credential.Name{"a/one", "a/two", "b/three"} {
		s := credential.State{Name: name, Status: credential.StatusRegistered, Spec: credential.Spec{Issuer: "x", Labels: map[string]string{"n": fmt.Sprint(i % 2)}}}
		s.Seats = []credential.Seat{{Role: credential.RolePrimary, Fingerprint: credential.Fingerprint(fmt.Sprintf("%016x", i)), Over: credential.Fingerprint(fmt.Sprintf("f%015x", i)), Expires: now.Add(time.Duration(i+1) * time.Hour)}}
		entries = append(entries, credential.Entry{Name: name, State: s})
	}
	for _, test := range []struct {
		s    selection
		list string
		want string
	}{
		{selection{issuer: "x"}, "", "a/one a/two b/three"},
		{selection{issuer: "y"}, "", ""},
		{selection{namespace: "a"}, "", "a/one a/two"},
		{selection{labels: []string{"n=0"}}, "", "a/one b/three"},
		{selection{labels: []string{"n=0", "n=1"}}, "", ""},
		{selection{labels: []string{"m=0"}}, "", ""},
		{selection{within: span(150 * time.Minute)}, "", "a/one a/two"},
		{selection{within: span(150 * time.Minute), labels: []string{"n=0"}}, "", "a/one"},
		{selection{from: "-"}, "b/three\nf000000000000001\nb/three\nb/none\n", "a/two:f000000000000001 b/three; unknown b/none"},
		{selection{from: "-", namespace: "a"}, "b/three\n0000000000000000\n", "a/one:0000000000000000; 1 left out"},
	} {
		list, err := test.s.list(strings.NewReader(test.list))
		if err != nil {
			t.Fatal(err)
		}
		picked := test.s.pick(entries, list, now)
		var have []string
		for _, target := range picked.targets {
			text := string(target.name)
			if target.key != "" {
				text += ":" + string(target.key)
			}
			have = append(have, text)
		}
		slices.Sort(have)
		text := strings.Join(have, " ")
		for _, i := range picked.unknown {
			text += "; unknown " + i.String()
		}
		if picked.leftOut > 0 {
			text += fmt.Sprintf("; %d left out", picked.leftOut)
		}
		if text != test.want {
			t.Errorf("%+v: %q, want %q", test.s, text, test.want)
		}
	}
}
