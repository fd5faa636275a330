package report_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

func TestMarkdown(t *testing.T) {
	l := newLife(t).first(hours())
	l.until(time.Hour).do(credential.PutHold{Actor: "bob", Reason: "a|b\n<img src=x> [link](x) `c`"})
	r := second(l).report(0, 9*time.Hour)
	r.Installation = "test"
	r.Read.Unreadable = []report.Unreadable{{Sequence: 7, Subject: "keyturn.record.a.b", Why: "no JSON"}}
	var out strings.Builder
	if err := r.Markdown(&out); err != nil {
		t.Fatal(err)
	}
	const want = `# Keys of test from 2026-03-01T12:00:00Z to 2026-03-01T21:00:00Z

Made from 9 events, 9 of them in this time, up to number 9 (hash hash-9).
Numbers under *events* are stream sequences: 'keyturn audit export' and 'keyturn history NAME -o json' show them.

**Not in this report:** event 7 on keyturn.record.a.b cannot be read: no JSON

1 credentials; 2 keys lived, 2 were issued, 2 promoted, 0 died; 1 breaches.

## Breaches

| kind | credential | since | until | lasted | what | events |
| --- | --- | --- | --- | --- | --- | --- |
| held | maps/web | 2026-03-01T13:00:00Z | not ended | 8h | by bob, without an end: a\|b \<img src=x\> \[link\](x) \'c\' | 6 |

## Keys

| credential | no. | key | by | why | issued | promoted | replaces | replaced | died | lived | primary for | events |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| maps/web | 1 | fp-1 | policy | there is no key yet | 2026-03-01T12:01:00Z | 2026-03-01T12:02:00Z | - | 2026-03-01T20:02:00Z by fp-2 | alive | 8h59m | 8h | 2 3 4 5 9 |
| maps/web | 2 | fp-2 | policy | the lead time before expiry has begun | 2026-03-01T20:01:00Z | 2026-03-01T20:02:00Z | fp-1 | - | alive | 59m | 58m | 7 8 9 |

## Changes

| time | credential | by | request | what | events |
| --- | --- | --- | --- | --- | --- |
| 2026-03-01T12:00:00Z | maps/web | ann | - | registered at issuer portal: a key lives 12h and is replaced 4h before its expiry, the old one works 1h longer | 1 |
| 2026-03-01T13:00:00Z | maps/web | bob | - | held until it is released: a\|b \<img src=x\> \[link\](x) \'c\' | 6 |
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "'", "`"), out.String()); diff != "" {
		t.Error(diff)
	}
	full := errors.New("the disk is full")
	if err := r.Markdown(failing{full}); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestAReportOfNothing(t *testing.T) {
	r := newLife(t).report(0, time.Hour)
	var out strings.Builder
	if err := r.Markdown(&out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\nNone.\n"); n != 3 {
		t.Errorf("%d lists say None: %s", n, out.String())
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"breaches", "keys", "changes", "unreadable"} {
		if !strings.Contains(string(text), `"`+list+`":[]`) {
			t.Errorf("%s is not an empty list: %s", list, text)
		}
	}
}

// TestJSON: the names that scripts read.
func TestJSON(t *testing.T) {
	l := newLife(t).first(hours()).until(8 * time.Hour).do(credential.Begin{Reason: credential.ReasonExpiring})
	l.do(credential.StepFailed{Step: credential.StepIssue, Class: credential.ClassDenied, Message: "no"}).issue().promote().drained().retire()
	text, err := json.Marshal(l.report(0, 10*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"since":"2026-03-01T12:00:00Z","until":"2026-03-01T22:00:00Z"`,
		`"read":{"events":11,"events_in_period":11,"last_sequence":11,"last_hash":"hash-11","backwards":0,"unreadable":[]}`,
		`"counts":{"credentials":1,"keys":2,"issued":2,"promoted":2,"died":1,"breaches":{"failed":1}}`,
		`"breaches":[{"kind":"failed","credential":"maps/web","rotation":"id-6","since":"2026-03-01T20:00:00Z","until":"2026-03-01T20:01:00Z","lasted":"1m","attempts":1,"classes":{"denied":1},` +
			`"text":"1 attempt failed (denied x1), the last to generate the key: no","events":[7,8]}]`,
		`{"credential":"maps/web","fingerprint":"fp-1","number":1,"seat":{"item":"i1","slot":1},"reason":"first-key","why":"there is no key yet","actor":"policy","rotation":"id-2",` +
			`"replaced_by":"fp-2","claimed":"2026-03-01T12:00:00Z","issued":"2026-03-01T12:01:00Z","promoted":"2026-03-01T12:02:00Z","replaced":"2026-03-01T20:02:00Z",` +
			`"died":"2026-03-01T21:03:00Z","expires":"2026-03-02T00:01:00Z","end":"revoked","lived":"9h2m","primary":"8h","events":[2,3,4,5,9,11]}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("lacks %s\nin %s", want, text)
		}
	}
}
