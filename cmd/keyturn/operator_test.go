package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestOperatorsAreTakenOverWhileADaemonRuns: a key counts from the reload that
// brings it to the one that takes it away, for what its role allows; what was
// denied is listed.
func TestOperatorsAreTakenOverWhileADaemonRuns(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.apply(t, "team/app", "portal", short(time.Hour, time.Second))
	dir := filepath.Dir(w.path)
	output, code := call(t, nil, "operator", "new", "oncall", "--role", "rotator", "--namespace", "team", "--out", filepath.Join(dir, "oncall.nk"), "-o", "json")
	var made madeOperator
	if err := json.Unmarshal([]byte(output), &made); err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s", code, err, output)
	}
	text, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(dir, "oncall.yaml")
	file := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file("oncall.yaml", strings.Replace(string(text), "keeper.nk", "oncall.nk", 1))
	file("more.yaml", "credentials: [{name: team/more, issuer: portal, privileges: [\"premium:user:basemaps\"], policy: {lifetime: 1h}}]")
	says := func(want int, word string, args ...string) {
		t.Helper()
		output, code := call(t, nil, append(args, "--config", theirs)...)
		if code != want || !strings.Contains(output, word) {
			t.Errorf("%v: exit %d, want %d and %q:\n%s", args, code, want, word, output)
		}
	}
	says(1, "the key "+made.Key+" is no operator's (try: keyturn operator new", "rotate", "team/app")
	says(1, "FAIL operator", "doctor")

	write(t, w.path, "operators:\n", "operators:\n"+made.lines())
	d.reload()
	says(0, "team/app requested", "rotate", "team/app", "--reason", "leaver")
	says(0, "the daemon knows this key as oncall: rotator in team", "doctor")
	says(0, "team/more would be registered", "apply", "-f", filepath.Join(dir, "more.yaml"), "--dry-run")
	says(1, "apply: operator oncall lacks the role admin in namespace team", "apply", "-f", filepath.Join(dir, "more.yaml"))
	says(1, "operator oncall lacks the role rotator in namespace other", "rotate", "other/app")
	actors := map[string]bool{}
	if err := d.record.History(t.Context(), "team/app", func(e credential.Entry) error { actors[e.Event.Actor] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if !actors["oncall"] || !actors["keeper"] {
		t.Errorf("the record names %v, want keeper and oncall", actors)
	}

	write(t, w.path, made.lines(), "")
	d.reload()
	says(1, "is no operator's", "rotate", "team/app")

	var list []control.Denial
	eventually(t, "all are listed", func() bool {
		output, _ := call(t, nil, "denied", "--since", "1h", "-o", "json", "--config", theirs)
		return json.Unmarshal([]byte(output), &list) == nil && len(list) == 5
	})
	reasons := map[control.Reason]int{}
	for _, denial := range list {
		reasons[denial.Reason]++
		if denial.Key != made.Key || denial.Daemon != d.id {
			t.Errorf("kept %+v", denial)
		}
	}
	if reasons[control.ReasonUnknown] != 3 || reasons[control.ReasonRole] != 2 {
		t.Errorf("denied: %v", reasons)
	}
	says(0, "role         rotate    other/app   oncall    "+made.Key, "denied")
	says(3, "", "denied", "--since", time.Now().Add(time.Hour).Format(time.RFC3339))
	if n := counted(t, d.metrics, "keyturn_denied_requests_total", "role", "true"); n != 2 {
		t.Errorf("the metric counts %v", n)
	}

	if err := os.Chmod(made.File, 0o644); err != nil {
		t.Fatal(err)
	}
	says(1, "may be read by everybody (mode 0644); try: chmod 600", "rotate", "team/app")
	write(t, theirs, "operator: {seed: {file: oncall.nk}}", "")
	says(1, "no operator's key is configured", "rotate", "team/app")
	says(0, "no key is configured here", "doctor")
}

// TestServeGoesOnWithoutTheStreamsBeside that of the record, as an older keyturn
// set it up: it warns, with a hint, and doctor finds it; setup makes it, and then
// the daemon takes requests again.
func TestServeGoesOnWithoutTheStreamsBeside(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	streams := []string{publisher.DeniedStream, publisher.RequestsStream}
	for _, stream := range streams {
		if err := js.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	d := w.daemon(t)
	output, code := call(t, nil, "doctor", "--config", w.path)
	for _, stream := range streams {
		lines := d.logs.FilterMessageSnippet("the stream " + stream + " is missing").All()
		if len(lines) != 1 || !strings.Contains(lines[0].Message, "try: keyturn setup") {
			t.Errorf("logged: %v", lines)
		}
		if code != 1 || !strings.Contains(output, "FAIL stream") || !strings.Contains(output, stream+" is missing") {
			t.Errorf("doctor: exit %d\n%s", code, output)
		}
	}
	frozen, code := call(t, nil, "freeze", "--reason", "test", "--config", w.path)
	if code != 1 || !strings.Contains(frozen, "nothing was done") || !strings.Contains(frozen, "keyturn setup") {
		t.Errorf("freeze: exit %d\n%s", code, frozen)
	}
	if output, code := call(t, nil, "setup", "--config", w.path); code != 0 {
		t.Errorf("setup: exit %d\n%s", code, output)
	}
	if output, code := call(t, nil, "doctor", "--config", w.path); code != 0 {
		t.Errorf("doctor after setup: exit %d\n%s", code, output)
	}
	if output, code := call(t, nil, "freeze", "--reason", "test", "--config", w.path); code != 0 {
		t.Errorf("freeze after setup: exit %d\n%s", code, output)
	}
}
