package main

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

const csvHelp = `Write the events of the record, one a line, the oldest first.

CSV: a line of names, then one line for each event: its sequence in the stream, its time (UTC),
credential, type, actor, daemon, request id, event id, signer, hash, and a sentence. A cell that a
spreadsheet would take for a formula, because it begins with = + - @ or a tab, gets an
apostrophe (') before it. Exit code 1 if an event could not be read: it is then missing.`

// exportCSV writes the events from an instant on. Read gives it all events; those
// before are not written, but make the sentences of the others complete.
func exportCSV(w io.Writer, since time.Time, read func(func(credential.Entry) error) error) error {
	out, teller := csv.NewWriter(w), report.NewTeller()
	if err := out.Write([]string{"sequence", "time", "credential", "type", "actor", "daemon", "request", "id", "signer", "hash", "text"}); err != nil {
		return err
	}
	if err := read(func(e credential.Entry) error {
		text := teller.Tell(e)
		if e.Event.At.Before(since) {
			return nil
		}
		row := []string{
			strconv.FormatUint(e.Head.Sequence, 10), e.Event.At.UTC().Format(time.RFC3339Nano), string(e.Name), string(e.Event.Fact.Type()),
			e.Event.Actor, e.Event.Daemon, e.Event.Request, e.Event.ID, e.Head.Signer, e.Head.Hash, text,
		}
		for i, cell := range row {
			row[i] = csvCell(cell)
		}
		return out.Write(row)
	}); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// csvCell keeps a spreadsheet from running text that somebody wrote as a reason
// or a name.
func csvCell(text string) string {
	if text != "" && strings.ContainsAny(text[:1], "=+-@\t\r\n") {
		return "'" + text
	}
	return text
}
