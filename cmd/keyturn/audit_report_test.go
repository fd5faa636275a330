package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

func TestPeriod(t *testing.T) {
	now := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	for _, c := range []struct{ month, since, until, from, to, fails string }{
		{from: "2025-12-01T00:00:00Z", to: "2026-01-01T00:00:00Z"},
		{month: "2025-02", from: "2025-02-01T00:00:00Z", to: "2025-03-01T00:00:00Z"},
		{month: "2026-01", from: "2026-01-01T00:00:00Z", to: "2026-01-31T08:00:00Z"},
		{since: "2026-01-02", from: "2026-01-02T00:00:00Z", to: "2026-01-31T08:00:00Z"},
		{since: "2026-01-02T02:00:00+02:00", until: "2026-01-03", from: "2026-01-02T00:00:00Z", to: "2026-01-03T00:00:00Z"},
		{since: "2026-01-02", until: "2027-01-01", from: "2026-01-02T00:00:00Z", to: "2026-01-31T08:00:00Z"},
		{month: "2026-02", fails: "holds no time that is over"},
		{since: "2026-01-02", until: "2026-01-02", fails: "holds no time that is over"},
		{since: "2026-01-02", until: "2026-01-01", fails: "holds no time that is over"},
		{month: "2026-13", fails: "want a month"},
		{month: "2025-12", until: "2026-01-01", fails: "--month names the time already"},
		{until: "2026-01-01", fails: "--until needs --since"},
		{since: "2026-01-02", until: "x", fails: "--until x: want an instant"},
	} {
		from, to, err := period(c.month, c.since, c.until, now)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil || from.Format(time.RFC3339) != c.from || to.Format(time.RFC3339) != c.to {
			t.Errorf("%+v: %s to %s, %v", c, from, to, err)
		}
	}
}

// entry is an event of which only what the export shows matters.
func entry(sequence uint64, at time.Time, actor, reason string) credential.Entry {
	return credential.Entry{
		Name: "demo/web", Head: credential.Head{Sequence: sequence, Hash: "h", Signer: "U"},
		Event: credential.Event{ID: "id", At: at, Actor: actor, Daemon: "d-1", Request: "-1", Fact: credential.Held{Hold: credential.Hold{Actor: actor, Reason: reason}}},
		State: credential.State{Name: "demo/web", Hold: &credential.Hold{Actor: actor, Reason: reason, Since: at}},
	}
}

// TestExportGuardsCells: no cell begins a formula, whoever wrote it, and what was
// written comes back whole.
func TestExportGuardsCells(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	actors := []string{"=cmd()", "+1", "-1", "@SUM(A1)", "\ttab", "\rreturn", "\nline", "plain, \"quoted\"\nand more"}
	var out bytes.Buffer
	read := func(fn func(credential.Entry) error) error {
		for i, actor := range actors {
			if err := fn(entry(uint64(i+1), start, actor, "=x")); err != nil {
				return err
			}
		}
		return nil
	}
	if err := exportCSV(&out, time.Time{}, read); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != len(actors)+1 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	for i, actor := range actors {
		row := rows[i+1]
		want := "'" + strings.ReplaceAll(actor, "\r\n", "\n")
		if i == len(actors)-1 {
			want = actor
		}
		if row[4] != want || row[6] != "'-1" {
			t.Errorf("actor %q became %q, request %q", actor, row[4], row[6])
		}
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
				t.Errorf("a cell is %q", cell)
			}
		}
	}
	if diff := cmp.Diff([]string{"1", "2026-03-01T12:00:00.000000005Z", "demo/web", "io.keyturn.credential.held", "'=cmd()", "d-1", "'-1", "id", "U", "h", "held until it is released: =x"}, rows[1]); diff != "" {
		t.Error(diff)
	}
}

// TestExportSince: what came before is not written, but known.
func TestExportSince(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	released := entry(2, start.Add(time.Hour), "ann", "")
	released.Event.Fact = credential.Released{}
	read := func(fn func(credential.Entry) error) error {
		return errors.Join(fn(entry(1, start, "bob", "audit")), fn(released))
	}
	var out bytes.Buffer
	if err := exportCSV(&out, start.Add(time.Hour), read); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(out.String(), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[1], "2,") || !strings.HasSuffix(lines[1], "released: the hold by bob (audit) stood for 1h") {
		t.Errorf("%q", lines)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestExportSaysWhatItCouldNotWrite(t *testing.T) {
	none := func(func(credential.Entry) error) error { return nil }
	if err := exportCSV(broken{}, time.Time{}, none); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("%v", err)
	}
	lost := errors.New("the connection is gone")
	if err := exportCSV(&bytes.Buffer{}, time.Time{}, func(func(credential.Entry) error) error { return lost }); !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
}

// TestAuditSaysWhatItCouldNotRead: a message that is no event is named in the
// report, and both commands end with 1.
func TestAuditSaysWhatItCouldNotRead(t *testing.T) {
	server := natstest.Start(t)
	conn, js := natstest.Connect(t, server.ClientURL())
	if err := publisher.Setup(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	seed, _, err := publisher.GenerateSeed()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := publisher.NewSigner(seed)
	if err != nil {
		t.Fatal(err)
	}
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: js, Signer: signer, Installation: "test"})
	if err != nil {
		t.Fatal(err)
	}
	event := recordtest.Event(credential.Held{Hold: credential.Hold{Actor: "bob", Reason: "audit"}})
	if _, err := record.Append(t.Context(), "demo/web", credential.Head{}, event, recordtest.State("demo/web", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), publisher.RecordSubject("demo/api"), []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keyturn.yaml")
	text := fmt.Sprintf(`installation: test
nats: {url: %q}
vault: {addr: "http://127.0.0.1:1", login: {token: {value: unused}}}
issuers:
  portal: {type: arcgis, url: "http://127.0.0.1:1/portal/sharing/rest", username: nobody, password: {value: unused}}
`, server.ClientURL())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"KEYTURN_CONFIG=" + path}
	const complaint = "1 events cannot be read and are left out, the first is 2 on keyturn.record.demo.api"

	output, code := call(t, env, "audit", "report", "--since", "2026-03-01", "--until", "2026-03-02")
	if code != exitFailed || !strings.Contains(output, "**Not in this report:** event 2 on keyturn.record.demo.api") || !strings.Contains(output, complaint) {
		t.Errorf("report: exit %d: %s", code, output)
	}
	output, code = call(t, env, "audit", "report", "--since", "2026-03-01", "--until", "2026-03-02", "-o", "json")
	var made report.Report
	if err := json.NewDecoder(strings.NewReader(output)).Decode(&made); err != nil || code != exitFailed {
		t.Fatalf("report: exit %d: %v: %s", code, err, output)
	}
	if len(made.Read.Unreadable) != 1 || made.Read.Unreadable[0].Sequence != 2 || made.Installation != "test" || len(made.Breaches) != 1 || made.Breaches[0].Kind != report.KindHeld {
		t.Errorf("%+v", made)
	}
	output, code = call(t, env, "audit", "export", "--format", "csv")
	if code != exitFailed || !strings.Contains(output, "held until it is released: audit") || !strings.Contains(output, complaint) {
		t.Errorf("export: exit %d: %s", code, output)
	}
}
