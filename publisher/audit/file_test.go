package audit

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/publisher"
)

// exportText is an export of a good record: a header, 11 messages and an end.
func exportText(t testing.TB) string {
	t.Helper()
	var file bytes.Buffer
	n, err := Export(t.Context(), Stream{goodWorld(t).record}, time.Time{}, "", &file)
	if err != nil || n != 11 {
		t.Fatalf("Export: %d messages, %v", n, err)
	}
	return file.String()
}

// TestACutExportIsTold: each with the line, and none is taken for a finding.
func TestACutExportIsTold(t *testing.T) {
	text := exportText(t)
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	lines[12] += "\n"
	join := func(parts ...[]string) string {
		var all strings.Builder
		for _, p := range parts {
			for _, l := range p {
				all.WriteString(l)
			}
		}
		return all.String()
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":                {"", "line 1: the file is empty"},
		"something else":       {"{\"a\":1}\n", "line 1: it is no export of keyturn"},
		"without its header":   {join(lines[1:]), "line 1: it is no export of keyturn, or its first line is missing"},
		"a newer form":         {strings.Replace(text, `"keyturn_export":1`, `"keyturn_export":9`, 1), "line 1: the export has form 9, newer than the 1"},
		"a torn last line":     {text[:len(text)-1], "line 13: the line is torn"},
		"torn in the middle":   {text[:len(text)/2], "the line is torn"},
		"the end is missing":   {join(lines[:12]), "line 13: the export ends without its last line, after 11 messages"},
		"a line is missing":    {join(lines[:5], lines[6:]), "line 6: it is message 6 of the export where number 5 is expected"},
		"the last is missing":  {join(lines[:11], lines[12:]), "line 12: the export has 10 messages, and its end counts 11"},
		"lines are swapped":    {join(lines[:5], lines[6:7], lines[5:6], lines[7:]), "line 6: it is message 6"},
		"the signers":          {strings.ReplaceAll(text, "_system.signers", "_system.singers"), "line 2: message 1 stands before any announcement of a signer"},
		"a line is no message": {join(lines[:3], []string{"{}\n"}, lines[4:]), "line 4: not a message"},
		"a line is no JSON":    {join(lines[:3], []string{"what\n"}, lines[4:]), "line 4: not a message"},
		"more than it says":    {strings.Replace(text, `"last":11`, `"last":9`, 1), "line 11: message 10 is beyond 9"},
		"a field twice":        {join(lines[:3], []string{strings.Replace(lines[3], `"subject":`, `"subject":"mine","subject":`, 1)}, lines[4:]), "line 4: it is not written as an export writes it"},
		"one in capitals too":  {join(lines[:3], []string{strings.Replace(lines[3], `"data":`, `"data":"e30=","DATA":`, 1)}, lines[4:]), "line 4: it is not written"},
		"one that is unknown":  {join(lines[:3], []string{strings.Replace(lines[3], `"data":`, `"note":"x","data":`, 1)}, lines[4:]), "line 4: it is not written"},
		"something follows":    {text + "x\n", "line 14: something follows the end"},
	} {
		_, err := Verify(t.Context(), NewFile("export.jsonl", strings.NewReader(c.text)), Options{})
		if err == nil || !strings.Contains(err.Error(), "export.jsonl: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for name, whole := range map[string]string{"the whole one": text, "with the line ends of Windows": strings.ReplaceAll(text, "\n", "\r\n")} {
		if r := mustVerify(t, NewFile("whole", strings.NewReader(whole)), Options{}); !r.Intact || r.Events != 11 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestAPartialExportVerifies: of one credential, and since a time, with the
// signers in both.
func TestAPartialExportVerifies(t *testing.T) {
	w := goodWorld(t)
	stamps := stampsOf(t, Stream{w.record})
	var file bytes.Buffer
	if n, err := Export(t.Context(), Stream{w.record}, time.Time{}, mapKey, &file); n != 6 || err != nil {
		t.Fatalf("of one credential: %d messages, %v", n, err)
	}
	root := Options{Roots: []string{w.signer.Public()}}
	if r := mustVerify(t, NewFile("one", bytes.NewReader(file.Bytes())), root); !r.Intact || r.Events != 6 || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "a part of the record") {
		t.Errorf("of one credential: %+v", r)
	}
	part := strings.SplitAfter(file.String(), "\n")
	broken := strings.NewReplacer(`"n":4`, `"n":3`, `"n":5`, `"n":4`, `"n":6`, `"n":5`, `"lines":6`, `"lines":5`).
		Replace(strings.Join(append(part[:3:3], part[4:]...), "")) // somebody took a line out, and hid it
	r := mustVerify(t, NewFile("one", strings.NewReader(broken)), Options{})
	if len(r.Findings) != 1 || r.Findings[0].Kind != Removed || r.Findings[0].Sequence != 4 || r.Findings[0].Subject != mapSubject {
		t.Errorf("with a hidden hole: %v", r.Findings)
	}
	file.Reset()
	if n, err := Export(t.Context(), Stream{w.record}, stamps[7], "", &file); n != 5 || err != nil {
		t.Fatalf("since message 8: %d messages, %v", n, err)
	}
	if r := mustVerify(t, NewFile("late", bytes.NewReader(file.Bytes())), root); !r.Intact || r.Events != 4 || r.Unchecked != 2 || len(r.Warnings) != 2 {
		t.Errorf("since message 8: %+v", r)
	}
	checkpoint, err := w.record.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), NewFile("late", bytes.NewReader(file.Bytes())), Options{Checkpoints: []publisher.Checkpoint{checkpoint}}); err == nil || !strings.Contains(err.Error(), "only a part") {
		t.Errorf("a part against a checkpoint: %v", err)
	}
}

// FuzzExport: whatever stands in a file, it is verified or refused, never with a
// panic and never intact if a good export was changed.
func FuzzExport(f *testing.F) {
	text := exportText(f)
	f.Add([]byte(text))
	f.Add([]byte(text[:len(text)/2]))
	f.Add([]byte(strings.Replace(text, `"ce-keyturnafter":["2"]`, `"ce-keyturnafter":["-"]`, 1)))
	f.Add([]byte(strings.Replace(text, `"headers":{`, `"headers":{"ce-x":[],`, 1)))
	f.Add([]byte(strings.Replace(text, `"sequence":4`, `"sequence":18446744073709551615`, 1)))
	f.Add([]byte("{\"keyturn_export\":1,\"first\":18446744073709551615,\"last\":1}\n{\"lines\":0}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Verify(t.Context(), NewFile("f", bytes.NewReader(data)), Options{})
		if (r == nil) == (err == nil) {
			t.Fatalf("report %v and error %v", r, err)
		}
	})
}
