package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Markdown writes a report as Markdown with tables.
func (r Report) Markdown(w io.Writer) error {
	page := &page{}
	page.line("# Keys of %s from %s to %s\n", cell(r.Installation), r.Since.Format(time.RFC3339Nano), r.Until.Format(time.RFC3339Nano))
	page.line("Made from %d events, %d of them in this time, up to number %d (hash %s).", r.Read.Events, r.Read.InPeriod, r.Read.Sequence, orNone(r.Read.Hash))
	page.line("Numbers under *events* are stream sequences: `keyturn audit export` and `keyturn history NAME -o json` show them.")
	if r.Read.Backwards > 0 {
		page.line("\n**A clock was wrong:** %d events have a time that is more than a minute before that of the one before them.", r.Read.Backwards)
	}
	for _, u := range r.Read.Unreadable {
		page.line("\n**Not in this report:** event %d on %s cannot be read: %s", u.Sequence, cell(u.Subject), cell(u.Why))
	}
	c := r.Counts
	page.line("\n%d credentials; %d keys lived, %d were issued, %d promoted, %d died; %d breaches.", c.Credentials, c.Keys, c.Issued, c.Promoted, c.Died, len(r.Breaches))
	page.breaches(r.Breaches)
	page.keys(r.Keys)
	page.changes(r.Changes)
	_, err := io.WriteString(w, page.String())
	return err
}

type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { _, _ = fmt.Fprintf(p, format+"\n", args...) }

// row writes one row of a table; each cell is escaped.
func (p *page) row(cells ...string) {
	for i, text := range cells {
		cells[i] = cell(text)
	}
	p.line("| %s |", strings.Join(cells, " | "))
}

func (p *page) head(names ...string) {
	p.row(names...)
	p.line("|%s", strings.Repeat(" --- |", len(names)))
}

func (p *page) breaches(list []Breach) {
	p.line("\n## Breaches\n")
	if len(list) == 0 {
		p.line("None.")
		return
	}
	p.head("kind", "credential", "since", "until", "lasted", "what", "events")
	for _, b := range list {
		ended := clock(b.Until)
		if b.Until.IsZero() {
			ended = "not ended"
		}
		p.row(string(b.Kind), string(b.Credential), clock(b.Since), ended, orNone(b.Lasted), b.Text, sequences(b.Events))
	}
}

func (p *page) keys(list []Key) {
	p.line("\n## Keys\n")
	if len(list) == 0 {
		p.line("None.")
		return
	}
	p.head("credential", "no.", "key", "by", "why", "issued", "promoted", "replaces", "replaced", "died", "lived", "primary for", "events")
	for _, k := range list {
		died := "alive"
		if !k.Died.IsZero() {
			died = clock(k.Died) + " " + string(k.End)
		}
		promoted := clock(k.Promoted)
		if k.Again {
			promoted += " again"
		}
		p.row(string(k.Credential), strconv.FormatUint(k.Number, 10), fingerprint(k.Fingerprint), k.Actor, k.Why, clock(k.Issued), promoted,
			orNone(string(k.Replaces)), replacedWords(k.Replaced, k.ReplacedBy), died, k.Lived, orNone(k.Primary), sequences(k.Events))
	}
}

func (p *page) changes(list []Change) {
	p.line("\n## Changes\n")
	if len(list) == 0 {
		p.line("None.")
		return
	}
	p.head("time", "credential", "by", "request", "what", "events")
	for _, c := range list {
		p.row(clock(c.At), string(c.Credential), c.Actor, orNone(c.Request), c.Text, sequences([]uint64{c.Sequence}))
	}
}

func replacedWords(at time.Time, by credential.Fingerprint) string {
	if at.IsZero() {
		return "-"
	}
	return clock(at) + " by " + fingerprint(by)
}

func sequences(list []uint64) string {
	parts := make([]string, len(list))
	for i, n := range list {
		parts[i] = strconv.FormatUint(n, 10)
	}
	return strings.Join(parts, " ")
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// cell makes text safe in a table: what people wrote as a reason ends no cell
// and becomes no link, image or HTML.
func cell(text string) string {
	var out strings.Builder
	for _, c := range OneLine(text) {
		switch c {
		case '\\', '|', '`', '*', '_', '[', ']', '<', '>', '!', '#', '~', '&':
			out.WriteRune('\\')
		}
		out.WriteRune(c)
	}
	return out.String()
}
